"""The budget keeper notes what budgets have spent, rarely, and says when they are reached."""

from typing import Any

import pytest
from arq import ArqRedis

from jobs import transitions
from tests.engine.test_budget_warnings import NOON, AtNoon, set_budget, use
from tests.unit.core import job_builders as build
from worker.app import budget_forecasts
from worker.app.budget_forecasts import BudgetForecast, BudgetForecasts
from worker.engine.cost_estimator import CostEstimator
from worker.engine.spending_sampler import SpendingSampler
from worker.store import Store, open_store
from worker.store.client import Client


@pytest.fixture
def store(redis: ArqRedis, namespace: str) -> Store:
    return open_store(redis, namespace)


async def sample(store: Store, sampler: SpendingSampler, at: float) -> None:
    await sampler.sample(await store.budgets.statuses(at), at)


async def forecast(store: Store, at: float, default: float | None = 10.0) -> BudgetForecast:
    estimator = CostEstimator(store.lane_facts, AtNoon(), default)
    (found,) = await BudgetForecasts(store, estimator).list_all(at)
    return found


async def test_the_rate_is_what_was_spent_while_workers_come_and_go(store: Store) -> None:
    await set_budget(store)
    await sample(store, SpendingSampler(store.budget_spending), NOON)
    assert (await forecast(store, NOON)).per_hour is None
    await use(store, 10)
    await sample(store, SpendingSampler(store.budget_spending), NOON + 600)
    found = await forecast(store, NOON + 600)
    assert (found.per_hour, found.reached_in_s) == (60.0, 5_400.0)
    await use(store, 40)
    found = await forecast(store, NOON + 3_600)
    assert found.per_hour == 40.0


async def test_it_reads_and_writes_only_when_a_reading_is_due(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_budget(store)
    statuses = await store.budgets.statuses(NOON)
    sampler = SpendingSampler(store.budget_spending)
    sent: list[str] = []
    call, many = Client.call, Client.many

    async def noted(self: Client, *command: Any) -> Any:
        sent.append(str(command[0]))
        return await call(self, *command)

    async def many_noted(self: Client, commands: Any) -> Any:
        sent.extend(str(one[0]) for one in commands)
        return await many(self, commands)

    monkeypatch.setattr(Client, "call", noted)
    monkeypatch.setattr(Client, "many", many_noted)
    written = ["HGETALL", "DEL", "HSET", "EXPIRE"]
    await sampler.sample(statuses, NOON)
    assert sent == written
    await sampler.sample(statuses, NOON + 299)
    assert sent == written
    await sampler.sample(statuses, NOON + 300)
    assert sent == written * 2
    await sampler.sample(await store.budgets.statuses(NOON + 43_200), NOON + 301)
    assert sent[-4:] == written, "a new period begins"
    sent.clear()
    await SpendingSampler(store.budget_spending).sample([], NOON)
    assert sent == []


async def test_jobs_queued_in_its_scope_will_cost_credits(store: Store) -> None:
    await set_budget(store, limit=100.0)
    await use(store, 70, 5)
    for name in ("a", "b"):
        await store.jobs.create(build.queued(id=name), b"{}")
    await store.jobs.create(build.queued(id="c", account="studio"), b"{}")
    found = await forecast(store, NOON)
    assert (found.waiting_jobs, found.waiting_cost, found.covers_waiting) == (2, 20.0, True)
    await use(store, 90)
    assert (await forecast(store, NOON)).covers_waiting is False
    unknown = await forecast(store, NOON, default=None)
    assert (unknown.waiting_cost, unknown.covers_waiting) == (None, None)


async def test_of_a_tag_those_that_wait_for_it_will(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_budget(store, "tag:a")
    for name in ("a", "b", "c"):
        stored = await store.jobs.create(build.queued(id=name, tags=("a",)), b"{}")
        assert stored is not None
        if name != "c":
            await store.jobs.commit(stored, transitions.wait_for_budget(stored.job, "b"))
    found = await forecast(store, NOON)
    assert (found.waiting_jobs, found.waiting_cost) == (2, 20.0)
    monkeypatch.setattr(budget_forecasts, "MAX_JOBS_READ", 1)
    found = await forecast(store, NOON)
    assert (found.waiting_jobs, found.waiting_cost) == (2, None)


async def test_one_that_cannot_be_read_has_no_forecast(store: Store) -> None:
    await set_budget(store)
    await store.client.call("HSET", store.keys.budgets, "x", b"3 {")
    assert (await forecast(store, NOON)).status.budget.name == "b"
