"""Accepts connections, as many as the limits allow.

asyncio's own server accepts whatever comes. Where file descriptors run out it tries again as often
as its backlog is long, logs each failure, and serves nobody meanwhile.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from config.trusted_proxies import TrustedProxies
from worker.api.edge.client_address import client_network, resolve_client
from worker.api.edge.connection import ApiConnection
from worker.api.edge.connection_table import ConnectionTable
from worker.api.edge.fair_turns import FairTurns, is_probe_head
from worker.api.edge.repeated_lines import RepeatedLines
from worker.tasks import cancel_and_wait

log: Final = structlog.get_logger(__name__)

BACKLOG: Final = 1_024
"""Connections that the system keeps until they are accepted."""

ACCEPTS_PER_TURN: Final = 64
"""Connections that are accepted before everything else has its turn: each costs little yet."""

OPENED_PER_TURN: Final = 4
"""Of these, those that are opened then: each costs as much as ten are to accept."""

PEEKED_BYTES: Final = 128

DEFER_S: Final = 3
"""How long the system keeps connections on which nothing arrives: they cost the process nothing."""

RETRY_DELAY_S: Final = 0.1
OVERDUE_CHECK_INTERVAL_S: Final = 1.0


async def open_listeners(host: str, port: int) -> list[socket.socket]:
    """Listen on every address of a host, on one port; raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((row[0], str(row[4][0])) for row in found):
            bound_port = listeners[0].getsockname()[1] if listeners else port
            listener = socket.create_server((address, bound_port), family=family, backlog=BACKLOG)
            listener.setblocking(False)
            if hasattr(socket, "TCP_DEFER_ACCEPT"):  # Linux
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_S)
            listeners.append(listener)
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


class Acceptor:
    """Accepts the connections of some listeners, and closes those that are overdue."""

    def __init__(
        self,
        table: ConnectionTable,
        trusted: TrustedProxies,
        lines: RepeatedLines,
        new_connection: Callable[[str], ApiConnection],
    ) -> None:
        self._table = table
        self._trusted = trusted
        self._lines = lines
        self._new_connection = new_connection
        self._turns = FairTurns(OPENED_PER_TURN)
        self._opening: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []

    def start(self, listeners: Sequence[socket.socket]) -> None:
        """Begin to accept."""
        self._loops = [asyncio.create_task(self._accept_all(one)) for one in listeners]
        self._loops.append(asyncio.create_task(self._close_overdue()))

    async def stop(self) -> None:
        """Accept no more; connections that are open stay open."""
        await cancel_and_wait(*self._loops, *self._opening)

    async def _accept_all(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for _ in range(ACCEPTS_PER_TURN):
                try:
                    accepted, peer = await loop.sock_accept(listener)
                except OSError as error:
                    await self._recover(error)
                    break
                self._begin_to_open(accepted, str(peer[0]))
            await asyncio.sleep(0)
            while self._opening and self._is_full():  # noqa: ASYNC110 - it lasts a few turns
                await asyncio.sleep(0)

    async def _recover(self, error: OSError) -> None:
        """Wait a little, unless it is only that the client went away already."""
        if error.errno == errno.ECONNABORTED:
            return
        reason = os.strerror(error.errno or 0)
        if (omitted := self._lines.admit(("connection.not_accepted", reason))) is not None:
            log.error("connection.not_accepted", reason=reason, omitted=omitted)
        self._table.close_waiting(ACCEPTS_PER_TURN)
        await asyncio.sleep(RETRY_DELAY_S)

    def _is_full(self) -> bool:
        """Whether all places are taken, if those are counted that are about to be opened."""
        return len(self._table) + len(self._opening) >= self._table.limits.total

    def _begin_to_open(self, accepted: socket.socket, peer: str) -> None:
        """Open it in its turn: a probe at once, others of each client one after another."""
        if (begin := _peeked(accepted)) is None:
            accepted.close()
            return
        opening = asyncio.create_task(self._open(accepted, peer, is_urgent=is_probe_head(begin)))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def _open(self, accepted: socket.socket, peer: str, *, is_urgent: bool) -> None:
        client = resolve_client(peer, (), self._trusted)
        network = client_network(client.address)
        try:
            if not is_urgent:
                await self._turns.wait(network)
        except BaseException:
            accepted.close()
            raise
        if not self._table.make_room(network, is_proxy=client.proxies > 0):
            accepted.close()
            if (omitted := self._lines.admit("connection.refused")) is not None:
                log.warning("connection.refused", open=len(self._table), omitted=omitted)
            return
        connection = self._new_connection(network)
        self._table.add(connection)
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: connection, accepted)
        except BaseException:
            self._table.remove(connection)
            accepted.close()
            raise

    async def _close_overdue(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(OVERDUE_CHECK_INTERVAL_S)
            self._table.end_overdue(clock())


def _peeked(accepted: socket.socket) -> bytes | None:
    """How its first request begins, as far as it has arrived.

    None: the client has closed its side without a word; to serve it costs 50 times the look.
    """
    try:
        return accepted.recv(PEEKED_BYTES, socket.MSG_PEEK) or None
    except BlockingIOError:
        return b""
    except OSError:
        return None
