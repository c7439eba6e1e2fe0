"""What a workload costs a worker, measured from outside and in the same way for every worker.

CPU and memory are those of all processes of the worker, manager processes among them. Commands are
those Redis performed; those inside scripts, of enqueues and of the measurement itself count. A
run's delay is the time from its end at the provider to the moment its worker observed it.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import psutil

from bench.bench_system import BenchSystem
from bench.sandbox_admin import ProviderRun, admin_get, executions, requests
from bench.stalls import within
from bench.workload import Workload

POLL_S: Final = 0.25
AFTERWARDS_S: Final = 0.5
"""How long the worker has, after the provider reported the last end, to record it."""

WITHIN_S: Final = 150.0
"""A workload that takes longer has failed: the longest here takes about a minute."""


class MeasuredWorker(Protocol):
    """A worker under measurement."""

    @property
    def bench(self) -> BenchSystem:
        """Its Redis and its sandbox."""
        ...

    async def enqueue(self, workload: Workload) -> None:
        """Hand the runs over; returns when the last is handed over."""
        ...

    def processes(self) -> Sequence[psutil.Process]:
        """Every process of the worker."""
        ...

    async def done(self) -> int:
        """The number of runs whose end it has observed so far."""
        ...


@dataclass(frozen=True, slots=True)
class ResourceUse:
    """What was used up to a moment."""

    cpu_s: float
    redis_cpu_s: float
    commands: int
    requests: int


@dataclass(frozen=True, slots=True)
class WorkloadRun:
    """The measurements of a workload from outside the worker."""

    began: float
    ended: float
    used: ResourceUse
    rss_mb: float
    in_flight: Sequence[int]
    runs: Sequence[ProviderRun]


class RunsUnfinished(Exception):
    """Some runs did not end in time."""


async def run_workload(
    contestant: MeasuredWorker, workload: Workload, within_s: float = WITHIN_S
) -> WorkloadRun:
    """Enqueue a workload and measure until its last end was observed; raises `Unfinished`."""
    bench = contestant.bench
    wanted = await contestant.done() + workload.runs
    before, began = await _used(contestant), time.time()
    feeding = asyncio.create_task(contestant.enqueue(workload))
    rss, in_flight = 0.0, list[int]()
    try:
        async with asyncio.timeout(within_s):
            while True:
                rss = max(rss, _rss_mb(contestant.processes()))
                states = (await admin_get(bench.sandbox, "state"))["runs"]
                in_flight.append(states.get("processing", 0))
                if feeding.done():
                    feeding.result()
                    if states.get("completed", 0) >= wanted and await contestant.done() >= wanted:
                        break
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise RunsUnfinished(f"{workload.name}: {workload.runs} runs took too long") from None
    finally:
        feeding.cancel()
    await asyncio.sleep(AFTERWARDS_S)
    after = await _used(contestant)
    spent = ResourceUse(
        after.cpu_s - before.cpu_s,
        after.redis_cpu_s - before.redis_cpu_s,
        after.commands - before.commands,
        after.requests - before.requests,
    )
    runs = await executions(bench.sandbox, began)
    ended = max(run.finished_at or 0.0 for run in runs)
    return WorkloadRun(began, ended, spent, rss, in_flight, runs)


def figures(
    workload_run: WorkloadRun, end_times: Mapping[str, float], stalls: Sequence[Sequence[float]]
) -> dict[str, float]:
    """The figures of a workload. `end_times`: run → when its worker saw the end, Unix s."""
    runs, spent = len(workload_run.runs), workload_run.used
    delays = [
        end_times[run.id] - (run.finished_at or 0.0)
        for run in workload_run.runs
        if run.id in end_times
    ]
    late = [1_000 * s for s in within(stalls, workload_run.began, workload_run.ended)]
    row = {
        "runs": runs,
        "wall_s": workload_run.ended - workload_run.began,
        "in_flight_most": max(workload_run.in_flight),
        "cpu_s_per_1000": spent.cpu_s * 1_000 / runs,
        "redis_cpu_s_per_1000": spent.redis_cpu_s * 1_000 / runs,
        "redis_commands_per_run": spent.commands / runs,
        "rss_mb": workload_run.rss_mb,
        "requests_per_run": spent.requests / runs,
        "ends_seen": len(delays),
        "delay_mean_s": statistics.fmean(delays),
        "delay_p50_s": statistics.median(delays),
        "delay_p99_s": percentile(delays, 99),
    }
    if late:
        row |= {"stall_p99_ms": percentile(late, 99), "stall_max_ms": max(late)}
    return row


def figures_of(
    workloads: Sequence[Workload],
    runs: Sequence[WorkloadRun],
    folder: Path,
    end_times: Mapping[str, float],
) -> dict[str, dict[str, float]]:
    """Join the measurements from outside with the notes that workers wrote."""
    left = _left(folder)
    known = {
        **end_times,
        **{run: at for notes in left for run, at in notes.get("end_times", {}).items()},
    }
    stalls = [sample for notes in left for sample in notes["stalls"]]
    return {
        workload.name: figures(one, known, stalls)
        for workload, one in zip(workloads, runs, strict=True)
    }


def _left(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))]
    if not found:
        raise RuntimeError("the worker left no notes: it did not end cleanly")
    return found


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that this percentage of them does not exceed."""
    if len(values) < 2:  # noqa: PLR2004 - what quantiles need
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


async def _used(contestant: MeasuredWorker) -> ResourceUse:
    bench = contestant.bench
    return ResourceUse(
        cpu_s=sum(cpu_s(process) for process in contestant.processes()),
        redis_cpu_s=cpu_s(bench.redis),
        commands=await bench.commands(),
        requests=await requests(bench.sandbox),
    )


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds of a process so far."""
    return sum(process.cpu_times()[:2])


def _rss_mb(processes: Sequence[psutil.Process]) -> float:
    return sum(process.memory_info().rss for process in processes) / 2**20
