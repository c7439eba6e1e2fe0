"""arq, with a deferred job for each poll: no slot is held while a run goes on.

A poll that finds its run going on enqueues the next one, a second later. `poll_delay` is arq's
default of half a second, which adds to the delay; slots are many, since arq reads five times as
many entries of its queue as it has slots.
"""

import asyncio
from typing import Any

from arq.connections import ArqRedis, RedisSettings, create_pool

from bench.peers.programs import common

REDIS = RedisSettings.from_dsn(common.REDIS_URL)


async def submit(ctx: dict[str, Any], target: str, inputs: dict[str, Any]) -> None:
    """Submit a run and enqueue its first poll."""
    await _poll_later(ctx, await common.knouds.submit(target, inputs))


async def poll(ctx: dict[str, Any], execution_id: str) -> Any:
    """Poll a run; enqueue the next poll while it goes on."""
    result = await common.knouds.result(execution_id)
    if result is None:
        await _poll_later(ctx, execution_id)
    else:
        common.end_times.note_end(execution_id)
    return result


async def _poll_later(ctx: dict[str, Any], execution_id: str) -> None:
    redis: ArqRedis = ctx["redis"]
    await redis.enqueue_job("poll", execution_id, _defer_by=common.POLL_S)


class ArqDeferringSettings:
    """What `arq bench.peers.programs.arq_deferring.ArqDeferringSettings` reads."""

    functions = (submit, poll)
    on_startup = common.startup
    on_shutdown = common.shutdown
    redis_settings = REDIS
    max_jobs = common.SLOTS


async def enqueue() -> None:
    """Enqueue the runs that are wanted."""
    pool = await create_pool(REDIS)
    async for count in common.wanted_arrivals():
        jobs = (pool.enqueue_job("submit", common.TARGET, common.INPUTS) for _ in range(count))
        await asyncio.gather(*jobs)
    await pool.aclose(close_connection_pool=True)
