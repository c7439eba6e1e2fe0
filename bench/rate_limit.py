"""600 runs at 100 per window, with this worker and a plain arq one: python -m bench.rate_limit.

The window is scaled down from 60 s to 6. Ideal: ceil(600 / 95) windows, since 5 requests of each
are kept for urgent jobs, as the provider advises. The plain worker retries after `Retry-After`.
About four minutes.
"""

import asyncio
import json
import math
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, cast

from arq.connections import RedisSettings, create_pool

from bench import naive_arq, results
from bench.bench_system import KEY, BenchSystem, bench_system
from bench.sandbox_admin import admin_get
from jobs.rate_limits import URGENT_RESERVE
from jobs.requests import JobRequest
from jobs.states import Kind, State
from worker.app.enqueue import Enqueuer, JobDefaults
from worker.clock import SystemClock

RUNS: Final = 600
LIMIT: Final = 100
WINDOW_S: Final = 6.0
TARGET: Final = "gpt-image-2"
INPUTS: Final = {"prompt": "x", "sandbox": {"duration_s": 0.5}}
SANDBOX: Final = ("--limit", str(LIMIT), "--window-s", str(WINDOW_S))
IDEAL_S: Final = math.ceil(RUNS / (LIMIT - URGENT_RESERVE)) * WINDOW_S
POLL_S: Final = 0.05
WITHIN_S: Final = 4 * IDEAL_S


async def ledger(bench: BenchSystem) -> dict[str, Any]:
    """What the sandbox counted."""
    return await admin_get(bench.sandbox, "ledger")


async def until(done: Callable[[], Awaitable[bool]]) -> float:
    """Seconds until something is so."""
    began = time.monotonic()
    while not await done() and time.monotonic() < began + WITHIN_S:  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)
    return time.monotonic() - began


async def ours(workers: int) -> dict[str, float]:
    """Our workers."""
    async with bench_system(
        workers=workers, sandbox=SANDBOX, KNOUDS_RATE_WINDOW_S=str(WINDOW_S)
    ) as bench:
        enqueuer = Enqueuer(bench.store, SystemClock(), JobDefaults())
        request = JobRequest(Kind.MODEL, TARGET, json.dumps(INPUTS).encode())
        before = bench.used()
        await enqueuer.enqueue_many([(None, request)] * RUNS)

        async def done() -> bool:
            return (await bench.store.read.queries.state_counts())[0][State.SUCCEEDED] == RUNS

        took = await until(done)
        return figures_of(await ledger(bench), took, bench.used().cpu_s - before.cpu_s)


async def naive(workers: int) -> dict[str, float]:
    """Plain arq workers, as many slots as ours."""
    async with AsyncExitStack() as stack:
        bench = await stack.enter_async_context(bench_system(workers=0, sandbox=SANDBOX))
        redis = bench.settings.redis_url
        url = redis.get_secret_value() if redis else ""
        given = {naive_arq.URL: bench.sandbox, naive_arq.REDIS: url, naive_arq.KEY: KEY}
        command = (sys.executable, "-m", "arq", "bench.naive_arq.NaiveArqSettings")
        await start(stack, command, workers, given)
        pool = await create_pool(RedisSettings.from_dsn(url))
        for _ in range(RUNS):
            await pool.enqueue_job("run_model", TARGET, INPUTS)

        async def done() -> bool:
            keys: list[bytes] = await cast("Any", pool).keys("arq:result:*")
            return len(keys) == RUNS

        took = await until(done)
        await pool.aclose(close_connection_pool=True)
        return figures_of(await ledger(bench), took, math.nan)


async def start(
    stack: AsyncExitStack, command: Sequence[str], count: int, given: dict[str, str]
) -> None:
    """Start processes that end with the stack."""
    for _ in range(count):
        quiet = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            *command, env=os.environ | given, stderr=quiet
        )
        stack.push_async_callback(process.wait)
        stack.callback(process.terminate)


def figures_of(found: dict[str, Any], took: float, cpu_s: float) -> dict[str, float]:
    """The figures of one run."""
    submits = found["requests"].get("run.model", {})
    return {
        "took_s": took,
        "over_ideal": took / IDEAL_S,
        "http_429": submits.get("429", 0),
        "submits": sum(submits.values()),
        "started": found["totals"]["started"],
        "cpu_s": cpu_s,
    }


async def main() -> None:
    """Measure and print."""
    rows = {
        "ours, 1 worker": await ours(1),
        "ours, 4 workers": await ours(4),
        "plain arq, 1 worker": await naive(1),
        "plain arq, 4 workers": await naive(4),
    }
    results.table(rows, f"{RUNS} runs, {LIMIT} in {WINDOW_S:g} s")
    results.as_json("quota", {"runs": RUNS, "ideal_s": IDEAL_S, "rows": rows})


if __name__ == "__main__":
    asyncio.run(main())
