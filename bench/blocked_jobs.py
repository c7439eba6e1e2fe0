"""What waiting costs: 100 and 10,000 jobs behind a closed gate and behind a used-up rate limit.

    python -m bench.blocked_jobs

One worker each time, measured for some seconds once all is quiet. About a minute and a half.
"""

import asyncio
import time
from typing import Final

from bench import results
from bench.bench_system import bench_system
from jobs.holds import Hold
from jobs.job import MANUAL
from jobs.lanes import Scope
from jobs.requests import JobRequest
from jobs.states import Kind
from worker.app.enqueue import Enqueuer, JobDefaults
from worker.clock import SystemClock

BACKLOGS: Final = (100, 10_000)
QUIET_S: Final = 4.0
MEASURED_S: Final = 15.0
GATE: Final = Hold(id="hold-bench", scope=Scope("default"), code=MANUAL, created_at=0.0)


async def measure(backlog: int, sandbox: tuple[str, ...], *, gate: bool) -> dict[str, float]:
    """CPU and Redis commands a second of a worker with a backlog it may not touch."""
    async with bench_system(sandbox=sandbox) as bench:
        if gate:
            await bench.store.holds.place(GATE)
        enqueuer = Enqueuer(bench.store, SystemClock(), JobDefaults())
        requests = [(None, JobRequest(Kind.MODEL, "gpt-image-2", b"{}"))] * backlog
        for first in range(0, backlog, 1_000):
            await enqueuer.enqueue_many(requests[first : first + 1_000])
        await asyncio.sleep(QUIET_S)
        commands, cpu, started = await bench.commands(), bench.used().cpu_s, time.monotonic()
        await asyncio.sleep(MEASURED_S)
        elapsed_s = time.monotonic() - started
        return {
            "commands_per_s": (await bench.commands() - commands) / elapsed_s,
            "cpu_percent": 100 * (bench.used().cpu_s - cpu) / elapsed_s,
            "queued": sum(
                lane.queued for lane in (await bench.store.read.queries.lane_counts())[0]
            ),
        }


async def main() -> None:
    """Measure and print."""
    rows: dict[str, dict[str, float]] = {}
    for backlog in BACKLOGS:
        rows[f"{backlog} behind a closed gate"] = await measure(backlog, (), gate=True)
        little = ("--limit", "6", "--window-s", "3600")
        rows[f"{backlog} behind an empty quota"] = await measure(backlog, little, gate=False)
    results.table(rows, "waiting")
    results.as_json("waiting", {"rows": rows})


if __name__ == "__main__":
    asyncio.run(main())
