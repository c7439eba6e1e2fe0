"""Transitions that only an operator causes. `by` is the operator's name."""

from typing import Any, Final

import msgspec

from jobs.error_table import ACTION_MANUAL, ACTION_UNCERTAIN
from jobs.job import MANUAL, STUCK, UNCERTAIN, Attempt, Job, Reason
from jobs.lifecycle import IllegalTransition, Transition
from jobs.states import Mode, State
from jobs.transitions.builders import (
    CLEARED_SUBMIT,
    attempt_closed,
    attempt_reopened,
    next_version,
    queue_changes,
)
from jobs.unreadable import UNREADABLE

_CLEARED_CANCEL: Final[dict[str, Any]] = {"cancel_requested": False, "cancel_sent": False}
"""An operator who sends a job on withdraws an earlier cancel request."""


def park_manual(job: Job, now: float, *, by: str, note: str = "") -> Job:
    """→ `parked` as `manual`: it waits until an operator releases it.

    One that waits for a finding parks as `uncertain`: whether it started is not known.
    """
    if job.state is State.WAITING:
        hint = "nothing is sent for it while it waits for other jobs; park those, or cancel it"
        raise IllegalTransition(job.state, Transition.PARK_MANUAL, hint)
    reason = Reason(code=MANUAL, message=note, action=ACTION_MANUAL)
    if job.awaits_finding and job.reason is not None:
        reason = msgspec.structs.replace(job.reason, action=ACTION_UNCERTAIN)
    return next_version(
        job,
        Transition.PARK_MANUAL,
        now,
        by=by,
        note=note,
        due_at=None,
        reason=reason,
        bypass_hold=False,
    )


def release(
    job: Job,
    now: float,
    *,
    by: str,
    note: str = "",
    bypass_hold: bool = False,
    has_new_inputs: bool = False,
) -> Job:
    """`parked` → `queued`; a `stuck` run → `running` with a new deadline.

    With `bypass_hold` this one job is submitted although a hold covers its lane. Raises
    `IllegalTransition` for an `uncertain` job, which has to be resolved, for new inputs of a run
    that the provider has, and for a job without new ones whose inputs take from missing results.
    """
    if job.takes_results and not has_new_inputs:
        hint = "its inputs take from results of other jobs; release it with inputs of its own"
        raise IllegalTransition(job.state, Transition.RELEASE, hint)
    if has_new_inputs and job.parked_as in (UNCERTAIN, STUCK):
        hint = "the provider may have its run, so its inputs stay"
        raise IllegalTransition(job.state, Transition.RELEASE, hint)
    if job.parked_as == UNCERTAIN:
        raise IllegalTransition(
            job.state,
            Transition.RELEASE,
            "its outcome is unknown; resolve it: attach an execution id, resubmit, or discard",
        )
    if job.parked_as == STUCK:
        return next_version(
            job,
            Transition.EXTEND_DEADLINE,
            now,
            by=by,
            note=note,
            **_CLEARED_CANCEL,
            reason=None,
            deadline_at=now + job.deadline_s,
            next_poll_at=now,
        )
    changes = queue_changes(job, now) | _CLEARED_CANCEL
    changes |= {"bypass_hold": bypass_hold, "takes_results": False}
    return next_version(job, Transition.RELEASE, now, by=by, note=note, **changes)


def attach(job: Job, now: float, execution_id: str, *, by: str, note: str = "") -> Job:
    """An `uncertain` or `stuck` job → `running`: its execution was found and is polled."""
    _require_unknown_outcome(job, Transition.ATTACH)
    *earlier, last = attempt_reopened(job) or (Attempt(number=1, mode=Mode.ASYNC, started_at=now),)
    if job.execution_id not in (None, execution_id):
        request = f", request {last.request_id}" if last.request_id else ""
        note = f"{note} (replaces execution {job.execution_id}{request})".strip()
        last = msgspec.structs.replace(last, request_id=None)
    attached = msgspec.structs.replace(last, mode=Mode.ASYNC, execution_id=execution_id)
    return next_version(
        job,
        Transition.ATTACH,
        now,
        by=by,
        note=note,
        **CLEARED_SUBMIT,
        **_CLEARED_CANCEL,
        execution_id=execution_id,
        mode=Mode.ASYNC,
        submitted_at=job.sent_at or now,
        deadline_at=now + job.deadline_s,
        next_poll_at=now,
        reason=None,
        attempts=(*earlier, attached),
    )


def resubmit(job: Job, now: float, *, by: str, note: str = "") -> Job:
    """An `uncertain` or `stuck` job → `queued`. This may pay for the run twice."""
    _require_unknown_outcome(job, Transition.RESUBMIT)
    return next_version(
        job,
        Transition.RESUBMIT,
        now,
        by=by,
        note=note,
        **queue_changes(job, now),
        **_CLEARED_CANCEL,
        attempts=attempt_closed(job, now, STUCK),
    )


def requeue(job: Job, now: float, *, by: str, note: str = "") -> Job:
    """`dead` → `queued` with a new set of attempts. Its history stays, its age starts anew."""
    if job.reason is not None and job.reason.code == UNREADABLE:
        hint = "its record could not be read, so it is unknown what it was; discard it"
        raise IllegalTransition(job.state, Transition.REQUEUE, hint)
    changes = (
        queue_changes(job, now)
        | _CLEARED_CANCEL
        | {"queued_at": now, "spent": 0, "outage": None, "finished_at": None}
    )
    return next_version(job, Transition.REQUEUE, now, by=by, note=note, **changes)


def discard(job: Job, now: float, *, by: str, note: str = "") -> Job:
    """`parked` or `dead` → `cancelled`: the operator gives it up. Its reason stays on record."""
    return next_version(
        job,
        Transition.DISCARD,
        now,
        by=by,
        note=note,
        finished_at=now,
        next_poll_at=None,
        attempts=attempt_closed(job, now, "discarded"),
    )


def _require_unknown_outcome(job: Job, transition: Transition) -> None:
    if job.state is State.PARKED and job.parked_as not in (UNCERTAIN, STUCK):
        raise IllegalTransition(
            job.state, transition, f"its outcome is known ({job.parked_as}); release it"
        )
