"""This worker under the common workload: python -m bench.load [IN_FLIGHT] [--median-s 3].

One worker, burst and steady (where the sandbox can keep up). Durations are learned from 300 runs
before, which are not counted. `--polls` and `--poll-min-s` are KNOUDS_POLLS_PER_RUN and
KNOUDS_POLL_MIN_S.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from bench import results
from bench.bench_system import BenchSystem, bench_system
from bench.measurement import figures_of, run_workload
from bench.workload import Workload, arrivals, burst, sandbox, shapes
from config.settings import Settings
from jobs.indexes import Index
from jobs.requests import JobRequest
from jobs.states import Kind, State
from worker.app.enqueue import Enqueuer, JobDefaults
from worker.clock import SystemClock
from worker.engine.services.poll_planner import TICK_S
from worker.store.read.filter import Filter

WARM_UP: Final = 300
INPUTS: Final = b'{"prompt":"x"}'
TARGET: Final = "gpt-image-2"
LEARNED: Final = f"model/{TARGET}"
LEARNED_WITHIN_S: Final = 120.0
PAGE: Final = 1_000
USUAL: Final = Settings()


@dataclass(frozen=True, slots=True)
class OurWorkers:
    """Our workers."""

    bench: BenchSystem

    def processes(self) -> Sequence[psutil.Process]:
        """The workers."""
        return self.bench.workers

    async def enqueue(self, workload: Workload) -> None:
        """Enqueue runs, as the API does it."""
        enqueuer = Enqueuer(self.bench.store, SystemClock(), JobDefaults())
        request = JobRequest(Kind.MODEL, TARGET, INPUTS)
        async for count in arrivals(workload.runs, workload.rate):
            for placed in await enqueuer.enqueue_many([(None, request)] * count):
                if isinstance(placed, Exception):
                    raise placed

    async def done(self) -> int:
        """How many runs are on record as succeeded."""
        key = self.bench.store.keys.index(Index.STATE, State.SUCCEEDED)
        return int(await self.bench.store.client.call("ZCARD", key))

    async def warm_up(self, median_s: float) -> None:
        """Let the worker learn how long runs take; a run counts after longer ones have ended."""
        await run_workload(self, burst(WARM_UP, median_s))
        durations = self.bench.store.durations
        async with asyncio.timeout(LEARNED_WITHIN_S):
            while not (await durations.read([LEARNED]))[LEARNED]:  # noqa: ASYNC110 - there is no notification
                await asyncio.sleep(1)
        await asyncio.sleep(2 * TICK_S)

    async def end_times(self) -> dict[str, float]:
        """By execution id, when the worker learned of the run's end."""
        found: dict[str, float] = {}
        cursor = None
        while True:
            page = await self.bench.store.read.queries.page(
                Filter(state=State.SUCCEEDED), PAGE, cursor
            )
            for job in page.jobs:
                if job.execution_id is not None and job.finished_at is not None:
                    found[job.execution_id] = job.finished_at
            cursor = page.next_cursor
            if cursor is None:
                return found


async def measure(
    workloads: Sequence[Workload],
    polls: float = USUAL.polls_per_run,
    poll_min_s: float = USUAL.poll_min_s,
) -> dict[str, dict[str, float]]:
    """The figures of our worker over workloads, one after the other on the same worker."""
    median_s = workloads[0].median_s
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with bench_system(
            sandbox=sandbox(median_s),
            stalls=folder,
            KNOUDS_POLLS_PER_RUN=f"{polls:.3f}",
            KNOUDS_POLL_MIN_S=f"{poll_min_s:.3f}",
        ) as bench:
            ours = OurWorkers(bench)
            await ours.warm_up(median_s)
            played = [await run_workload(ours, workload) for workload in workloads]
            end_times = await ours.end_times()
        return figures_of(workloads, played, folder, end_times)


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("in_flight", nargs="?", type=int, default=2_000)
    parser.add_argument("--median-s", type=float, default=3.0)
    parser.add_argument("--polls", type=float, default=USUAL.polls_per_run)
    parser.add_argument("--poll-min-s", type=float, default=USUAL.poll_min_s)
    asked = parser.parse_args()
    workloads = shapes(asked.in_flight, asked.median_s)
    found = await measure(workloads, asked.polls, asked.poll_min_s)
    results.table(found, f"{asked.in_flight:,} in flight")
    results.as_json("load", {"in_flight": asked.in_flight, "shapes": found})


if __name__ == "__main__":
    asyncio.run(main())
