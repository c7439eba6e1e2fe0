"""Connections to the provider: made when needed, kept for a while, never more than so many."""

import asyncio
import socket
import ssl
from typing import Any, Final
from urllib.parse import urlsplit

from aiohappyeyeballs import start_connection  # pyright: ignore[reportUnknownVariableType]

from worker.provider.http.connection import Connection
from worker.provider.http.failures import CannotConnect, ClientClosed

_DNS_CACHE_S: Final = 60.0
"""How long the addresses of the provider are taken to be still its own."""

_STAGGER_S: Final = 0.25
"""Pause before the next address is tried beside the ones before (RFC 8305)."""

_PORTS: Final = {"http": 80, "https": 443}


class ConnectionPool:
    """Connections to one origin.

    `connections`: most at once; who comes then waits. `connect_s`: how long that, DNS, TCP and TLS
    may take in all. `keepalive_s`: how long an idle one is kept.
    `tls`: what to trust, None for what the system trusts.
    """

    def __init__(
        self,
        base_url: str,
        *,
        max_connections: int,
        connect_s: float,
        keepalive_s: float,
        max_body_bytes: int,
        tls: ssl.SSLContext | None,
    ) -> None:
        parts = urlsplit(base_url)
        self._host = parts.hostname or ""
        self._port = parts.port or _PORTS[parts.scheme]
        self._tls = (tls or _default_tls_context()) if parts.scheme == "https" else None
        self._connect_s = connect_s
        self._keepalive_s = keepalive_s
        self._max_body_bytes = max_body_bytes
        self._slots = asyncio.Semaphore(max_connections)
        self._idle: list[Connection] = []
        """Free ones, the one that was used last at the end."""
        self._in_use: set[Connection] = set()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._addresses: list[Any] = []
        self._resolved_at = 0.0
        self._resolve_lock = asyncio.Lock()

    async def acquire(self) -> Connection:
        """A connection that stands, for one request: a kept one at once, or one that is made.

        Raises CannotConnect, Closed, and TimeoutError where it takes longer than `connect_s`.
        """
        if self._closed:
            raise ClientClosed
        if not self._slots.locked() and (kept := self._pop_idle()) is not None:
            await self._slots.acquire()  # without a wait: one is free
            connection = kept
        else:
            async with asyncio.timeout(self._connect_s):
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
        """Keep a connection whose answer came whole; close any other."""
        self._in_use.discard(connection)
        self._slots.release()
        if self._closed or not connection.is_free():
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        connection.reused, connection.idle_since = True, loop.time()
        self._idle.append(connection)
        if self._idle_timer is None:
            self._idle_timer = loop.call_later(self._keepalive_s, self._close_idle)

    async def close(self) -> None:
        """Close every connection, those in use among them."""
        self._closed = True
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        for connection in (*self._idle, *self._in_use):
            connection.abort()
        self._idle.clear()
        await asyncio.sleep(0)  # transports close with the loop's next turn

    def _pop_idle(self) -> Connection | None:
        """The connection that was used last: the others may come of age."""
        oldest = asyncio.get_running_loop().time() - self._keepalive_s
        while self._idle:
            connection = self._idle.pop()
            if connection.is_free() and connection.idle_since > oldest:
                return connection
            connection.abort()
        return None

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._keepalive_s
        kept = [c for c in self._idle if c.is_free() and c.idle_since > oldest]
        for connection in set(self._idle) - set(kept):
            connection.abort()
        self._idle, self._idle_timer = kept, None
        if kept:
            next_s = kept[0].idle_since - oldest
            self._idle_timer = loop.call_later(next_s, self._close_idle)

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        if self._closed:  # while it was waited for a place
            raise ClientClosed
        connection = Connection(self._max_body_bytes)
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
                connection.abort()  # the socket is the transport's, which may yet come to stand
                if not isinstance(loop, asyncio.BaseEventLoop):
                    sock.detach()  # uvloop before 0.23 closed its number, and it would do so again
                raise
        except OSError as error:
            self._addresses = []
            raise CannotConnect(f"{self._host}:{self._port}", error) from error
        if self._closed:
            connection.abort()
            raise ClientClosed
        return connection

    async def _resolve(self) -> list[Any]:
        """The addresses of the host; who asks at the same time waits for the one that looks up."""
        loop = asyncio.get_running_loop()
        async with self._resolve_lock:
            if not self._addresses or loop.time() > self._resolved_at + _DNS_CACHE_S:
                found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
                self._addresses, self._resolved_at = list(found), loop.time()
            return self._addresses


def _default_tls_context() -> ssl.SSLContext:
    """Trust what the system trusts."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
