"""SAQ: submit and poll in one job.

Defaults of SAQ, but for the slots and `timeout`: a job of more than 10 s would be ended. Each free
slot waits in a Redis connection of its own, so there is one more of them than slots.
"""

import asyncio
from typing import Any

from saq import Queue

from bench.peers.programs import common

TIMEOUT_S = 120
MOST_SLOTS = 9_000  # Redis takes 10,000 connections by default

queue = Queue.from_url(common.REDIS_URL)


async def run_model(_ctx: dict[str, Any], *, target: str, inputs: dict[str, Any]) -> Any:
    """Make a run and poll it to its end."""
    return await common.run_to_its_end(target, inputs)


settings = {
    "queue": queue,
    "functions": [run_model],
    "concurrency": min(common.SLOTS, MOST_SLOTS),
    "startup": common.startup,
    "shutdown": common.shutdown,
}


async def enqueue() -> None:
    """Enqueue the runs that are wanted."""
    await queue.connect()
    async for count in common.wanted_arrivals():
        jobs = (
            queue.enqueue(
                "run_model", target=common.TARGET, inputs=common.INPUTS, timeout=TIMEOUT_S
            )
            for _ in range(count)
        )
        await asyncio.gather(*jobs)
    await queue.disconnect()
