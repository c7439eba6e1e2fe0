"""Early words of budgets: each once over all workers, with an event and a line in the log."""

import asyncio

import msgspec
import pytest
import structlog
from arq import ArqRedis

from jobs.budgets.record import Budget
from jobs.budgets.room import BudgetStatus
from jobs.budgets.use import BudgetPart
from jobs.budgets.warnings import BudgetChange
from jobs.credits.charges import MICRO
from tests.engine.budget_books import budgets_in, budgets_of, shown
from tests.engine.live_system import LiveSystem, wait_until
from tests.unit.core import job_builders as build
from worker.app.actions import Actor
from worker.app.budgets import BudgetRequest
from worker.clock import SystemClock
from worker.engine import budget_gate, budget_warnings
from worker.engine.budget_warnings import BudgetWarnings
from worker.engine.cost_estimator import CostEstimator
from worker.engine.services import budget_keeper
from worker.store import Store, open_store
from worker.store.events import START, BudgetNotice

NOON = 1_795_780_800.0
"""2026-11-27, 12:00 UTC."""
DAY_S = 86_400.0


class AtNoon(SystemClock):
    """A clock that stands still."""

    def now(self) -> float:
        return NOON


ANN = Actor("ann", "for the test")


@pytest.fixture
def store(redis: ArqRedis, namespace: str) -> Store:
    return open_store(redis, namespace)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_warnings, "QUEUES_READ_S", 0.0)


def warnings_of(store: Store, default: float | None = 10.0) -> BudgetWarnings:
    return BudgetWarnings(store, CostEstimator(store.lane_facts, AtNoon(), default))


async def set_budget(store: Store, scope: str = "default", limit: float = 100.0) -> Budget:
    budgets = budgets_in(store, AtNoon())
    await budgets.set("b", BudgetRequest(scope, "day", limit), ANN)

    def counted(current: Budget | None) -> Budget | None:
        return current and msgspec.structs.replace(current, is_counting=False)

    found = await store.budgets.change("b", counted)
    assert found is not None
    return found


async def use(store: Store, spent: float, reserved: float = 0.0, at: float = NOON) -> None:
    (status,) = await store.budgets.statuses(at)
    key = store.keys.budget_use("b", status.budget.generation, status.window.key)
    amounts = {BudgetPart.SPENT: spent, BudgetPart.RESERVED: reserved}
    for part, amount in amounts.items():
        await store.client.call("HSET", key, part, round(amount * MICRO))


async def notices(store: Store) -> list[BudgetNotice]:
    entries = await store.events.after(START, 100)
    return [one for entry in entries for one in entry.notices if isinstance(one, BudgetNotice)]


async def changes(store: Store) -> list[tuple[BudgetChange, int]]:
    return [(one.change, one.percent) for one in await notices(store)]


async def test_each_level_is_said_once_with_a_line_of_the_log(store: Store) -> None:
    await set_budget(store)
    warnings = warnings_of(store)
    with structlog.testing.capture_logs() as lines:
        for spent in (50, 81, 79, 81, 100, 90, 100):
            await use(store, spent - 5, 5)
            await warnings.check((), NOON)
    assert await changes(store) == [
        (BudgetChange.SET, 0),
        (BudgetChange.WARNING, 81),
        (BudgetChange.CLOSED, 100),
    ]
    midnight = NOON + DAY_S / 2
    assert [(one["event"], one["percent"], one["reopens_at"]) for one in lines] == [
        ("budget.warning", 81, midnight),
        ("budget.closed", 100, midnight),
    ]
    assert {(one["budget"], one["scope"]) for one in lines} == {("b", "default")}


async def test_a_new_period_reopens_it_and_arms_it_again(store: Store) -> None:
    await set_budget(store)
    warnings = warnings_of(store)
    await use(store, 100)
    await warnings.check((), NOON)
    await warnings.check((), NOON + DAY_S)
    await use(store, 85, at=NOON + DAY_S)
    await warnings.check((), NOON + DAY_S)
    said = [one.change for one in await notices(store)]
    assert said[1:] == [BudgetChange.CLOSED, BudgetChange.REOPENED, BudgetChange.WARNING]


async def test_a_raised_limit_reopens_it(store: Store) -> None:
    await set_budget(store)
    await use(store, 100)
    await warnings_of(store).check((), NOON)
    await set_budget(store, limit=200.0)
    await warnings_of(store).check((), NOON)
    found = await changes(store)
    assert found[1:] == [
        (BudgetChange.CLOSED, 100),
        (BudgetChange.SET, 50),
        (BudgetChange.REOPENED, 50),
    ]


async def test_of_workers_that_check_at_the_same_moment_one_says_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has read the marks before any of them writes one."""
    await set_budget(store)
    await use(store, 85)
    count = 4
    barrier = asyncio.Barrier(count)
    read = store.budgets.statuses

    async def all_have_read(now: float) -> list[BudgetStatus]:
        await barrier.wait()
        return await read(now)

    monkeypatch.setattr(store.budgets, "statuses", all_have_read)
    with structlog.testing.capture_logs() as lines:
        await asyncio.gather(*(warnings_of(store).check((), NOON) for _ in range(count)))
    assert [one["event"] for one in lines] == ["budget.warning"]
    assert (await changes(store))[1:] == [(BudgetChange.WARNING, 85)]


async def test_a_worker_that_froze_with_an_outdated_reading_says_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_budget(store)
    await use(store, 85)
    read = store.budgets.statuses

    async def freezes(now: float) -> list[BudgetStatus]:
        outdated = await read(now)
        monkeypatch.setattr(store.budgets, "statuses", read)
        await set_budget(store, limit=1_000.0)
        await warnings_of(store).check((), now)
        await set_budget(store, limit=105.0)
        await warnings_of(store).check((), now)
        return outdated

    monkeypatch.setattr(store.budgets, "statuses", freezes)
    await warnings_of(store).check((), NOON)
    said = [one for one in await changes(store) if one[0] is not BudgetChange.SET]
    assert said == [(BudgetChange.WARNING, 80)]


async def test_a_job_that_waits_in_its_lane_closes_it(store: Store) -> None:
    await set_budget(store, limit=45.0)
    await use(store, 30)
    await store.jobs.create(build.queued(id="a"), b"{}")
    await warnings_of(store).check((), NOON)
    assert len(await changes(store)) == 1
    await use(store, 40)
    await warnings_of(store, default=5.0).check((), NOON)
    await warnings_of(store).check((), NOON)
    assert (await changes(store))[1:] == [(BudgetChange.WARNING, 88), (BudgetChange.CLOSED, 88)]


async def test_a_job_that_waits_outside_of_its_lane_closes_it(store: Store) -> None:
    await set_budget(store, "tag:a", 45.0)
    await use(store, 30)
    await warnings_of(store).check({"b"}, NOON)
    assert (await changes(store))[1:] == [(BudgetChange.CLOSED, 66)]


async def test_what_is_removed_leaves_no_mark_and_says_so(store: Store) -> None:
    await set_budget(store)
    await use(store, 85)
    await warnings_of(store).check((), NOON)
    assert list((await store.warnings.read()).budgets) == ["b"]
    await budgets_in(store, AtNoon()).remove("b", ANN)
    assert (await store.warnings.read()).budgets == {}
    assert (await changes(store))[-1] == (BudgetChange.REMOVED, 85)


async def test_marks_of_a_budget_that_is_no_more_are_removed(store: Store) -> None:
    await set_budget(store)
    await use(store, 85)
    await warnings_of(store).check((), NOON)
    await store.budgets.change("b", lambda _: None)
    await warnings_of(store).check((), NOON)
    assert (await store.warnings.read()).budgets == {}


async def test_a_mark_of_a_newer_version_is_left_alone(store: Store) -> None:
    await set_budget(store)
    await use(store, 85)
    newer = b'{"schema":9,"level":"x"}'
    await store.client.call("HSET", store.keys.warnings, "budget:b", newer)
    await warnings_of(store).check((), NOON)
    assert (await store.warnings.read()).budgets["b"].data == newer
    damaged = b"{"
    await store.client.call("HSET", store.keys.warnings, "budget:b", damaged)
    await warnings_of(store).check((), NOON)
    assert (await changes(store))[1:] == [(BudgetChange.WARNING, 85)]


async def test_a_running_system_says_what_becomes_of_a_budget(
    system: LiveSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of 10 credits: four are 83 % of the limit, and the fifth does not fit."""
    monkeypatch.setattr(budget_keeper, "TICK_S", 0.02)
    monkeypatch.setattr(budget_gate, "MAX_AGE_S", 0.0)
    limit = BudgetRequest("tag:a", "total", 48.0)

    async def said(change: BudgetChange) -> None:
        async def is_said() -> bool:
            return change in [one.change for one in await notices(system.store)]

        await wait_until(is_said, f"{change} is said")

    async def is_counted() -> bool:
        return not (await shown(system, "b")).status.budget.is_counting

    async with system.worker(default_estimate=10.0):
        await budgets_of(system).set("b", limit, ANN)
        await wait_until(is_counted, "what is in flight is counted")
        for _ in range(4):
            await system.until(await system.enqueue("suno", tags=("a",)))
        await said(BudgetChange.WARNING)
        ids = [await system.enqueue("suno", tags=("a",)) for _ in range(3)]
        await said(BudgetChange.CLOSED)
        await budgets_of(system).set("b", limit._replace(limit=100.0), ANN)
        await system.all_until(ids)
        await said(BudgetChange.REOPENED)
    found = await changes(system.store)
    assert found[:3] == [
        (BudgetChange.SET, 0),
        (BudgetChange.WARNING, 83),
        (BudgetChange.CLOSED, 83),
    ]
    assert [change for change, _ in found[3:]] == [BudgetChange.SET, BudgetChange.REOPENED]


async def test_jobs_that_wait_close_no_budget_that_has_room_again(
    system: LiveSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six wait, the limit is raised, and two of them fit: it closes once these are admitted."""
    monkeypatch.setattr(budget_keeper, "TICK_S", 0.02)
    monkeypatch.setattr(budget_gate, "MAX_AGE_S", 0.0)

    async def waiting(count: int) -> None:
        async def is_so() -> bool:
            return (await shown(system, "b")).waiting == count

        await wait_until(is_so, f"{count} jobs wait")

    async with system.worker(default_estimate=10.0):
        await budgets_of(system).set("b", BudgetRequest("tag:a", "total", 10.0), ANN)
        ids = [await system.enqueue("suno", tags=("a",)) for _ in range(7)]
        await waiting(6)
        await budgets_of(system).set("b", BudgetRequest("tag:a", "total", 30.0), ANN)
        await waiting(4)
        closed = [at for change, at in await changes(system.store) if change is BudgetChange.CLOSED]
        assert set(closed) == {100}
        await budgets_of(system).remove("b", ANN)
        await system.all_until(ids)
