"""A balance that is likely to be used up within the hour is said once, by one worker."""

import asyncio
from typing import Any

import pytest
import structlog
from arq import ArqRedis

from jobs import transitions
from jobs.budgets.record import Budget, BudgetPeriod
from jobs.credits.forecast import Balance
from jobs.credits.low_balance import BalanceChange
from jobs.outcomes import Finished
from tests.store.test_hold_store import a_hold
from tests.unit.core import job_builders as build
from worker.app.actions import Actor
from worker.app.credit_forecasts import CreditForecasts
from worker.clock import SystemClock
from worker.engine.cost_estimator import CostEstimator
from worker.engine.services.balance_watcher import LEASE_S, BalanceWatcher
from worker.store import Store, open_store
from worker.store.client import Client
from worker.store.commit import VersionedJob
from worker.store.events import START, BalanceNotice

NOW = build.NOW
ANN = Actor("ann", "for the test")


class AtNow(SystemClock):
    """A clock that stands still."""

    def now(self) -> float:
        return NOW


@pytest.fixture
def store(redis: ArqRedis, namespace: str) -> Store:
    return open_store(redis, namespace)


def watcher_of(store: Store, worker_id: str = "w1") -> BalanceWatcher:
    estimator = CostEstimator(store.lane_facts, AtNow(), 10.0)
    return BalanceWatcher(store, worker_id, estimator, window_s=60.0)


async def enter(store: Store, amount: float) -> None:
    estimator = CostEstimator(store.lane_facts, AtNow(), 10.0)
    await CreditForecasts(store, AtNow(), estimator).set_balance("default", amount, ANN)


async def charge(store: Store, job_id: str, cost: float) -> None:
    stored = await store.jobs.create(build.running(id=job_id), b"{}")
    assert stored is not None
    after = transitions.succeed(stored.job, NOW, Finished(b"{}", cost=cost))
    assert isinstance(await store.jobs.commit(stored, after), VersionedJob)


async def queue(store: Store, *ids: str, account: str = "default") -> None:
    for name in ids:
        await store.jobs.create(build.queued(id=name, account=account), b"{}")


async def notices(store: Store) -> list[BalanceNotice]:
    entries = await store.events.after(START, 1_000)
    return [one for entry in entries for one in entry.notices if isinstance(one, BalanceNotice)]


async def test_what_waits_and_costs_more_than_is_left_is_said_once(store: Store) -> None:
    await enter(store, 25.0)
    await queue(store, "a", "b")
    watcher = watcher_of(store)
    with structlog.testing.capture_logs() as lines:
        await watcher.tick(NOW)
        assert lines == []
        await queue(store, "c")
        await watcher.tick(NOW + 60)
        await watcher.tick(NOW + 120)
    facts = {"event": "balance.low", "account": "default", "left": 25.0, "ahead": 30.0}
    assert [{name: line[name] for name in facts} for line in lines] == [facts]
    (notice,) = await notices(store)
    assert (notice.change, notice.left, notice.ahead) == (BalanceChange.LOW, 25.0, 30.0)


async def test_what_the_ledger_has_since_it_was_entered_counts(store: Store) -> None:
    await charge(store, "before", 500.0)
    await enter(store, 100.0)
    await watcher_of(store).tick(NOW)
    assert await notices(store) == []
    await charge(store, "a", 60.0)
    await queue(store, "b", "c", "d", "e", "f")
    await watcher_of(store).tick(NOW)
    (notice,) = await notices(store)
    assert (notice.left, notice.ahead) == (40.0, 50.0)


async def test_the_pace_of_the_last_hour_is_enough(store: Store) -> None:
    await enter(store, 100.0)
    await charge(store, "a", 60.0)
    await store.metrics.counters.flush(NOW)
    await watcher_of(store).tick(NOW)
    (notice,) = await notices(store)
    assert (notice.left, notice.ahead, notice.dry_at) == (40.0, 0.0, NOW + 40 / 60 * 3_600)


async def test_what_a_hold_or_a_closed_budget_keeps_back_costs_nothing_soon(store: Store) -> None:
    await enter(store, 5.0)
    await queue(store, "a")
    hold = await store.holds.place(a_hold("default"))
    await watcher_of(store).tick(NOW)
    assert await notices(store) == []
    assert hold is not None
    await store.client.call("DEL", store.keys.holds)
    budget = Budget(
        name="b",
        scope="default",
        period=BudgetPeriod.TOTAL,
        limit=9.0,
        generation=1,
        set_at=NOW,
        set_by="ann",
    )
    await store.budgets.change("b", lambda _: budget)  # nothing is admitted until it is counted
    await watcher_of(store).tick(NOW)
    assert await notices(store) == []
    await store.budgets.change("b", lambda _: None)
    await watcher_of(store).tick(NOW)
    assert len(await notices(store)) == 1


async def test_accounts_without_a_balance_are_left_alone(store: Store) -> None:
    await enter(store, 1_000.0)
    await queue(store, "a", account="studio")
    await watcher_of(store).tick(NOW)
    assert await notices(store) == []


async def test_an_entered_balance_arms_it_again(store: Store) -> None:
    await enter(store, 5.0)
    await queue(store, "a")
    await watcher_of(store).tick(NOW)
    later = Balance("default", 6.0, NOW + 1, "ann", "2026-09-21", 0.0)
    await store.balances.set(later)
    await watcher_of(store).tick(NOW + 2)
    await store.balances.set(Balance("default", 900.0, NOW + 3, "ann", "2026-09-21", 0.0))
    await watcher_of(store).tick(NOW + 4)
    found = [one.change for one in await notices(store)]
    assert found == [BalanceChange.LOW, BalanceChange.LOW, BalanceChange.ENOUGH]
    assert (await store.warnings.read()).balances == {}


async def test_one_of_several_workers_says_it(store: Store) -> None:
    await enter(store, 5.0)
    await queue(store, "a")
    workers = [watcher_of(store, f"w{number}") for number in range(4)]
    await asyncio.gather(*(one.tick(NOW) for one in workers))
    assert len(await notices(store)) == 1
    owner = await store.client.call("GET", store.keys.balance_lease)
    assert owner is not None
    ttl = await store.client.call("PTTL", store.keys.balance_lease)
    assert 60_000 < ttl <= LEASE_S * 1_000


async def test_workers_whose_lease_lapsed_say_it_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has read the marks before any of them writes one."""
    await enter(store, 5.0)
    await queue(store, "a")
    count = 3
    barrier = asyncio.Barrier(count)
    read = store.read.queries.lane_counts

    async def always(*_: object) -> bool:
        return True

    async def all_have_read() -> object:
        await barrier.wait()
        return await read()

    monkeypatch.setattr(type(store.balances), "claim", always)
    monkeypatch.setattr(store.read.queries, "lane_counts", all_have_read)
    await asyncio.gather(*(watcher_of(store, f"w{number}").tick(NOW) for number in range(count)))
    assert len(await notices(store)) == 1


async def test_without_a_balance_it_is_one_command(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await queue(store, "a")
    sent: list[object] = []
    call = Client.call

    async def noted(self: Client, *command: Any) -> Any:
        sent.append(command)
        return await call(self, *command)

    async def refused(*_: object) -> None:
        raise AssertionError("more than one command")

    monkeypatch.setattr(Client, "call", noted)
    monkeypatch.setattr(Client, "many", refused)
    await watcher_of(store).tick(NOW)
    assert sent == [("HGETALL", store.keys.balances)]
