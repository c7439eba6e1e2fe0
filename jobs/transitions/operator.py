"""Moves that only a person makes."""

from typing import Any, Final

import msgspec

from jobs.error_table import ACTION_MANUAL
from jobs.job import Attempt, Job, Reason
from jobs.lifecycle import IllegalMove, Move
from jobs.states import Mode, State
from jobs.transitions.builders import (
    MANUAL,
    NOT_SUBMITTING,
    STUCK,
    UNCERTAIN,
    closed,
    moved,
    queued,
    reopened,
)
from jobs.unreadable import UNREADABLE

_NOT_CANCELLED: Final[dict[str, Any]] = {"cancel_requested": False, "cancel_sent": False}
"""A person who sends a job on takes back the wish to cancel it."""


def park(job: Job, now: float, *, by: str, note: str = "") -> Job:
    """→ `parked` as `manual`: a person wants it to wait."""
    reason = Reason(code=MANUAL, message=note, action=ACTION_MANUAL)
    changes = {"due_at": None, "reason": reason, "free_pass": False}
    return moved(job, Move.PARK, now, by=by, note=note, changes=changes)


def release(job: Job, now: float, *, by: str, note: str = "", free_pass: bool = False) -> Job:
    """`parked` → `queued`, or back to `running` for a stuck run, which gets another deadline.

    With `free_pass` this one job is sent even though its gate is closed.
    """
    if job.parked_as == UNCERTAIN:
        raise IllegalMove(
            job.state,
            Move.RELEASE,
            "its outcome is unknown; resolve it: attach an execution id, resubmit, or discard",
        )
    if job.parked_as == STUCK:
        return moved(
            job,
            Move.KEEP_WATCHING,
            now,
            by=by,
            note=note,
            changes=_NOT_CANCELLED
            | {"reason": None, "deadline_at": now + job.deadline_s, "next_poll_at": now},
        )
    changes = queued(job, now) | _NOT_CANCELLED | {"free_pass": free_pass}
    return moved(job, Move.RELEASE, now, by=by, note=note, changes=changes)


def attach(job: Job, now: float, execution_id: str, *, by: str, note: str = "") -> Job:
    """An uncertain job → `running`: the person found its execution; it is polled from here on."""
    _only_unsettled(job, Move.ATTACH)
    return moved(
        job,
        Move.ATTACH,
        now,
        by=by,
        note=note,
        changes=NOT_SUBMITTING
        | _NOT_CANCELLED
        | {
            "execution_id": execution_id,
            "mode": Mode.ASYNC,
            "submitted_at": job.sent_at or now,
            "deadline_at": now + job.deadline_s,
            "next_poll_at": now,
            "reason": None,
            "attempts": _found(job, now, execution_id),
        },
    )


def _found(job: Job, now: float, execution_id: str) -> tuple[Attempt, ...]:
    """The attempts, the uncertain one under way again with the execution id that was found."""
    *earlier, last = reopened(job) or (Attempt(number=1, mode=Mode.ASYNC, started_at=now),)
    found = msgspec.structs.replace(last, mode=Mode.ASYNC, execution_id=execution_id)
    return (*earlier, found)


def resubmit(job: Job, now: float, *, by: str, note: str = "") -> Job:
    """An uncertain or stuck job → `queued`, on a person's word: this may pay twice."""
    _only_unsettled(job, Move.RESUBMIT)
    attempts = closed(job, now, STUCK)
    return moved(
        job,
        Move.RESUBMIT,
        now,
        by=by,
        note=note,
        changes=queued(job, now) | _NOT_CANCELLED | {"attempts": attempts},
    )


def requeue(job: Job, now: float, *, by: str, note: str = "") -> Job:
    """`dead` → `queued`: a new set of attempts, the history kept."""
    if job.reason is not None and job.reason.code == UNREADABLE:
        hint = "its record could not be read, so nobody knows what it was; discard it"
        raise IllegalMove(job.state, Move.REQUEUE, hint)
    changes = (
        queued(job, now) | _NOT_CANCELLED | {"queued_at": now, "spent": 0, "finished_at": None}
    )
    return moved(job, Move.REQUEUE, now, by=by, note=note, changes=changes)


def discard(job: Job, now: float, *, by: str, note: str = "") -> Job:
    """`parked` or `dead` → `cancelled`: a person gave it up; the reason stays on record."""
    return moved(
        job,
        Move.DISCARD,
        now,
        by=by,
        note=note,
        changes={
            "finished_at": now,
            "next_poll_at": None,
            "attempts": closed(job, now, "discarded"),
        },
    )


def _only_unsettled(job: Job, move: Move) -> None:
    if job.state is State.PARKED and job.parked_as not in (UNCERTAIN, STUCK):
        raise IllegalMove(job.state, move, f"its outcome is known ({job.parked_as}); release it")
