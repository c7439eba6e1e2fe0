"""The processes of `up`: children with a log each, and the embedded Redis."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

from worker.cli.exit_codes import CommandFailure
from worker.cli.text import PROGRAM, sanitize
from worker.redis.embedded import EmbeddedRedis
from worker.redis.embedded_error import EmbeddedRedisError

MAX_LOG_BYTES: Final = 32 << 20
"""A larger log becomes the previous one, of which one is kept."""

TAIL_BYTES: Final = 4_096
TAIL_CHARS: Final = 300


class ChildProcess:
    """A command of this program as a child process in a process group of its own.

    Its standard input is a pipe that we hold open: if we are killed, it reads the end and stops.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environ: dict[str, str],
        log: Path,
        *,
        stop_timeout_s: float,
    ) -> None:
        self.name = name
        self._command = list(command)
        self._environ = environ
        self._log = log
        self._stop_timeout_s = stop_timeout_s
        self._log_offset = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it was started and has ended."""
        return self._process is not None and self._process.returncode is not None

    async def start(self) -> None:
        """Start the process; its log is appended to."""
        self.rotate_log()
        with self._log.open("ab") as log:  # appends: what is truncated goes on at its begin
            self._log_offset = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                "--with-parent",
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self._environ,
                start_new_session=True,  # Ctrl-C is for us alone
            )

    def rotate_log(self) -> None:
        """Copy a log that is too large to `.log.1`, and empty it, while the process writes on."""
        with contextlib.suppress(FileNotFoundError):
            if self._log.stat().st_size <= MAX_LOG_BYTES:
                return
            with self._log.open("rb") as log, self._log.with_suffix(".log.1").open("wb") as old:
                shutil.copyfileobj(log, old)
            os.truncate(self._log, 0)
            self._log_offset = 0

    async def wait(self) -> str:
        """Wait for its end; returns its exit and the last line of its log."""
        if self._process is None:
            return "not started"
        code = await self._process.wait()
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        return f"{how}: {self.last_log_line() or 'no output'} (log: {self._log})"

    def recent_log(self) -> str:
        """The end of its log, no further back than its last start."""
        with self._log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_offset, size - TAIL_BYTES))
            return log.read().decode(errors="replace")

    def last_log_line(self) -> str:
        """The last line of its log."""
        lines = [line for line in self.recent_log().splitlines() if line.strip()]
        return sanitize(lines[-1]).removeprefix(f"{PROGRAM}: ")[:TAIL_CHARS] if lines else ""

    async def stop(self, force_stop: asyncio.Event) -> None:
        """Send SIGTERM, then SIGKILL after the timeout or when `force_stop` is set."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        try:
            self._signal(process, signal.SIGTERM)
            await _wait_for_first(process.wait(), force_stop.wait(), timeout_s=self._stop_timeout_s)
        finally:
            self._signal(process, signal.SIGKILL)
            await process.wait()

    def _signal(self, process: asyncio.subprocess.Process, number: signal.Signals) -> None:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)


class RedisProcess:
    """The embedded Redis; it keeps its address when it is started again."""

    name: Final = "redis"

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._server = EmbeddedRedis(state_dir)

    @property
    def url(self) -> str:
        """Its URL, with the password."""
        return self._server.url

    async def start(self) -> None:
        """Start the server and wait until it has loaded its data."""
        self._server = EmbeddedRedis(self._state_dir)
        try:
            await self._server.__aenter__()
        except EmbeddedRedisError as error:
            raise CommandFailure(str(error)) from None

    async def wait(self) -> str:
        """Wait for its end, and unlock its folder; returns how it ended."""
        code = await self._server.wait()
        await self._server.__aexit__(None, None, None)
        return f"exit code {code} (log: {self._state_dir / 'redis' / 'server.log'})"

    async def stop(self, force_stop: asyncio.Event) -> None:
        """Stop it; it has nothing to wait for, so `force_stop` changes nothing."""
        del force_stop
        await self._server.__aexit__(None, None, None)


async def _wait_for_first(*waits: Coroutine[Any, Any, object], timeout_s: float) -> None:
    """Wait until the first of `waits` ends, at most `timeout_s`."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


ManagedProcess = ChildProcess | RedisProcess
"""A process that runs until it is stopped, and can be started again when it ends by itself."""
