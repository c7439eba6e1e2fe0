"""Sync runs beside async submits, in one worker: python -m bench.sync_runs [OPEN].

First, 100 async jobs are enqueued behind 200 runs of a sync-only model of 25 s each: when is the
first of them submitted, and when have all ended? Then 500 sync runs are open at once: what do they
cost in memory and in stalls of the event loop, and how many run at once? About a minute and a half.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench import results
from bench.bench_system import BenchSystem, bench_system
from bench.results import Aim
from bench.sandbox_admin import executions
from bench.stalls import within
from jobs.indexes import Index
from jobs.lanes import JobId
from jobs.requests import JobRequest
from jobs.states import Kind, State
from worker.app.enqueue import Enqueuer, JobDefaults
from worker.clock import SystemClock

SYNC_ONLY: Final = "kling-2-5"
SYNC_S: Final = 25.0
SYNC_AHEAD: Final = 200
ASYNC_BEHIND: Final = 100
ASYNC_S: Final = 1.0


def _request(target: str, label: str, duration_s: float) -> JobRequest:
    inputs = {"sandbox": {"label": label, "duration_s": duration_s}}
    return JobRequest(Kind.MODEL, target, json.dumps(inputs).encode())


async def _enqueue(
    bench: BenchSystem, target: str, label: str, count: int, duration_s: float
) -> None:
    enqueuer = Enqueuer(bench.store, SystemClock(), JobDefaults())
    for first in range(0, count, 500):
        requests = [
            (JobId(f"{label}-{n}"), _request(target, label, duration_s))
            for n in range(first, min(count, first + 500))
        ]
        await enqueuer.enqueue_many(requests)


async def _count(bench: BenchSystem, key: str) -> int:
    return int(await bench.store.client.call("ZCARD", key))


async def _until_succeeded(bench: BenchSystem, count: int) -> None:
    key = bench.store.keys.index(Index.STATE, State.SUCCEEDED)
    while await _count(bench, key) < count:  # noqa: ASYNC110 - Redis does not tell
        await asyncio.sleep(0.02)


async def async_behind_sync() -> dict[str, float]:
    """When async jobs behind a long line of sync runs are submitted, and when they have ended."""
    async with bench_system(KNOUDS_SHUTDOWN_GRACE_S="0.1") as bench:
        await _enqueue(bench, "gpt-image-2", "first", 1, 0.05)
        await _until_succeeded(bench, 1)
        started = time.time()
        await _enqueue(bench, SYNC_ONLY, "sync", SYNC_AHEAD, SYNC_S)
        await _enqueue(bench, "gpt-image-2", "async", ASYNC_BEHIND, ASYNC_S)
        await _until_succeeded(bench, 1 + ASYNC_BEHIND)
        ended = time.time()
        runs = [run for run in await executions(bench.sandbox, started) if run.label == "async"]
        return {
            "first_submit_s": min(run.started_at for run in runs) - started,
            "last_submit_s": max(run.started_at for run in runs) - started,
            "all_done_s": ended - started,
        }


async def many_open(count: int) -> dict[str, float]:
    """What `count` sync runs that are open at once cost a worker."""
    with tempfile.TemporaryDirectory() as folder:
        async with bench_system(
            stalls=Path(folder), KNOUDS_SYNC_RUNS=str(count), KNOUDS_SHUTDOWN_GRACE_S="0.1"
        ) as bench:
            await _enqueue(bench, SYNC_ONLY, "first", 1, 0.05)
            await _until_succeeded(bench, 1)
            idle = bench.used()
            started = time.time()
            await _enqueue(bench, SYNC_ONLY, "sync", count, SYNC_S)
            most = await _watch_until_succeeded(bench, 1 + count)
            opened_s, most_open, rss_mb = most
            ended, used = time.time(), bench.used()
        late = sorted(within(_samples(Path(folder)), started, ended))
        return {
            "open_at_once": most_open,
            "opened_s": opened_s,
            "idle_mb": idle.rss_mb,
            "rss_mb": rss_mb,
            "kb_per_run": (rss_mb - idle.rss_mb) * 1024 / count,
            "stall_p99_ms": 1000 * late[int(len(late) * 0.99)],
            "stall_most_ms": 1000 * late[-1],
            "cpu_s": used.cpu_s - idle.cpu_s,
        }


def _samples(folder: Path) -> Sequence[Sequence[float]]:
    """What the one worker left when it ended."""
    (left,) = folder.glob("*.json")
    found: Sequence[Sequence[float]] = json.loads(left.read_text())["stalls"]
    return found


async def _watch_until_succeeded(bench: BenchSystem, count: int) -> tuple[float, float, float]:
    """Seconds until most runs were open, how many that were, and the most memory (MB)."""
    keys, started = bench.store.keys, time.time()
    opened_s, most_open, most_mb = 0.0, 0, 0.0
    while await _count(bench, keys.index(Index.STATE, State.SUCCEEDED)) < count:
        is_open = await _count(bench, keys.index(Index.STATE, State.RUNNING))
        if is_open > most_open:
            opened_s, most_open = time.time() - started, is_open
        most_mb = max(most_mb, bench.used().rss_mb)
        await asyncio.sleep(0.1)
    return opened_s, most_open, most_mb


async def main(count: int) -> None:
    """Measure and print."""
    behind = await async_behind_sync()
    opened = await many_open(count)
    results.table({"async behind sync": behind}, "seconds")
    results.table({f"{count} sync runs": opened}, "one worker")
    wanted = [
        Aim("first async submit, s", behind["first_submit_s"], 1.0),
        Aim("all async jobs done, s", behind["all_done_s"], 5.0),
        Aim("loop stalls p99, ms", opened["stall_p99_ms"], 30),
    ]
    results.aims(wanted)
    results.as_json("sync_runs", {"behind": behind, "open": opened}, wanted)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("open", nargs="?", type=int, default=500)
    asyncio.run(main(parser.parse_args().open))
