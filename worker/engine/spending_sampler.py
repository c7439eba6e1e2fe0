"""Notes every few minutes what budgets have spent, for forecasts."""

from collections.abc import Sequence

from jobs.budgets.room import BudgetStatus
from jobs.budgets.spending import SAMPLE_EVERY_S, sampled
from worker.store.budget_spending import BudgetSpendingStore

Period = tuple[str, int, str]
"""The name, generation and period of a budget."""


class SpendingSampler:
    """Part of the budget keeper. It reads and writes only when a reading is due."""

    def __init__(self, store: BudgetSpendingStore) -> None:
        self._store = store
        self._sampled: set[Period] = set()
        self._sampled_at: float | None = None

    async def sample(self, statuses: Sequence[BudgetStatus], now: float) -> None:
        """Note what each budget has spent: at once in a new period, else every 5 minutes."""
        periods = {
            (one.budget.name, one.budget.generation, one.window.key)
            for one in statuses
            if not one.budget.error
        }
        last = self._sampled_at
        is_fresh = last is not None and 0 <= now - last < SAMPLE_EVERY_S
        if not periods or (is_fresh and periods <= self._sampled):
            return
        spending_of = await self._store.read()
        kept = {
            one.budget.name: sampled(found := spending_of.get(one.budget.name), one, now) or found
            for one in statuses
            if not one.budget.error
        }
        await self._store.write(
            {name: spending for name, spending in kept.items() if spending is not None}
        )
        self._sampled, self._sampled_at = periods, now if not is_fresh else last
