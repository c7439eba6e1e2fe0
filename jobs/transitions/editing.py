"""What an operator changes of a job that is not at the provider. `by` is the operator's name."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

import msgspec
from msgspec import UNSET, UnsetType

from jobs.job import EDITED, STUCK, UNCERTAIN, Job, JobEvent
from jobs.lifecycle import IllegalTransition, Transition
from jobs.states import State
from jobs.transitions.builders import history_with, next_version
from jobs.unreadable import UNREADABLE

EDITABLE: Final = (
    State.SCHEDULED,
    State.WAITING,
    State.RETRYING,
    State.QUEUED,
    State.PARKED,
    State.DEAD,
)
"""States in which the provider does not have a job, unless its outcome is unknown."""


@dataclass(frozen=True, slots=True)
class JobEdit:
    """New values of some fields; those that are `UNSET` stay. Times in Unix seconds."""

    priority: int | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    run_at: float | UnsetType | None = UNSET
    """None: as soon as it can be."""
    start_by: float | UnsetType | None = UNSET
    """None: whenever it can be."""


def edit(job: Job, now: float, wanted: JobEdit, *, by: str, note: str = "") -> Job:
    """The job with other values; itself where it has them already.

    A queued job with a time in the future becomes `scheduled`; a scheduled one whose time is now is
    queued by the scheduler; one that waits for others waits for the time, too.
    What is spent and reserved of budgets stays where it was. Raises
    `IllegalTransition` where the provider has it, or may have it.
    """
    _require_editable(job)
    facts: dict[str, Any] = {}
    for name in ("priority", "tags", "start_by"):
        value = getattr(wanted, name)
        if value is not UNSET and value != getattr(job, name):
            facts[name] = value
    if "tags" in facts:  # what waits for the budget of a tag is looked at again
        facts["waits_for_budget"] = None
    is_waiting, due_at = job.state is State.WAITING, job.due_at
    if is_waiting and wanted.run_at is not UNSET and wanted.run_at != job.scheduled_for:
        facts |= {"scheduled_for": wanted.run_at, "parents_check_at": now}
    elif not is_waiting and wanted.run_at is not UNSET:
        due_at = _due_at(job, now, wanted.run_at)
    is_rescheduled = due_at != job.due_at
    if not facts and not is_rescheduled:
        return job
    text = _changes_text(job, facts, due_at if is_rescheduled else None)
    note = f"{text}: {note}" if note else text
    if is_rescheduled:
        facts |= {"due_at": due_at, "scheduled_for": due_at, "queued_at": None}
        facts["bypass_hold"] = False
        return next_version(job, Transition.RESCHEDULE, now, by=by, note=note, **facts)
    event = JobEvent(at=now, name=EDITED, by=by, note=note)
    return msgspec.structs.replace(job, updated_at=now, **facts, **history_with(job, event))


def is_editable(job: Job) -> bool:
    """Whether an operator may change something of it."""
    try:
        _require_editable(job)
    except IllegalTransition:
        return False
    return True


def _require_editable(job: Job) -> None:
    if job.state not in EDITABLE:
        is_over = job.state in (State.SUCCEEDED, State.CANCELLED)
        hint = "it has ended" if is_over else "it is on its way to the provider, or there"
        raise IllegalTransition(job.state, Transition.RESCHEDULE, hint)
    if job.awaits_finding or job.parked_as in (UNCERTAIN, STUCK):
        hint = "the provider may have its run: resolve it first"
        raise IllegalTransition(job.state, Transition.RESCHEDULE, hint)
    if job.reason is not None and job.reason.code == UNREADABLE:
        hint = "its record could not be read, so it is unknown what it was"
        raise IllegalTransition(job.state, Transition.RESCHEDULE, hint)


def _due_at(job: Job, now: float, run_at: float | None) -> float | None:
    """When the job is due after the edit, if it waits for a time then."""
    later = run_at is not None and run_at > now
    match job.state:
        case State.SCHEDULED:
            return run_at if later else now
        case State.QUEUED:
            return run_at if later else None
        case State.RETRYING:
            hint = "its backoff runs, which has its own time: edit run_at once it is queued"
            raise IllegalTransition(job.state, Transition.RESCHEDULE, hint)
        case _:
            hint = "it waits for an operator: release or requeue it first, then edit run_at"
            raise IllegalTransition(job.state, Transition.RESCHEDULE, hint)


def _changes_text(job: Job, facts: dict[str, Any], due_at: float | None) -> str:
    changes = [
        f"{name} {_text(getattr(job, name))} → {_text(value)}"
        for name, value in facts.items()
        if name not in ("waits_for_budget", "parents_check_at")
    ]
    if due_at is not None:
        changes.append(f"run_at {_text(job.due_at)} → {_time_text(due_at)}")
    return "; ".join(changes)


def _text(value: object) -> str:
    match value:
        case None | ():
            return "none"
        case tuple():
            return ", ".join(map(str, cast("tuple[object, ...]", value)))
        case float():
            return _time_text(value)
        case _:
            return str(value)


def _time_text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
