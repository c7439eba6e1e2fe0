"""Workers killed under load, this one and a plain arq one: python -m bench.crash [SEED].

Both get the same runs at the same moments and lose the same workers at the same moments, one after
the other; the sandbox's ledger counts. Then 500 runs in flight lose one of our two workers.
About two minutes.
"""

import asyncio
import json
import os
import random
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from arq.connections import ArqRedis, RedisSettings, create_pool

from bench import naive_arq, results
from bench.bench_system import KEY, BenchSystem, bench_system
from bench.sandbox_admin import admin_get
from jobs.lanes import JobId
from jobs.requests import JobRequest
from jobs.states import SETTLED_OR_PARKED, Kind, State
from worker.app.enqueue import Enqueuer, JobDefaults
from worker.clock import SystemClock
from worker.store.read.filter import Filter

RUNS: Final = 400
KILLS: Final = 12
OVER_S: Final = 24.0
SLOTS: Final = 2
TARGET: Final = "gpt-image-2"
SETTLED_WITHIN_S: Final = 45.0

IN_FLIGHT: Final = 500
POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class CrashSchedule:
    """What happens when (seconds from the start), the same for each worker."""

    runs: tuple[tuple[float, str, dict[str, Any]], ...]
    kills: tuple[tuple[float, int], ...]


def schedule(seed: int) -> CrashSchedule:
    """Runs of 0.5 to 2 s that come evenly, submits that take 20 to 300 ms, kills at random."""
    dice = random.Random(seed)  # noqa: S311 - a schedule
    runs = [
        (
            OVER_S * n / RUNS,
            f"r{n}",
            {
                "duration_s": round(dice.uniform(0.5, 2.0), 3),
                "fault": "slow",
                "delay_s": round(dice.uniform(0.02, 0.3), 3),
            },
        )
        for n in range(RUNS)
    ]
    moments = sorted(dice.uniform(1.0, OVER_S) for _ in range(KILLS))
    return CrashSchedule(tuple(runs), tuple((at, n % SLOTS) for n, at in enumerate(moments)))


@dataclass(slots=True)
class CrashWorkers:
    """Worker processes of one kind; a killed one is replaced at once."""

    command: Sequence[str]
    environ: dict[str, str]
    running: list[asyncio.subprocess.Process] = field(
        default_factory=list[asyncio.subprocess.Process]
    )

    async def start(self) -> None:
        """Start one."""
        self.running.append(await self._spawn())

    async def kill(self, slot: int, *, replace: bool = True) -> int:
        """SIGKILL one; returns its process id."""
        process = self.running[slot]
        process.kill()
        await process.wait()
        if replace:
            self.running[slot] = await self._spawn()
        return process.pid

    async def end(self) -> None:
        """End them all."""
        for process in self.running:
            if process.returncode is None:
                process.terminate()
        await asyncio.gather(*(process.wait() for process in self.running))

    async def _spawn(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *self.command,
            env={"PATH": os.environ["PATH"], **self.environ},
            stderr=asyncio.subprocess.DEVNULL,
        )


@asynccontextmanager
async def _workers(command: Sequence[str], environ: dict[str, str]) -> AsyncGenerator[CrashWorkers]:
    workers = CrashWorkers(command, environ)
    try:
        for _ in range(SLOTS):
            await workers.start()
        yield workers
    finally:
        await workers.end()


def _ours(bench: BenchSystem, redis_url: str) -> dict[str, str]:
    return {
        "KNOUDS_REDIS_URL": redis_url,
        "KNOUDS_BASE_URL": bench.sandbox,
        "KNOUDS_API_KEY": KEY,
        "KNOUDS_LOG_LEVEL": "warning",
    }


def _redis_url(bench: BenchSystem) -> str:
    url = bench.settings.redis_url
    if url is None:
        raise RuntimeError("the bench has no Redis")
    return url.get_secret_value()


async def _until(claim: Callable[[], Awaitable[bool]], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not await claim():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_S)
    return True


async def _run_schedule(
    plan: CrashSchedule,
    workers: CrashWorkers,
    enqueue: Callable[[str, dict[str, Any]], Awaitable[None]],
) -> None:
    """Let runs come and workers die when the schedule says so."""
    began = time.monotonic()

    async def enqueue_runs() -> None:
        for at, label, play in plan.runs:
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            await enqueue(label, {"prompt": "x", "sandbox": {"label": label, **play}})

    async def kill_workers() -> None:
        for at, slot in plan.kills:
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            await workers.kill(slot)

    await asyncio.gather(enqueue_runs(), kill_workers())


async def _counted(bench: BenchSystem, succeeded: set[str], parked: int) -> dict[str, float]:
    labels = (await admin_get(bench.sandbox, "ledger"))["labels"]
    started = {f"r{n}": labels.get(f"r{n}", {"started": 0})["started"] for n in range(RUNS)}
    return {
        "runs": RUNS,
        "succeeded": len(succeeded),
        "started_again": sum(max(0, count - 1) for count in started.values()),
        "credits_twice": sum(8 * max(0, count - 1) for count in started.values()),
        "parked_for_a_person": parked,
        "lost": RUNS - len(succeeded) - parked,
    }


async def ours(plan: CrashSchedule) -> dict[str, float]:
    """Our workers under the schedule."""
    async with bench_system(workers=0) as bench:
        enqueuer = Enqueuer(bench.store, SystemClock(), JobDefaults())
        command = ("-m", "worker.cli.main", "worker")
        async with _workers(command, _ours(bench, _redis_url(bench))) as workers:
            await _until(lambda: _live(bench, SLOTS), 20)
            began = time.monotonic()

            async def enqueue(label: str, inputs: dict[str, Any]) -> None:
                request = JobRequest(Kind.MODEL, TARGET, json.dumps(inputs).encode())
                await enqueuer.enqueue(request, job_id=JobId(label))

            await _run_schedule(plan, workers, enqueue)
            await _until(lambda: _settled(bench, RUNS), SETTLED_WITHIN_S)
            seconds = time.monotonic() - began
            done = await bench.store.read.queries.page(Filter(state=State.SUCCEEDED), RUNS)
            parked = (await bench.store.read.queries.state_counts())[0][State.PARKED]
            found = await _counted(bench, {str(job.id) for job in done.jobs}, parked)
            return found | {"seconds": seconds}


async def naive(plan: CrashSchedule) -> dict[str, float]:
    """The plain arq worker under the same schedule."""
    async with bench_system(workers=0) as bench:
        url = _redis_url(bench)
        environ = {naive_arq.REDIS: url, naive_arq.URL: bench.sandbox, naive_arq.KEY: KEY}
        pool = await create_pool(RedisSettings.from_dsn(url))
        async with _workers(("-m", "arq", "bench.naive_arq.NaiveArqSettings"), environ) as workers:
            began = time.monotonic()

            async def enqueue(label: str, inputs: dict[str, Any]) -> None:
                await pool.enqueue_job("run_model", TARGET, inputs, _job_id=label)

            await _run_schedule(plan, workers, enqueue)
            await _until(lambda: _is_empty(pool), SETTLED_WITHIN_S)
            seconds = time.monotonic() - began
            results = await pool.all_job_results()
            good = {str(result.job_id) for result in results if result.success}
            found = await _counted(bench, good, 0)
        await pool.aclose(close_connection_pool=True)
        return found | {"seconds": seconds}


async def _is_empty(pool: ArqRedis) -> bool:
    return int(await pool.zcard("arq:queue")) == 0


async def _live(bench: BenchSystem, count: int) -> bool:
    return len(await bench.store.workers.heartbeats()) >= count


async def _settled(bench: BenchSystem, count: int) -> bool:
    states, _ = await bench.store.read.queries.state_counts()
    return sum(states[state] for state in SETTLED_OR_PARKED) >= count


async def rescue(seed: int) -> dict[str, float]:
    """Kill one of two workers while 500 runs are in flight, and watch the other go on."""
    dice = random.Random(seed)  # noqa: S311 - a schedule
    async with bench_system(workers=0) as bench:
        enqueuer = Enqueuer(bench.store, SystemClock(), JobDefaults())
        command = ("-m", "worker.cli.main", "worker")
        async with _workers(command, _ours(bench, _redis_url(bench))) as workers:
            await _until(lambda: _live(bench, SLOTS), 20)
            requests = [
                (JobId(f"r{n}"), _request(f"r{n}", round(dice.uniform(12.0, 16.0), 3)))
                for n in range(IN_FLIGHT)
            ]
            await enqueuer.enqueue_many(requests)
            await _until(lambda: _running(bench), 30)
            polls = await _polls(bench)
            killed_at = time.time()
            pid = await workers.kill(0, replace=False)
            page = await bench.store.read.queries.page(Filter(), IN_FLIGHT)
            theirs = {
                str(job.id)
                for job in page.jobs
                if any(e.name == "send" and f"-{pid}-" in e.by for e in job.events)
            }
            first = await _first_poll(bench, theirs, polls) - killed_at
            await _until(lambda: _settled(bench, IN_FLIGHT), 60)
            return await _rescued(bench, theirs, killed_at, first)


async def _rescued(
    bench: BenchSystem, theirs: set[str], killed_at: float, first: float
) -> dict[str, float]:
    items = (await admin_get(bench.sandbox, "executions"))["items"]
    ended = {item["label"]: item["finished_at"] or 0.0 for item in items}
    page = await bench.store.read.queries.page(Filter(), IN_FLIGHT)
    delays = [(job.finished_at or 0.0) - ended[job.id] for job in page.jobs]
    states, _ = await bench.store.read.queries.state_counts()
    return {
        "in_flight": IN_FLIGHT,
        "of_the_killed": len(theirs),
        "succeeded": states[State.SUCCEEDED],
        "first_rescued_poll_s": first,
        "last_run_ended_s": max(ended.values()) - killed_at,
        "all_settled_s": max(job.finished_at or 0.0 for job in page.jobs) - killed_at,
        "delay_p50_s": statistics.median(delays),
        "delay_max_s": max(delays),
        "started_again": len(items) - IN_FLIGHT,
    }


def _request(label: str, duration_s: float) -> JobRequest:
    inputs = {"prompt": "x", "sandbox": {"label": label, "duration_s": duration_s}}
    return JobRequest(Kind.MODEL, TARGET, json.dumps(inputs).encode())


async def _running(bench: BenchSystem) -> bool:
    return (await bench.store.read.queries.state_counts())[0][State.RUNNING] >= IN_FLIGHT


async def _polls(bench: BenchSystem) -> dict[str, int]:
    items = (await admin_get(bench.sandbox, "executions"))["items"]
    return {item["label"]: item["polls"] for item in items}


async def _first_poll(bench: BenchSystem, theirs: set[str], before: dict[str, int]) -> float:
    """The time of the first new poll of a run that the killed worker had submitted."""

    async def polled_again() -> bool:
        now = await _polls(bench)
        return any(now[label] > before[label] for label in theirs)

    await _until(polled_again, 30)
    return time.time()


async def main(seed: int) -> None:
    """Measure and print."""
    plan = schedule(seed)
    found = {"ours": await ours(plan), "naive": await naive(plan)}
    rescued = await rescue(seed)
    results.table(found, f"{KILLS} kills, {RUNS} runs")
    results.table({"rescue": rescued}, "one of two killed")
    results.as_json("crash", {"seed": seed, "crash": found, "rescue": rescued})


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
