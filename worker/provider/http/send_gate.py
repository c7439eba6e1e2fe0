"""The gate of a submit: it tells *never sent* from *unknown*.

A submit may be repeated only if its body was never written, and no exception type says so. So the
mark is recorded when the connection stands, and the gate opens in the same synchronous step that
hands the body to the connection. Until then the server can have no complete request, and nothing at
all of it: aiohttp holds the head back until the body comes. Once the gate is open the outcome is
unknown until a response comes; once it is closed nothing can be written.
"""

import asyncio
import select
import socket
import struct
import time
from contextlib import suppress
from typing import Any, Final, Protocol

from aiohttp import Payload
from aiohttp.abc import AbstractStreamWriter

from worker.provider.http.failures import MarkTooOld, Phase, RequestNotWritten
from worker.provider.port import SendMark

MAX_MARK_AGE_S: Final = 5.0
"""The body is not written later than this after the mark: a submit that looks lost for longer than
the evidence grace has not been written since."""

_PEER_CLOSED: Final[int] = getattr(select, "POLLRDHUP", 0)
_READABLE: Final[int] = getattr(select, "POLLIN", 0)
_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def mark_clock() -> float:
    """Seconds that no one can set, and that pass while the machine sleeps (on Linux)."""
    return time.clock_gettime(_CLOCK)


class ConnectionProtocol(Protocol):
    """What the gate asks of aiohttp's connection; all of it is public."""

    @property
    def transport(self) -> asyncio.Transport | None:
        """The connection; None once it is closed."""
        ...

    @property
    def should_close(self) -> bool:
        """Whether it holds bytes that belong to no request."""
        ...


class SendGate:
    """The gate of one submit over at most a few connections; it opens once."""

    def __init__(self, mark: SendMark | None = None) -> None:
        self.mark_error: Exception | None = None
        """What `mark` raised."""
        self.refusal: RequestNotWritten | None = None
        """Why it refused the latest connection."""
        self.status: int | None = None
        """Status of the response, once its head came."""
        self.found_stale = False
        """The connection of the latest try had ended before it was used."""
        self.connecting: asyncio.Timeout | None = None
        self.deadline = 0.0
        """When the call has to be over, in the loop's time; `connecting` is moved there."""
        self.protocol: ConnectionProtocol | None = None
        """The connection that the body was written to."""
        self._mark = mark
        self._marked_at: float | None = None
        self._interrupt: asyncio.CancelledError | None = None
        self._transport: asyncio.Transport | None = None
        self._is_connected = self._is_reused = False
        self._closed = False

    @property
    def is_open(self) -> bool:
        """Whether the body was written: from then on the outcome is unknown."""
        return self._transport is not None

    @property
    def phase(self) -> Phase:
        """What the submit waits for."""
        if self.is_open:
            return "answer"
        return "mark" if self._is_connected else "connection"

    async def record_mark(self, *, is_reused: bool) -> None:
        """Record the mark, once, on a connection that stands. Never raises.

        An exception in a signal would free the connection's place without closing it. So it is kept
        here, and `open` refuses; `raise_interrupt` raises a cancellation again.
        """
        self._is_connected, self._is_reused = True, is_reused
        if self.connecting is not None:
            self.connecting.reschedule(self.deadline)
            self.connecting = None
        if self._mark is None or self._has_failed():
            return
        started_at = mark_clock()
        try:
            await self._mark.record()
        except asyncio.CancelledError as error:
            self._interrupt = error
        except Exception as error:  # noqa: BLE001  the caller raises it
            self.mark_error = error
        else:
            self._mark, self._marked_at = None, started_at

    def _has_failed(self) -> bool:
        return self.mark_error is not None or self._interrupt is not None

    def raise_interrupt(self) -> None:
        """Raise the cancellation that came while the mark was recorded."""
        if self._interrupt is not None:
            raise self._interrupt

    def open(self, protocol: ConnectionProtocol) -> None:
        """Allow the write, which must follow at once; raise if the connection cannot take it."""
        transport = protocol.transport
        try:
            self._check(protocol)
        except RequestNotWritten as refusal:
            self.refusal = refusal
            if transport is not None:
                transport.abort()
            raise
        self._closed = True  # it opens once
        self._transport, self.protocol = transport, protocol

    def _check(self, protocol: ConnectionProtocol) -> None:
        if self._closed or self._has_failed() or self._mark is not None:
            raise RequestNotWritten
        if self._marked_at is not None and mark_clock() - self._marked_at >= MAX_MARK_AGE_S:
            self._closed = True
            raise MarkTooOld
        if is_stale(protocol, is_reused=self._is_reused):
            self.found_stale = self._is_reused
            raise RequestNotWritten

    def close(self) -> bool:
        """Allow nothing from now on; returns True if nothing was ever written."""
        self._closed = True
        return self._transport is None

    def is_written(self) -> bool:
        """Whether every byte has left this process; over TLS True can be too early by some."""
        return self._transport is None or not self._transport.get_write_buffer_size()

    def abort(self) -> None:
        """Drop the connection with what is not sent yet, here and in the kernel."""
        if self._transport is not None:
            _reset(self._transport)


class GatedBody(Payload):
    """A request's body that is written through a gate, in one piece."""

    def __init__(self, body: bytes, gate: SendGate, content_type: str) -> None:
        super().__init__(body, content_type=content_type)
        self._body, self._gate = body, gate

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self._body)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text."""
        return self._body.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Open the gate and write. There is no `await` between the two that can suspend."""
        self._gate.open(writer.protocol)  # type: ignore[attr-defined]
        await writer.write(self._body)

    async def write_with_length(
        self,
        writer: AbstractStreamWriter,
        content_length: int | None,  # noqa: ARG002  it is our `size`
    ) -> None:
        """Write all of it."""
        await self.write(writer)


def is_stale(protocol: ConnectionProtocol, *, is_reused: bool) -> bool:
    """Whether it has ended, or holds bytes that belong to no request.

    Asks the kernel too: the event loop may not have read the end of the stream yet. Bytes that came
    before the request make a reused connection unusable; on a new one they may belong to TLS.
    """
    transport = protocol.transport
    if transport is None or transport.is_closing() or protocol.should_close:
        return True
    return bool(_poll_socket(transport, _PEER_CLOSED | (_READABLE if is_reused else 0)))


def _poll_socket(transport: asyncio.Transport, events: int) -> int:
    """Return which of `events` hold, POLLNVAL for a closed socket, 0 if it cannot be known."""
    sock: Any = transport.get_extra_info("socket")
    if not events or sock is None:
        return 0
    fd: int = sock.fileno()
    if fd < 0:
        return select.POLLNVAL
    poll = select.poll()
    poll.register(fd, events)
    return next((ready for _, ready in poll.poll(0)), 0)


def _reset(transport: asyncio.Transport) -> None:
    sock: Any = transport.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError, ValueError):  # it is closed already
            # A reset: what waits in the kernel is not delivered later.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
