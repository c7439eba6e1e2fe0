"""What budgets leave for the jobs that are to be admitted now."""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, auto
from typing import NamedTuple

from jobs.budgets.periods import Window
from jobs.budgets.record import Budget, budget_scopes
from jobs.budgets.reservation import Reservation
from jobs.budgets.use import BudgetUse
from jobs.credits.charges import MICRO, micro_credits
from jobs.job import Job
from jobs.lanes import Lane

ANY_SCOPE = ""
"""The scope of a budget whose record cannot be read: it stops every job."""


class BudgetStatus(NamedTuple):
    """A budget in its present period."""

    budget: Budget
    window: Window
    use: BudgetUse

    @property
    def left(self) -> int:
        """Millionths of a credit that may still be reserved; less than 0 if it is exceeded."""
        return self.budget.limit_micro - self.use.total

    @property
    def is_closed(self) -> bool:
        """Whether it admits nothing, however little that may cost."""
        return self.budget.is_counting or bool(self.budget.error) or self.left <= 0


class BudgetAnswer(Enum):
    """Whether budgets let a job be admitted."""

    FITS = auto()
    WAITS = auto()
    """It is more than is left now."""
    NEVER_FITS = auto()
    """It is more than the whole limit: only a higher limit lets it be admitted."""


class BudgetDecision(NamedTuple):
    """What budgets say about one job."""

    answer: BudgetAnswer
    by: BudgetStatus | None = None
    """The budget that does not let it be admitted."""
    reservations: tuple[Reservation, ...] = ()
    """What it reserves if it fits."""
    is_cost_unknown: bool = False
    """Budgets apply and nothing is known of the cost: such runs of a lane go one at a time."""


FITS = BudgetDecision(BudgetAnswer.FITS)
"""No budget applies."""


class BudgetRoom:
    """What is left of each budget, less what was taken of it since it was read."""

    def __init__(self, statuses: Iterable[BudgetStatus]) -> None:
        self.statuses: Sequence[BudgetStatus] = tuple(statuses)
        self._left = {status.budget.name: status.left for status in self.statuses}
        by_scope: dict[str, list[BudgetStatus]] = {}
        for status in self.statuses:
            by_scope.setdefault(status.budget.scope, []).append(status)
        self._by_scope: Mapping[str, Sequence[BudgetStatus]] = by_scope

    @property
    def is_empty(self) -> bool:
        """Whether there are no budgets."""
        return not self.statuses

    def of_lane(self, lane: Lane, estimate: float | None) -> BudgetDecision:
        """What the budgets of a lane's account, route and target say about a job of the lane."""
        return self._decide(self._applying(lane.scopes), estimate)

    def of_job(self, job: Job, estimate: float | None) -> BudgetDecision:
        """What all budgets say about a job: those of its lane first, then those of tags and batch.

        `estimate`: the credits it is expected to cost; None if nothing is known.
        """
        return self._decide(self._applying(budget_scopes(job)), estimate)

    def has_lane_budget(self, lane: Lane) -> bool:
        """Whether a budget of its account, route or target applies to a lane."""
        return bool(self._applying(lane.scopes))

    def take(self, reservations: Iterable[Reservation]) -> None:
        """Count what a job reserves that is admitted now."""
        for one in reservations:
            self._left[one.budget] -= max(1, one.amount)

    def close(self, reservations: Iterable[Reservation]) -> None:
        """Admit nothing more of these budgets: what was read of them is outdated."""
        for one in reservations:
            self._left[one.budget] = 0

    def _applying(self, scopes: Iterable[str]) -> list[BudgetStatus]:
        if not self._by_scope:
            return []
        return [
            status for scope in (ANY_SCOPE, *scopes) for status in self._by_scope.get(scope, ())
        ]

    def _decide(self, applying: Sequence[BudgetStatus], estimate: float | None) -> BudgetDecision:
        if not applying:
            return FITS
        amount = micro_credits(estimate) or 0
        for status in applying:
            if amount > status.budget.limit_micro and not status.budget.error:
                return BudgetDecision(BudgetAnswer.NEVER_FITS, status)
        for status in applying:
            is_shut = status.budget.is_counting or bool(status.budget.error)
            if is_shut or self._left[status.budget.name] < max(1, amount):
                return BudgetDecision(BudgetAnswer.WAITS, status)
        reserved = tuple(
            Reservation(status.budget.name, status.budget.generation, status.window.key, amount)
            for status in applying
        )
        return BudgetDecision(BudgetAnswer.FITS, None, reserved, is_cost_unknown=estimate is None)


def credits_of(micro: int) -> float:
    """Millionths of a credit in credits."""
    return micro / MICRO
