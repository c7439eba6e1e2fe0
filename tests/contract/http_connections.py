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
"""Bytes of a response body that are read."""

GET = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"

LIMIT = 2
"""Connections at once."""

ConnectionEnd = Literal["hang", "close", "reset"]


def short_deadline() -> float:
    """When a response has to be there, in the loop's time."""
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
    """A transport to nowhere; after an abort `connection_lost` follows in the next turn."""

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
    address = urlsplit(server.url)
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: Connection(MAX_BODY_BYTES), address.hostname or "", address.port or 0
    )
    try:
        yield connection
    finally:
        connection.abort()


@asynccontextmanager
async def pool_at(
    url: str, *, connections: int = LIMIT, keepalive_s: float = 5, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[ConnectionPool]:
    """Open a pool of connections to an address."""
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
    """Acquire every slot: none is leaked, and one more has to wait."""
    async with asyncio.timeout(5):
        taken = [await pool.acquire() for _ in range(LIMIT)]
    more = asyncio.ensure_future(pool.acquire())
    await turn_the_loop()
    assert not more.done()
    await cancelled(more)
    return taken


async def cancelled(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until they are done."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def request_path(pool: ConnectionPool, path: str = "/") -> HttpResponse:
    """Send a request as the client does."""
    connection = await pool.acquire()
    try:
        SendGate().open(connection)
        return await connection.send(GET.replace(b"/", path.encode(), 1), short_deadline())
    finally:
        pool.release(connection)


async def outcome_of(connection: Connection, request: bytes = GET) -> RequestOutcome:
    """Send a request; it must end in time."""
    async with asyncio.timeout(5):
        try:
            result = await connection.send(request, short_deadline())
        except TransportError as error:
            return RequestOutcome(error, connection.status, connection.is_free())
    return RequestOutcome(result, connection.status, connection.is_free())


def failed(outcome: RequestOutcome) -> tuple[type[TransportError], int | None]:
    """Return the failure and the status; the connection must not be reusable."""
    assert isinstance(outcome.result, TransportError)
    assert not outcome.is_reusable
    return type(outcome.result), outcome.status


def answering_with(*parts: bytes, ending: ConnectionEnd = "hang") -> Script:
    """Answer one request with bytes, each part in a segment of its own."""

    async def script(peer: ServerConnection) -> None:
        await peer.request()
        for part in parts:
            await peer.answer(part)
            await asyncio.sleep(0)
        if ending == "reset":
            peer.reset()
        elif ending == "hang":
            await peer.hang()

    return script


async def outcome_at(*parts: bytes, end: ConnectionEnd = "hang") -> RequestOutcome:
    """Return what a request comes to if a server answers with such bytes."""
    async with (
        serving(answering_with(*parts, ending=end)) as server,
        connected_to(server) as connection,
    ):
        return await outcome_of(connection)


async def echo(peer: ServerConnection) -> None:
    """Answer each request with its path, for as long as the connection is kept."""
    while True:
        head = await peer.head()
        await peer.answer(http(head.split(" ")[1].encode()))
