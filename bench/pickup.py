"""The time from an enqueue to the request at the provider, at low load: python -m bench.pickup.

One worker; jobs come singly at random, ten a second. The time runs from before the enqueue to the
moment the sandbox has the POST.
"""

import asyncio
import random
import statistics
import time
from typing import Final

from bench import results
from bench.bench_system import bench_system
from bench.measurement import percentile
from bench.results import Aim
from bench.sandbox_admin import executions
from jobs.requests import JobRequest
from jobs.states import Kind
from worker.app.enqueue import Enqueuer, JobDefaults
from worker.clock import SystemClock

JOBS: Final = 200
PAUSE_S: Final = 0.1
QUIET_S: Final = 2.0


async def measure() -> list[float]:
    """Seconds from enqueue to POST of each job."""
    dice = random.Random(1)  # noqa: S311 - a schedule
    started: dict[str, float] = {}
    async with bench_system() as bench:
        enqueuer = Enqueuer(bench.store, SystemClock(), JobDefaults())
        for number in range(JOBS + 1):  # the first opens connections and is not counted
            await asyncio.sleep(QUIET_S if number < 2 else dice.uniform(0.2, 1.8) * PAUSE_S)  # noqa: PLR2004
            label = f"r{number}"
            inputs = f'{{"sandbox": {{"label": "{label}", "duration_s": 0.2}}}}'
            started[label] = time.time()
            await enqueuer.enqueue(JobRequest(Kind.MODEL, "gpt-image-2", inputs.encode()))
        await asyncio.sleep(QUIET_S)
        runs = await executions(bench.sandbox)
    return [run.started_at - started[run.label] for run in runs if run.label != "r0"]


async def main() -> None:
    """Measure and print."""
    took = [1_000 * seconds for seconds in await measure()]
    row = {
        "jobs": len(took),
        "mean_ms": statistics.fmean(took),
        "p50_ms": percentile(took, 50),
        "p99_ms": percentile(took, 99),
        "most_ms": max(took),
    }
    wanted = [
        Aim("enqueue to POST p50, ms", row["p50_ms"], 30),
        Aim("enqueue to POST p99, ms", row["p99_ms"], 100),
    ]
    results.table({"one worker": row}, "pick-up")
    results.aims(wanted)
    results.as_json("pickup", {"rows": row}, wanted)


if __name__ == "__main__":
    asyncio.run(main())
