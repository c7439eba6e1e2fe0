"""What the states of a job's parents mean for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from jobs.states import State
from jobs.tenants import app_job_id

MAX_PARENTS: Final = 50
"""Jobs that one job may wait for."""

CHECK_INTERVAL_S: Final = 3_600.0
"""How often the parents of a waiting job are looked at beside what their ends make due at once:
what Redis lost is found then."""

MAX_NAMED: Final = 3
"""Parents that a text names."""


class ParentsState(Enum):
    """What the parents of a job let it do."""

    SUCCEEDED = auto()
    """All have succeeded: it may run."""
    OPEN = auto()
    """Some have not ended, or are dead letters that may be requeued."""
    GONE = auto()
    """One was cancelled, or is not on record any more: it never succeeds."""


@dataclass(frozen=True, slots=True)
class ParentsFinding:
    """The state of a job's parents, and which of them keep it from running."""

    state: ParentsState
    text: str = ""
    """For the operator; empty where all have succeeded."""


def assess_parents(after: Sequence[str], states: Mapping[str, State | None]) -> ParentsFinding:
    """What the states of parents mean, by their stored ids; None: a job that is not on record."""
    gone = [one for one in after if states.get(one) in (None, State.CANCELLED)]
    if gone:
        cancelled = [one for one in gone if states.get(one) is State.CANCELLED]
        text = _named(cancelled, "was cancelled", "were cancelled") if cancelled else ""
        lost = [one for one in gone if one not in cancelled]
        more = _named(lost, "is no longer on record", "are no longer on record") if lost else ""
        return ParentsFinding(ParentsState.GONE, "; ".join(filter(None, (text, more))))
    is_open = [one for one in after if states[one] is not State.SUCCEEDED]
    if not is_open:
        return ParentsFinding(ParentsState.SUCCEEDED)
    by_state: dict[State, list[str]] = {}
    for one in is_open:
        by_state.setdefault(states[one] or State.QUEUED, []).append(one)
    parts = [_named(ids, f"is {state}", f"are {state}") for state, ids in by_state.items()]
    done = len(after) - len(is_open)
    progress = f" ({done} of {len(after)} have succeeded)" if len(after) > 1 else ""
    return ParentsFinding(ParentsState.OPEN, "; ".join(parts) + progress)


def is_stuck(after: Sequence[str], states: Mapping[str, State | None]) -> bool:
    """Whether a parent waits for an operator, and so the job does."""
    return any(states.get(one) in (State.PARKED, State.DEAD) for one in after)


def _named(ids: Sequence[str], one: str, many: str) -> str:
    shown = ", ".join(app_job_id(job_id) for job_id in ids[:MAX_NAMED])
    if len(ids) == 1:
        return f"job {shown} {one}"
    rest = f" and {len(ids) - MAX_NAMED} more" if len(ids) > MAX_NAMED else ""
    return f"jobs {shown}{rest} {many}"
