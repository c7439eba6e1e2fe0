"""Budgets against a running system: they hold, nothing leaks, and what waits goes on."""

import asyncio
from collections.abc import Collection
from typing import Any

import pytest

from jobs.budgets.record import Budget
from jobs.credits import closing
from jobs.job import BUDGET
from jobs.lanes import Lane
from jobs.states import ACTIVE, Kind, State
from tests.engine.budget_books import budgets_of, check_no_leak, shown, use_of
from tests.engine.ledger_books import TIMES, check_costs_early
from tests.engine.live_system import OPERATOR, LiveSystem, wait_until
from worker.app.action_table import JobAction
from worker.app.budgets import BudgetRequest
from worker.app.enqueue import InvalidRequest
from worker.engine import budget_gate
from worker.engine.cost_estimator import CostEstimator
from worker.engine.services import budget_keeper
from worker.engine.services.budget_keeper import BudgetKeeper

SUNO = Lane("default", Kind.MODEL, "suno")
COST = 10.0
"""What a run of suno costs in the sandbox."""

KNOWN = {**TIMES, "default_estimate": COST}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_keeper, "TICK_S", 0.05)
    monkeypatch.setattr(budget_keeper, "IDLE_S", 0.05)
    monkeypatch.setattr(budget_gate, "MAX_AGE_S", 0.0)
    check_costs_early(monkeypatch)


async def set_budget(
    system: LiveSystem, scope: str, limit: float, period: str = "total", name: str = "b"
) -> Budget:
    request = BudgetRequest(scope, period, limit)
    return (await budgets_of(system).set(name, request, OPERATOR)).status.budget


async def until_counted(system: LiveSystem, name: str = "b") -> None:
    async def is_counted() -> bool:
        return not (await shown(system, name)).status.budget.is_counting

    await wait_until(is_counted, "what is in flight is counted")


async def until_waiting(system: LiveSystem, count: int, name: str = "b") -> None:
    async def all_wait() -> bool:
        return (await shown(system, name)).waiting == count

    await wait_until(all_wait, f"{count} jobs wait for {name}")


@pytest.mark.parametrize("scope", ["default", "default/model", "default/model/suno"])
async def test_a_budget_of_a_lane_stops_it_at_the_limit(system: LiveSystem, scope: str) -> None:
    async with system.worker(**KNOWN):
        budget = await set_budget(system, scope, 45)
        await until_counted(system)
        ids = [await system.enqueue("suno") for _ in range(8)]

        async def four_ended() -> bool:
            return (await system.counts()).get(State.SUCCEEDED, 0) == 4

        await wait_until(four_ended, "four runs of 10 credits fit")
        await asyncio.sleep(1.5)  # a reading of the budgets later nothing more was admitted
        assert await system.counts() == {State.SUCCEEDED: 4, State.QUEUED: 4}
        assert await use_of(system, "b") == (4 * COST, 0)
        await check_no_leak(system, budget)
        await set_budget(system, scope, 80)
        await system.all_until(ids, State.SUCCEEDED)
        assert await use_of(system, "b") == (8 * COST, 0)


async def test_what_waits_for_a_tag_leaves_its_lane_and_comes_back(system: LiveSystem) -> None:
    async with system.worker(**KNOWN):
        budget = await set_budget(system, "tag:a", 20)
        await until_counted(system)
        ids = [await system.enqueue("suno", tags=("a",)) for _ in range(6)]
        free = [await system.enqueue("suno") for _ in range(3)]
        await system.all_until(free, State.SUCCEEDED)
        await until_waiting(system, 4)
        assert (await system.job(ids[-1])).state is State.QUEUED
        await check_no_leak(system, budget)
        await set_budget(system, "tag:a", 40)
        await until_waiting(system, 2)
        await budgets_of(system).remove("b", OPERATOR)
        await system.all_until(ids, State.SUCCEEDED)
        assert await system.store.budgets.waited_for() == []


async def test_jobs_that_cost_more_than_is_left_keep_no_others_out(
    system: LiveSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three lanes with one tag, the first jobs cost more than the limit that was set later."""
    monkeypatch.setattr(budget_keeper, "RETURNED_AT_ONCE", 2)
    monkeypatch.setattr(CostEstimator, "estimates", _by_target)
    async with system.worker(**TIMES):
        await set_budget(system, "tag:a", 1.0)
        await until_counted(system)
        dear = [await system.enqueue("suno", tags=("a",)) for _ in range(6)]
        cheap = [await system.enqueue("gpt-image-2", tags=("a",)) for _ in range(3)]

        async def all_wait_or_are_parked() -> bool:
            waiting = (await shown(system, "b")).waiting
            return waiting + (await system.counts()).get(State.PARKED, 0) == 9

        await wait_until(all_wait_or_are_parked, "all wait, and one of each lane is parked")
        await set_budget(system, "tag:a", 9.0)

        async def one_has_succeeded() -> bool:
            return State.SUCCEEDED in {(await system.job(one)).state for one in cheap}

        await wait_until(one_has_succeeded, "a job behind those that cost more is sent")
        assert {(await system.job(one)).state for one in dear} <= {State.QUEUED, State.PARKED}


async def _by_target(_: CostEstimator, lanes: Collection[Lane]) -> dict[Lane, float | None]:
    return {lane: COST if lane == SUNO else 8.0 for lane in lanes}


async def test_one_job_that_never_fits_parks_and_the_others_stay_queued(
    system: LiveSystem,
) -> None:
    async with system.worker(**KNOWN):
        await set_budget(system, "default/model", 9)
        await until_counted(system)
        ids = [await system.enqueue("suno") for _ in range(5)]

        async def one_is_parked() -> bool:
            return (await system.counts()).get(State.PARKED, 0) == 1

        await wait_until(one_is_parked, "one job is parked")
        await asyncio.sleep(1.5)
        assert await system.counts() == {State.PARKED: 1, State.QUEUED: 4}
        (parked,) = await system.jobs_matching(state=State.PARKED)
        assert parked.parked_as == BUDGET
        await set_budget(system, "default/model", 500)
        await system.all_until([one for one in ids if one != parked.id], State.SUCCEEDED)
        await system.actions.act(JobAction.RELEASE, parked.id, OPERATOR)
        await system.until(parked.id, State.SUCCEEDED)


async def test_a_new_budget_counts_what_is_in_flight(system: LiveSystem) -> None:
    async with system.worker(**KNOWN):
        ids = [await system.enqueue("suno", duration_s=60) for _ in range(3)]
        lost = await system.enqueue("suno", fault="drop_after", times=1)
        await system.all_until(ids, State.RUNNING)
        await system.until(lost, State.PARKED)
        budget = await set_budget(system, "default", 1_000)
        await until_counted(system)
        assert await use_of(system, "b") == (0, 4 * COST)
        await system.actions.act(JobAction.CANCEL, ids[0], OPERATOR)
        await system.until(ids[0], State.CANCELLED)
        await system.actions.act(JobAction.RESUBMIT, lost, OPERATOR)
        await system.until(lost, State.SUCCEEDED)

        async def is_settled() -> bool:
            # A cancelled run costs half; the lost one and its second run are spent.
            return (await use_of(system, "b"))[1] == 2 * COST

        await wait_until(is_settled, "what ended is settled")
        await check_no_leak(system, budget)


async def wait_for_count(system: LiveSystem, state: State, least: int) -> int:
    """Wait until so many jobs are in a state; returns `least`."""

    async def are_there() -> bool:
        return (await system.counts()).get(state, 0) >= least

    await wait_until(are_there, f"{least} jobs are {state}")
    return least


async def test_nothing_that_ends_after_a_budget_was_set_is_left_out(
    system: LiveSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was in flight has ended by the time at which a worker counts it."""
    counted = BudgetKeeper.count_in_flight

    async def nothing_runs() -> bool:
        counts = await system.counts()
        return not any(counts.get(state) for state in ACTIVE)

    async def counted_late(keeper: BudgetKeeper, budget: Budget, now: float) -> None:
        await wait_until(nothing_runs, "all runs end")
        await counted(keeper, budget, now)

    monkeypatch.setattr(BudgetKeeper, "count_in_flight", counted_late)
    async with system.worker(lane_caps={"default/model/suno": 5}, **KNOWN):
        ids = [await system.enqueue("suno", tags=("a",), duration_s=0.3) for _ in range(20)]
        await system.until(ids[0], State.SUCCEEDED)
        running = await wait_for_count(system, State.RUNNING, 3)
        budget = await set_budget(system, "tag:a", 1_000)
        await system.all_until(ids, State.SUCCEEDED, within_s=40)
        jobs = [await system.job(one) for one in ids]
        later = [job for job in jobs if (job.finished_at or 0.0) >= budget.set_at]
        assert running <= len(later) < len(jobs)
        assert await use_of(system, "b") == (COST * len(later), 0)


async def test_runs_of_unknown_cost_go_one_at_a_time_until_it_is_known(
    system: LiveSystem,
) -> None:
    await set_budget(system, "default", 1_000)
    async with system.worker(**TIMES):
        await until_counted(system)
        ids = [await system.enqueue("suno", duration_s=1.0) for _ in range(4)]
        most = 0
        await system.until(ids[0], State.RUNNING)
        while (await system.job(ids[0])).state is State.RUNNING:
            counts = await system.counts()
            most = max(most, counts.get(State.RUNNING, 0) + counts.get(State.SUBMITTING, 0))
            await asyncio.sleep(0.02)
        assert most == 1
        await system.all_until(ids, State.SUCCEEDED)
        assert await use_of(system, "b") == (4 * COST, 0)


async def test_after_a_run_of_unknown_cost_the_next_waits_until_the_cost_is_known(
    system: LiveSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed run names no cost, and the list of runs is not read yet: nothing can be booked."""
    monkeypatch.setattr(closing, "FIRST_CHECK_S", 3_600.0)
    budget = await set_budget(system, "default", 15)
    async with system.worker(**TIMES):
        await until_counted(system)
        fails: dict[str, Any] = {"fault": "fails", "times": 9, "code": "EXECUTION_FAILED"}
        ids = [await system.enqueue("suno", label="x", **fails) for _ in range(4)]

        async def one_has_failed() -> bool:
            unpriced = await system.store.budgets.unpriced_lanes([SUNO], 0.0)
            return unpriced == {SUNO}

        await wait_until(one_has_failed, "a run has ended")
        await asyncio.sleep(1.5)
        assert (await system.ledger("x"))["started"] == 1
        monkeypatch.setattr(budget_gate, "UNPRICED_PAUSE_S", 0.0)
        await system.all_until(ids, State.DEAD, State.RETRYING)
        await check_no_leak(system, budget)


async def test_an_account_without_a_key_has_no_budget(system: LiveSystem) -> None:

    async def is_known() -> bool:
        return "default" in await system.store.accounts.known()

    async with system.worker(**TIMES):
        await wait_until(is_known, "the accounts of the worker")
        with pytest.raises(InvalidRequest, match="nosuch has no API key; there are: default"):
            await set_budget(system, "nosuch/model", 10)
        await set_budget(system, "tag:nosuch", 10)


async def test_a_job_that_waits_for_a_budget_can_be_cancelled_and_parked(
    system: LiveSystem,
) -> None:
    async with system.worker(**KNOWN):
        await set_budget(system, "batch:x", 10)
        await until_counted(system)
        ids = [await system.enqueue("suno", batch="x") for _ in range(3)]
        await until_waiting(system, 2)
        waiting = [one for one in ids if (await system.job(one)).state is State.QUEUED]
        await system.actions.act(JobAction.CANCEL, waiting[0], OPERATOR)
        await system.actions.act(JobAction.PARK, waiting[1], OPERATOR)
        await until_waiting(system, 0)
        assert (await system.job(waiting[1])).waits_for_budget is None
