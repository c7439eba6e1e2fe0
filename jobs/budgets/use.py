"""What jobs reserve and have spent of budgets, and what a change of a job adds to these sums.

As the charges of a job (`jobs.credits.charges`), it is a pure function of its record: a commit adds
the difference between both versions in the same atomic step, so no crash leaks a reservation. An
amount is settled in the budget and period in which it was reserved.
"""

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from jobs.budgets.reservation import Reservation
from jobs.credits.charges import micro_credits
from jobs.credits.closing import awaits_cost, waits_for_outcome
from jobs.job import Attempt, Job


class BudgetPart(StrEnum):
    """A part of what is used of a budget. The value is the name of a field in Redis."""

    SPENT = "spent"
    """What ended attempts cost, or their estimate where that is not known."""
    RESERVED = "reserved"
    """What attempts may cost that are under way, or whose outcome is unknown."""


class UsedPart(NamedTuple):
    """One sum of one period of a budget."""

    budget: str
    generation: int
    period: str
    part: BudgetPart


class BudgetUse(NamedTuple):
    """What is used of one period of a budget, in millionths of a credit."""

    spent: int = 0
    reserved: int = 0

    @property
    def total(self) -> int:
        """Both together: they never exceed the limit, except by what runs cost above estimates."""
        return self.spent + self.reserved


def changed_use(old: Job | None, new: Job) -> dict[UsedPart, int]:
    """What to add to each sum when `new` replaces `old`; only what differs.

    Attempts that a full record has dropped stay in the sums.
    """
    if not (_has_any(new) or (old is not None and _has_any(old))):
        return {}
    first_kept = new.attempts[0].number if new.attempts else 0
    after = list(_parts(new, 0))
    before = [] if old is None else list(_parts(old, first_kept))
    if after == before:
        return {}
    changes: Counter[UsedPart] = Counter()
    for one, part, amount in after:
        changes[_key(one, part)] += amount
    for one, part, amount in before:
        changes[_key(one, part)] -= amount
    return {key: amount for key, amount in changes.items() if amount}


def unpriced_at(job: Job) -> float | None:
    """When the last attempt ended that reserved nothing and may have cost something; or None."""
    if not _has_any(job):
        return None
    ends = [
        attempt.ended_at
        for attempt in job.attempts
        if attempt.ended_at is not None
        and any(one.amount == 0 and _cost(attempt, one) is not None for one in attempt.reservations)
        and not is_in_flight(job, attempt)
    ]
    return max(ends, default=None)


def is_in_flight(job: Job, attempt: Attempt) -> bool:
    """Whether what an attempt costs is still to come: it is under way, or its outcome is open."""
    return attempt.ended_at is None or (attempt.is_uncertain and waits_for_outcome(job, attempt))


def _has_any(job: Job) -> bool:
    return bool(job.reservations) or any(attempt.reservations for attempt in job.attempts)


def _parts(job: Job, first_number: int) -> Iterator[tuple[Reservation, BudgetPart, int]]:
    for one in job.reservations:
        yield one, BudgetPart.RESERVED, one.amount
    for attempt in job.attempts:
        if attempt.number < first_number:
            continue
        for one in attempt.reservations:
            if is_in_flight(job, attempt):
                yield one, BudgetPart.RESERVED, one.amount
            elif (cost := _cost(attempt, one)) is not None:
                yield one, BudgetPart.SPENT, cost


def _cost(attempt: Attempt, reserved: Reservation) -> int | None:
    """What an ended attempt cost; what it reserved where that is not known; None if nothing."""
    known = micro_credits(attempt.cost)
    return known if known is not None or not awaits_cost(attempt) else reserved.amount


def _key(one: Reservation, part: BudgetPart) -> UsedPart:
    return UsedPart(one.budget, one.generation, one.period, part)
