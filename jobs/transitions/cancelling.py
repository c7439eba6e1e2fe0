"""Transitions of a cancel: requested by an operator, sent to the provider, done."""

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
    """The job in the same state: its cancel was sent to the provider."""
    return msgspec.structs.replace(
        job,
        cancel_sent=True,
        updated_at=now,
        **history_with(job, JobEvent(at=now, name="cancel_sent")),
    )


def request_cancel(job: Job, now: float, *, by: str = "", note: str = "") -> Job:
    """→ `cancelling`, or still `submitting` until the answer: an operator requests a cancel.

    Also for a job parked as `stuck`. The deadline starts anew: the provider has as long as the run
    had to report how it ended.
    """
    require_parked_as(job, Transition.REQUEST_CANCEL, STUCK)
    return next_version(
        job,
        Transition.REQUEST_CANCEL,
        now,
        by=by,
        note=note,
        cancel_requested=True,
        cancel_sent=False,
        next_poll_at=now if job.execution_id else job.next_poll_at,
        deadline_at=now + job.deadline_s if job.deadline_at else None,
        reason=None,
    )


def cancel(job: Job, now: float, *, by: str = "", note: str = "", polls: int = 0) -> Job:
    """→ `cancelled`: nothing was sent, or the provider confirmed it.

    `polls` is how many polls the attempt took.
    """
    return next_version(
        job,
        Transition.CANCEL,
        now,
        by=by,
        note=note,
        **CLEARED_SUBMIT,
        finished_at=now,
        due_at=None,
        next_poll_at=None,
        reason=None,
        attempts=attempt_closed(job, now, "cancelled", polls=polls),
    )
