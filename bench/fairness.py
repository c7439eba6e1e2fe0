"""What fair keys do, how fast admission is with many of them, and what they cost a run.

    python -m bench.fairness [beside] [keys] [cost]

`beside`: how long 20 keys with 5 jobs wait beside one with 5,000, which came first, over their
time alone; in a lane with a cap, as where runs are limited. `keys`: admission alone, of 10,000 jobs
in one lane, of as many keys, and in as many lanes. `cost`: a run without a key, and with one. About
ten minutes.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import psutil

from bench import results
from bench.bench_system import KEY, BenchSystem, bench_system
from bench.results import Aim
from bench.run_cost import ROUNDS, RunCost, Way, measure
from config.environment import load
from jobs.indexes import Index
from jobs.rate_limits import RateLimitBucket
from jobs.requests import JobRequest
from jobs.states import Kind, State
from worker.app.enqueue import Enqueuer, JobDefaults
from worker.clock import SystemClock
from worker.compose.worker import build
from worker.redis.connect import connect
from worker.redis.embedded import EmbeddedRedis
from worker.redis.primary import Primary
from worker.store import Store
from worker.store.codec import encode

INPUTS: Final = b'{"prompt":"a cat"}'
TARGET: Final = "gpt-image-2"
CHUNK: Final = 500
SMALL_KEYS, SMALL_JOBS, LARGE_JOBS = 20, 5, 5_000
LANE_CAP: Final = 20
WARM_UP: Final = 100
"""Runs until their durations are known, so that polls come in time."""
MANY: Final = 10_000
COST_RUNS: Final = 600
NOWHERE: Final = "http://127.0.0.1:9"
POLL_S: Final = 0.05
WITHIN_S: Final = 300.0


def _request(fair_key: str | None = None, target: str = TARGET, tag: str = "t") -> JobRequest:
    return JobRequest(Kind.MODEL, target, INPUTS, fair_key=fair_key, tags=(tag,))


async def _enqueue(bench: BenchSystem, wanted: list[JobRequest]) -> None:
    enqueuer = Enqueuer(bench.store, SystemClock(), JobDefaults())
    for first in range(0, len(wanted), CHUNK):
        await enqueuer.enqueue_many([(None, one) for one in wanted[first : first + CHUNK]])


async def _until_succeeded(bench: BenchSystem, tag: str, count: int) -> None:
    """Wait until the jobs of a tag have succeeded; they share no other state."""
    ids = await bench.store.jobs.members(Index.TAG, tag, count)
    async with asyncio.timeout(WITHIN_S):
        while ids:
            stored = await bench.store.jobs.load_many(ids)
            ids = [one.job.id for one in stored if one and one.job.state is not State.SUCCEEDED]
            await asyncio.sleep(POLL_S)


async def small_keys_s(*, large_jobs: int, with_keys: bool) -> float:
    """Seconds until the jobs of the small keys have succeeded."""
    caps = json.dumps({"*": LANE_CAP})
    options: dict[str, Any] = {"KNOUDS_LANE_CAPS": caps}
    async with bench_system(sandbox=("--median-s", "0.5"), **options) as bench:
        await _enqueue(bench, [_request(tag="warm")] * WARM_UP)
        await _until_succeeded(bench, "warm", WARM_UP)
        await _enqueue(bench, [_request("large" if with_keys else None)] * large_jobs)
        small = [
            _request(f"small-{number}" if with_keys else None, tag="small")
            for number in range(SMALL_KEYS)
            for _ in range(SMALL_JOBS)
        ]
        started = time.monotonic()
        await _enqueue(bench, small)
        await _until_succeeded(bench, "small", len(small))
        return time.monotonic() - started


async def admitted(requests: list[JobRequest]) -> dict[str, float]:
    """How fast admission alone moves jobs out of their lanes, in CPU time of one core.

    Its jobs count as submitted at once: the slots of a worker are never what it waits for.
    """
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedRedis(Path(folder)) as redis:
            given = {
                "KNOUDS_REDIS_URL": redis.url,
                "KNOUDS_API_KEY": KEY,
                "KNOUDS_BASE_URL": NOWHERE,
            }
            settings, server, primary = load(given, None), psutil.Process(redis.pid), Primary()
            client = connect(settings, primary=primary)
            runtime = build(settings, client, primary)
            store, clock = runtime.context.store, runtime.context.clock
            enqueuer = Enqueuer(store, SystemClock(), JobDefaults())
            for first in range(0, len(requests), CHUNK):
                some = requests[first : first + CHUNK]
                await enqueuer.enqueue_many([(None, one) for one in some])
            unlimited = encode(RateLimitBucket(is_unlimited=True, granted_at=clock.now()))
            for route in ("default", "default/model"):
                await store.client.call("HSET", store.keys.rate_limits, route, unlimited)
            services = {one.name: one for one in runtime.supervisor.services}
            for name in ("redis_recovery", "heartbeat", "redis_recovery"):
                await services[name].tick(clock.now())
            queued = store.keys.index(Index.STATE, State.QUEUED)
            leased = store.keys.index(Index.LEASE)
            commands, own, theirs = await _commands(store), time.process_time(), _cpu_s(server)
            rounds = 0
            while await store.client.call("ZCARD", queued):
                await services["admission"].tick(clock.now())
                await store.client.call("DEL", leased)
                rounds += 1
            own, theirs = time.process_time() - own, _cpu_s(server) - theirs
            count = len(requests)
            found = {
                "jobs a second of CPU, worker": count / own,
                "jobs a second of CPU, worker and Redis": count / (own + theirs),
                "worker CPU, us a job": own / count * 1e6,
                "Redis CPU, us a job": theirs / count * 1e6,
                "commands a job": (await _commands(store) - commands) / count,
                "rounds": rounds,
            }
            await client.aclose(close_connection_pool=True)
            return found


def _cpu_s(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])


async def _commands(store: Store) -> int:
    stats: dict[str, dict[str, float]] = await store.client.call("INFO", "commandstats")
    return sum(int(row["calls"]) for row in stats.values())


async def beside() -> list[Aim]:
    """The small keys alone and beside the large one."""
    alone = await small_keys_s(large_jobs=0, with_keys=True)
    fair = await small_keys_s(large_jobs=LARGE_JOBS, with_keys=True)
    without = await small_keys_s(large_jobs=LARGE_JOBS, with_keys=False)
    row = {"alone": alone, "beside 5,000": fair, "the same without keys": without}
    results.table({"seconds": row}, "100 jobs of 20 keys")
    return [Aim("20 keys with 5 jobs beside one with 5,000, over alone", fair / alone, 1.5)]


async def keys() -> list[Aim]:
    """Many keys, and many lanes."""
    rows = {
        "one lane": await admitted([_request()] * MANY),
        "10,000 keys": await admitted([_request(f"user-{number}") for number in range(MANY)]),
        "1,000 lanes": await admitted(
            [_request(target=f"target-{number % 1_000}") for number in range(MANY)]
        ),
        "10,000 lanes": await admitted([_request(target=f"target-{n}") for n in range(MANY)]),
    }
    results.table(rows, f"{MANY:,} jobs")
    return [
        Aim(f"admission, jobs/s, {name}", row["jobs a second of CPU, worker"], 1_000, at_least=True)
        for name, row in rows.items()
    ]


async def cost() -> list[Aim]:
    """A run without and with a key."""
    found: tuple[list[RunCost], list[RunCost]] = ([], [])
    for which in ROUNDS:
        request = _request("ann" if which else None)
        found[which].append(await measure(COST_RUNS, Way("on" if which else "off"), request))
    medians = {
        name: {
            part: statistics.median(getattr(one, part) for one in rounds)
            for part in RunCost.__dataclass_fields__
        }
        for name, rounds in zip(("without a key", "with one"), found, strict=True)
    }
    results.table(medians, "per run")
    return []


PARTS: Final = {"beside": beside, "keys": keys, "cost": cost}


async def main(names: list[str]) -> None:
    """Measure and print."""
    wanted: list[Aim] = []
    for name in names:
        wanted += await PARTS[name]()
    if wanted:
        results.aims(wanted)
    results.as_json("fairness", {"parts": names}, wanted)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=list(PARTS), default=list(PARTS))
    asyncio.run(main(parser.parse_args().parts))
