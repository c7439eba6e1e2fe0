"""Callbacks: what an app hears of its jobs and batches, and when it is tried again. Pure.

A callback is written in the same atomic step as the transition that it reports, with the record of
that moment: a later try never sends a later state. Times are Unix seconds.
"""

import hashlib
from enum import StrEnum
from typing import Final

import msgspec

from jobs.backoff import Backoff
from jobs.batches import BatchSummary
from jobs.job import Job
from jobs.states import State

GIVE_UP_AFTER_S: Final = 3 * 86_400.0
"""How long a callback is tried, from its event or from when an operator sent it again."""

RETRY_BACKOFF: Final = Backoff(base_s=5.0, cap_s=3_600.0)
"""Between two tries: up to 5 s after the first, then twice as long each, up to an hour."""

MIN_RETRY_S: Final = 1.0
MAX_RETRY_AFTER_S: Final = 86_400.0
"""The longest `Retry-After` that is respected in full."""

MAX_ERROR_CHARS: Final = 300

KEPT_EVENTS: Final = 50
KEPT_ATTEMPTS: Final = 20
"""Newest lines of a job's history that its callbacks carry."""


class CallbackType(StrEnum):
    """What happened; the `type` of the body."""

    JOB_SUCCEEDED = "job.succeeded"
    JOB_DEAD = "job.dead"
    JOB_CANCELLED = "job.cancelled"
    JOB_PARKED = "job.parked"
    BATCH_COMPLETED = "batch.completed"
    BATCH_STALLED = "batch.stalled"


class CallbackSubject(StrEnum):
    """What a callback is about."""

    JOB = "job"
    BATCH = "batch"


class CallbackState(StrEnum):
    """Where a callback stands."""

    PENDING = "pending"
    """It is sent, now or later."""
    DELIVERED = "delivered"
    """The receiver answered 2xx."""
    FAILED = "failed"
    """It is not tried any more, unless an operator sends it again."""


class Callback(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag_field="schema",
    tag=1,
    forbid_unknown_fields=True,
):
    """One event of one subject on its way to a receiver."""

    id: str
    """`webhook-id`: the same in every try."""
    type: CallbackType
    subject: CallbackSubject
    subject_id: str
    url: str
    host: str
    """Scheme, host and port of the URL: its queue, whose limit and breaker count for it."""
    created_at: float
    """When it happened."""
    sequence: int
    """Grows with each event of its subject."""
    record: msgspec.Raw
    """The subject's record at that moment, JSON."""
    state: CallbackState = CallbackState.PENDING
    since: float
    """Since when it is in its state, for pending ones since when it is tried."""
    next_at: float | None = None
    """When it is tried next."""
    tries: int = 0
    tried_at: float | None = None
    """When its last try ended."""
    status: int | None = None
    """HTTP status of the last try; None if there was no answer."""
    error: str = ""
    """What was wrong with the last try; empty if nothing was."""


class CallbackFailure(msgspec.Struct, frozen=True):
    """A try that did not deliver."""

    error: str
    """For operators: what happened and what to do; never a text of the receiver."""
    status: int | None = None
    retry_after_s: float | None = None
    is_final: bool = False
    """No further try makes sense by itself."""
    is_host_down: bool = False
    """Any callback would fail at this host: it counts for its breaker."""


_TYPES: Final = {
    State.SUCCEEDED: CallbackType.JOB_SUCCEEDED,
    State.DEAD: CallbackType.JOB_DEAD,
    State.CANCELLED: CallbackType.JOB_CANCELLED,
    State.PARKED: CallbackType.JOB_PARKED,
}


def event_of(old: Job | None, new: Job) -> CallbackType | None:
    """What the app is to hear of a change of its job; None for nothing.

    A parked job that is parked anew for another reason is an event too.
    """
    if new.callback_url is None or (found := _TYPES.get(new.state)) is None:
        return None
    if old is None or old.state is not new.state:
        return found
    is_other_reason = new.state is State.PARKED and _code(old) != _code(new)
    return found if is_other_reason else None


def job_callback(job: Job, event: CallbackType, *, sequence: int, host: str) -> Callback:
    """The callback of a job's event, without the record.

    Its id is that of the event, not of the write: where Redis lost the write and a worker repeats
    it, the receiver sees a duplicate.
    """
    number = len(job.events) + job.events_dropped
    facts = (job.id, job.created_at, event, job.since, _code(job), job.submits, number)
    digest = hashlib.blake2s(msgspec.json.encode(facts), digest_size=12).hexdigest()
    return Callback(
        id=f"msg_{digest}",
        type=event,
        subject=CallbackSubject.JOB,
        subject_id=job.id,
        url=job.callback_url or "",
        host=host,
        created_at=job.updated_at,
        sequence=sequence,
        record=msgspec.Raw(b"null"),
        since=job.updated_at,
        next_at=job.updated_at,
    )


def batch_callback(
    summary: BatchSummary, event: CallbackType, *, number: int, sequence: int, host: str
) -> Callback:
    """The callback of a batch's event; `number` is one more for each event of its type.

    A worker that repeats it after a crash makes one of the same id.
    """
    facts = (summary.address, summary.created_at, event, number)
    digest = hashlib.blake2s(msgspec.json.encode(facts), digest_size=12).hexdigest()
    return Callback(
        id=f"msg_{digest}",
        type=event,
        subject=CallbackSubject.BATCH,
        subject_id=summary.address,
        url=summary.callback_url,
        host=host,
        created_at=summary.at,
        sequence=sequence,
        record=msgspec.Raw(msgspec.json.encode(summary)),
        since=summary.at,
        next_at=summary.at,
    )


def with_bounded_history(job: Job) -> Job:
    """A job with the newest lines of its history alone."""
    events, attempts = job.events[-KEPT_EVENTS:], job.attempts[-KEPT_ATTEMPTS:]
    return msgspec.structs.replace(
        job,
        events=events,
        events_dropped=job.events_dropped + len(job.events) - len(events),
        attempts=attempts,
    )


def after_delivery(callback: Callback, now: float, status: int) -> Callback:
    """The callback after the receiver took it."""
    return msgspec.structs.replace(
        callback,
        state=CallbackState.DELIVERED,
        since=now,
        next_at=None,
        tries=callback.tries + 1,
        tried_at=now,
        status=status,
        error="",
    )


def after_failure(
    callback: Callback, now: float, jitter: float, failure: CallbackFailure
) -> Callback:
    """The callback after a try that did not deliver: tried again, or failed. `jitter`: [0, 1)."""
    tries = callback.tries + 1
    floor = min(failure.retry_after_s or 0.0, MAX_RETRY_AFTER_S)
    next_at = now + max(MIN_RETRY_S, RETRY_BACKOFF.wait_s(tries, jitter, floor))
    gives_up = failure.is_final or next_at > callback.since + GIVE_UP_AFTER_S
    return msgspec.structs.replace(
        callback,
        state=CallbackState.FAILED if gives_up else CallbackState.PENDING,
        since=now if gives_up else callback.since,
        next_at=None if gives_up else next_at,
        tries=tries,
        tried_at=now,
        status=failure.status,
        error=failure.error[:MAX_ERROR_CHARS],
    )


def sent_again(callback: Callback, now: float) -> Callback:
    """The callback after an operator had it sent again: at once, and for another three days."""
    return msgspec.structs.replace(
        callback, state=CallbackState.PENDING, since=now, next_at=now, error=""
    )


def _code(job: Job) -> str:
    return job.reason.code if job.reason is not None else ""
