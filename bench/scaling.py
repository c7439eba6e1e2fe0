"""Four workers compared with one, on the same cores: python -m bench.scaling [RUNS].

Four lanes with as many runs each, all enqueued at once, one lane after the other; a run takes half
a second, so the workers are what limits. The sandbox counts who was started, and how often.
"""

import argparse
import asyncio
import json
import time
from collections import Counter
from typing import Final

from bench import results
from bench.bench_system import BenchSystem, bench_system
from bench.measurement import cpu_s
from bench.results import Aim
from bench.sandbox_admin import executions
from jobs.lanes import JobId
from jobs.requests import JobRequest
from jobs.states import Kind, State
from worker.app.enqueue import Enqueuer, JobDefaults
from worker.clock import SystemClock

TARGETS: Final = ("gpt-image-2", "suno", "seedance-2-0", "seedance-2-0-full-access")
WORKERS: Final = 4
DURATION_S: Final = 0.5
POLL_S: Final = 0.05


async def enqueue(bench: BenchSystem, runs: int) -> None:
    """Every lane's jobs, the first lane's first: fairness must not come from their order."""
    enqueuer = Enqueuer(bench.store, SystemClock(), JobDefaults())
    for target in TARGETS:
        requests: list[tuple[JobId | None, JobRequest]] = []
        for number in range(runs // len(TARGETS)):
            play = {"sandbox": {"label": f"{target}:{number}", "duration_s": DURATION_S}}
            requests.append((None, JobRequest(Kind.MODEL, target, json.dumps(play).encode())))
        for first in range(0, len(requests), 500):
            await enqueuer.enqueue_many(requests[first : first + 500])


async def measure(workers: int, runs: int) -> dict[str, float]:
    """Process the runs with a number of workers."""
    async with bench_system(workers=workers) as bench:
        before, redis, commands = bench.used(), cpu_s(bench.redis), await bench.commands()
        began = time.monotonic()
        await enqueue(bench, runs)
        enqueued = time.monotonic()
        while (await bench.store.read.queries.state_counts())[0][State.SUCCEEDED] < runs:  # noqa: ASYNC110 - Redis does not tell
            await asyncio.sleep(POLL_S)
        wall = time.monotonic() - began
        used = bench.used()
        started = await executions(bench.sandbox)
        return {
            "wall_s": wall,
            "enqueue_s": enqueued - began,
            "runs_per_s": runs / wall,
            "cpu_s_per_1000": (used.cpu_s - before.cpu_s) * 1_000 / runs,
            "redis_cpu_s_per_1000": (cpu_s(bench.redis) - redis) * 1_000 / runs,
            "redis_commands_per_run": (await bench.commands() - commands) / runs,
            "rss_mb": used.rss_mb,
            "started_twice": len(started) - len({run.label for run in started}),
            "least_lane_share": _least_share([run.label for run in started]),
        }


def _least_share(labels: list[str]) -> float:
    """Of the middle half of all starts, the part of its fair share that the worst lane got.

    In the first quarter not every lane has been enqueued, in the last one not every lane has jobs.
    """
    quarter = len(labels) // 4
    middle = Counter(label.partition(":")[0] for label in labels[quarter:-quarter])
    return min(middle[target] for target in TARGETS) * len(TARGETS) / sum(middle.values())


async def main(runs: int) -> None:
    """Measure and print."""
    one, four = await measure(1, runs), await measure(WORKERS, runs)
    wanted = [
        Aim("4 workers: time over 1 worker's", four["wall_s"] / one["wall_s"], 1.0),
        Aim("4 workers: runs started twice", four["started_twice"], 0),
        Aim("4 workers: share of the worst lane", four["least_lane_share"], 0.8, at_least=True),
    ]
    results.table({"1 worker": one, f"{WORKERS} workers": four}, f"{runs:,} runs, 4 lanes")
    results.aims(wanted)
    results.as_json("fleet", {"runs": runs, "one": one, "four": four}, wanted)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="?", type=int, default=4_000)
    asyncio.run(main(parser.parse_args().runs))
