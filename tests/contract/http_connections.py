"""How the tests of this folder use connections without the client around them."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from tests.contract.raw_server import (
    RawServer,
    Script,
    ServerConnection,
    http,
    serving,
    turn_the_loop,
)
from worker.provider.http.connection import Connection, HttpResponse
from worker.provider.http.failures import TransportError
from worker.provider.http.pool import ConnectionPool, HttpOptions
from worker.provider.http.send_gate import SendGate

MAX_BODY_BYTES = 100_000
"""Bytes of an answer's body that are read."""

GET = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"

LIMIT = 2
"""Connections at once."""

ConnectionEnd = Literal["hang", "close", "reset"]


def short_deadline() -> float:
    """When an answer has to be there, in the loop's time."""
    return asyncio.get_running_loop().time() + 5


class RequestOutcome(NamedTuple):
    """What one request came to."""

    result: HttpResponse | TransportError
    status: int | None
    is_reusable: bool
    """Another request may follow on the same connection."""

    @property
    def answer(self) -> HttpResponse:
        assert isinstance(self.result, HttpResponse)
        return self.result


class NullTransport(asyncio.Transport):
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
async def connected_to(server: RawServer) -> AsyncGenerator[Connection]:
    """Make a connection to a server."""
    where = urlsplit(server.url)
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: Connection(MAX_BODY_BYTES), where.hostname or "", where.port or 0
    )
    try:
        yield connection
    finally:
        connection.abort()


@asynccontextmanager
async def pool_at(
    url: str, *, connections: int = LIMIT, keepalive_s: float = 5, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[ConnectionPool]:
    """Make connections to an address, and close them."""
    pool = ConnectionPool(
        url,
        HttpOptions(
            max_connections=connections,
            connect_s=5,
            keepalive_s=keepalive_s,
            max_body_bytes=MAX_BODY_BYTES,
            tls=tls,
        ),
    )
    try:
        yield pool
    finally:
        await pool.close()


async def take_all(pool: ConnectionPool) -> list[Connection]:
    """Take every place there is: none was lost. One more has to wait."""
    async with asyncio.timeout(5):
        taken = [await pool.acquire() for _ in range(LIMIT)]
    more = asyncio.ensure_future(pool.acquire())
    await turn_the_loop()
    assert not more.done()
    await cancelled(more)
    return taken


async def cancelled(*tasks: asyncio.Future[Any]) -> None:
    """Give up, and wait until that is done."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def request_path(pool: ConnectionPool, path: str = "/") -> HttpResponse:
    """Make a request as the client does."""
    connection = await pool.acquire()
    try:
        SendGate().open(connection)
        return await connection.send(GET.replace(b"/", path.encode(), 1), short_deadline())
    finally:
        pool.release(connection)


async def outcome_of(connection: Connection, request: bytes = GET) -> RequestOutcome:
    """Ask, in time."""
    async with asyncio.timeout(5):
        try:
            result = await connection.send(request, short_deadline())
        except TransportError as error:
            return RequestOutcome(error, connection.status, connection.is_free())
    return RequestOutcome(result, connection.status, connection.is_free())


def failed(outcome: RequestOutcome) -> tuple[type[TransportError], int | None]:
    """How it failed, and the status it knew; nothing may follow."""
    assert isinstance(outcome.result, TransportError)
    assert not outcome.is_reusable
    return type(outcome.result), outcome.status


def answering_with(*parts: bytes, ending: ConnectionEnd = "hang") -> Script:
    """Take a request and answer it with bytes, each part in a segment of its own."""

    async def script(line: ServerConnection) -> None:
        await line.request()
        for part in parts:
            await line.answer(part)
            await asyncio.sleep(0)
        if ending == "reset":
            line.reset()
        elif ending == "hang":
            await line.hang()

    return script


async def outcome_at(*parts: bytes, end: ConnectionEnd = "hang") -> RequestOutcome:
    """What a request comes to where a server answers with such bytes."""
    async with (
        serving(answering_with(*parts, ending=end)) as server,
        connected_to(server) as connection,
    ):
        return await outcome_of(connection)


async def echo(line: ServerConnection) -> None:
    """Answer each request with its path, for as long as the connection is kept."""
    while True:
        head = await line.head()
        await line.answer(http(head.split(" ")[1].encode()))
