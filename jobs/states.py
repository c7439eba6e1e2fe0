"""The states of a job: who moves it in, who moves it out, and which index it is watched in."""

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """The state of a job. Settled states are past participles, passing ones end in -ing."""

    SCHEDULED = "scheduled"
    """Enqueued for a time in the future. The scheduler moves it to `queued` when that time has
    come. Watched in the due index."""

    WAITING = "waiting"
    """Waits until the jobs that its `after` names have succeeded; nothing is sent, and no attempt
    is spent. The dependency keeper moves it to `queued` then, and parks it where one of them was
    cancelled or its result lacks what the inputs take from it. Watched in the waiting index."""

    QUEUED = "queued"
    """Waits in its lane, ordered by priority, then by age. Admission moves it to `submitting` when
    the lane is open. Watched in the lane index."""

    SUBMITTING = "submitting"
    """Admitted: the intent to submit is on record before a byte is sent. The provider's answer
    moves it on, or the rescuer when its lease has run out. Watched in the lease index."""

    RUNNING = "running"
    """The provider has it: either its execution id is on record (async), or its connection is open
    (sync). A poll, a webhook or the sync answer moves it on. Watched in the in-flight index
    (async) or the lease index (sync)."""

    RETRYING = "retrying"
    """An attempt failed with a retryable error, and the backoff runs; or its outcome is unknown,
    and it waits under `reconcile` for its finding. The scheduler moves it to `queued` at the end of
    the backoff, the evidence service once it did not start. While no other job of its lane succeeds
    it waits for longer, and a success moves it to `queued` at once. Watched in the due index."""

    PARKED = "parked"
    """Waits for an operator, always with a reason: a 401, 402 or 403, an unknown outcome, a run
    past its deadline, or parked by an operator. Only an operator moves it on, or the provider where
    the run is already paid for. It never expires."""

    CANCELLING = "cancelling"
    """An operator requested a cancel while the provider has the run. The provider's confirmation
    moves it to `cancelled`, or to `succeeded` if the run finished first. Watched like `running`."""

    SUCCEEDED = "succeeded"
    """Has a result. The pruner removes it after the retention time."""

    DEAD = "dead"
    """A dead letter: an error that no retry fixes, every attempt failed, or its target failed for
    longer than the limit of an outage. Only an operator moves it on. It never expires."""

    CANCELLED = "cancelled"
    """Cancelled before or at the provider, not sent by its `start_by`, or discarded by an operator.
    The pruner removes it after the retention time."""


class Kind(StrEnum):
    """What a job runs. Each kind is a route of the provider's API."""

    MODEL = "model"
    WORKFLOW = "workflow"


class Mode(StrEnum):
    """How a run is submitted: `async` is submitted and polled, `sync` is one open connection."""

    ASYNC = "async"
    SYNC = "sync"


class OnUncertain(StrEnum):
    """What a job asks for when the outcome of its submit is unknown."""

    PARK = "park"
    """An operator decides (default)."""

    RETRY = "retry"
    """Submit again. The provider has no idempotency key, so this may pay for the run twice."""

    RECONCILE = "reconcile"
    """Submit again by itself once the provider's list of runs shows that it did not start. With any
    other finding an operator decides. It relies on rows that appear within the grace."""


PRUNABLE: Final = frozenset({State.SUCCEEDED, State.CANCELLED})
"""States of jobs that the pruner removes after the retention time."""

SETTLED: Final = frozenset({State.SUCCEEDED, State.CANCELLED, State.DEAD})
"""States in which nothing more happens by itself and no run is left at the provider."""

SETTLED_OR_PARKED: Final = SETTLED | {State.PARKED}
"""States that end a `wait` call: settled, or waiting for an operator."""

UNSENT: Final = frozenset({State.SCHEDULED, State.WAITING, State.QUEUED, State.RETRYING})
"""States of unfinished jobs that wait by themselves, with no submit under way."""

ACTIVE: Final = frozenset({State.SUBMITTING, State.RUNNING, State.CANCELLING})
"""States that count against the concurrency cap of a lane."""
