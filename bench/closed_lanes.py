"""How soon an honest job is submitted beside 5,000 jobs in lanes that are closed.

    python -m bench.closed_lanes

Each of the others is alone in its lane, behind a hold on its target. One worker; about a minute.
"""

import asyncio
import time
from typing import Final

from bench import results
from bench.bench_system import BenchSystem, bench_system
from jobs.holds import Hold, hold_id
from jobs.lanes import Scope
from jobs.requests import JobRequest
from jobs.states import Kind, State
from worker.app.enqueue import Enqueuer, JobDefaults
from worker.clock import SystemClock
from worker.store.codec import encode_unique

CLOSED: Final = (0, 1_000, 5_000)
HONEST: Final = 10
PAUSE_S: Final = 0.3
SETTLE_S: Final = 5.0
WITHIN_S: Final = 60.0
POLL_S: Final = 0.01


def closed_hold(scope: Scope) -> Hold:
    """A hold as a refusal places it."""
    return Hold(id=hold_id(scope, "NO_GRANT"), scope=scope, code="NO_GRANT", created_at=0.0)


async def submit_delay_s(bench: BenchSystem, enqueuer: Enqueuer) -> float:
    """Seconds from an enqueue until the job is sent."""
    started = time.monotonic()
    result = await enqueuer.enqueue(JobRequest(Kind.MODEL, "gpt-image-2", b"{}"))
    while time.monotonic() - started < WITHIN_S:
        stored = await bench.store.jobs.load(result.job.id)
        if stored is not None and stored.job.state not in (State.QUEUED, State.SCHEDULED):
            break
        await asyncio.sleep(POLL_S)
    return time.monotonic() - started


async def measure(closed: int) -> dict[str, float]:
    """Delays of honest jobs beside `closed` jobs in closed lanes."""
    async with bench_system() as bench:
        enqueuer = Enqueuer(bench.store, SystemClock(), JobDefaults())
        targets = [f"closed-{number}" for number in range(closed)]
        for target in targets:
            hold = closed_hold(Scope(f"default/model/{target}"))
            await bench.store.client.call(
                "HSET", bench.store.keys.holds, hold.key, encode_unique(hold)
            )
        for first in range(0, closed, 500):
            await enqueuer.enqueue_many(
                [
                    (None, JobRequest(Kind.MODEL, target, b"{}"))
                    for target in targets[first : first + 500]
                ]
            )
        await asyncio.sleep(SETTLE_S)
        cpu, began = bench.used().cpu_s, time.monotonic()
        delays: list[float] = []
        for _ in range(HONEST):
            delays.append(await submit_delay_s(bench, enqueuer))
            await asyncio.sleep(PAUSE_S)
        elapsed_s = time.monotonic() - began
        delays.sort()
        return {
            "median_s": delays[len(delays) // 2],
            "max_s": delays[-1],
            "worker_cpu_percent": 100 * (bench.used().cpu_s - cpu) / elapsed_s,
        }


async def main() -> None:
    """Measure and print."""
    rows = {f"{closed} closed lanes": await measure(closed) for closed in CLOSED}
    results.table(rows, "closed lanes")
    results.as_json("closed_lanes", {"rows": rows})


if __name__ == "__main__":
    asyncio.run(main())
