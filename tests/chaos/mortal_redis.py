"""A Redis that can be killed, and comes back on the same port with the data it had on disk."""

import asyncio
import socket
from pathlib import Path

from worker.embedded import find_server

HOST = "127.0.0.1"
READY_WITHIN_S = 20.0


class MortalRedis:
    """One server process after another over the same append-only file, every write synced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._binary = find_server().path
        self._port = _free_port()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self._port}/0"

    async def start(self) -> None:
        """Start it and wait until it answers with its data loaded."""
        options = {
            "bind": HOST,
            "port": str(self._port),
            "dir": str(self._folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
        }
        with (self._folder / "redis.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                self._binary,
                *(part for name, value in options.items() for part in (f"--{name}", value)),
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(READY_WITHIN_S):
            while not await self._answers():  # noqa: ASYNC110  another process has no event
                await asyncio.sleep(0.01)

    async def kill(self) -> None:
        """SIGKILL: what it had not written and answered is gone."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection(HOST, self._port)
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            return await reader.readline() == b"+PONG\r\n"
        except OSError:
            return False
        finally:
            writer.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
