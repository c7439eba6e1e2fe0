"""Budgets while workers are killed: they hold, nothing leaks, and nearly all of it is spent."""

import asyncio
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.budgets.use import is_in_flight
from jobs.credits.charges import MICRO
from jobs.job import Job
from jobs.lanes import JobId
from jobs.requests import JobRequest
from jobs.states import ACTIVE, Kind, State
from tests.chaos.chaos_system import SLOW_SHARE, ChaosSystem, ScenarioRow, chaos_system
from tests.chaos.claims import check_ledger
from tests.chaos.conftest import Report
from tests.chaos.scale import SEED, SETTLED_WITHIN_S, TIME_LIMIT_S, scaled
from tests.engine.budget_books import budgets_of, check_no_leak, use_of
from tests.engine.ledger_books import charged_by_sandbox
from tests.engine.live_system import OPERATOR, wait_until
from worker.app.action_table import JobAction
from worker.app.budgets import BudgetRequest
from worker.tasks import cancel_and_wait

pytestmark = [pytest.mark.timeout(TIME_LIMIT_S)]

COST = 10
LIMIT = scaled(short=100, full=500)
JOBS = scaled(short=30, full=1_000)
WORKERS = scaled(short=2, full=4)
KILL_PAUSES_S = scaled(short=(0.1, 1.0), full=(1.0, 4.0))
"""How long a worker lives: on a small machine four of them take some seconds to start."""

MOST_KILLS = scaled(short=3, full=1_000)
"""Of one worker: on a busy machine a worker that is killed so early gets nothing done."""

QUIET_S = 3.0
"""Nothing more is admitted if nothing was for so long: a lease is 2 s, budgets are read each s."""


class BudgetWatch:
    """Reads what is used of the budget all the time."""

    def __init__(self, it: ChaosSystem) -> None:
        self._it = it
        self.most = 0.0
        """The most that was spent and reserved together."""
        self.readings = 0

    async def run(self) -> None:
        while True:
            self.most = max(self.most, sum(await use_of(self._it.system, "b")))
            self.readings += 1
            await asyncio.sleep(0.01)


async def under_kills(it: ChaosSystem, scope: str, costs: list[int]) -> BudgetWatch:
    """Run jobs of these costs under the budget, and kill workers until nothing is admitted."""
    system = it.system
    request = BudgetRequest(scope, "total", LIMIT)
    await budgets_of(system).set("b", request, OPERATOR)

    async def is_counted() -> bool:
        budget = await system.store.budgets.find("b")
        return budget is not None and not budget.is_counting

    await wait_until(is_counted, "the budget admits jobs")
    requests: list[tuple[JobId, JobRequest]] = []
    for cost in costs:
        options: dict[str, Any] = {"cost": cost, "duration_s": round(it.rng.uniform(0.2, 1.5), 3)}
        if it.rng.random() < SLOW_SHARE:
            options |= {"fault": "slow", "delay_s": 0.3}
        found = it.requests(1, targets=[(Kind.MODEL, "suno")], **options)
        requests += [(job_id, replace(one, tags=("a",))) for job_id, one in found]
    await it.enqueue(requests)
    watch = BudgetWatch(it)
    task = asyncio.create_task(watch.run())
    kills = asyncio.gather(*(_kill_now_and_then(it, slot) for slot in range(WORKERS)))
    try:
        await _until_used_up(it)
    finally:
        kills.cancel()
        await asyncio.gather(kills, return_exceptions=True)
    for slot in range(WORKERS):
        await it.workers.until_live(slot)
    await _until_quiet(it)
    await cancel_and_wait(task)
    return watch


async def _kill_now_and_then(it: ChaosSystem, slot: int) -> None:
    rng = random.Random(f"{SEED}-{slot}")  # noqa: S311  a schedule
    for _ in range(MOST_KILLS):
        await asyncio.sleep(rng.uniform(*KILL_PAUSES_S))
        await it.workers.kill(slot)
        await it.workers.until_live(slot)


async def _until_used_up(it: ChaosSystem) -> None:
    async def is_used_up() -> bool:
        return sum(await use_of(it.system, "b")) > LIMIT - 2 * COST

    await wait_until(is_used_up, "nearly all of the budget is used", 5 * SETTLED_WITHIN_S)


async def _until_quiet(it: ChaosSystem) -> None:
    seen, since = (0.0, 0.0), time.monotonic()

    async def is_quiet() -> bool:
        nonlocal seen, since
        now, counts = await use_of(it.system, "b"), await it.system.counts()
        if now != seen or any(counts.get(state) for state in ACTIVE):
            seen, since = now, time.monotonic()
        return time.monotonic() - since > QUIET_S

    await wait_until(is_quiet, "nothing is admitted any more", SETTLED_WITHIN_S)


@pytest.mark.parametrize("scope", scaled(short=["tag:a"], full=["default/model", "tag:a"]))
async def test_a_budget_holds_although_workers_are_killed(
    tmp_path: Path, report: Report, scope: str
) -> None:
    began = time.monotonic()
    settings = {"default_estimate": COST, "lane_caps": {"default/model/suno": 4}}
    async with chaos_system(tmp_path, SEED, workers=WORKERS, **settings) as it:
        watch = await under_kills(it, scope, [COST] * JOBS)
        spent, reserved = await use_of(it.system, "b")
        found = await it.inspect()
        unresolved = len(found.uncertain)
        assert watch.readings > 20
        assert it.workers.killed
        assert watch.most <= LIMIT
        assert spent >= LIMIT - COST - COST * unresolved
        assert reserved == COST * unresolved
        assert await charged_by_sandbox(it.system) <= LIMIT
        assert found.started_twice == {}
        assert found.wrong_indexes == []
        budget = await it.system.store.budgets.find("b")
        assert budget is not None
        await check_no_leak(it.system, budget)
        text = f"budget {LIMIT}, spent {spent:g}, {len(it.workers.killed)} kills"
        report(ScenarioRow("budget", text, SEED, time.monotonic() - began, found, 0))
        for job in await it.system.jobs_matching(state=State.QUEUED):
            await it.system.actions.act(JobAction.CANCEL, job.id, OPERATOR)
        await budgets_of(it.system).remove("b", OPERATOR)
        await it.resolve(found.uncertain)
        await check_ledger(it.system)


async def test_a_budget_is_exceeded_by_no_more_than_runs_in_flight_cost_above_their_estimate(
    tmp_path: Path, report: Report
) -> None:
    began = time.monotonic()
    settings = {"default_estimate": COST, "lane_caps": {"default/model/suno": 4}}
    async with chaos_system(tmp_path, SEED, workers=WORKERS, **settings) as it:
        costs = [it.rng.randint(COST // 2, COST + COST // 2) for _ in range(JOBS)]
        watch = await under_kills(it, "default", costs)
        jobs = await it.system.jobs_matching()
        excess = max(0.0, watch.most - LIMIT)
        assert excess <= _above_estimates_in_flight(jobs) / MICRO
        text = f"budget {LIMIT}, costs ±50 %, exceeded by {excess:g}"
        found = await it.inspect()
        report(ScenarioRow("budget", text, SEED, time.monotonic() - began, found, 0))


def _above_estimates_in_flight(jobs: list[Job]) -> int:
    """What the runs that were in flight at the last admission cost above what they reserved."""
    admissions = [
        event.at
        for job in jobs
        for event in job.events
        if event.name == "admit" and job.state is not State.QUEUED
    ]
    last, total = max(admissions), 0
    for job in jobs:
        for attempt in job.attempts:
            if attempt.ended_at is not None and attempt.ended_at < last:
                continue
            if not is_in_flight(job, attempt):
                cost = round((attempt.cost or 0.0) * MICRO)
                total += sum(max(0, cost - one.amount) for one in attempt.reservations)
    return total
