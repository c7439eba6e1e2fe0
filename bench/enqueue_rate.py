"""How many jobs a second can be enqueued: python -m bench.enqueue_rate.

One API process over HTTP, singly (50 connections kept alive) and in bulk (1,000 a call, 2 calls at
a time), by the library, and by plain arq. No worker runs. Every job is on disk before its
enqueue is answered.
"""

import asyncio
import itertools
import json
import socket
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
import psutil
import uvloop
from arq.connections import RedisSettings, create_pool

from bench import results
from bench.bench_system import BenchSystem, bench_system
from bench.measurement import cpu_s, percentile
from bench.results import Aim
from jobs.requests import JobRequest
from jobs.states import Kind
from worker.app.enqueue import Enqueuer, JobDefaults
from worker.clock import SystemClock
from worker.store.arq_codec import deserialize, serialize

SECONDS: Final = 5.0
CONNECTIONS: Final = 50
BULK: Final = 1_000
BULK_AT_ONCE: Final = 2
REQUEST: Final = {"kind": "model", "target": "gpt-image-2", "inputs": {"prompt": "x"}}
READY_WITHIN_S: Final = 20.0

Row = dict[str, float]


@asynccontextmanager
async def api(bench: BenchSystem) -> AsyncGenerator[tuple[str, psutil.Process]]:
    """An API process over the bench's Redis: its address, and the process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**bench.environment, "KNOUDS_HTTP_PORT": str(port)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker.cli.main", "api"), env=environment
    )
    try:
        url = f"http://127.0.0.1:{port}"
        await _ready(url)
        yield url, psutil.Process(process.pid)
    finally:
        process.terminate()
        await process.wait()


async def _ready(url: str) -> None:
    async with asyncio.timeout(READY_WITHIN_S), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(f"{url}/livez") as answer:
                    if answer.ok:
                        return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)


async def repeat(at_once: int, one: Callable[[], Awaitable[int]]) -> Row:
    """Do one thing over and over, so many at once, for some seconds; `one` returns its jobs."""
    took, jobs = list[float](), 0
    started = time.monotonic()

    async def run_once() -> None:
        nonlocal jobs
        while (now := time.monotonic()) < started + SECONDS:
            made = await one()  # not added in the same breath: others add meanwhile
            jobs += made
            took.append(time.monotonic() - now)

    await asyncio.gather(*(run_once() for _ in range(at_once)))
    seconds = time.monotonic() - started
    return {
        "jobs_per_s": jobs / seconds,
        "jobs": jobs,
        "call_p50_ms": 1_000 * percentile(took, 50),
        "call_p99_ms": 1_000 * percentile(took, 99),
    }


async def over_http(path: str, body: object, jobs: int, at_once: int) -> Row:
    """Orders over HTTP."""
    data = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    async with bench_system(workers=0) as bench, api(bench) as (url, process):
        connector = aiohttp.TCPConnector(limit=at_once)
        async with aiohttp.ClientSession(url, connector=connector, headers=headers) as http:

            async def one() -> int:
                async with http.post(path, data=data) as answer:
                    answer.raise_for_status()
                    await answer.read()
                return jobs

            before, redis = cpu_s(process), cpu_s(bench.redis)
            row = await repeat(at_once, one)
            return row | _used(row, cpu_s(process) - before, cpu_s(bench.redis) - redis)


async def by_library() -> Row:
    """Orders without HTTP, in this process."""
    async with bench_system(workers=0) as bench:
        enqueuer = Enqueuer(bench.store, SystemClock(), JobDefaults())
        request = JobRequest(Kind.MODEL, "gpt-image-2", b'{"prompt": "x"}')

        async def one() -> int:
            await enqueuer.enqueue(request)
            return 1

        us = psutil.Process()
        before, redis = cpu_s(us), cpu_s(bench.redis)
        row = await repeat(CONNECTIONS, one)
        return row | _used(row, cpu_s(us) - before, cpu_s(bench.redis) - redis)


async def by_arq() -> Row:
    """Calls of `run_model` from an app that has only arq: in arq's queue, not yet adopted."""
    async with bench_system(workers=0) as bench:
        pool = await create_pool(
            RedisSettings.from_dsn(bench.redis_url),
            job_serializer=serialize,
            job_deserializer=deserialize,
            default_queue_name=f"{bench.settings.namespace}:queue",
        )
        numbers = itertools.count()

        async def one() -> int:
            await pool.enqueue_job(
                "run_model", "gpt-image-2", {"prompt": "x"}, _job_id=f"app-{next(numbers)}"
            )
            return 1

        us = psutil.Process()
        before, redis = cpu_s(us), cpu_s(bench.redis)
        row = await repeat(CONNECTIONS, one)
        row |= _used(row, cpu_s(us) - before, cpu_s(bench.redis) - redis)
        await pool.aclose(close_connection_pool=True)
        return row


def _used(row: Row, cpu: float, redis_cpu: float) -> Row:
    return {
        "cpu_s_per_1000": 1_000 * cpu / row["jobs"],
        "redis_cpu_s_per_1000": 1_000 * redis_cpu / row["jobs"],
    }


async def main() -> None:
    """Measure and print."""
    bulk = {"jobs": [REQUEST] * BULK}
    found = {
        "HTTP, single": await over_http("/v1/jobs", REQUEST, 1, CONNECTIONS),
        "HTTP, bulk": await over_http("/v1/jobs/bulk", bulk, BULK, BULK_AT_ONCE),
        "library": await by_library(),
        "plain arq": await by_arq(),
    }
    wanted = [
        Aim("bulk over HTTP, jobs/s", found["HTTP, bulk"]["jobs_per_s"], 5_000, at_least=True),
        Aim("single over HTTP, jobs/s", found["HTTP, single"]["jobs_per_s"], 1_500, at_least=True),
    ]
    results.table(found, "enqueue")
    results.aims(wanted)
    results.as_json("enqueue", {"rows": found}, wanted)


if __name__ == "__main__":
    uvloop.run(main())
