"""Redis is down for a second or for half a minute: no process restarts, nothing is sent twice."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from jobs.lanes import JobId
from jobs.requests import JobRequest
from tests.chaos.chaos_system import ASYNC, ChaosSystem, chaos_system
from tests.chaos.claims import check_claims
from tests.chaos.conftest import Report
from tests.chaos.killable_redis import KillableRedis
from tests.chaos.retrying_app import RetryingApp, retrying_app
from tests.chaos.scale import SEED, TIME_LIMIT_S, scaled
from tests.engine.live_system import wait_until

pytestmark = [pytest.mark.timeout(TIME_LIMIT_S)]

JOBS = 100
IN_FLIGHT = 6
"""Submits that the provider answers while Redis is away."""

ANSWER_AFTER_S = 2.0
SHORT_S, LONG_S = 1.0, scaled(short=4.0, full=30.0)
"""The second is twice a lease, or more."""

Meanwhile = Callable[[], Awaitable[None]]
Outage = Callable[[KillableRedis, Meanwhile], Awaitable[None]]


async def _killed(redis: KillableRedis, meanwhile: Meanwhile) -> None:
    """Connections are refused."""
    await redis.kill()
    await meanwhile()
    await redis.start()


async def _frozen(redis: KillableRedis, meanwhile: Meanwhile) -> None:
    """Connections are accepted and never answered."""
    redis.freeze()
    try:
        await meanwhile()
    finally:
        redis.thaw()


@pytest.mark.parametrize(
    ("first", "second"),
    scaled(short=[(_killed, _frozen)], full=list(itertools.product((_killed, _frozen), repeat=2))),
)
async def test_all_processes_carry_on_when_redis_is_back(
    tmp_path: Path, report: Report, first: Outage, second: Outage
) -> None:
    """The same processes finish every job without an operator, and no run is submitted twice."""
    async with chaos_system(tmp_path, SEED) as it, retrying_app(it) as api:
        pids = [process.pid for process in it.workers.running]
        app = asyncio.create_task(api.enqueue(it.requests(JOBS), pause_s=0.02))
        await asyncio.sleep(it.rng.uniform(0.2, 0.6))
        await first(it.redis, lambda: asyncio.sleep(SHORT_S))
        held = it.requests(IN_FLIGHT, targets=ASYNC, fault="slow", delay_s=ANSWER_AFTER_S)
        await _until_in_flight(it, held)
        await second(it.redis, lambda: _for_long(api))
        back = time.monotonic()
        await api.until_available()
        it.acknowledged += await app
        await it.until_all_succeeded()
        settled_s = time.monotonic() - back
        assert [process.pid for process in it.workers.running] == pids
        assert [process.returncode for process in it.workers.running] == [None, None]
        assert api.statuses.keys() <= {200, 202, 503}
        names = " + ".join(one.__name__.strip("_") for one in (first, second))
        await check_claims(
            it,
            report,
            names,
            f"{SHORT_S:.0f} + {LONG_S:.0f} s, {api.statuses[503]} x 503,"
            f" settled in {settled_s:.1f} s",
            explains=lambda _: False,
        )
        counted = await it.system.labels()
        assert {counted[job_id]["posts"] for job_id, _ in held} == {1}
        log = it.workers.logs.read_text()
        if second is _killed:
            assert "store_call.retried" in log


async def _for_long(api: RetryingApp) -> None:
    await asyncio.gather(asyncio.sleep(LONG_S), api.until_unavailable())


async def _until_in_flight(it: ChaosSystem, requests: Sequence[tuple[JobId, JobRequest]]) -> None:
    """Enqueue requests and wait until the provider received all; it has answered none yet."""
    await it.enqueue(requests)

    async def all_posted() -> bool:
        posts = await it.system.labels()
        return all(posts.get(job_id, {"posts": 0})["posts"] for job_id, _ in requests)

    await wait_until(all_posted, "the submits are at the provider")
