"""How long a start takes: python -m bench.startup_time.

A worker until its first heartbeat in Redis, the API until it answers, `--help` until it has ended.
"""

import asyncio
import statistics
import sys
import time
from typing import Final

from bench import results
from bench.bench_system import BenchSystem, bench_system
from bench.enqueue_rate import api
from bench.results import Aim

TIMES: Final = 7
POLL_S: Final = 0.005
COMMAND: Final = (sys.executable, "-m", "worker.cli.main")


async def help_s(bench: BenchSystem) -> float:
    """`knouds-worker --help`."""
    started = time.monotonic()
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "--help", env=bench.environment, stdout=quiet
    )
    await process.wait()
    return time.monotonic() - started


async def worker_s(bench: BenchSystem) -> float:
    """`knouds-worker worker` until it says that it lives."""
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(*COMMAND, "worker", env=bench.environment)
    while not await bench.store.workers.heartbeats():  # noqa: ASYNC110 - there is nothing to wait on
        await asyncio.sleep(POLL_S)
    took = time.monotonic() - started
    process.terminate()
    await process.wait()
    return took


async def api_s(bench: BenchSystem) -> float:
    """`knouds-worker api` until it answers, to within 50 ms."""
    started = time.monotonic()
    async with api(bench):
        return time.monotonic() - started


async def main() -> None:
    """Measure and print."""
    found: dict[str, dict[str, float]] = {}
    async with bench_system(workers=0) as bench:
        for name, start in (("worker", worker_s), ("API", api_s), ("--help", help_s)):
            took = [await start(bench) for _ in range(TIMES)]
            found[name] = {"median_s": statistics.median(took), "most_s": max(took)}
    wanted = [
        Aim("start of `worker`, s", found["worker"]["median_s"], 0.8),
        Aim("start of `--help`, s", found["--help"]["median_s"], 0.25),
    ]
    results.table(found, "start-up")
    results.aims(wanted)
    results.as_json("startup", {"rows": found}, wanted)


if __name__ == "__main__":
    asyncio.run(main())
