"""Sixty days pass for a real Redis and for the engine: no job expires.

Redis and the engine start sixty days in the past and then jump to the present. So everything after
the jump runs with real clocks.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from arq import ArqRedis

from config.settings import Settings
from jobs.indexes import entries
from jobs.lanes import Scope
from jobs.states import Kind, State
from tests.engine.live_system import OPERATOR, LiveSystem, live_system
from tests.integration.time_shifted_redis import TimeShiftedRedis, time_shifted_redis
from worker.app.action_table import JobAction
from worker.clock import SystemClock
from worker.doctor.integrity_check import IntegrityCheck
from worker.redis.connect import connect
from worker.sandbox import SandboxConfig, running

SIXTY_DAYS_S = 60 * 86_400
NAMESPACE = "sixty"

READ = {
    "hash": ("HGETALL",),
    "zset": ("ZRANGE", "0", "-1", "WITHSCORES"),
    "stream": ("XRANGE", "-", "+"),
}
"""How to read all of a key, by its type."""


@dataclass
class TimeShiftedSystem:
    """A system whose clocks can jump from sixty days ago to the present."""

    system: LiveSystem
    redis: TimeShiftedRedis
    patch: pytest.MonkeyPatch

    def begin(self) -> None:
        """Set the engine's clock sixty days back, like that of its Redis."""

        def then(_: SystemClock) -> float:
            return time.time() - SIXTY_DAYS_S

        self.patch.setattr(SystemClock, "now", then)

    async def pass_by(self) -> None:
        """Advance the clocks of Redis and the engine by sixty days.

        Another thread of Redis may just have read the old offset, and the library keeps what it
        read last for all threads: so wait until Redis reports the new time.
        """
        self.redis.set_offset(0)
        self.patch.undo()
        async with asyncio.timeout(30):
            while abs(time.time() - await self.redis_time()) >= 60:  # noqa: ASYNC110 - of a process
                await asyncio.sleep(0.01)

    async def redis_time(self) -> float:
        """The clock of Redis, Unix seconds."""
        seconds, micros = await self.system.store.client.call("TIME")
        return int(seconds) + int(micros) / 1e6

    async def content(self, keys: Sequence[str]) -> dict[str, Any]:
        """Key → its content; None where the key does not exist."""
        call = self.system.store.client.call
        kinds = {key: (await call("TYPE", key)).decode() for key in keys}
        return {
            key: await call(READ[kind][0], key, *READ[kind][1:]) if kind in READ else None
            for key, kind in kinds.items()
        }

    async def integrity_findings(self) -> list[str]:
        """The findings of the doctor's integrity check."""
        check = IntegrityCheck(
            self.system.store, SystemClock(), lease_s=self.system.settings.lease_s
        )
        return [damage.text for damage, _ in (await check.run()).reported]

    async def needed_keys(self, job_ids: Sequence[str]) -> list[str]:
        """Every key that these jobs need: records, indexes, counts, and the registries of all."""
        keys = self.system.store.keys
        found = {keys.holds, keys.lanes, keys.groups, keys.audit}
        for job_id in job_ids:
            found.add(keys.job(job_id))
            found |= {keys.entry(entry) for entry in entries(await self.system.job(job_id))}
        return sorted(found)


@pytest.fixture
async def days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[TimeShiftedSystem]:
    """A system without a worker, sixty days ago."""
    async with time_shifted_redis(tmp_path / "redis", -SIXTY_DAYS_S) as redis:
        client: ArqRedis = connect(Settings(namespace=NAMESPACE), redis.url)
        try:
            async with (
                running(SandboxConfig(limit=0, credits=10**6)) as sandbox,
                live_system(client, redis.url, NAMESPACE, sandbox) as system,
            ):
                days = TimeShiftedSystem(system, redis, monkeypatch)
                days.begin()
                yield days
        finally:
            await client.aclose(close_connection_pool=True)


async def test_the_clock_that_is_moved_is_the_one_by_which_redis_expires(
    days: TimeShiftedSystem,
) -> None:
    call = days.system.store.client.call
    assert abs(time.time() - SIXTY_DAYS_S - await days.redis_time()) < 60
    await call("SET", "canary", "sings", "EX", SIXTY_DAYS_S - 3600)
    await call("SET", "survivor", "sings", "EX", SIXTY_DAYS_S + 3600)
    await days.pass_by()
    assert abs(time.time() - await days.redis_time()) < 60
    assert await call("GET", "canary") is None
    assert await call("GET", "survivor") == b"sings"
    assert 0 < await call("TTL", "survivor") <= 3600


async def test_sixty_days_take_nothing_that_is_alive(days: TimeShiftedSystem) -> None:
    """Scheduled, parked, uncertain, held, in flight, retrying, dead: all exist and can be freed."""
    system, call = days.system, days.system.store.client.call
    pause = await system.actions.place_hold(Scope("default/workflow"), OPERATOR)
    slow: dict[str, Any] = dict.fromkeys(["poll_min_s", "poll_max_s", "retry_base_s"], 3600.0)
    async with system.worker(**slow, retry_cap_s=3600.0):
        refused = await system.enqueue(label="refused", fault="MODEL_TIER_REQUIRED", times=1)
        uncertain = await system.enqueue("suno", label="uncertain", fault="drop_after", times=1)
        dead = await system.enqueue("suno", label="dead", fault="INVALID_INPUTS", times=1)
        flying = await system.enqueue("suno", label="flying", deadline_s=2.0 * SIXTY_DAYS_S)
        again = await system.enqueue("suno", label="again", fault="HTTP_500", times=1)
        await system.all_until([refused, uncertain], State.PARKED)
        await system.until(dead, State.DEAD)
        await system.until(flying, State.RUNNING)
        await system.until(again, State.RETRYING)
    held = await system.enqueue("my-pipeline", kind=Kind.WORKFLOW, label="held")
    scheduled = await system.enqueue("suno", label="scheduled", delay_s=SIXTY_DAYS_S)
    by_hand = await system.enqueue("seedance-2-0", label="by hand")
    await system.actions.act(JobAction.PARK, by_hand, OPERATOR)
    everyone = [refused, uncertain, dead, flying, again, held, scheduled, by_hand]
    needed = await days.needed_keys(everyone)
    before = await days.content(needed)
    assert None not in before.values()
    assert await days.integrity_findings() == []
    await call("SET", "canary", "sings", "EX", SIXTY_DAYS_S - 3600)

    await days.pass_by()
    assert await call("GET", "canary") is None, "sixty days have passed for Redis"
    assert await days.content(needed) == before
    await days.redis.kill()
    await days.redis.start()
    assert await days.content(needed) == before, "a restart expires nothing either"
    assert await days.integrity_findings() == []

    (hold,) = (job.reason.hold_id for job in [await system.job(refused)] if job.reason)
    async with system.worker(retention_s=1e9):
        await system.all_until([scheduled, flying, again], State.SUCCEEDED)
        for job_id, state in [
            (refused, State.PARKED),
            (uncertain, State.PARKED),
            (by_hand, State.PARKED),
            (dead, State.DEAD),
            (held, State.QUEUED),
        ]:
            assert (await system.job(job_id)).state is state, "only an operator frees these"
        await system.actions.release_hold(str(hold), OPERATOR)
        await system.actions.release_hold(pause.id, OPERATOR)
        await system.actions.act(JobAction.RELEASE, by_hand, OPERATOR)
        await system.actions.act(JobAction.REQUEUE, dead, OPERATOR)
        await system.actions.act(JobAction.RESUBMIT, uncertain, OPERATOR)
        await system.all_until(everyone, State.SUCCEEDED)
    assert await days.integrity_findings() == []
