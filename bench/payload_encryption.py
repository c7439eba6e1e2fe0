"""What encryption of payloads costs a run: python -m bench.payload_encryption [RUNS].

Runs with and without KNOUDS_PAYLOAD_KEYS take turns (A B B A …), each on a Redis and a worker of
its own, with inputs of 1 KB. CPU of the worker and of Redis a run, and of this process an enqueue.
"""

import argparse
import asyncio
import base64
import json
import resource
import statistics
from dataclasses import dataclass
from typing import Final

from bench.bench_system import bench_system
from jobs.indexes import Index
from jobs.requests import JobRequest
from jobs.states import Kind, State
from worker.app.enqueue import Enqueuer, JobDefaults
from worker.clock import SystemClock

KEY: Final = base64.b64encode(b"k" * 32).decode()
INPUTS: Final = b'{"prompt":"' + b"x" * 1_000 + b'"}'
CHUNK: Final = 200
ROUNDS: Final = (False, True, True, False, False, True)
"""With or without encryption, in turns."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Microseconds of CPU a run, and commands of Redis a run."""

    enqueue_us: float
    worker_us: float
    redis_us: float
    commands: float


def _own_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure(runs: int, *, encrypts: bool) -> Measured:
    """One round."""
    async with bench_system(
        sandbox=("--median-s", "0.5"), KNOUDS_PAYLOAD_KEYS=KEY if encrypts else ""
    ) as bench:
        enqueuer = Enqueuer(bench.store, SystemClock(), JobDefaults())
        request = JobRequest(Kind.MODEL, "gpt-image-2", INPUTS)
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
        return Measured(
            own / runs * 1e6,
            (bench.used().cpu_s - worker) / runs * 1e6,
            (sum(bench.redis.cpu_times()[:2]) - redis) / runs * 1e6,
            (await bench.commands() - commands) / runs,
        )


def main() -> None:
    """Print a row for each way, and the difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="?", type=int, default=2_000)
    runs = parser.parse_args().runs
    found: dict[bool, list[Measured]] = {False: [], True: []}
    for encrypts in ROUNDS:
        found[encrypts].append(asyncio.run(measure(runs, encrypts=encrypts)))
    medians = {
        name: [
            statistics.median(getattr(one, name) for one in found[which]) for which in (False, True)
        ]
        for name in ("enqueue_us", "worker_us", "redis_us", "commands")
    }
    print(f"{'per run':12} {'plain':>10} {'encrypted':>10} {'more':>8}")  # noqa: T201
    for name, (plain, encrypted) in medians.items():
        more = f"{(encrypted / plain - 1) * 100:+.1f} %"
        print(f"{name:12} {plain:10.1f} {encrypted:10.1f} {more:>8}")  # noqa: T201
    print(json.dumps({"name": "payload_encryption", "aims": [], "medians": medians}))  # noqa: T201


if __name__ == "__main__":
    main()
