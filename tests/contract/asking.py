"""How the tests of this folder use connections without the client around them."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from tests.contract.raw_server import Line, RawServer, Script, http, serving, turn_the_loop
from worker.provider.http.connection import Answer, Connection
from worker.provider.http.failures import CallFailed
from worker.provider.http.pool import Pool
from worker.provider.http.send_gate import Gate

MOST = 100_000
"""Bytes of an answer's body that are read."""

GET = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"

LIMIT = 2
"""Connections at once."""

End = Literal["hang", "close", "reset"]


def soon() -> float:
    """When an answer has to be there, in the loop's time."""
    return asyncio.get_running_loop().time() + 5


class Outcome(NamedTuple):
    """What one request came to."""

    result: Answer | CallFailed
    status: int | None
    free: bool
    """Another request may follow on the same connection."""

    @property
    def answer(self) -> Answer:
        assert isinstance(self.result, Answer)
        return self.result


class Wire(asyncio.Transport):
    """A transport to nowhere; what is closed is lost with the loop's next turn."""

    def __init__(self, protocol: asyncio.Protocol | None = None) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.aborted = False
        self._protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        if not self.aborted and self._protocol is not None:
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)
        self.aborted = True


@asynccontextmanager
async def linked(server: RawServer) -> AsyncGenerator[Connection]:
    """Make a connection to a server."""
    where = urlsplit(server.url)
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: Connection(MOST), where.hostname or "", where.port or 0
    )
    try:
        yield connection
    finally:
        connection.abort()


@asynccontextmanager
async def pool_at(
    url: str, *, connections: int = LIMIT, keepalive_s: float = 5, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Pool]:
    """Make connections to an address, and close them."""
    pool = Pool(
        url,
        connections=connections,
        connect_s=5,
        keepalive_s=keepalive_s,
        most_bytes=MOST,
        tls=tls,
    )
    try:
        yield pool
    finally:
        await pool.close()


async def take_all(pool: Pool) -> list[Connection]:
    """Take every place there is: none was lost. One more has to wait."""
    async with asyncio.timeout(5):
        taken = [await pool.take() for _ in range(LIMIT)]
    more = asyncio.ensure_future(pool.take())
    await turn_the_loop()
    assert not more.done()
    await cancelled(more)
    return taken


async def cancelled(*tasks: asyncio.Future[Any]) -> None:
    """Give up, and wait until that is done."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def ask(pool: Pool, path: str = "/") -> Answer:
    """Make a request as the client does."""
    connection = await pool.take()
    try:
        Gate().open(connection)
        return await connection.ask(GET.replace(b"/", path.encode(), 1), soon())
    finally:
        pool.give_back(connection)


async def outcome_of(connection: Connection, request: bytes = GET) -> Outcome:
    """Ask, in time."""
    async with asyncio.timeout(5):
        try:
            result = await connection.ask(request, soon())
        except CallFailed as error:
            return Outcome(error, connection.status, connection.is_free())
    return Outcome(result, connection.status, connection.is_free())


def failed(outcome: Outcome) -> tuple[type[CallFailed], int | None]:
    """How it failed, and the status it knew; nothing may follow."""
    assert isinstance(outcome.result, CallFailed)
    assert not outcome.free
    return type(outcome.result), outcome.status


def saying(*parts: bytes, end: End = "hang") -> Script:
    """Take a request and answer it with bytes, each part in a segment of its own."""

    async def script(line: Line) -> None:
        await line.request()
        for part in parts:
            await line.answer(part)
            await asyncio.sleep(0)
        if end == "reset":
            line.reset()
        elif end == "hang":
            await line.hang()

    return script


async def outcome_at(*parts: bytes, end: End = "hang") -> Outcome:
    """What a request comes to where a server answers with such bytes."""
    async with serving(saying(*parts, end=end)) as server, linked(server) as connection:
        return await outcome_of(connection)


async def echo(line: Line) -> None:
    """Answer each request with its path, for as long as the connection is kept."""
    while True:
        head = await line.head()
        await line.answer(http(head.split(" ")[1].encode()))
