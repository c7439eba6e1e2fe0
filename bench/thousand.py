"""1,000 async runs, one worker: python -m bench.thousand [RUNS].

Durations lognormal around 3 s (sigma 0.5, at most 10 s), all enqueued at once. Delay is the time
from the provider's completion to `succeeded` on record.
"""

import asyncio
import json
import statistics
import sys
import time

import aiohttp

from bench.running import Bench, system
from jobs.orders import Order
from jobs.states import Kind, State
from worker.clock import SystemClock
from worker.intake import Defaults, Intake
from worker.store.queries import Filter

SANDBOX = ("--median-s", "3", "--sigma", "0.5", "--cap-s", "10")


async def measure(bench: Bench, runs: int) -> dict[str, float]:
    """Enqueue the runs, wait for the last, and count."""
    intake = Intake(bench.store, SystemClock(), Defaults())
    before, commands = bench.used(), await bench.commands()
    began = time.time()
    orders = [(None, Order(Kind.MODEL, "gpt-image-2", b'{"prompt":"x"}')) for _ in range(runs)]
    await intake.enqueue_many(orders)
    enqueued = time.time()
    rss = 0.0
    while (await bench.store.queries.states())[0][State.SUCCEEDED] < runs:
        await asyncio.sleep(0.1)
        rss = max(rss, bench.used().rss_mb)
    wall, after = time.time() - began, bench.used()
    used_commands = await bench.commands() - commands
    delays = await _delays(bench)
    async with aiohttp.ClientSession() as http, http.get(f"{bench.sandbox}/_sandbox/ledger") as got:
        requests = (await got.json())["requests"]
    count = sum(sum(by_status.values()) for by_status in requests.values())
    return {
        "runs": runs,
        "wall_s": wall,
        "enqueue_s": enqueued - began,
        "requests_per_run": count / runs,
        "delay_p50_s": statistics.median(delays),
        "delay_p99_s": statistics.quantiles(delays, n=100)[98],
        "worker_cpu_s_per_1000": (after.cpu_s - before.cpu_s) * 1000 / runs,
        "worker_rss_mb": rss,
        "redis_commands_per_run": used_commands / runs,
    }


async def _delays(bench: Bench) -> list[float]:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{bench.sandbox}/_sandbox/executions") as got,
    ):
        items = (await got.json())["items"]
    ended = {item["id"]: item["finished_at"] for item in items}
    page = await bench.store.queries.page(Filter(state=State.SUCCEEDED), len(items))
    return [(job.finished_at or 0.0) - ended[job.execution_id] for job in page.jobs]


async def main(runs: int) -> None:
    """Measure and print."""
    async with system(sandbox=SANDBOX) as bench:
        found = await measure(bench, runs)
    for name, value in found.items():
        print(f"{name:24} {value:10.3f}")  # noqa: T201
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
