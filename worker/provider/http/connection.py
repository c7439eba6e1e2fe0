"""One connection over HTTP/1.1: a request goes out in one write, then one answer comes in.

Bytes and the moment they leave are ours to know (see `gate`), so there is no client library here;
what came is read by llhttp, Node's own parser, through httptools.
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
"""Bytes. Generous, for a paid answer must not get lost over one long header."""

_PEER_CLOSED: Final[int] = getattr(select, "POLLRDHUP", 0)
_READABLE: Final[int] = getattr(select, "POLLIN", 0)
_WRITABLE: Final[int] = getattr(select, "POLLOUT", 0)

_LONG_REQUEST_BYTES: Final = 8 << 10
"""Bytes. A shorter request fits into the kernel's buffer, which was empty before."""

_FIRST_FINAL_STATUS: Final = 200
"""Answers below only announce another one."""

_LOWEST_STATUS: Final = 100
"""There is no status below."""

_ZLIB_OR_GZIP: Final = zlib.MAX_WBITS | 32
_IDENTITY_ENCODINGS: Final = ("", "identity")


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer that came whole. Names of headers are in lower case; of equal ones the first."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Connection(asyncio.Protocol):
    """A connection that stands; `ask` it once at a time.

    `most_bytes`: an answer whose body is longer is not read.
    """

    def __init__(self, max_body_bytes: int) -> None:
        self.reused = False
        """It had served another request before."""
        self.idle_since = 0.0
        """When it became free, in the loop's time."""
        self.status: int | None = None
        """Of the answer to the present request, once its head came."""
        self._max_body_bytes = max_body_bytes
        self._transport: asyncio.Transport | None = None
        self._parser: Any = HttpResponseParser(self)
        self._response: asyncio.Future[HttpResponse] | None = None
        self._unusable = False
        self._is_long_request = False
        """Whether the present request is so long that an answer may overtake it."""
        self._overhead_bytes = 0
        """Bytes that came since the last part of a body: of a head, of chunks, of trailers."""
        self._reset_response()

    def _reset_response(self) -> None:
        self.status = None
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._size = 0
        self._overhead_bytes = 0
        self._keep_alive = False

    async def send(self, request: bytes, deadline: float) -> HttpResponse:
        """Write a request, at once and whole, and wait for its answer `until` then.

        `until` is a time of the loop. Raises CallFailed, and TimeoutError.
        """
        transport = self._transport
        if transport is None or self._unusable:
            raise ServerDisconnected
        self._reset_response()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[HttpResponse] = loop.create_future()
        self._response = answer
        self._is_long_request = len(request) > _LONG_REQUEST_BYTES
        transport.write(request)
        patience = loop.call_at(deadline, self._fail, TimeoutError())
        try:
            return await answer
        finally:
            patience.cancel()

    def is_usable(self) -> bool:
        """Whether it still stands, and holds no answer to nothing."""
        transport = self._transport
        if transport is None or self._unusable or transport.is_closing():
            return False
        return not _is_closed_by_peer(transport, reused=self.reused)

    def is_free(self) -> bool:
        """Whether another request may follow the one that was answered."""
        transport, answer = self._transport, self._response
        if transport is None or self._unusable or not self._keep_alive or transport.is_closing():
            return False
        if answer is None or not answer.done() or answer.cancelled():
            return False
        return not transport.get_write_buffer_size() and not (
            self._is_long_request and _is_write_blocked(transport)
        )

    def abort(self) -> None:
        """Close it; what was not written yet is dropped."""
        self._unusable = True
        if self._transport is not None:
            self._transport.abort()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Have a transport to write to, unless nobody waits for it any more."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass
        if self._unusable:
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Read on; what nobody asked for spoils the connection."""
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
        """Take the end as it comes: a request that nobody reads any more would hold it up."""
        self.connection_lost(None)
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Deliver an answer that ends with its connection; all others broke off."""
        torn, self._unusable = exc is not None or self._unusable, True
        if self.status is None:
            self._fail(ServerDisconnected())
        elif torn or self._keep_alive or _has_length(self._headers):
            self._fail(ResponseTruncated())
        else:
            self._deliver()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Read a first answer; a second one was not asked for, and ends the reading."""
        if self._response is None or self._response.done():
            raise InvalidHttpResponse

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; one that comes after the body says nothing of the answer."""
        if self.status is None:
            self._headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """Know the status, and whether the connection stays."""
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
        """Deliver the answer, unless it only announces another one."""
        if (self.status or 0) < _FIRST_FINAL_STATUS:
            self._reset_response()
        else:
            self._deliver()

    def _deliver(self) -> None:
        answer = self._response
        if answer is None or answer.done() or self.status is None:
            return
        try:
            body = _decompressed(b"".join(self._chunks), self._headers, self._max_body_bytes)
        except TransportError as error:
            self._fail(error)
        else:
            answer.set_result(HttpResponse(self.status, self._headers, body))

    def _fail(self, error: TransportError | TimeoutError) -> None:
        if self._response is not None and not self._response.done():
            self._response.set_exception(error)
        self.abort()


def _has_length(headers: Mapping[str, str]) -> bool:
    return "content-length" in headers or "transfer-encoding" in headers


def _decompressed(body: bytes, headers: Mapping[str, str], max_bytes: int) -> bytes:
    """The body as it was meant: we ask for it as it is, and take gzip from who sends it anyway."""
    if headers.get("content-encoding", "").strip().lower() in _IDENTITY_ENCODINGS:
        return body
    unpacking = zlib.decompressobj(_ZLIB_OR_GZIP)
    try:
        found = unpacking.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise ResponseTruncated from error
    if len(found) > max_bytes:
        raise ResponseTooLarge
    if not unpacking.eof:
        raise ResponseTruncated
    return found


def _is_closed_by_peer(transport: asyncio.Transport, *, reused: bool) -> bool:
    """Ask the kernel: the event loop may not have come round to reading the end yet.

    Linux tells that the peer hung up. On a connection kept from before bytes that came before our
    request spoil it as well: they answer nothing we ask. On a fresh one they may be TLS's own.
    """
    return bool(_poll_socket(transport, _PEER_CLOSED | (_READABLE if reused else 0)))


def _is_write_blocked(transport: asyncio.Transport) -> bool:
    """Whether the peer left so much unread that nothing more can be written now.

    Over TLS the transport does not count what waits beneath it.
    """
    return _poll_socket(transport, _WRITABLE) == 0


def _poll_socket(transport: asyncio.Transport, events: int) -> int | None:
    """Which of `events` the kernel sees, or that the line is gone; None where it cannot tell."""
    sock = transport.get_extra_info("socket")
    if not events or sock is None:
        return None
    line: int = sock.fileno()
    if line < 0:
        return select.POLLNVAL
    poll = select.poll()
    poll.register(line, events)
    return next((seen for _, seen in poll.poll(0)), 0)
