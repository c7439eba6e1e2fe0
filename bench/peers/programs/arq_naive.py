"""arq, as its page leads to: submit and poll in one job.

Defaults of arq, results kept for an hour among them, but for the slots: a run holds one to its end.
"""

import asyncio
from typing import Any

from arq.connections import RedisSettings, create_pool

from bench.peers.programs import common

REDIS = RedisSettings.from_dsn(common.REDIS_URL)


async def run_model(_ctx: dict[str, Any], target: str, inputs: dict[str, Any]) -> Any:
    """Make a run and poll it to its end."""
    return await common.run_to_its_end(target, inputs)


class ArqNaiveSettings:
    """What `arq bench.peers.programs.arq_naive.ArqNaiveSettings` reads."""

    functions = (run_model,)
    on_startup = common.startup
    on_shutdown = common.shutdown
    redis_settings = REDIS
    max_jobs = common.SLOTS


async def enqueue() -> None:
    """Enqueue the runs that are wanted."""
    pool = await create_pool(REDIS)
    async for count in common.wanted_arrivals():
        jobs = (pool.enqueue_job("run_model", common.TARGET, common.INPUTS) for _ in range(count))
        await asyncio.gather(*jobs)
    await pool.aclose(close_connection_pool=True)
