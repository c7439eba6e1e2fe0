"""What an idle worker and an idle API cost: python -m bench.idle."""

import asyncio
import time
from typing import Final

import psutil

from bench import results
from bench.bench_system import BenchSystem, bench_system
from bench.enqueue_rate import api
from bench.measurement import cpu_s
from bench.results import Aim

QUIET_S: Final = 3.0
MEASURED_S: Final = 20.0


async def observe(bench: BenchSystem, process: psutil.Process) -> dict[str, float]:
    """The cost of a process and of Redis without any work."""
    await asyncio.sleep(QUIET_S)
    cpu, redis, commands = cpu_s(process), cpu_s(bench.redis), await bench.commands()
    started = time.monotonic()
    await asyncio.sleep(MEASURED_S)
    elapsed_s = time.monotonic() - started
    return {
        "cpu_percent": 100 * (cpu_s(process) - cpu) / elapsed_s,
        "redis_cpu_percent": 100 * (cpu_s(bench.redis) - redis) / elapsed_s,
        "redis_commands_per_s": (await bench.commands() - commands) / elapsed_s,
        "rss_mb": process.memory_info().rss / 2**20,
    }


async def main() -> None:
    """Measure and print."""
    async with bench_system() as bench:
        worker = await observe(bench, bench.workers[0])
    async with bench_system(workers=0) as bench, api(bench) as (_, process):
        found = {"worker": worker, "API": await observe(bench, process)}
    wanted = [
        Aim("idle worker, % of a core", worker["cpu_percent"], 1.5),
        Aim("idle worker, Redis commands/s", worker["redis_commands_per_s"], 50),
    ]
    results.table(found, "idle")
    results.aims(wanted)
    results.as_json("idle", {"rows": found}, wanted)


if __name__ == "__main__":
    asyncio.run(main())
