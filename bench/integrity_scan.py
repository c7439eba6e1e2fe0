"""The integrity check of many jobs: python -m bench.integrity_scan [JOBS].

Jobs in a mix of states, two tags each; prints seconds and megabytes. Memory is what the process
grew by during the check.
"""

import asyncio
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import psutil
from pydantic import SecretStr

from bench import results
from config.settings import Settings
from jobs import transitions
from jobs.job import Job, Reason
from jobs.lanes import JobId
from jobs.outcomes import Accepted, Finished, ProviderError
from jobs.requests import JobRequest, new_job
from jobs.states import Kind
from worker.clock import SystemClock
from worker.doctor.integrity_check import IntegrityCheck
from worker.redis.connect import connect
from worker.redis.embedded import EmbeddedRedis
from worker.store import open_store

CHUNK = 500


def a_job(number: int, now: float) -> Job:
    """Of twenty jobs ten succeeded, five run, three wait, one is parked, one is dead."""
    target = f"model-{number % 40}"
    request = JobRequest(Kind.MODEL, target, b"{}", tags=(f"customer-{number % 1000}", "bench"))
    job = new_job(request, JobId(f"bench-{number:08}"), now, max_attempts=5, deadline_s=3600)
    kind = number % 20
    if kind < 3:  # noqa: PLR2004
        return job
    job = transitions.admit(
        job,
        now,
        submit_token="h",  # noqa: S106 - it fences one submit, it is no secret
        lease_until=now + 10,
        opening_hold_ids=(),
    )
    job = transitions.send(job, now, owner="bench", lease_until=now + 10)
    fault = ProviderError("INVALID_INPUTS", "no prompt", 400)
    if kind == 3:  # noqa: PLR2004
        return transitions.dead_letter(
            job, now, fault, Reason(code="INVALID_INPUTS", http_status=400)
        )
    if kind == 4:  # noqa: PLR2004
        return transitions.park_uncertain(job, now, why="connection lost")
    job = transitions.accept(job, now, Accepted(f"ex-{number}", None), next_poll_at=now + 30)
    if kind < 10:  # noqa: PLR2004
        return job
    return transitions.succeed(job, now, Finished(b"{}", cost=1.0))


def fill(url: str, count: int) -> None:
    """Write the jobs."""
    asyncio.run(_fill(url, count))


async def _fill(url: str, count: int) -> None:
    settings = Settings(redis_url=SecretStr(url))
    redis = connect(settings)
    store = open_store(redis, settings.namespace)
    now = time.time()
    for start in range(0, count, CHUNK):
        numbers = range(start, min(start + CHUNK, count))
        await asyncio.gather(*(store.jobs.create(a_job(n, now), b"{}") for n in numbers))
    await redis.aclose(close_connection_pool=True)


async def main(count: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedRedis(Path(folder)) as server:
            settings = Settings(redis_url=SecretStr(server.url))
            redis = connect(settings)
            store = open_store(redis, settings.namespace)
            with ProcessPoolExecutor(1, get_context("spawn")) as other:  # its memory is its own
                await asyncio.get_running_loop().run_in_executor(other, fill, server.url, count)
            redis_process, us = psutil.Process(server.pid), psutil.Process()
            rss, cpu = us.memory_info().rss, sum(us.cpu_times()[:2])
            redis_cpu = sum(redis_process.cpu_times()[:2])
            peak, done = rss, asyncio.Event()

            async def watch() -> None:
                nonlocal peak
                while not done.is_set():
                    peak = max(peak, us.memory_info().rss)
                    await asyncio.sleep(0.02)

            watching = asyncio.create_task(watch())
            report = await IntegrityCheck(store, SystemClock(), lease_s=settings.lease_s).run()
            done.set()
            await watching
            found = {
                "jobs": report.jobs,
                "entries": report.entries_compared,
                "damages": report.counts_by_kind.total(),
                "seconds": report.duration_s,
                "cpu_s": sum(us.cpu_times()[:2]) - cpu,
                "redis_cpu_s": sum(redis_process.cpu_times()[:2]) - redis_cpu,
                "grown_mb": (peak - rss) / 2**20,
            }
            await redis.aclose(close_connection_pool=True)
    results.table({"integrity check": found})
    results.as_json("integrity check", {"rows": found})


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
