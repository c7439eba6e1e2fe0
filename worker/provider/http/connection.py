"""One HTTP/1.1 connection: a request goes out in one write, then one response comes in.

The send gate has to know when the first byte leaves, so no client library is used. Responses are
parsed by llhttp, Node's parser, through httptools.
"""

import asyncio
import select
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from worker.provider.http.failures import (
    InvalidHttpResponse,
    ResponseTooLarge,
    ResponseTruncated,
    ServerDisconnected,
    TransportError,
)

MAX_HEAD_BYTES: Final = 256 << 10
"""Bytes. Generous: a paid result must not be lost because of one long header."""

_PEER_CLOSED: Final[int] = getattr(select, "POLLRDHUP", 0)
_READABLE: Final[int] = getattr(select, "POLLIN", 0)
_WRITABLE: Final[int] = getattr(select, "POLLOUT", 0)

_LONG_REQUEST_BYTES: Final = 8 << 10
"""Bytes. A shorter request fits into the kernel's send buffer, which is empty before it."""

_FIRST_FINAL_STATUS: Final = 200
"""Responses below (1xx) announce another one."""

_LOWEST_STATUS: Final = 100
"""No status is below (RFC 9110, section 15)."""

_ZLIB_OR_GZIP: Final = zlib.MAX_WBITS | 32
_IDENTITY_ENCODINGS: Final = ("", "identity")


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete response. Header names are in lower case; of equal ones the first is kept."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Connection(asyncio.Protocol):
    """An open connection; `send` one request at a time.

    `max_body_bytes`: a response with a longer body fails with ResponseTooLarge.
    """

    def __init__(self, max_body_bytes: int) -> None:
        self.reused = False
        """It has served another request before."""
        self.idle_since = 0.0
        """When it became idle, in the loop's time."""
        self.status: int | None = None
        """Status of the current request's response, once its head came."""
        self._max_body_bytes = max_body_bytes
        self._transport: asyncio.Transport | None = None
        self._parser: Any = HttpResponseParser(self)
        self._response: asyncio.Future[HttpResponse] | None = None
        self._unusable = False
        self._is_long_request = False
        """Whether the response may come before the request is fully written."""
        self._overhead_bytes = 0
        """Bytes since the last part of a body: of a head, of chunk sizes, of trailers."""
        self._reset_response()

    def _reset_response(self) -> None:
        self.status = None
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._size = 0
        self._overhead_bytes = 0
        self._keep_alive = False

    async def send(self, request: bytes, deadline: float) -> HttpResponse:
        """Write a request in one piece and return its response.

        `deadline`: in the loop's time. Raises TransportError, and TimeoutError at the deadline.
        """
        transport = self._transport
        if transport is None or self._unusable:
            raise ServerDisconnected(was_reused=self.reused)
        self._reset_response()
        loop = asyncio.get_running_loop()
        response: asyncio.Future[HttpResponse] = loop.create_future()
        self._response = response
        self._is_long_request = len(request) > _LONG_REQUEST_BYTES
        transport.write(request)
        timeout = loop.call_at(deadline, self._fail, TimeoutError())
        try:
            return await response
        finally:
            timeout.cancel()

    def is_usable(self) -> bool:
        """Whether it is open and holds no bytes that belong to no request."""
        transport = self._transport
        if transport is None or self._unusable or transport.is_closing():
            return False
        return not _is_closed_by_peer(transport, reused=self.reused)

    def is_free(self) -> bool:
        """Whether another request may follow the one that was answered."""
        transport, response = self._transport, self._response
        if transport is None or self._unusable or not self._keep_alive or transport.is_closing():
            return False
        if response is None or not response.done() or response.cancelled():
            return False
        return not transport.get_write_buffer_size() and not (
            self._is_long_request and _is_write_blocked(transport)
        )

    def mark_idle(self, now: float) -> None:
        """Note that it served a request and is idle since `now`, in the loop's time."""
        self.reused, self.idle_since = True, now

    def abort(self) -> None:
        """Close it; bytes that were not written yet are dropped."""
        self._unusable = True
        if self._transport is not None:
            self._transport.abort()

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; close it if the connection was given up meanwhile."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        if self._unusable:
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Parse the bytes; bytes that belong to no request make the connection unusable."""
        if self._response is None or self._response.done():
            self.abort()
            return
        self._overhead_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._fail(InvalidHttpResponse())
        if self._overhead_bytes > MAX_HEAD_BYTES and not self._response.done():
            self._fail(ResponseTooLarge())

    def eof_received(self) -> None:
        """Handle the end now: unwritten bytes of the request would delay `connection_lost`."""
        self.connection_lost(None)
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Deliver a response that ends with its connection; any other one is cut off."""
        is_broken, self._unusable = exc is not None or self._unusable, True
        if self.status is None:
            self._fail(ServerDisconnected(was_reused=self.reused))
        elif is_broken or self._keep_alive or _has_length(self._headers):
            self._fail(ResponseTruncated())
        else:
            self._deliver()

    # Called by the parser.

    def on_message_begin(self) -> None:
        """Accept the first response; a second one belongs to no request."""
        if self._response is None or self._response.done():
            raise InvalidHttpResponse

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers are ignored."""
        if self.status is None:
            self._headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """Read the status, and whether the connection stays open."""
        status = int(self._parser.get_status_code())
        if status < _LOWEST_STATUS:
            raise InvalidHttpResponse
        self.status = status
        self._keep_alive = bool(self._parser.should_keep_alive())
        self._overhead_bytes = 0

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._overhead_bytes = 0
        self._size += len(body)
        if self._size > self._max_body_bytes:
            self._fail(ResponseTooLarge())
        else:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        """Deliver the response, unless it only announces another one."""
        if (self.status or 0) < _FIRST_FINAL_STATUS:
            self._reset_response()
        else:
            self._deliver()

    def _deliver(self) -> None:
        response = self._response
        if response is None or response.done() or self.status is None:
            return
        try:
            body = _decompressed(b"".join(self._chunks), self._headers, self._max_body_bytes)
        except TransportError as error:
            self._fail(error)
        else:
            response.set_result(HttpResponse(self.status, self._headers, body))

    def _fail(self, error: TransportError | TimeoutError) -> None:
        if self._response is not None and not self._response.done():
            self._response.set_exception(error)
        self.abort()


def _has_length(headers: Mapping[str, str]) -> bool:
    return "content-length" in headers or "transfer-encoding" in headers


def _decompressed(body: bytes, headers: Mapping[str, str], max_bytes: int) -> bytes:
    """Return the decompressed body: requests ask for identity, some servers send gzip anyway."""
    if headers.get("content-encoding", "").strip().lower() in _IDENTITY_ENCODINGS:
        return body
    decompressor = zlib.decompressobj(_ZLIB_OR_GZIP)
    try:
        plain = decompressor.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise ResponseTruncated from error
    if len(plain) > max_bytes:
        raise ResponseTooLarge
    if not decompressor.eof:
        raise ResponseTruncated
    return plain


def _is_closed_by_peer(transport: asyncio.Transport, *, reused: bool) -> bool:
    """Ask the kernel: the event loop may not have read the end of the stream yet.

    Linux reports that the peer closed. On a reused connection, bytes that came before the request
    make it unusable too: they belong to no request. On a new one they may belong to TLS.
    """
    return bool(_poll_socket(transport, _PEER_CLOSED | (_READABLE if reused else 0)))


def _is_write_blocked(transport: asyncio.Transport) -> bool:
    """Whether the send buffer is full because the peer does not read.

    Over TLS the transport does not count the bytes that wait below it.
    """
    return _poll_socket(transport, _WRITABLE) == 0


def _poll_socket(transport: asyncio.Transport, events: int) -> int | None:
    """Return which of `events` hold, POLLNVAL for a closed socket, None if it cannot be known."""
    sock = transport.get_extra_info("socket")
    if not events or sock is None:
        return None
    fd: int = sock.fileno()
    if fd < 0:
        return select.POLLNVAL
    poll = select.poll()
    poll.register(fd, events)
    return next((ready for _, ready in poll.poll(0)), 0)
