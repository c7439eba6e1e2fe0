"""Moves of a cancel: asked for, passed on, done."""

import msgspec

from jobs.job import Event, Job
from jobs.lifecycle import Move
from jobs.transitions.builders import NOT_SUBMITTING, STUCK, closed, moved, noted, only_parked_as


def note_cancel_sent(job: Job, now: float) -> Job:
    """The same job: the provider was asked to cancel its run."""
    return msgspec.structs.replace(
        job, cancel_sent=True, updated_at=now, **noted(job, Event(at=now, name="cancel_sent"))
    )


def ask_cancel(job: Job, now: float, *, by: str = "", note: str = "") -> Job:
    """A person asks to cancel what the provider has, or is just being handed.

    The provider gets as long as the run had to say how it ended.
    """
    only_parked_as(job, Move.ASK_CANCEL, STUCK)
    next_poll_at = now if job.execution_id else job.next_poll_at
    return moved(
        job,
        Move.ASK_CANCEL,
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
    return moved(
        job,
        Move.CANCEL,
        now,
        by=by,
        note=note,
        changes=NOT_SUBMITTING
        | {
            "finished_at": now,
            "due_at": None,
            "next_poll_at": None,
            "reason": None,
            "free_pass": False,
            "attempts": closed(job, now, "cancelled", polls=polls),
        },
    )
