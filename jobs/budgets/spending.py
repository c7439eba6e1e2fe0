"""How fast a budget is spent, from a few readings of the last hour, and when it is reached."""

from typing import Final

import msgspec

from jobs.budgets.room import BudgetStatus
from jobs.credits.charges import MICRO
from jobs.credits.forecast import HOUR_S

SAMPLE_EVERY_S: Final = 300.0

MIN_SPAN_S: Final = 60.0
"""What was spent in a shorter time says nothing about the next hour."""


class BudgetSpending(
    msgspec.Struct, frozen=True, tag_field="schema", tag=1, forbid_unknown_fields=True
):
    """What one period of a budget had spent at some times of the last hour."""

    generation: int
    period: str
    samples: tuple[tuple[float, int], ...]
    """Times in Unix seconds, oldest first, and millionths of a credit."""

    def is_of(self, status: BudgetStatus) -> bool:
        """Whether it is about this period and generation."""
        return (self.generation, self.period) == (status.budget.generation, status.window.key)


def sampled(
    spending: BudgetSpending | None, status: BudgetStatus, now: float
) -> BudgetSpending | None:
    """What it spent, with a reading at `now` (Unix seconds); None while none is due."""
    sample = (now, status.use.spent)
    if spending is None or not spending.is_of(status):
        return BudgetSpending(status.budget.generation, status.window.key, (sample,))
    if now - spending.samples[-1][0] < SAMPLE_EVERY_S:
        return None
    kept = tuple(one for one in spending.samples if now - one[0] < HOUR_S)
    return msgspec.structs.replace(spending, samples=(*kept, sample))


def per_hour(spending: BudgetSpending | None, status: BudgetStatus, now: float) -> float | None:
    """The credits an hour that were spent in the last hour, or since the period began.

    None if that is unknown.
    """
    if spending is None or not spending.is_of(status):
        return None
    of_last_hour = [one for one in spending.samples if MIN_SPAN_S <= now - one[0] <= HOUR_S]
    if not of_last_hour:
        return None
    since, spent = of_last_hour[0]
    return round(max(0, status.use.spent - spent) / MICRO / (now - since) * HOUR_S, 6)


def reached_in_s(status: BudgetStatus, credits_per_hour: float | None, now: float) -> float | None:
    """When its limit is spent at this rate; None if unknown, or a new period begins before.

    0 where nothing is left.
    """
    if status.left <= 0:
        return 0.0
    if not credits_per_hour:
        return None
    unspent = (status.budget.limit_micro - status.use.spent) / MICRO
    wait_s = unspent / credits_per_hour * HOUR_S
    return wait_s if now + wait_s < status.window.end else None
