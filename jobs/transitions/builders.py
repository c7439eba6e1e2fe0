"""What the transitions share: the next version, its history, its attempts and cleared fields."""

from typing import Any, Final

import msgspec

from jobs.credits.closing import with_costs
from jobs.job import ATTEMPTS_KEPT, EVENTS_KEPT, Attempt, Job, JobEvent
from jobs.lifecycle import IllegalTransition, Transition, next_state
from jobs.outcomes import Accepted, Finished, ProviderError
from jobs.states import State

CLEARED_SUBMIT: Final[dict[str, Any]] = {
    "submit_token": None,
    "lease_until": None,
    "owner": None,
    "sent_at": None,
    "sent_as": None,
    "opening_hold_ids": (),
    "canary_of": (),
    "bypass_hold": False,
    "reservations": (),
}
"""Resets the fields of a submit under way, and the permission for it to pass a closed hold."""

CLEARED_RUN: Final[dict[str, Any]] = {
    **CLEARED_SUBMIT,
    "probe_of": None,
    "breaker_epochs": (),
    "execution_id": None,
    "expects_webhook": False,
    "submitted_at": None,
    "deadline_at": None,
    "next_poll_at": None,
}
"""Resets the fields of a submit and of a run."""


def next_version(
    job: Job,
    transition: Transition,
    now: float,
    *,
    by: str = "",
    note: str = "",
    **changes: Any,
) -> Job:
    """The job in the state that `transition` leads to, with its event, its costs and `changes`.

    Raises `IllegalTransition` if the table has no such row. `changes` are fields of `Job`.
    """
    state = next_state(job.state, transition)
    if job.waits_for_budget is not None:
        changes.setdefault("waits_for_budget", None)
    after = msgspec.structs.replace(
        job,
        state=state,
        since=job.since if state is job.state else now,
        updated_at=now,
        **history_with(job, JobEvent(at=now, name=transition.value, by=by, note=note)),
        **changes,
    )
    return with_costs(after, now)


def history_with(job: Job, event: JobEvent) -> dict[str, Any]:
    """The fields of the history with one more event; dropped events are counted."""
    events = (*job.events, event)
    dropped = max(0, len(events) - EVENTS_KEPT)
    return {"events": events[dropped:], "events_dropped": job.events_dropped + dropped}


def attempt_closed(job: Job, now: float, outcome: str, **facts: Any) -> tuple[Attempt, ...]:
    """The attempts, with `outcome` and `facts` in the one under way, if there is one."""
    last = job.open_attempt
    if last is None:
        return job.attempts
    closed = msgspec.structs.replace(last, ended_at=now, outcome=outcome, **facts)
    return (*job.attempts[:-1], closed)[-ATTEMPTS_KEPT:]


def with_run_ids(attempt: Attempt, outcome: Accepted | Finished) -> Attempt:
    """The attempt with the ids of its run; what is on record stays as it is."""
    return msgspec.structs.replace(
        attempt,
        execution_id=attempt.execution_id or outcome.execution_id,
        request_id=attempt.request_id or outcome.request_id,
    )


def error_facts(error: ProviderError, polls: int) -> dict[str, Any]:
    """The fields of an attempt that an error ended."""
    return {
        "http_status": error.http_status,
        "code": error.display_code,
        "message": error.message or None,
        "provider_status": error.provider_status,
        "polls": polls,
    }


def queue_changes(job: Job, now: float) -> dict[str, Any]:
    """The fields of a job that goes to the queue; it keeps its age, and so its position."""
    return {
        **CLEARED_RUN,
        "queued_at": now if job.queued_at is None else job.queued_at,
        "due_at": None,
        "reason": None,
    }


def attempt_reopened(job: Job) -> tuple[Attempt, ...]:
    """The attempts, the last one under way again if it ended as uncertain."""
    if not job.attempts or not job.attempts[-1].is_uncertain:
        return job.attempts
    reopened = msgspec.structs.replace(
        job.attempts[-1], ended_at=None, outcome=None, http_status=None, code=None, message=None
    )
    return (*job.attempts[:-1], reopened)


def require_parked_as(job: Job, transition: Transition, *codes: str) -> None:
    """Refuse a parked job with another code than these: the provider cannot have its run."""
    if job.state is State.PARKED and job.parked_as not in codes:
        raise IllegalTransition(
            job.state, transition, f"the provider does not have it ({job.parked_as})"
        )
