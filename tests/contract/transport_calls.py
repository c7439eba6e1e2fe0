"""How the tests of this folder use the transport without the client around it."""

import re
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from jobs.outcomes import CallFailure, Lost, NotSent
from tests.contract.client_calls import CallingMark, RecordMark
from tests.contract.raw_server import ServerConnection, http
from worker.provider.http.network_path import DIRECT, NetworkPath
from worker.provider.http.options import HttpOptions, HttpResponse, TimeLimit
from worker.provider.http.request import HttpRequest
from worker.provider.http.transport import HttpTransport

MAX_BODY_BYTES = 100_000
"""Bytes of a response body that are read."""

LIMIT = TimeLimit(5)
SECRETS = re.compile(r"(hush-)\w+")


@asynccontextmanager
async def transport_to(
    url: str,
    *,
    tls: ssl.SSLContext | None = None,
    path: NetworkPath = DIRECT,
    idle_s: float = 4.0,
    quiet_s: float = 0.0,
    connect_s: float = 5.0,
) -> AsyncGenerator[HttpTransport]:
    """Open a transport to an address."""
    options = HttpOptions(
        max_body_bytes=MAX_BODY_BYTES,
        tls=tls,
        path=path,
        connect_s=connect_s,
        submit_idle_s=idle_s,
        submit_quiet_s=quiet_s,
        repeatable_idle_s=idle_s,
    )
    transport = HttpTransport(url, options, user_agent="test", secrets=SECRETS)
    try:
        yield transport
    finally:
        await transport.close()


async def post(
    transport: HttpTransport,
    path: str = "/",
    record: RecordMark | None = None,
    *,
    body: bytes = b"{}",
    limit: TimeLimit = LIMIT,
) -> HttpResponse | NotSent | Lost:
    """Send a request that must not run twice."""
    mark = None if record is None else CallingMark(record)
    return await transport.send_once(HttpRequest("POST", path, {}, body), limit, mark)


async def get(
    transport: HttpTransport, path: str = "/", limit: TimeLimit = LIMIT
) -> HttpResponse | CallFailure:
    """Send a request that may be repeated."""
    return await transport.send(HttpRequest("GET", path, {}), limit)


def body_of(answer: HttpResponse | NotSent | Lost | CallFailure) -> bytes:
    """Return the body of an answer, which must be there."""
    assert isinstance(answer, HttpResponse), answer
    return answer.body


async def echo(peer: ServerConnection) -> None:
    """Answer each request with its path, for as long as the connection is kept."""
    while True:
        await peer.request()
        await peer.answer(http(peer.server.requests[-1].split(" ")[1].encode()))
