"""Enqueues with arq alone, no library of ours: python enqueue.py REDIS_URL.

JSON instead of pickle, and the queue of the worker's namespace. The arq id is the job's id.
"""

import asyncio
import json
import sys

from arq import create_pool
from arq.connections import RedisSettings


async def main(redis_url: str) -> None:
    """Hand two jobs over; the same ids again make no second jobs."""
    queue = await create_pool(
        RedisSettings.from_dsn(redis_url),
        job_serializer=lambda entry: json.dumps(entry).encode(),
        job_deserializer=json.loads,
        default_queue_name="knouds:queue",  # <namespace>:queue
    )
    inputs = {"prompt": "a cat"}
    await queue.enqueue_job("run_model", "gpt-image-2", inputs, _job_id="arq-cat-1", priority=5)
    await queue.enqueue_job(
        "run_model", "gpt-image-2", {"prompt": "a dog"}, _job_id="arq-dog-1", tags=["arq"]
    )
    print("enqueued arq-cat-1 and arq-dog-1")
    await queue.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
