"""What a run costs in two ways that take turns (A B B A …), each on servers of its own."""

import argparse
import asyncio
import json
import resource
import statistics
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bench.bench_system import BenchSystem, bench_system
from jobs.indexes import Index
from jobs.requests import JobRequest
from jobs.states import State
from worker.app.enqueue import Enqueuer, JobDefaults
from worker.clock import SystemClock

CHUNK: Final = 200
ROUNDS: Final = (0, 1, 1, 0, 0, 1)
"""The first or the second way, in turns."""


async def _nothing(_: BenchSystem) -> None:
    return


@dataclass(frozen=True, slots=True)
class Way:
    """One of the two."""

    name: str
    environ: Mapping[str, str] = field(default_factory=dict[str, str])
    prepare: Callable[[BenchSystem], Awaitable[None]] = _nothing


@dataclass(frozen=True, slots=True)
class RunCost:
    """Microseconds of CPU a run, and commands of Redis a run."""

    enqueue_us: float
    worker_us: float
    redis_us: float
    commands: float


def _own_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure(runs: int, way: Way, request: JobRequest) -> RunCost:
    """One round."""
    environ: dict[str, Any] = dict(way.environ)
    async with bench_system(sandbox=("--median-s", "0.5"), **environ) as bench:
        enqueuer = Enqueuer(bench.store, SystemClock(), JobDefaults())
        await way.prepare(bench)
        await enqueuer.enqueue_many([(None, request)])  # the first one loads modules
        worker, redis = bench.used().cpu_s, sum(bench.redis.cpu_times()[:2])
        commands, own = await bench.commands(), _own_cpu_s()
        for _ in range(0, runs, CHUNK):
            await enqueuer.enqueue_many([(None, request)] * CHUNK)
        own = _own_cpu_s() - own
        key = bench.store.keys.index(Index.STATE, State.SUCCEEDED)
        async with asyncio.timeout(300):
            while await bench.store.client.call("ZCARD", key) <= runs:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        return RunCost(
            own / runs * 1e6,
            (bench.used().cpu_s - worker) / runs * 1e6,
            (sum(bench.redis.cpu_times()[:2]) - redis) / runs * 1e6,
            (await bench.commands() - commands) / runs,
        )


def compare(name: str, doc: str | None, ways: tuple[Way, Way], request: JobRequest) -> None:
    """Print the medians of both ways, and the difference; the command line has the runs."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("runs", nargs="?", type=int, default=2_000)
    runs = parser.parse_args().runs
    found: tuple[list[RunCost], list[RunCost]] = ([], [])
    for which in ROUNDS:
        found[which].append(asyncio.run(measure(runs, ways[which], request)))
    medians = {
        part: [statistics.median(getattr(one, part) for one in rounds) for rounds in found]
        for part in RunCost.__dataclass_fields__
    }
    print(f"{'per run':12} {ways[0].name:>12} {ways[1].name:>12} {'more':>8}")  # noqa: T201
    for part, (first, second) in medians.items():
        more = f"{(second / first - 1) * 100:+.1f} %"
        print(f"{part:12} {first:12.1f} {second:12.1f} {more:>8}")  # noqa: T201
    print(json.dumps({"name": name, "aims": [], "medians": medians}))  # noqa: T201
