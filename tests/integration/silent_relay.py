"""A TCP relay on loopback whose connections can fall silent, as when packets are dropped."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress


class SilentRelay:
    """Passes bytes between its clients and one server."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._passes: list[asyncio.Event] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    def fall_silent(self) -> None:
        """Pass nothing more on over the connections there are; new ones work."""
        for passes in self._passes:
            passes.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on the bytes of a client."""
        passes = asyncio.Event()
        passes.set()
        self._passes.append(passes)
        upstream, downstream = await asyncio.open_connection(*self._target)
        for source, target in ((reader, downstream), (upstream, writer)):
            task = asyncio.create_task(_copy(source, target, passes))
            self._tasks.add(task)

    async def close(self) -> None:
        """Cut every connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _copy(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, passes: asyncio.Event
) -> None:
    try:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                await passes.wait()
                target.write(data)
    finally:
        target.close()


@asynccontextmanager
async def silent_relay(host: str, port: int) -> AsyncGenerator[SilentRelay]:
    """A relay to a server, for as long as the block lasts."""
    relay = SilentRelay(host, port)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        await relay.close()
