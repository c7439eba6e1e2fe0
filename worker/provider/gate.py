"""The one gate a submit's bytes pass: what tells *never sent* from *unknown*.

A submit may be repeated only if not a byte of it was written. Exceptions cannot tell: the library
raises the same ones before and after. So the body itself knows: aiohttp, from 3.12 on, keeps the
head back until the body's first bytes come, and the body asks its gate right before it hands them
over. What happens after is unknown; a gate that was shut in time lets nothing through any more.
"""

import asyncio
import select
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Final

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import StreamWriter
from aiohttp.payload import Payload

BeforeWrite = Callable[[], Awaitable[None]]

_HUNG_UP: Final[int] = getattr(select, "POLLRDHUP", 0)


class NotWrittenError(Exception):
    """The gate let nothing through: not a byte was written."""


class Gate:
    """One submit's way out: closed, then either opened or shut, for good."""

    def __init__(self, before_write: BeforeWrite | None = None) -> None:
        self.before_write = before_write
        """Awaited once the connection stands, right before the first byte; None when done."""
        self.hook_error: Exception | None = None
        self.reused = False
        """The connection had served another request before."""
        self.opened = False
        """The first byte may have been written."""
        self.status: int | None = None
        """The answer's, once its head came."""
        self._shut = False

    async def run_hook(self) -> None:
        """Await `before_write`; where it raises, nothing is written."""
        hook = self.before_write
        if hook is None:
            return
        try:
            await hook()
        except Exception as error:
            self.hook_error = error
            raise NotWrittenError from error
        self.before_write = None

    def open(self, writer: AbstractStreamWriter) -> None:
        """Let the bytes through, or raise NotWrittenError where they would go nowhere."""
        if self._shut or not _is_usable(writer, reused=self.reused):
            self._shut = True
            raise NotWrittenError
        self.opened = True

    def shut(self) -> bool:
        """Let nothing through from now on; whether nothing ever went through."""
        self._shut = True
        return not self.opened

    def answered(self, status: int) -> bool:
        """Note the status of an answer; False for one to a request that was never written.

        A server that closes an idle connection may say so first, with a 408.
        """
        self.status = status
        return not self.shut()


class GatedBody(Payload):
    """A request's body behind its gate."""

    _value: bytes

    def __init__(self, value: bytes, gate: Gate) -> None:
        super().__init__(value, content_type="application/json")
        self._size = len(value)
        self._gate = gate

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as text; asked for by the base class, used by nobody."""
        return self._value.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write head and body in one go, if the gate opens."""
        self._gate.open(writer)
        await writer.write(self._value)


def traced() -> aiohttp.TraceConfig:
    """Let a gate know of its connection, and await its hook when the connection stands."""
    config = aiohttp.TraceConfig()
    config.on_connection_reuseconn.append(_on_reused)
    config.on_request_headers_sent.append(_on_connected)
    return config


async def _on_reused(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceConnectionReuseconnParams,
) -> None:
    gate: Gate | None = context.trace_request_ctx
    if gate is not None:
        gate.reused = True


async def _on_connected(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceRequestHeadersSentParams,
) -> None:
    """Run the hook. The signal's name runs ahead: the head is only put by, see above."""
    gate: Gate | None = context.trace_request_ctx
    if gate is not None:
        await gate.run_hook()


def _is_usable(writer: AbstractStreamWriter, *, reused: bool) -> bool:
    """Whether the connection still stands, and holds no answer to nothing."""
    if not isinstance(writer, StreamWriter):
        return False
    transport, protocol = writer.transport, writer.protocol
    if transport is None or transport.is_closing():
        return False
    if isinstance(protocol, ResponseHandler) and protocol.should_close:
        return False
    return not _is_hung_up(transport, reused=reused)


def _is_hung_up(transport: asyncio.Transport, *, reused: bool) -> bool:
    """Ask the kernel: the event loop may not have come round to reading the end yet.

    Linux tells that the peer hung up. Elsewhere bytes that came before our request mean the same on
    a connection kept from before; on a fresh one they may be TLS's own.
    """
    event = _HUNG_UP or (select.POLLIN if reused and hasattr(select, "poll") else 0)
    sock = transport.get_extra_info("socket")
    if not event or sock is None:
        return False
    poll = select.poll()
    poll.register(sock.fileno(), event)
    return bool(poll.poll(0))
