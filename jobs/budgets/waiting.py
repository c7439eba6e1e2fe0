"""The queued jobs of the lanes that a budget of an account, route or target applies to."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from jobs.budgets.room import ANY_SCOPE, BudgetStatus
from jobs.credits.charges import micro_credits
from jobs.lanes import Lane


class LaneQueue(NamedTuple):
    """The queued jobs of one lane."""

    jobs: int
    estimate: float | None
    """The credits that each is likely to cost; None where nothing is known."""

    @property
    def amount(self) -> int:
        """What each reserves of a budget, in millionths of a credit."""
        return micro_credits(self.estimate) or 0


class LaneQueues:
    """The queued jobs of every lane, by the scopes that budgets can have."""

    def __init__(self, queued: Mapping[Lane, int], estimates: Mapping[Lane, float | None]) -> None:
        self._by_scope: dict[str, list[LaneQueue]] = {}
        for lane, count in queued.items():
            if count:
                queue = LaneQueue(count, estimates.get(lane))
                for scope in (ANY_SCOPE, *lane.scopes):
                    self._by_scope.setdefault(scope, []).append(queue)

    def of(self, status: BudgetStatus) -> list[LaneQueue]:
        """The lanes that a budget applies to as a whole; none for one of a tag or batch."""
        return self._by_scope.get(status.budget.scope, [])

    def waiting(self, status: BudgetStatus) -> int:
        """How many of their jobs it does not admit now."""
        is_closed, left = status.is_closed, status.left
        return sum(one.jobs for one in self.of(status) if is_closed or left < max(1, one.amount))

    def without_room(self, statuses: Iterable[BudgetStatus]) -> set[str]:
        """The names of the budgets that a queued job waits for which fits in the whole limit."""
        return {
            status.budget.name
            for status in statuses
            for one in self.of(status)
            if status.left < max(1, one.amount) <= status.budget.limit_micro
        }
