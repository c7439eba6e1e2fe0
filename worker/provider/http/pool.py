"""A pool of connections to one origin: opened on demand, kept for a while, limited in number."""

import asyncio
import socket
import ssl
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from aiohappyeyeballs import start_connection  # pyright: ignore[reportUnknownVariableType]

from worker.provider.http.connection import Connection
from worker.provider.http.failures import CannotConnect, ClientClosed

_DNS_CACHE_S: Final = 60.0
"""How long resolved addresses are used."""

_STAGGER_S: Final = 0.25
"""Pause before the next address is tried in parallel (RFC 8305, section 5)."""

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Limits of the transport."""

    connect_s: float = 10.0
    """Longest wait for a free connection, DNS, TCP and TLS together."""
    max_connections: int = 200
    """Connections open at once; a request beyond waits for a free one, within `connect_s`."""
    keepalive_s: float = 15.0
    """Idle connections are closed after this, before the server closes them: a submit on a
    connection that the server closes meanwhile is lost. Common servers and balancers keep them for
    60 s and more; Node's default is 5 s, so the send gate also checks a reused connection."""
    max_body_bytes: int = 64 << 20
    """A longer response body is not read."""
    tls: ssl.SSLContext | None = None
    """What to trust; None for what the system trusts."""


class ConnectionPool:
    """Connections to one origin."""

    def __init__(self, base_url: str, options: HttpOptions) -> None:
        parts = urlsplit(base_url)
        self._host = parts.hostname or ""
        self._port = parts.port or _PORTS[parts.scheme]
        self._tls = (options.tls or _default_tls_context()) if parts.scheme == "https" else None
        self._options = options
        self._slots = asyncio.Semaphore(options.max_connections)
        self._idle: list[Connection] = []
        """Idle connections, the most recently used at the end."""
        self._in_use: set[Connection] = set()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._addresses: list[Any] = []
        self._resolved_at = 0.0
        self._resolve_lock = asyncio.Lock()

    async def acquire(self) -> Connection:
        """Return an open connection for one request: an idle one at once, else a new one.

        Raises CannotConnect, ClientClosed, and TimeoutError after `connect_s`.
        """
        if self._closed:
            raise ClientClosed
        if not self._slots.locked() and (idle := self._pop_idle()) is not None:
            await self._slots.acquire()  # does not wait: one is free
            connection = idle
        else:
            async with asyncio.timeout(self._options.connect_s):
                connection = await self._wait_and_connect()
        self._in_use.add(connection)
        return connection

    async def _wait_and_connect(self) -> Connection:
        await self._slots.acquire()
        try:
            return self._pop_idle() or await self._connect()
        except BaseException:
            self._slots.release()
            raise

    def release(self, connection: Connection) -> None:
        """Keep the connection if its response is complete, else close it."""
        self._in_use.discard(connection)
        self._slots.release()
        if self._closed or not connection.is_free():
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        connection.mark_idle(loop.time())
        self._idle.append(connection)
        if self._idle_timer is None:
            self._idle_timer = loop.call_later(self._options.keepalive_s, self._close_idle)

    async def close(self) -> None:
        """Close every connection, also those in use."""
        self._closed = True
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        for connection in (*self._idle, *self._in_use):
            connection.abort()
        self._idle.clear()
        await asyncio.sleep(0)  # transports close with the loop's next turn

    def _pop_idle(self) -> Connection | None:
        """Return the most recently used connection, so that the others can expire."""
        oldest = asyncio.get_running_loop().time() - self._options.keepalive_s
        while self._idle:
            connection = self._idle.pop()
            if connection.is_free() and connection.idle_since > oldest:
                return connection
            connection.abort()
        return None

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._options.keepalive_s
        kept = [c for c in self._idle if c.is_free() and c.idle_since > oldest]
        for connection in set(self._idle) - set(kept):
            connection.abort()
        self._idle, self._idle_timer = kept, None
        if kept:
            next_s = kept[0].idle_since - oldest
            self._idle_timer = loop.call_later(next_s, self._close_idle)

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        if self._closed:  # while this call waited for a slot
            raise ClientClosed
        connection = Connection(self._options.max_body_bytes)
        try:
            addresses = await self._resolve()
            sock = await start_connection(addresses, happy_eyeballs_delay=_STAGGER_S, loop=loop)
            try:
                await loop.create_connection(
                    lambda: connection,
                    sock=sock,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                )
            except BaseException:
                connection.abort()  # the transport owns the socket and may still connect
                if not isinstance(loop, asyncio.BaseEventLoop):
                    sock.detach()  # uvloop before 0.23 closed the descriptor: not twice
                raise
        except OSError as error:
            self._addresses = []
            raise CannotConnect(f"{self._host}:{self._port}", error) from error
        if self._closed:
            connection.abort()
            raise ClientClosed
        return connection

    async def _resolve(self) -> list[Any]:
        """Return the host's addresses; concurrent callers share one lookup."""
        loop = asyncio.get_running_loop()
        async with self._resolve_lock:
            if not self._addresses or loop.time() > self._resolved_at + _DNS_CACHE_S:
                addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
                self._addresses, self._resolved_at = list(addresses), loop.time()
            return self._addresses


def _default_tls_context() -> ssl.SSLContext:
    """Trust what the system trusts."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
