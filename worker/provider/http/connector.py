"""Connections: sockets that notice a dead peer, and none that ended while it was idle."""

import asyncio
import socket
import ssl
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.connector import Connection

from worker.provider.http.options import HttpOptions
from worker.provider.http.send_gate import is_stale

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.tracing import Trace

_DNS_CACHE_S: Final = 60
"""How long resolved addresses are used."""

_KEEPALIVE_IDLE_S: Final = 45
"""Idle seconds until the kernel probes the peer, also while a run takes its time."""

_KEEPALIVE_INTERVAL_S: Final = 15
_KEEPALIVE_PROBES: Final = 5
"""A dead peer is noticed 45 + 5 · 15 = 120 s after its last byte; with TCP_USER_TIMEOUT at 90 s."""

_LONGEST_IDLE_S: Final = 60.0
"""Connections whose server announces a longer `Keep-Alive: timeout` are kept for this long."""

_IDLE_MARGIN_S: Final = 1.0
"""Reuse ends this long before the server's own limit."""


class CheckedConnector(aiohttp.TCPConnector):
    """Hands out open connections: an idle one only if it may be used and nothing came over it.

    `idle_s`: how long an idle connection may be used, if its server announces nothing else.
    `quiet_s`: how long after its last response it may be used at the earliest. `tls`: None if no
    connection uses it.
    """

    def __init__(
        self, options: HttpOptions, tls: ssl.SSLContext | None, *, idle_s: float, quiet_s: float
    ) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            ssl=tls or True,
            limit=0,  # the engine limits the calls
            keepalive_timeout=max(idle_s, _LONGEST_IDLE_S),
            ttl_dns_cache=_DNS_CACHE_S,
            resolver=aiohttp.ThreadedResolver(),
            socket_factory=_SocketFactory(options.unacknowledged_s),
        )
        self._idle_s, self._quiet_s = idle_s, quiet_s
        self._quiet_until: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        self._reuse_until: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        """By connection that was handed out before."""
        self._ends: WeakKeyDictionary[Any, asyncio.Future[None]] = WeakKeyDictionary()

    async def connect(
        self,
        req: "ClientRequest",
        traces: "list[Trace]",
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  as in aiohttp
    ) -> Connection:
        """Return an idle connection that may be used, else a new one."""
        while True:
            try:
                connection = await super().connect(req, traces, timeout)
            except aiohttp.ClientConnectorError:
                self.clear_dns_cache()
                raise
            protocol = connection.protocol
            if protocol is None:
                return connection
            now, until = time.monotonic(), self._reuse_until.get(protocol)
            if until is None:
                self._watch_end(protocol)
            elif now < (quiet_until := self._quiet_until.get(protocol, 0.0)):
                await _quiet(connection, quiet_until - now)
                now = time.monotonic()
            if until is None or (now < until and not is_stale(protocol, is_reused=True)):
                self._reuse_until[protocol] = now + self._idle_s
                return connection
            connection.close()

    def was_reset(self, protocol: object) -> bool:
        """Whether the connection ended by an error, such as a TCP reset."""
        end = self._ends.get(protocol)
        return end is not None and end.done() and not end.cancelled() and bool(end.exception())

    def _watch_end(self, protocol: "ResponseHandler") -> None:
        end = protocol.closed
        if end is not None:
            end.add_done_callback(_retrieve)
            self._ends[protocol] = end

    def note_response(self, protocol: object, headers: Mapping[str, str]) -> None:
        """Note how long the connection may be idle after a response with these headers."""
        announced = announced_idle_s(headers.get("keep-alive", ""))
        idle_s = self._idle_s if announced is None else announced - _IDLE_MARGIN_S
        now = time.monotonic()
        self._reuse_until[protocol] = now + min(idle_s, _LONGEST_IDLE_S)
        if self._quiet_s:
            self._quiet_until[protocol] = now + self._quiet_s


async def _quiet(connection: Connection, seconds: float) -> None:
    """Wait while a connection is idle, and close it if the wait is cancelled."""
    try:
        await asyncio.sleep(seconds)
    except BaseException:
        connection.close()
        raise


def _retrieve(end: "asyncio.Future[None]") -> None:
    """Read the exception: asyncio logs those that nobody reads."""
    if not end.cancelled():
        end.exception()


def announced_idle_s(keep_alive: str) -> float | None:
    """Read `timeout` of a `Keep-Alive` header (RFC 2068, section 19.7.1.1), in seconds."""
    for part in keep_alive.split(","):
        name, _, value = part.partition("=")
        if name.strip().lower() == "timeout" and value.strip().isdecimal():
            return float(value.strip())
    return None


class _SocketFactory:
    """Opens sockets that probe an idle peer, and give up one that acknowledges nothing."""

    def __init__(self, unacknowledged_s: float) -> None:
        self._options = [
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            *_tcp_option("TCP_KEEPIDLE", _KEEPALIVE_IDLE_S),
            *_tcp_option("TCP_KEEPALIVE", _KEEPALIVE_IDLE_S),  # its name on macOS
            *_tcp_option("TCP_KEEPINTVL", _KEEPALIVE_INTERVAL_S),
            *_tcp_option("TCP_KEEPCNT", _KEEPALIVE_PROBES),
            *_tcp_option("TCP_USER_TIMEOUT", int(unacknowledged_s * 1000)),
        ]

    def __call__(self, address: tuple[int, int, int, str, Any]) -> socket.socket:
        sock = socket.socket(*address[:3])
        for level, option, value in self._options:
            sock.setsockopt(level, option, value)
        return sock


def _tcp_option(name: str, value: int) -> list[tuple[int, int, int]]:
    option = getattr(socket, name, None)
    return [] if option is None else [(socket.IPPROTO_TCP, option, value)]
