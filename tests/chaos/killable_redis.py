"""A Redis that can be killed or frozen, and comes back on the same port with its data."""

import asyncio
import contextlib
import signal
import socket
from pathlib import Path

from worker.redis.server_binary import find_server

HOST = "127.0.0.1"
READY_WITHIN_S = 20.0


class KillableRedis:
    """One server process after another over the same append-only file, every write synced.

    `binary`: which server program; by default the one that `up` finds.
    """

    def __init__(self, folder: Path, *, binary: Path | None = None, **environ: str) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self._environ = environ
        self._binary = binary or find_server().path
        self._process: asyncio.subprocess.Process | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    async def start(self, *arguments: str) -> None:
        """Start it, with more arguments if need be, and wait until it has loaded its data."""
        options = {
            "bind": HOST,
            "port": str(self.port),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
        }
        given = (part for name, value in options.items() for part in (f"--{name}", value))
        await self._run(*given, *arguments)

    async def start_sentinel(self, config: str) -> None:
        """Start it as a Sentinel, which keeps what it learns in its configuration."""
        path = self.folder / "sentinel.conf"
        path.write_text(f"bind {HOST}\nport {self.port}\ndir {self.folder}\n{config}")
        await self._run(str(path), "--sentinel")

    async def _run(self, *arguments: str) -> None:
        with (self.folder / "redis.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                self._binary, *arguments, stdout=log, stderr=log, env=self._environ
            )
        async with asyncio.timeout(READY_WITHIN_S):
            while await self.query("PING") != b"+PONG":
                assert self._process.returncode is None, "the server ended at its start"
                await asyncio.sleep(0.01)

    async def kill(self) -> None:
        """SIGKILL: writes that were not yet on disk are lost."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP: it accepts connections and bytes and never answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it resumes."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def query(self, *words: object) -> bytes:
        """The reply to a command (the first line of a list); empty if there is no reply."""
        try:
            reader, writer = await asyncio.open_connection(HOST, self.port)
        except OSError:
            return b""
        try:
            writer.write(" ".join(map(str, words)).encode() + b"\r\n")
            line = (await reader.readline()).rstrip()
            if line[:1] != b"$":
                return line
            return await reader.readexactly(max(0, int(line[1:])))
        except (OSError, asyncio.IncompleteReadError):
            return b""
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def command(self, *words: object) -> None:
        """Send a command that must be answered with OK."""
        assert await self.query(*words) == b"+OK", words


def free_port() -> int:
    """A port that is free just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
