"""Begins few requests at a time, of each client in turn, however many arrive at one moment.

What has begun goes on in every turn of the event loop. So the fewer begin in one, the sooner the
next: for `/livez`, which needs no turn, and for whoever sends one request beside many others'.
"""

import asyncio
from collections import OrderedDict, deque
from typing import Final

from aiohttp import web

from worker.api.prefix import PREFIX

PER_TURN: Final = 2
"""Requests that begin in one turn of the event loop: about 2 ms of work."""

_PROBES: Final = frozenset({"/livez", "/readyz"})


class FairTurns:
    """The requests that have arrived and have not begun."""

    def __init__(self, per_turn: int = PER_TURN) -> None:
        self._per_turn = per_turn
        self._begun = 0
        """In this turn of the event loop."""
        self._is_counting = False
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        """By client, in the order in which they have their turn."""

    async def wait(self, client: str) -> None:
        """Return when a request of a client may begin."""
        loop = asyncio.get_running_loop()
        if not self._is_counting:
            self._is_counting = True
            loop.call_soon(self._next_turn, loop)
        if self._begun < self._per_turn and not self._waiting:
            self._begun += 1
            return
        begins: asyncio.Future[None] = loop.create_future()
        self._waiting.setdefault(client, deque()).append(begins)
        await begins

    def _next_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._begun = 0
        while self._waiting and self._begun < self._per_turn:
            client, queue = self._waiting.popitem(last=False)
            begins = queue.popleft()
            if queue:
                self._waiting[client] = queue
            if not begins.done():
                begins.set_result(None)
                self._begun += 1
        self._is_counting = self._begun > 0
        if self._is_counting:
            loop.call_soon(self._next_turn, loop)


REQUEST_TURNS: Final = web.AppKey("request turns", FairTurns)


def is_probe(request: web.Request) -> bool:
    """Whether a request is one of an orchestrator: it costs little, and has to be answered."""
    return request.path.removeprefix(request.app[PREFIX]) in _PROBES


def is_probe_head(begin: bytes) -> bool:
    """Whether bytes are the begin of such a request."""
    line = begin.partition(b"\r\n")[0]
    return line.startswith(b"GET ") and any(probe.encode() in line for probe in _PROBES)
