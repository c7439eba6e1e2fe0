"""Budgets in Redis: the commit checks them exactly, and settles by the record of the job."""

import asyncio
import math
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from jobs import transitions
from jobs.budgets.periods import window_at
from jobs.budgets.record import Budget, BudgetPeriod
from jobs.budgets.reservation import Reservation
from jobs.budgets.room import BudgetAnswer, BudgetRoom, BudgetStatus
from jobs.budgets.use import BudgetUse
from jobs.credits.charges import KEPT_S, MICRO
from jobs.job import Job
from jobs.lanes import JobId
from jobs.outcomes import Finished
from tests.unit.core.job_builders import NOW, a_job
from worker.store import Store
from worker.store.budgets import budget_check
from worker.store.client import unix_time
from worker.store.commit import VersionedJob
from worker.store.jobs import CommitRefused
from worker.store.side_writes import SideWrites


def a_budget(**facts: Any) -> Budget:
    usual: dict[str, Any] = {
        "name": "b",
        "scope": "default",
        "period": BudgetPeriod.TOTAL,
        "limit": 30.0,
        "generation": 7,
        "set_at": NOW,
        "set_by": "ann",
        "is_counting": False,
    }
    return Budget(**(usual | facts))


async def set_up(store: Store, **facts: Any) -> Budget:
    budget = a_budget(**facts)
    await store.budgets.change(budget.name, lambda _: budget)
    return budget


async def queued(store: Store, job_id: str, **facts: Any) -> VersionedJob:
    stored = await store.jobs.create(a_job(id=JobId(job_id), **facts), b"{}")
    assert stored is not None
    return stored


async def status_of(store: Store, at: float = NOW) -> BudgetStatus:
    (status,) = await store.budgets.statuses(at)
    return status


async def admitted(
    store: Store,
    stored: VersionedJob,
    status: BudgetStatus,
    credit: float = 10.0,
    version: int | None = None,
) -> VersionedJob | CommitRefused:
    amount = round(credit * MICRO)
    one = Reservation(status.budget.name, status.budget.generation, status.window.key, amount)
    after = transitions.admit(
        stored.job,
        NOW,
        submit_token="t",
        lease_until=NOW + 30,
        opening_hold_ids=(),
        estimate=credit,
        reservations=(one,),
    )
    checks = (budget_check(status, amount),)
    return await store.jobs.commit(
        stored, after, SideWrites(budgets=checks, budgets_version=version)
    )


async def sent(store: Store, stored: VersionedJob) -> VersionedJob:
    return await changed(
        store, stored, transitions.send(stored.job, NOW, owner="w", lease_until=NOW + 30)
    )


async def changed(store: Store, stored: VersionedJob, after: Job) -> VersionedJob:
    written = await store.jobs.commit(stored, after)
    assert isinstance(written, VersionedJob)
    return written


async def test_of_many_admissions_at_once_only_as_many_pass_as_fit(store: Store) -> None:
    """Each worker has read that all fits: the commit counts what the others took meanwhile."""
    await set_up(store)
    status = await status_of(store)
    jobs = [await queued(store, f"j{number}") for number in range(20)]
    results = await asyncio.gather(*(admitted(store, one, status) for one in jobs))
    assert sum(isinstance(one, VersionedJob) for one in results) == 3
    assert results.count(CommitRefused.FULL) == 17
    assert (await status_of(store)).use == BudgetUse(0, 30 * MICRO)


async def test_a_reservation_is_settled_and_a_repeated_commit_counts_once(store: Store) -> None:
    await set_up(store)
    stored = await admitted(store, await queued(store, "j"), await status_of(store))
    assert isinstance(stored, VersionedJob)
    running = await sent(store, stored)
    assert (await status_of(store)).use == BudgetUse(0, 10 * MICRO)
    done = transitions.succeed(running.job, NOW, Finished(b"{}", cost=12.5))
    first = await store.jobs.commit(running, done)
    assert isinstance(first, VersionedJob)
    assert await store.jobs.commit(running, done) is CommitRefused.SUPERSEDED
    assert (await status_of(store)).use == BudgetUse(12_500_000, 0)
    assert await store.jobs.delete(first)
    assert (await status_of(store)).use == BudgetUse(12_500_000, 0)


async def test_a_submit_that_was_not_sent_gives_everything_back(store: Store) -> None:
    await set_up(store)
    stored = await admitted(store, await queued(store, "j"), await status_of(store))
    assert isinstance(stored, VersionedJob)
    running = await sent(store, stored)
    await changed(store, running, transitions.return_to_queue(running.job, NOW, why="not sent"))
    assert (await status_of(store)).use == BudgetUse()


async def test_a_changed_budget_admits_nothing_by_what_was_read_before(store: Store) -> None:
    """Also where a worker hung since it read them, and the change is only a lower limit."""
    await set_up(store)
    status, stored = await status_of(store), await queued(store, "j")
    read = (await store.budgets.read()).version
    for change in (
        set_up(store, limit=20.0),
        set_up(store, generation=8),
        set_up(store, name="other", scope="tag:a"),
        store.budgets.change("b", lambda _: None),
        store.budgets.new_version(),
    ):
        await change
        assert await admitted(store, stored, status, version=read) is CommitRefused.GATED
        read = (await store.budgets.read()).version


async def test_without_budgets_the_version_is_checked_too(store: Store) -> None:
    stored, none = await queued(store, "j"), (await store.budgets.read()).version
    assert none == 0
    await set_up(store)
    status = await status_of(store)
    assert await admitted(store, stored, status, version=none) is CommitRefused.GATED


@pytest.mark.parametrize("offset_s", [-90_000.0, 90_000.0])
async def test_the_clock_of_redis_decides_about_the_period(store: Store, offset_s: float) -> None:
    now = unix_time(await store.client.call("TIME"))
    await set_up(store, period=BudgetPeriod.DAY)
    stored = await queued(store, "j")
    wrong = await status_of(store, now + offset_s)
    assert await admitted(store, stored, wrong) is CommitRefused.GATED
    assert isinstance(await admitted(store, stored, await status_of(store, now)), VersionedJob)


async def test_days_and_months_expire_and_totals_do_not(store: Store) -> None:
    now = unix_time(await store.client.call("TIME"))
    for number, (period, low, high) in enumerate(
        [
            (BudgetPeriod.DAY, 1, KEPT_S),
            (BudgetPeriod.MONTH, 1, KEPT_S),
            (BudgetPeriod.TOTAL, -1, -1),
        ]
    ):
        budget = await set_up(store, period=period, generation=number + 1)
        status = await status_of(store, now)
        stored = await admitted(store, await queued(store, f"j{number}"), status)
        assert isinstance(stored, VersionedJob)
        key = store.keys.budget_use("b", budget.generation, status.window.key)
        assert low <= await store.client.call("TTL", key) <= high
        await store.budgets.let_expire(budget, now)
        assert 1 <= await store.client.call("TTL", key) <= KEPT_S


async def test_a_budget_that_cannot_be_read_stops_every_job(store: Store) -> None:
    await store.client.call("HSET", store.keys.budgets, "b", b"7 {nothing")
    with capture_logs() as logs:
        status = await status_of(store)
    assert [line["event"] for line in logs] == ["gate.unreadable"]
    assert (status.budget.generation, status.is_closed) == (7, True)
    decision = BudgetRoom([status]).of_job(a_job(), 1.0)
    assert decision.answer is BudgetAnswer.WAITS
    await set_up(store)
    assert not (await status_of(store)).is_closed


async def test_a_newer_budget_stops_its_scope(store: Store) -> None:
    budget = await set_up(store, scope="default/model/suno")
    newer = msgspec.to_builtins(budget) | {"schema": 2, "shape": "new"}
    await store.client.call("HSET", store.keys.budgets, "b", b"7 " + msgspec.json.encode(newer))
    room = BudgetRoom([await status_of(store)])
    assert room.of_job(a_job(), 1.0).answer is BudgetAnswer.WAITS
    assert room.of_job(a_job(target="kling"), 1.0).answer is BudgetAnswer.FITS


async def test_an_amount_that_cannot_be_read_admits_nothing(store: Store) -> None:
    await set_up(store)
    status, stored = await status_of(store), await queued(store, "j")
    await store.client.call("HSET", store.keys.budget_use("b", 7, "total"), "spent", "lots")
    assert (await status_of(store)).is_closed
    assert await admitted(store, stored, status) is CommitRefused.FULL


def test_the_check_of_a_total_has_no_infinity() -> None:
    """Lua reads numbers, and `inf` is none everywhere."""
    window = window_at(BudgetPeriod.TOTAL, "UTC", NOW)
    assert math.isinf(window.end)
    check = budget_check(BudgetStatus(a_budget(), window, BudgetUse()), 1)
    assert (check.start, check.end) == (0, 2**53)
