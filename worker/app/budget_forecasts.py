"""What is ahead of budgets: when each is reached, and what the jobs that wait will cost."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from jobs.budgets.room import BudgetStatus, credits_of
from jobs.budgets.spending import per_hour, reached_in_s
from jobs.budgets.waiting import LaneQueues
from jobs.credits.estimates import total_estimate
from jobs.indexes import Index
from jobs.job import Job
from jobs.lanes import JobId
from worker.engine.cost_estimator import CostEstimator
from worker.engine.unreadable_records import load_jobs
from worker.store import Store

MAX_JOBS_READ: Final = 2_000
"""Jobs that wait for budgets of tags and batches and are read for one forecast, in all."""


class BudgetForecast(NamedTuple):
    """What is ahead of one budget. Amounts are credits; None is unknown."""

    status: BudgetStatus
    per_hour: float | None
    """What was spent in the last hour, or since the period began, for an hour."""
    reached_in_s: float | None
    """When the limit is spent at this pace; None also where a new period begins before."""
    waiting_jobs: int
    """Queued jobs of its lanes; of a tag or batch, those that wait for it."""
    waiting_cost: float | None

    @property
    def covers_waiting(self) -> bool | None:
        """Whether what is left is enough for the jobs that wait."""
        if self.waiting_cost is None:
            return None
        return credits_of(max(0, self.status.left)) >= self.waiting_cost


class BudgetForecasts:
    """Looks ahead for the budgets of one namespace; without any, that is one command."""

    def __init__(self, store: Store, estimator: CostEstimator) -> None:
        self._store = store
        self._estimator = estimator

    async def list_all(self, now: float) -> list[BudgetForecast]:
        """Every budget that can be read, by name; `now` in Unix seconds."""
        statuses = [one for one in await self._store.budgets.statuses(now) if not one.budget.error]
        if not statuses:
            return []
        spending_of = await self._store.budget_spending.read()
        queued = await self._store.lanes.queued_counts()
        queues = LaneQueues(queued, await self._estimator.estimates(queued.keys()))
        kept_out = await self._kept_out(statuses, now)
        found: list[BudgetForecast] = []
        for one in statuses:
            name = one.budget.name
            rate = per_hour(spending_of.get(name), one, now)
            if one.budget.is_for_lanes:
                lanes = queues.of(one)
                jobs = sum(lane.jobs for lane in lanes)
                cost = total_estimate([(lane.estimate, lane.jobs) for lane in lanes])
            else:
                jobs, cost = kept_out[name]
            found.append(BudgetForecast(one, rate, reached_in_s(one, rate, now), jobs, cost))
        return found

    async def _kept_out(
        self, statuses: list[BudgetStatus], now: float
    ) -> Mapping[str, tuple[int, float | None]]:
        """By budget of a tag or batch: how many jobs wait for it, and what these will cost."""
        names = [one.budget.name for one in statuses if not one.budget.is_for_lanes]
        counts = await self._store.budgets.waiting_counts(names) if names else []
        found: dict[str, tuple[int, float | None]] = {}
        to_read = MAX_JOBS_READ
        for name, count in zip(names, counts, strict=True):
            if count > to_read:
                found[name] = (count, None)
                continue
            to_read -= count
            found[name] = (count, await self._cost(name, count, now) if count else 0.0)
        return found

    async def _cost(self, name: str, count: int, now: float) -> float | None:
        ids: list[JobId] = await self._store.jobs.members(Index.BUDGET, name, count)
        rows = await load_jobs(self._store.jobs, ids, now)
        jobs: list[Job] = [stored.job for stored in rows if stored is not None]
        estimates = await self._estimator.estimates({job.lane for job in jobs})
        return total_estimate([(estimates[job.lane], 1) for job in jobs])
