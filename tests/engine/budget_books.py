"""What is used of budgets, from Redis and from the records of the jobs, for tests."""

from collections import Counter

from jobs.budgets.record import Budget
from jobs.budgets.use import BudgetUse, UsedPart, changed_use
from jobs.credits.charges import MICRO
from jobs.job import Job
from tests.engine.live_system import LiveSystem
from worker.app.budgets import Budgets, ShownBudget
from worker.clock import Clock, SystemClock
from worker.engine.cost_estimator import CostEstimator
from worker.store import Store


def budgets_of(system: LiveSystem) -> Budgets:
    """The use case."""
    return budgets_in(system.store, SystemClock())


def budgets_in(store: Store, clock: Clock) -> Budgets:
    """The use case over a store, without a default estimate."""
    return Budgets(store, clock, CostEstimator(store.lane_facts, clock, None))


async def shown(system: LiveSystem, name: str) -> ShownBudget:
    """A budget as people see it."""
    return await budgets_of(system).find(name)


async def use_of(system: LiveSystem, name: str) -> tuple[float, float]:
    """What is spent and reserved of the present period, in credits."""
    use: BudgetUse = (await shown(system, name)).status.use
    return use.spent / MICRO, use.reserved / MICRO


def used_by(jobs: list[Job]) -> dict[UsedPart, int]:
    """What the records of jobs say is used, by part; only what is not 0."""
    sums: Counter[UsedPart] = Counter()
    for job in jobs:
        sums.update(changed_use(None, job))
    return {key: amount for key, amount in sums.items() if amount}


async def check_no_leak(system: LiveSystem, budget: Budget) -> None:
    """What Redis has used of a budget is what the records of its jobs say."""
    jobs = await system.jobs_matching()
    parts = used_by(jobs)
    own = {
        part.part: amount
        for part, amount in parts.items()
        if part.budget == budget.name and part.generation == budget.generation
    }
    status = (await shown(system, budget.name)).status
    found = {"spent": status.use.spent, "reserved": status.use.reserved}
    assert {name: amount for name, amount in found.items() if amount} == own
