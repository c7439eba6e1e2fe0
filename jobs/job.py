"""The job's record: the truth about a job, as it lies in Redis and as `decide()` sees it.

Times are Unix seconds (float, millisecond precision). Inputs and results lie beside the record,
never in it, so that a transition does not rewrite them and a log line cannot leak them. Records
hold no cycles, so the garbage collector need not know them (`gc=False`): ten thousand would make
it pause.
"""

from functools import lru_cache
from typing import Final

import msgspec

from jobs.lanes import JobId, Lane
from jobs.states import Kind, Mode, OnUncertain, State

EVENTS_KEPT: Final = 200
"""Events a record keeps; the oldest go first, and `events_dropped` counts them."""

ATTEMPTS_KEPT: Final = 100
"""Attempts a record keeps."""


@lru_cache(maxsize=4_096)
def _lane(account: str, kind: Kind, target: str) -> Lane:
    """A lane, made once: it is asked for at every look at a run."""
    return Lane(account, kind, target)


class Reason(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Why a job is parked, dead or retrying, and what a person can do about it.

    `code` is the provider's own, letter for letter, `HTTP_<status>` where it sent none, or one of
    ours in lower case: `uncertain`, `stuck`, `manual`, `budget`.
    """

    code: str
    http_status: int | None = None
    message: str = ""
    action: str = ""
    action_url: str | None = None
    hold_id: str | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """One submit that reached the provider, or may have."""

    number: int
    mode: Mode
    started_at: float
    ended_at: float | None = None
    outcome: str | None = None
    http_status: int | None = None
    code: str | None = None
    message: str | None = None
    provider_status: str | None = None
    execution_id: str | None = None
    request_id: str | None = None
    polls: int = 0
    cost: float | None = None


class JobEvent(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """One line of a job's history: what happened, when, by whom, with which note."""

    at: float
    name: str
    by: str = ""
    note: str = ""


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A job. Only `jobs.transitions` makes the next version of one."""

    id: JobId
    kind: Kind
    target: str
    state: State
    since: float
    """When it entered its state."""
    created_at: float
    updated_at: float
    fingerprint: str
    """Digest of the payload it came with: the same id with another payload is a conflict."""
    account: str = "default"
    max_attempts: int = 5
    deadline_s: float = 3_600.0
    """Seconds a submitted run may take before the job parks as `stuck`."""
    priority: int = 0
    tags: tuple[str, ...] = ()
    batch: str | None = None
    on_uncertain: OnUncertain = OnUncertain.PARK
    scheduled_for: float | None = None
    due_at: float | None = None
    """When the clock moves it on: set in `scheduled` and `retrying`."""
    queued_at: float | None = None
    bypass_hold: bool = False
    """A person released this one job through a closed gate."""
    opening_hold_ids: tuple[str, ...] = ()
    """Holds that are opening and count this submit as one of theirs."""
    submit_token: str | None = None
    """Fence of the arq entry that may submit it."""
    lease_until: float | None = None
    """When the rescuer may take it from whoever holds it."""
    owner: str | None = None
    """The worker that submits it or holds its open connection."""
    sent_at: float | None = None
    """Set just before the request is written: from here on the outcome can be unknown."""
    spent: int = 0
    """Attempts spent since enqueue or the last requeue."""
    submits: int = 0
    """Attempts ever begun that reached the provider: numbers the next one."""
    mode: Mode | None = None
    execution_id: str | None = None
    expects_webhook: bool = False
    """The provider said it will deliver a webhook for this run."""
    submitted_at: float | None = None
    deadline_at: float | None = None
    next_poll_at: float | None = None
    cancel_requested: bool = False
    cancel_sent: bool = False
    finished_at: float | None = None
    cost: float | None = None
    reason: Reason | None = None
    attempts: tuple[Attempt, ...] = ()
    events: tuple[JobEvent, ...] = ()
    events_dropped: int = 0
    result_note: str | None = None
    """Set when the result was too large to keep whole."""

    @property
    def lane(self) -> Lane:
        """The queue this job belongs to."""
        return _lane(self.account, self.kind, self.target)

    @property
    def request_id(self) -> str | None:
        """The provider's id of the request whose run it has, or had to its end."""
        at_provider = self.submitted_at is not None and self.attempts
        return self.attempts[-1].request_id if at_provider else None

    @property
    def open_attempt(self) -> Attempt | None:
        """The attempt under way, if one is."""
        last = self.attempts[-1] if self.attempts else None
        return last if last is not None and last.ended_at is None else None

    @property
    def attempt(self) -> int:
        """The attempt the job is at: those spent, and the one under way or that ended it."""
        last = self.attempts[-1].outcome if self.attempts else "failed"
        waiting = self.state in (State.SCHEDULED, State.QUEUED, State.RETRYING)
        counts = self.open_attempt is not None or last not in ("failed", "refused")
        return self.spent + (counts and not waiting)

    @property
    def parked_as(self) -> str | None:
        """The code it is parked with, if it is parked."""
        return self.reason.code if self.state is State.PARKED and self.reason else None
