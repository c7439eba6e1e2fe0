"""A Redis that loads its data for as long as a test asks: a relay that answers for it meanwhile."""

import asyncio
import contextlib
from typing import Self

import hiredis

HOST = "127.0.0.1"
LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"
_INFO = b"# Server\r\nrun_id:5e12\r\nrole:master\r\nloading:1\r\n"
ANSWERED = {
    b"INFO": b"$%d\r\n%s\r\n" % (len(_INFO), _INFO),
    b"CLIENT": b"+OK\r\n",
    b"SELECT": b"+OK\r\n",
}
"""What a server answers while it loads; anything else with `LOADING`."""


class LoadingRelay:
    """Leads to a server; while it loads, connections stay and commands are refused."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._is_loading = False
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"redis://{HOST}:{self._server.sockets[0].getsockname()[1]}/0"

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        assert self._server is not None
        self._server.close()
        await self._close_connections()

    async def restart(self) -> None:
        """Cut every connection, and load from now on."""
        self._is_loading = True
        await self._close_connections()

    def finish(self) -> None:
        """The data is loaded; connections stay."""
        self._is_loading = False

    async def _close_connections(self) -> None:
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            further, onward = await asyncio.open_connection(HOST, self._target)
            back = asyncio.create_task(_copy(further, writer))
            try:
                await self._pass_on(reader, writer, onward)
            finally:
                back.cancel()
                onward.close()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._connections.discard(task)

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        onward: asyncio.StreamWriter,
    ) -> None:
        commands = hiredis.Reader()
        while data := await reader.read(65_536):
            if not (self._is_loading or commands.has_data()):
                onward.write(data)
                await onward.drain()
                continue
            commands.feed(data)
            while (command := commands.gets()) is not False:
                writer.write(ANSWERED.get(command[0].upper(), LOADING))
            await writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
