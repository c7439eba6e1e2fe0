"""Transitions of a submit: recorded just before its first byte, or returned to the queue."""

from typing import Any

import msgspec

from jobs.job import ATTEMPTS_KEPT, Attempt, Job
from jobs.lifecycle import IllegalTransition, Transition
from jobs.states import Mode, State
from jobs.transitions.builders import attempt_removed, next_version, queue_changes


def _attempt_begun(job: Job, now: float, mode: Mode) -> dict[str, Any]:
    number = job.submits + 1
    attempt = Attempt(number=number, mode=mode, started_at=now)
    return {
        "mode": mode,
        "sent_at": now,
        "submits": number,
        "attempts": (*job.attempts, attempt)[-ATTEMPTS_KEPT:],
    }


def send(job: Job, now: float, *, owner: str, lease_until: float) -> Job:
    """`submitting`, with a new attempt: the first byte follows, so the outcome can be unknown.

    Raises `IllegalTransition` if it was recorded before: a request may be under way.
    """
    if job.state is State.SUBMITTING and job.sent_at is not None:
        raise IllegalTransition(job.state, Transition.SEND, "its request may be under way")
    changes = _attempt_begun(job, now, Mode.ASYNC)
    return next_version(
        job,
        Transition.SEND,
        now,
        by=owner,
        changes=changes | {"owner": owner, "lease_until": lease_until},
    )


def open_connection(job: Job, now: float, *, owner: str, lease_until: float) -> Job:
    """`submitting` → `running`: the first byte of a sync run follows; its connection stays open.

    After an async submit refused with `ASYNC_NOT_SUPPORTED` the attempt stays the same, now sync.
    """
    last = job.open_attempt
    if last is None:
        changes = _attempt_begun(job, now, Mode.SYNC)
    else:
        sync_attempt = msgspec.structs.replace(last, mode=Mode.SYNC)
        changes = {
            "mode": Mode.SYNC,
            "sent_at": now,
            "attempts": (*job.attempts[:-1], sync_attempt),
        }
    return next_version(
        job,
        Transition.OPEN,
        now,
        by=owner,
        changes=changes | {"owner": owner, "lease_until": lease_until, "submitted_at": now},
    )


def return_to_queue(job: Job, now: float, *, why: str) -> Job:
    """→ `queued`: not sent, rate limited, or its gate closed. No attempt is spent."""
    if job.state is State.RUNNING and job.mode is not Mode.SYNC:
        raise IllegalTransition(job.state, Transition.RETURN_TO_QUEUE, "the provider has it")
    has_open_attempt = job.open_attempt is not None
    return next_version(
        job,
        Transition.RETURN_TO_QUEUE,
        now,
        note=why,
        changes=queue_changes(job, now)
        | {
            "attempts": attempt_removed(job),
            "submits": job.submits - has_open_attempt,
            "bypass_hold": job.bypass_hold,
        },
    )
