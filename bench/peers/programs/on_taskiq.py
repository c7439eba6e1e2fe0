"""taskiq on a Redis list: submit and poll in one task.

The leanest broker it has: a task is taken off the list when it is begun, so a worker that dies
loses what it had in hand, and results are not kept. One worker process under taskiq's manager.
Without `socket_timeout=None` redis-py 8 ends the broker's wait for work after 5 s, and with it the
worker.
"""

import asyncio
from typing import Any

from taskiq import TaskiqEvents
from taskiq_redis import ListQueueBroker

from bench.peers.programs import common

broker = ListQueueBroker(common.REDIS_URL, socket_timeout=None)
broker.add_event_handler(TaskiqEvents.WORKER_STARTUP, common.startup)
broker.add_event_handler(TaskiqEvents.WORKER_SHUTDOWN, common.shutdown)


@broker.task
async def run_model(target: str, inputs: dict[str, Any]) -> Any:
    """Make a run and poll it to its end."""
    return await common.run_to_its_end(target, inputs)


async def enqueue() -> None:
    """Enqueue the runs that are wanted."""
    await broker.startup()
    async for count in common.wanted_arrivals():
        await asyncio.gather(*(run_model.kiq(common.TARGET, common.INPUTS) for _ in range(count)))
    await broker.shutdown()
