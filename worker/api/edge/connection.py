"""One connection of the API: time limits for heads and responses, and a limit for heads.

aiohttp bounds the fields of a head and the time between two requests, but neither how long a head
or a response may take nor the size of a head in all.
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, cast

import aiohttp
import structlog
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.typedefs import Handler

from worker.api.edge.client_address import client_address, client_network
from worker.api.edge.connection_table import ConnectionTable
from worker.api.edge.fair_turns import REQUEST_TURNS, is_probe
from worker.api.edge.head_meter import MAX_HEAD_BYTES, HeadMeter
from worker.api.edge.repeated_lines import RepeatedLines
from worker.api.edge.responses import finish_response, send_response
from worker.api.models.response import encode_response
from worker.api.problems import CONTENT_TYPE, Problem

log: Final = structlog.get_logger(__name__)

HEAD_TIMEOUT_S: Final = 10.0
"""From the connection, or from the first byte of a later head, to the end of the head."""

SEND_TIMEOUT_S: Final = 10.0
"""How long a client may take nothing of what is ready for it."""

KEEPALIVE_S: Final = 75.0
"""Longer than proxies keep an idle connection (60 s): so they close it, and lose no request."""

LINGERING_S: Final = 2.0
"""How long the rest of a refused body is read and dropped, so that the client reads the refusal."""

MAX_REST_BYTES: Final = 64 << 10
"""A larger rest is not worth the next request: the connection is closed after the response."""

DROP_INTERVAL_S: Final = 0.1
"""How often a part of a large rest is read and dropped."""

MAX_HEADERS: Final = 100
READ_BUFFER_BYTES: Final = 64 << 10
READ_BYTES: Final = 32 << 10
"""What asyncio reads of a connection (256 KiB by default) before others have their turn."""

CONNECTION_OPTIONS: Final[Mapping[str, Any]] = {
    "access_log": None,
    "auto_decompress": False,  # see body_encoding
    "keepalive_timeout": KEEPALIVE_S,
    "lingering_time": LINGERING_S,
    "max_headers": MAX_HEADERS,
    "read_bufsize": READ_BUFFER_BYTES,
}


class ApiConnection(web.RequestHandler):
    """A connection that the table knows, and closes for another one or when it is overdue."""

    __slots__ = (
        "_content",
        "_drops_rest",
        "_head",
        "_head_deadline",
        "_is_serving",
        "_lines",
        "_next_head",
        "_progress_at",
        "_table",
        "_taken",
        "_wire",
        "_writer",
        "network",
    )

    def __init__(
        self, server: web.Server, table: ConnectionTable, lines: RepeatedLines, network: str
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(server, loop=loop, **CONNECTION_OPTIONS)
        self.network = network
        self._table = table
        self._lines = lines
        self._wire: asyncio.Transport | None = None
        self._is_serving = False
        self._drops_rest = False
        self._content: aiohttp.StreamReader | None = None
        """The body of the request that is served, or of the last one."""
        self._head = HeadMeter()
        self._head_deadline: float | None = loop.time() + HEAD_TIMEOUT_S
        self._writer: AbstractStreamWriter | None = None
        """Of the response that is sent, or of the last one."""
        self._taken: tuple[int, int] = (0, 0)
        """The writer, and how many bytes the client had taken of it at the last look."""
        self._progress_at = loop.time()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with the first request."""
        self._wire = cast("asyncio.Transport", transport)
        self._wire.set_write_buffer_limits(high=0)  # a response has left when the system has it
        cast("Any", transport).max_size = READ_BYTES
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Leave the table."""
        self._table.remove(self)
        self._wire = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what arrived: of a body, or of the next head, whose size is limited."""
        if self._drops_rest:
            self._pause()
            return
        is_of_body = self._content is not None and not self._content.is_eof()
        if data and not is_of_body and not self._head.is_complete:
            if self._head_deadline is None and not self._is_serving:
                self._head_deadline = self._loop.time() + HEAD_TIMEOUT_S
            self._head.feed(data)
            if self._head.is_too_large:
                self._refuse(_head_too_large())
                return
        super().data_received(data)

    # What the middleware calls.

    def request_started(self, request: web.BaseRequest) -> None:
        """A whole head has arrived, and its request is served from now on."""
        self._is_serving = True
        self._content, self._writer = request.content, request.writer
        self._head, self._head_deadline = HeadMeter(), None
        self._table.set_busy(self)

    def request_finished(self) -> None:
        """The response has left, and the next request is awaited."""
        self._is_serving = False
        self._table.set_waiting(self)

    def drops_rest_of(self, request: web.BaseRequest) -> bool:
        """Whether a large rest of the body is dropped: the response has to close the connection."""
        size, content = request.content_length, request.content
        is_large = size is None or size - content.total_bytes > MAX_REST_BYTES
        self._drops_rest = is_large and not content.is_eof()
        return self._drops_rest

    def _pause(self) -> None:
        if self._wire is not None and not self._wire.is_closing():
            self._wire.pause_reading()
            self._loop.call_later(DROP_INTERVAL_S, self._resume)

    def _resume(self) -> None:
        if self._wire is not None and not self._wire.is_closing():
            self._wire.resume_reading()

    # What the table calls.

    @property
    def is_sending(self) -> bool:
        """Whether a part of a response has not left yet."""
        return self._wire is not None and self._wire.get_write_buffer_size() > 0

    def end_if_overdue(self, now: float) -> None:
        """Close it where the client is too slow to send a head, or to receive a response."""
        if self._wire is None:
            return
        unsent = self._wire.get_write_buffer_size()
        written = self._writer.output_size if self._writer is not None else 0
        taken = (id(self._writer), written - unsent)
        if unsent == 0 or taken != self._taken:
            self._progress_at = now
        self._taken = taken
        if now >= self._progress_at + SEND_TIMEOUT_S:
            self.abort()
        elif self._head_deadline is not None and now >= self._head_deadline:
            self._refuse(_head_too_slow() if self._head.size_bytes else None)

    def abort(self) -> None:
        """Close it at once, whatever is left to send."""
        self.force_close()
        if self._wire is not None:
            self._wire.abort()

    def _refuse(self, problem: Problem | None) -> None:
        """Close it, with a problem where a part of a request has arrived."""
        if self._wire is not None and problem is not None and not self._wire.is_closing():
            body = encode_response(problem.body())
            phrase = HTTPStatus(problem.status).phrase
            head = (
                f"HTTP/1.1 {problem.status} {phrase}\r\nContent-Type: {CONTENT_TYPE}\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            self._wire.write(head.encode() + body)
        self.force_close()

    # What aiohttp calls for a request that it cannot read.

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """A problem, and a line in the log without the error's text, which quotes the request."""
        del message
        error = type(exc).__name__ if exc is not None else None
        if (omitted := self._lines.admit(("request.unreadable", status, error))) is not None:
            log.warning("request.unreadable", status=status, error=error, omitted=omitted)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of another response has been sent")
        return _NamelessResponse(_unreadable(status))


class _NamelessResponse(web.Response):
    """A response that closes the connection, without the name of the server.

    The hook that removes it from other responses (`headers`) is called only where a request exists.
    """

    def __init__(self, problem: Problem) -> None:
        body = encode_response(problem.body())
        super().__init__(status=problem.status, body=body, content_type=CONTENT_TYPE)
        self.force_close()

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.pop("Server", None)


@web.middleware
async def connection_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell the connection when a request begins and ends."""
    connection = request.protocol
    if not isinstance(connection, ApiConnection):
        return await handler(request)
    connection.request_started(request)
    try:
        if not is_probe(request):
            await request.app[REQUEST_TURNS].wait(client_network(client_address(request)))
        response = await handler(request)
        if connection.drops_rest_of(request):
            response.force_close()
        if not await send_response(request, response):
            connection.abort()
        return response
    finally:
        finish_response(request)
        connection.request_finished()


def _head_too_large() -> Problem:
    detail = f"the head of the request is larger than {MAX_HEAD_BYTES} bytes: send fewer headers"
    return Problem(431, "head-too-large", "Head too large", detail)


def _head_too_slow() -> Problem:
    detail = f"the head of the request took more than {HEAD_TIMEOUT_S:g} s: send it at once"
    return Problem(408, "slow-request", "Request too slow", detail)


def _unreadable(status: int) -> Problem:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Problem(
            status, "internal", "Internal error", "an error of knouds-worker: see its log"
        )
    detail = (
        "the request is not HTTP/1.1, has more than"
        f" {MAX_HEADERS} headers, or a line of more than 8190 bytes"
    )
    return Problem(status, "unreadable-request", "Unreadable request", detail)
