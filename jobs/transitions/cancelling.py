"""Moves of a cancel: asked for, passed on, done."""

import msgspec

from jobs.job import STUCK, Job, JobEvent
from jobs.lifecycle import Transition
from jobs.transitions.builders import (
    CLEARED_SUBMIT,
    attempt_closed,
    history_with,
    next_version,
    require_parked_as,
)


def mark_cancel_sent(job: Job, now: float) -> Job:
    """The same job: the provider was asked to cancel its run."""
    return msgspec.structs.replace(
        job,
        cancel_sent=True,
        updated_at=now,
        **history_with(job, JobEvent(at=now, name="cancel_sent")),
    )


def request_cancel(job: Job, now: float, *, by: str = "", note: str = "") -> Job:
    """A person asks to cancel what the provider has, or is just being handed.

    The provider gets as long as the run had to say how it ended.
    """
    require_parked_as(job, Transition.REQUEST_CANCEL, STUCK)
    next_poll_at = now if job.execution_id else job.next_poll_at
    return next_version(
        job,
        Transition.REQUEST_CANCEL,
        now,
        by=by,
        note=note,
        changes={
            "cancel_requested": True,
            "cancel_sent": False,
            "next_poll_at": next_poll_at,
            "deadline_at": now + job.deadline_s if job.deadline_at else None,
            "reason": None,
        },
    )


def cancel(job: Job, now: float, *, by: str = "", note: str = "", polls: int = 0) -> Job:
    """→ `cancelled`."""
    return next_version(
        job,
        Transition.CANCEL,
        now,
        by=by,
        note=note,
        changes=CLEARED_SUBMIT
        | {
            "finished_at": now,
            "due_at": None,
            "next_poll_at": None,
            "reason": None,
            "bypass_hold": False,
            "attempts": attempt_closed(job, now, "cancelled", polls=polls),
        },
    )
