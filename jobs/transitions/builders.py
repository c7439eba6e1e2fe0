"""What every move is made of: the next version, its history, its attempts, and what it clears."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from jobs.job import ATTEMPTS_KEPT, EVENTS_KEPT, UNCERTAIN, Attempt, Job, JobEvent
from jobs.lifecycle import IllegalTransition, Transition, next_state
from jobs.outcomes import ProviderError
from jobs.states import State

CLEARED_SUBMIT: Final[dict[str, Any]] = {
    "submit_token": None,
    "lease_until": None,
    "owner": None,
    "sent_at": None,
    "opening_hold_ids": (),
}
CLEARED_RUN: Final[dict[str, Any]] = {
    **CLEARED_SUBMIT,
    "execution_id": None,
    "expects_webhook": False,
    "submitted_at": None,
    "deadline_at": None,
    "next_poll_at": None,
}


def next_version(
    job: Job,
    transition: Transition,
    now: float,
    *,
    by: str = "",
    note: str = "",
    changes: Mapping[str, Any] | None = None,
) -> Job:
    """The next version: the state that the move leads to, the event, and what else changes."""
    state = next_state(job.state, transition)
    return msgspec.structs.replace(
        job,
        state=state,
        since=job.since if state is job.state else now,
        updated_at=now,
        **history_with(job, JobEvent(at=now, name=transition.value, by=by, note=note)),
        **(changes or {}),
    )


def history_with(job: Job, event: JobEvent) -> dict[str, Any]:
    """The history with one more event; what no longer fits is counted."""
    events = (*job.events, event)
    dropped = max(0, len(events) - EVENTS_KEPT)
    return {"events": events[dropped:], "events_dropped": job.events_dropped + dropped}


def attempt_closed(job: Job, now: float, outcome: str, **facts: Any) -> tuple[Attempt, ...]:
    """The attempts, the one under way closed with its outcome."""
    last = job.open_attempt
    if last is None:
        return job.attempts
    done = msgspec.structs.replace(last, ended_at=now, outcome=outcome, **facts)
    return (*job.attempts[:-1], done)[-ATTEMPTS_KEPT:]


def attempt_removed(job: Job) -> tuple[Attempt, ...]:
    """The attempts without the one under way: it never reached the provider, or may not count."""
    return job.attempts[:-1] if job.open_attempt else job.attempts


def error_facts(error: ProviderError, polls: int) -> dict[str, Any]:
    """What an attempt keeps of the fault that ended it."""
    return {
        "http_status": error.http_status,
        "code": error.display_code,
        "message": error.message or None,
        "provider_status": error.provider_status,
        "polls": polls,
    }


def queue_changes(job: Job, now: float) -> dict[str, Any]:
    """Back in line, at its old age: waiting does not lose a job its place."""
    return {
        **CLEARED_RUN,
        "queued_at": now if job.queued_at is None else job.queued_at,
        "due_at": None,
        "reason": None,
        "bypass_hold": False,
    }


def attempt_reopened(job: Job) -> tuple[Attempt, ...]:
    """The attempts, one that ended uncertain under way again."""
    if not job.attempts or job.attempts[-1].outcome != UNCERTAIN:
        return job.attempts
    again = msgspec.structs.replace(
        job.attempts[-1], ended_at=None, outcome=None, http_status=None, code=None, message=None
    )
    return (*job.attempts[:-1], again)


def require_parked_as(job: Job, transition: Transition, *codes: str) -> None:
    """Of the parked, only those whose run the provider may have."""
    if job.state is State.PARKED and job.parked_as not in codes:
        raise IllegalTransition(
            job.state, transition, f"the provider does not have it ({job.parked_as})"
        )
