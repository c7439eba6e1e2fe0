"""The states a job can be in: who enters each, who leaves it, and what watches it meanwhile."""

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Where a job stands. Settled states are past participles, passing ones end in -ing."""

    SCHEDULED = "scheduled"
    """Enqueued for a time in the future. The clock moves it to `queued`; watched: the due set."""

    QUEUED = "queued"
    """Waiting in its lane by priority, then age. Admission takes it when the lane is open."""

    SUBMITTING = "submitting"
    """Admitted: the intent is on record before a byte is sent.

    Left by the provider's answer, or by the rescuer at the lease's end; watched: the lease set.
    """

    RUNNING = "running"
    """The provider has it: an execution id is on record (async), or the connection is open (sync).
    Left by poll, webhook or sync answer; watched: the in-flight set, or the lease set (sync)."""

    RETRYING = "retrying"
    """A retryable fault, its backoff running. The clock requeues it; watched: the due set."""

    PARKED = "parked"
    """Waits for a person, always with a reason: 401, 402, 403, an unknown outcome, a run past its
    deadline, or a person's wish. Only a person takes it away; it never expires."""

    CANCELLING = "cancelling"
    """Cancel asked while the provider has it. Left by the provider's confirmation (`cancelled`, or
    `succeeded` if the run finished first); watched like `running`."""

    SUCCEEDED = "succeeded"
    """Has a result. Retention removes it."""

    DEAD = "dead"
    """A dead letter: a fault that no retry mends, or attempts spent. Only a person takes it away;
    it never expires."""

    CANCELLED = "cancelled"
    """Cancelled before or at the provider, or discarded by a person. Retention removes it."""


class Kind(StrEnum):
    """What a job runs, and which of the provider's routes takes it."""

    MODEL = "model"
    WORKFLOW = "workflow"


class Mode(StrEnum):
    """How a run is handed over: submit and poll, or one open connection."""

    ASYNC = "async"
    SYNC = "sync"


class OnUncertain(StrEnum):
    """What a job wants when the outcome of a submit is unknown."""

    PARK = "park"
    """A person decides (default)."""

    RETRY = "retry"
    """Submit again. The provider has no idempotency key, so this may pay for the run twice."""


PRUNABLE: Final = frozenset({State.SUCCEEDED, State.CANCELLED})
"""States that retention removes."""

SETTLED: Final = frozenset({State.SUCCEEDED, State.CANCELLED, State.DEAD})
"""States in which nothing more happens by itself and nothing waits at the provider."""

SETTLED_OR_PARKED: Final = SETTLED | {State.PARKED}
"""States a `wait` ends in: settled, or waiting for a person."""

ACTIVE: Final = frozenset({State.SUBMITTING, State.RUNNING, State.CANCELLING})
"""States that count against a lane's concurrency cap."""
