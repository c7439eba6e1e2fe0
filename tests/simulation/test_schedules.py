"""Schedules over clock changes and stops, in virtual time, with four workers that may be killed.

Virtual times are in the past: `commit.lua` takes no tick that is not due by the clock of Redis.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from jobs.job import Job
from jobs.lanes import JobId
from jobs.schedules import due
from jobs.schedules.cron import next_ticks
from jobs.schedules.record import CatchUp, Overlap, Schedule, SkipCause
from jobs.transitions import cancel, park_manual
from tests.unit.core.test_schedule_due import a_schedule
from worker.app.enqueue import JobDefaults
from worker.app.schedule_jobs import ScheduleJobs
from worker.engine.services.schedule_ticker import IDLE_S, ScheduleTicker
from worker.engine.wakeups import Wakeup
from worker.store import Store, open_store

BERLIN: Final = ZoneInfo("Europe/Berlin")
HOUR: Final = 3_600
JOBS: Final = ScheduleJobs(JobDefaults(), 10_000)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp())


SPRING: Final = at("2025-03-29 00:00"), at("2025-03-31 12:00")
AUTUMN: Final = at("2025-10-25 00:00"), at("2025-10-27 12:00")


class Workers:
    """Some workers over one Redis, which share nothing else."""

    def __init__(self, stores: Sequence[Store], seed: int = 0) -> None:
        self.store = stores[0]
        self.stores = stores
        self._random = random.Random(seed)  # noqa: S311  a seed repeats it
        self._tickers = [self._start(one) for one in stores]
        self.kills = 0

    @staticmethod
    def _start(store: Store) -> ScheduleTicker:
        return ScheduleTicker(store, JOBS, Wakeup())

    async def set_up(self, begin: int, **facts: Any) -> Schedule:
        """Set a schedule that begins at a virtual time."""
        usual = {"time_zone": "Europe/Berlin", "since": float(begin)}
        wanted = a_schedule(**(usual | facts))
        await self.store.schedules.change(wanted.name, lambda _: wanted, b'{"prompt":"x"}')
        await self.store.client.call("HSET", self.store.keys.schedule_ticks, wanted.name, begin)
        return wanted

    async def tick_all(self, now: float) -> None:
        """Let every worker tick at the same moment."""
        await asyncio.gather(*(one.tick(now) for one in self._tickers))

    async def run(self, begin: int, end: int, step_s: int = 30) -> None:
        """Let time pass, with every worker alive."""
        for now in range(begin, end + 1, step_s):
            await self.tick_all(now)

    async def run_killing(self, begin: int, end: int, step_s: int = 30) -> None:
        """Let time pass; in each step one worker ticks and may be killed in the middle of it."""
        for now in range(begin, end + 1, step_s):
            number = self._random.randrange(len(self._tickers))
            task = asyncio.create_task(self._tickers[number].tick(now))
            for _ in range(self._random.randrange(40)):
                await asyncio.sleep(0)
            if not task.done():
                self.kills += 1
                task.cancel()
                self._tickers[number] = self._start(self.stores[number])
            await asyncio.wait([task])
        await self.tick_all(end)

    async def jobs(self, name: str = "nightly") -> list[Job]:
        """Every job of a schedule, oldest tick first."""
        ids = await self.store.schedules.newest_jobs(name, 10_000)
        found = [one.job for one in await self.store.jobs.load_many(ids) if one is not None]
        return sorted(found, key=lambda job: job.scheduled_for or 0.0)

    async def ticks(self, name: str = "nightly") -> list[int]:
        return [int(job.scheduled_for or 0) for job in await self.jobs(name)]


@pytest.fixture
async def workers(redis: Any, namespace: str) -> AsyncGenerator[Workers]:
    stores = [open_store(redis, namespace) for _ in range(4)]
    assert await stores[0].recovery.until_ready()
    with capture_logs():
        yield Workers(stores)


def expected(schedule: Schedule, begin: int, end: int) -> list[int]:
    found = next_ticks(schedule.cron, schedule.time_zone, begin, 200)
    return [tick for tick in found if tick <= end]


CRONS: Final = ("30 2 * * *", "0 * * * *", "*/30 1-4 * * *")


@pytest.mark.parametrize("cron", CRONS)
@pytest.mark.parametrize(("begin", "end"), [SPRING, AUTUMN], ids=["spring", "autumn"])
async def test_four_workers_run_each_tick_once_over_a_clock_change(
    workers: Workers, cron: str, begin: int, end: int
) -> None:
    schedule = await workers.set_up(begin, cron=cron)
    await workers.run(begin, end, step_s=1_800)
    assert await workers.ticks() == expected(schedule, begin, end)
    days = Counter(datetime.fromtimestamp(tick, BERLIN).date() for tick in await workers.ticks())
    if cron == "30 2 * * *":
        assert sorted(days.values()) == [1, 1, 1]


LATE: Final = {CatchUp.NONE: 0, CatchUp.LAST: 1, CatchUp.ALL: 6}
"""How many of six missed ticks make a job."""


@pytest.mark.parametrize("catch_up", list(CatchUp))
@pytest.mark.parametrize("begin", [at("2025-03-30 00:15"), at("2025-10-26 00:15")])
async def test_a_stop_of_three_hours_over_a_clock_change_goes_by_policy(
    workers: Workers, catch_up: CatchUp, begin: int
) -> None:
    schedule = await workers.set_up(begin, cron="*/30 * * * *", catch_up=catch_up)
    await workers.run(begin, begin + HOUR, step_s=300)
    stopped = begin + HOUR
    before, missed = await workers.ticks(), expected(schedule, stopped, stopped + 3 * HOUR)
    assert len(missed) == 6
    await workers.run(stopped + 3 * HOUR + 300, stopped + 5 * HOUR, step_s=300)
    later = expected(schedule, stopped + 3 * HOUR + 300, stopped + 5 * HOUR)
    kept = missed[len(missed) - LATE[catch_up] :]
    assert await workers.ticks() == [*before, *kept, *later]
    (skip,) = await workers.store.schedules.skips(["nightly"])
    left_out = len(missed) - len(kept)
    assert (skip.count if skip else 0) == left_out


@pytest.mark.parametrize("catch_up", [CatchUp.LAST, CatchUp.ALL])
@pytest.mark.parametrize("seed", range(3))
async def test_workers_that_are_killed_between_steps_run_no_tick_twice_and_lose_none(
    workers: Workers, catch_up: CatchUp, seed: int
) -> None:
    workers = Workers(workers.stores, seed)
    begin, end = at("2025-10-26 00:10"), at("2025-10-26 06:10")
    schedule = await workers.set_up(begin, cron="*/10 * * * *", catch_up=catch_up)
    await workers.run_killing(begin, begin + HOUR)
    await workers.run_killing(begin + 4 * HOUR, end)
    ticks = await workers.ticks()
    assert workers.kills > 20
    assert len(ticks) == len(set(ticks))
    wanted = expected(schedule, begin, end)
    if catch_up is CatchUp.ALL:
        assert ticks == wanted
    else:
        assert set(ticks) <= set(wanted)
        assert wanted[-1] in ticks


async def test_catching_up_is_bounded(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(due, "MAX_CATCH_UP", 4)
    begin = at("2025-06-01 00:00")
    await workers.set_up(begin, cron="0 * * * *", catch_up=CatchUp.ALL)
    await workers.tick_all(begin + 10 * HOUR)
    assert await workers.ticks() == [begin + hour * HOUR for hour in (7, 8, 9, 10)]


async def test_an_unfinished_run_is_not_overlapped_and_a_parked_one_blocks_nothing(
    workers: Workers,
) -> None:
    begin = at("2025-06-01 00:00")
    await workers.set_up(begin, cron="0 * * * *", overlap=Overlap.SKIP)
    await workers.run(begin, begin + 3 * HOUR, step_s=300)
    (first,) = await workers.jobs()
    assert first.scheduled_for == begin + HOUR
    (skip,) = await workers.store.schedules.skips(["nightly"])
    assert skip is not None
    assert (skip.cause, skip.tick, skip.message) == (
        SkipCause.OVERLAP,
        begin + 3 * HOUR,
        first.id,
    )
    stored = await workers.store.jobs.load(first.id)
    assert stored is not None
    parked = park_manual(stored.job, begin + 3.5 * HOUR, by="ann")
    await workers.store.jobs.commit(stored, parked)
    await workers.run(begin + 3 * HOUR, begin + 4 * HOUR, step_s=300)
    assert await workers.ticks() == [begin + HOUR, begin + 4 * HOUR]
    second = await workers.store.jobs.load((await workers.jobs())[1].id)
    assert second is not None
    await workers.store.jobs.commit(second, cancel(second.job, begin + 4.5 * HOUR, by="ann"))
    await workers.run(begin + 4 * HOUR, begin + 5 * HOUR, step_s=300)
    assert (await workers.ticks())[-1] == begin + 5 * HOUR


async def test_a_tick_whose_clock_is_ahead_of_redis_waits_and_is_not_left_out(
    workers: Workers,
) -> None:
    seconds, _ = await workers.store.client.call("TIME")
    now = int(seconds)
    begin = now - now % 60
    await workers.set_up(begin, cron="* * * * *", catch_up=CatchUp.NONE)
    await workers.tick_all(begin + 86_400)
    assert await workers.ticks() == []
    assert await workers.store.schedules.highest_ticks(["nightly"]) == [begin]


async def test_a_schedule_whose_job_is_refused_goes_on_and_harms_no_other(
    workers: Workers,
) -> None:
    begin = at("2025-06-01 00:00")
    await workers.set_up(
        begin, name="bad", job={"kind": "model", "target": "suno", "priority": "x"}
    )
    await workers.set_up(begin, name="broken", cron="no cron line")
    await workers.set_up(begin, name="zone", time_zone="Mars/Olympus")
    await workers.set_up(begin, name="empty")
    await workers.store.client.call("HDEL", workers.store.keys.schedule_inputs, "empty")
    await workers.set_up(begin)
    await workers.run(begin, begin + 2 * HOUR, step_s=300)
    assert await workers.ticks() == [begin + HOUR, begin + 2 * HOUR]
    for name in ("bad", "broken", "zone", "empty"):
        assert await workers.ticks(name) == []
    bad, empty = await workers.store.schedules.skips(["bad", "empty"])
    assert bad is not None
    assert empty is not None
    assert (bad.cause, bad.tick) == (SkipCause.REFUSED, begin + 2 * HOUR)
    assert bad.message.startswith("must be a whole number")
    assert "KNOUDS_PAYLOAD_KEYS" in empty.message


async def test_changes_are_found_and_without_schedules_one_number_is_read(
    workers: Workers,
) -> None:
    begin = at("2025-06-01 00:00")
    calls = list[Any]()
    ticker = ScheduleTicker(workers.store, JOBS, Wakeup())
    client: Any = workers.store.client
    call = client.call

    async def counted(*command: Any) -> Any:
        calls.append(command)
        return await call(*command)

    client.call = counted
    try:
        assert [await ticker.tick(begin + n) for n in range(3)] == [IDLE_S] * 3
        assert [command[0] for command in calls] == ["HGET"] * 3
        await workers.set_up(begin, cron="1 0 * * *")
        assert await ticker.tick(begin + 57) == 3.0
        calls.clear()
        assert await ticker.tick(begin + 58) == 2.0
        assert [command[0] for command in calls] == ["HGET"]
        await workers.store.schedules.change("nightly", lambda _: None)
        assert await ticker.tick(begin + 60) == IDLE_S
    finally:
        client.call = call
    assert await workers.ticks() == []


async def test_the_job_of_a_tenants_tick_is_the_tenants(workers: Workers) -> None:
    begin = at("2025-06-01 00:00")
    await workers.set_up(begin, name="studio~nightly", set_by="app", counted_for="app")
    await workers.tick_all(begin + HOUR)
    (job,) = await workers.jobs("studio~nightly")
    tick = datetime.fromtimestamp(begin + HOUR, UTC)
    assert job.id == JobId(f"studio~schedule:nightly:{tick:%Y%m%dT%H%M%SZ}")
    assert (job.schedule, job.enqueued_by, job.counted_for) == ("studio~nightly", "app", "app")
    assert (await workers.store.payloads.read(job.id)).inputs == b'{"prompt":"x"}'
