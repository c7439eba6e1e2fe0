"""What budgets cost a run: python -m bench.budgets [RUNS].

Runs without a budget, and under four that all apply (of the account, the target, a tag and a
batch) and are never reached, take turns. CPU of the worker and of Redis a run.
"""

import asyncio

from bench.bench_system import BenchSystem
from bench.run_cost import Way, compare
from jobs.requests import JobRequest
from jobs.states import Kind
from worker.app.actions import Actor
from worker.app.budgets import BudgetRequest, Budgets
from worker.clock import SystemClock
from worker.engine.cost_estimator import CostEstimator

ESTIMATE = {"KNOUDS_DEFAULT_ESTIMATE": "8"}
"""Or the first runs would go one at a time, until it is known what they cost."""

SCOPES = ("default", "default/model/gpt-image-2", "tag:a", "batch:b")


async def set_budgets(bench: BenchSystem) -> None:
    """Set four budgets, and wait until they admit jobs."""
    clock = SystemClock()
    budgets = Budgets(
        bench.store, clock, CostEstimator(bench.store.lane_facts, clock, default=None)
    )
    for number, scope in enumerate(SCOPES):
        await budgets.set(f"b{number}", BudgetRequest(scope, "day", 1e9), Actor("bench"))
    async with asyncio.timeout(60):
        while any(one.status.budget.is_counting for one in await budgets.list_all()):  # noqa: ASYNC110
            await asyncio.sleep(0.2)


if __name__ == "__main__":
    compare(
        "budgets",
        __doc__,
        (Way("none", ESTIMATE), Way("four", ESTIMATE, set_budgets)),
        JobRequest(Kind.MODEL, "gpt-image-2", b'{"prompt":"x"}', tags=("a",), batch="b"),
    )
