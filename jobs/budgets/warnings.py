"""What is said of a budget: once that it is nearly used up, that it closed, that it reopened.

What was said is a mark. It holds for one period, generation and limit of its budget, and its level
only rises there: a budget that goes from 81 to 79 and to 81 percent is told once.
"""

from enum import IntEnum, StrEnum
from typing import Final

import msgspec

from jobs.budgets.room import BudgetStatus

NEAR_PERCENT: Final = 80


class BudgetLevel(IntEnum):
    """How much of a budget is used."""

    OPEN = 0
    NEAR = 1
    """`NEAR_PERCENT` of the limit is spent or reserved."""
    CLOSED = 2
    """All of it is, or more than lets the next waiting job be admitted."""


class BudgetChange(StrEnum):
    """What an event of a budget is about."""

    SET = "set"
    REMOVED = "removed"
    WARNING = "warning"
    CLOSED = "closed"
    REOPENED = "reopened"


class BudgetMark(
    msgspec.Struct, frozen=True, tag_field="schema", tag=1, forbid_unknown_fields=True
):
    """What was said of a budget, and of which period, generation and limit."""

    generation: int
    period: str
    limit_micro: int
    level: BudgetLevel
    at: float
    """When it came to this level, Unix seconds."""

    def is_of(self, status: BudgetStatus) -> bool:
        """Whether it is about this period, generation and limit."""
        budget = status.budget
        return (self.generation, self.period, self.limit_micro) == (
            budget.generation,
            status.window.key,
            budget.limit_micro,
        )

    def is_later_than(self, status: BudgetStatus) -> bool:
        """Whether it is about a later period or generation: what was read is outdated."""
        return (status.budget.generation, status.window.key) < (self.generation, self.period)


def percent_used(status: BudgetStatus) -> int:
    """What is spent and reserved of the limit, in percent, rounded down."""
    limit = status.budget.limit_micro
    return status.use.total * 100 // limit if limit > 0 else 100


def level_of(status: BudgetStatus, *, job_waits: bool) -> BudgetLevel:
    """How much is used; `job_waits`: a job waits that costs more than is left."""
    if status.budget.error or status.left <= 0 or job_waits:
        return BudgetLevel.CLOSED
    return BudgetLevel.NEAR if percent_used(status) >= NEAR_PERCENT else BudgetLevel.OPEN


def advanced(
    mark: BudgetMark | None, status: BudgetStatus, now: float, *, job_waits: bool
) -> tuple[BudgetMark | None, tuple[BudgetChange, ...]]:
    """The mark of a budget as it is now, and what is to be said; nothing while it is counted."""
    budget = status.budget
    if budget.is_counting and not budget.error:
        return mark, ()
    if mark is not None and mark.is_later_than(status):
        return mark, ()
    level = level_of(status, job_waits=job_waits)
    changes: list[BudgetChange] = []
    said = BudgetLevel.OPEN
    if mark is not None and mark.is_of(status):
        if level <= mark.level:
            return mark, ()
        said = mark.level
    elif mark is None and level is BudgetLevel.OPEN:
        return None, ()
    elif mark is not None and mark.level is BudgetLevel.CLOSED and level < BudgetLevel.CLOSED:
        changes.append(BudgetChange.REOPENED)
    if level > said:
        is_closed = level is BudgetLevel.CLOSED
        changes.append(BudgetChange.CLOSED if is_closed else BudgetChange.WARNING)
    new = BudgetMark(budget.generation, status.window.key, budget.limit_micro, level, now)
    return new, tuple(changes)
