"""A peer's worker, and ours, each as a contestant over a Redis and a sandbox of its own."""

import asyncio
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from bench.bench_system import KEY, BenchSystem, bench_system
from bench.measurement import MeasuredWorker, cpu_s, figures_of, run_workload
from bench.peers.environments import ROOT, python_with
from bench.peers.peer_list import PROGRAMS, Peer, command
from bench.sandbox_admin import executions
from bench.workload import Workload, sandbox

READY_WITHIN_S: Final = 60.0
POLL_S: Final = 0.05
QUIET_CPU_SHARE: Final = 0.05
"""Of a core: a worker that uses less has started every slot it has."""

SLOTS_FOR_ONE: Final = 1.5
"""Slots for each run in flight: one that has ended keeps its slot until its worker sees that."""

SHOWN: Final = 2_000
"""Characters of a peer's log that are shown where it failed."""


@dataclass(frozen=True, slots=True)
class PeerWorker:
    """A peer's worker that runs."""

    peer: Peer
    bench: BenchSystem
    process: asyncio.subprocess.Process
    environment: Mapping[str, str]

    def processes(self) -> Sequence[psutil.Process]:
        """The worker and what it started."""
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]

    async def enqueue(self, workload: Workload) -> None:
        """Hand runs over through the peer's own client, a process that is not counted."""
        if not self.peer.has_queue:
            await self._say(f"{workload.runs} {workload.rate}\n")
            return
        runs = {"PEER_RUNS": str(workload.runs), "PEER_RATE": str(workload.rate)}
        python = python_with(self.peer.requirements)
        enqueuer = await asyncio.create_subprocess_exec(
            *(python, "-m", f"{PROGRAMS}.enqueue_runs", self.peer.program),
            env={**self.environment, **runs},
        )
        if await enqueuer.wait():
            raise RuntimeError(f"{self.peer.name}: enqueuing failed")

    async def done(self) -> int:
        """How many runs it has polled to their end, by the record of the sandbox."""
        return sum(run.was_seen for run in await executions(self.bench.sandbox))

    async def _say(self, line: str) -> None:
        if self.process.stdin is None:
            raise RuntimeError(f"{self.peer.name} does not listen")
        self.process.stdin.write(line.encode())
        await self.process.stdin.drain()


async def measure(peer: Peer, workloads: Sequence[Workload]) -> dict[str, dict[str, float]]:
    """The figures of a peer over workloads, one after the other on the same worker."""
    slots = int(SLOTS_FOR_ONE * max(100.0, *(workload.in_flight for workload in workloads)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with _running(peer, slots, workloads[0].median_s, folder) as rival:
            played = [await run_workload(rival, workload) for workload in workloads]
        return figures_of(workloads, played, folder, {})


@asynccontextmanager
async def _running(
    peer: Peer, slots: int, median_s: float, folder: Path
) -> AsyncGenerator[MeasuredWorker]:
    python = python_with(peer.requirements)
    async with bench_system(workers=0, sandbox=sandbox(median_s)) as bench:
        environment = {
            "PATH": bench.environment["PATH"],
            "PYTHONPATH": str(ROOT),
            "PEER_REDIS_URL": bench.redis_url,
            "PEER_PROVIDER_URL": bench.sandbox,
            "PEER_API_KEY": KEY,
            "PEER_SLOTS": str(slots),
            "PEER_NOTES": str(folder),
        }
        process = await asyncio.create_subprocess_exec(
            python,
            *command(slots, peer),
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stderr=(folder / "log").open("wb"),
        )
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                while not list(folder.glob("*.ready")):  # noqa: ASYNC110, ASYNC240 - it tells by a file
                    await asyncio.sleep(POLL_S)
            rival = PeerWorker(peer, bench, process, environment)
            await _until_quiet(rival)
            yield rival
        except Exception:
            sys.stderr.write((folder / "log").read_text()[-SHOWN:])
            raise
        finally:
            process.terminate()
            await process.wait()


async def _until_quiet(rival: PeerWorker) -> None:
    async with asyncio.timeout(READY_WITHIN_S):
        busy = 1.0
        while busy > QUIET_CPU_SHARE:
            before = sum(cpu_s(process) for process in rival.processes())
            await asyncio.sleep(1)
            busy = sum(cpu_s(process) for process in rival.processes()) - before
