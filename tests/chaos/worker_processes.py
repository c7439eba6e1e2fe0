"""Workers as separate processes that a test kills, freezes and stops."""

import asyncio
import json
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from config.settings import Settings
from tests.engine.live_system import environment, wait_until
from worker.store import Store

LIVE_WITHIN_S = 30.0
ENDS_WITHIN_S = 30.0


@dataclass
class WorkerProcesses:
    """Slots for workers: a killed worker is replaced in its slot."""

    settings: Settings
    store: Store
    folder: Path
    running: list[asyncio.subprocess.Process] = field(
        default_factory=list[asyncio.subprocess.Process]
    )
    killed: dict[int, float] = field(default_factory=dict[int, float])
    """Process id → when it was killed (Unix seconds)."""
    exit_codes: list[int] = field(default_factory=list[int])
    """Exit codes of the workers that got SIGTERM."""

    @property
    def logs(self) -> Path:
        return self.folder / "workers.log"

    async def start(self, count: int) -> None:
        for _ in range(count):
            self.running.append(await self._spawn())
        for slot in range(count):
            await self.until_live(slot)

    async def kill(self, slot: int) -> None:
        """SIGKILL a worker and start another in its slot at once."""
        process = self.running[slot]
        process.kill()
        self.killed[process.pid] = time.time()
        self.running[slot] = await self._spawn()
        await process.wait()

    async def restart(self, slot: int) -> None:
        """SIGTERM a worker, and start another when it has ended."""
        await self._end(self.running[slot])
        self.running[slot] = await self._spawn()

    def freeze(self, slot: int) -> None:
        self.running[slot].send_signal(signal.SIGSTOP)

    def thaw(self, slot: int) -> None:
        self.running[slot].send_signal(signal.SIGCONT)

    def worker_pid(self, slot: int) -> int:
        return self.running[slot].pid

    async def until_live(self, slot: int) -> None:
        """Wait until the worker in the slot has sent its first heartbeat."""
        process = self.running[slot]

        async def live() -> bool:
            assert process.returncode is None, f"a worker ended: {self.errors()[-3:]}"
            return process.pid in {beat.pid for beat in await self.store.workers.heartbeats()}

        await wait_until(live, f"worker {process.pid} lives", LIVE_WITHIN_S)

    async def stop(self) -> None:
        """Stop all workers with SIGTERM."""
        for slot in range(len(self.running)):
            self.thaw(slot)
        await asyncio.gather(*(self._end(process) for process in self.running))

    def abandon(self) -> None:
        """Kill what is left, after a test that failed."""
        for process in self.running:
            if process.returncode is None:
                process.kill()

    def errors(self) -> list[str]:
        """Log lines that should not be: errors and tracebacks."""
        lines = self.logs.read_text(errors="replace").splitlines()
        return [line for line in lines if _is_error(line)]

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        process.terminate()
        async with asyncio.timeout(ENDS_WITHIN_S):
            self.exit_codes.append(await process.wait())

    async def _spawn(self) -> asyncio.subprocess.Process:
        log: IO[bytes]
        with self.logs.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "worker.cli.main",
                "worker",
                env=environment(self.settings),
                stdout=log,
                stderr=log,
            )


def _is_error(line: str) -> bool:
    try:
        return json.loads(line).get("level") in ("error", "critical")
    except (ValueError, AttributeError):
        return True
