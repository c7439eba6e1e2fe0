"""Clocks: the real one, and one that a test moves."""

import asyncio
import heapq
import itertools
import math
import time
from typing import Protocol


class SandboxClock(Protocol):
    """A clock. Times are seconds since the epoch."""

    def now(self) -> float:
        """Return the current time."""
        ...

    async def sleep_until(self, when: float) -> None:
        """Return once `now() >= when`; never for infinity."""
        ...


class SandboxSystemClock:
    """Wall time that never steps back: the monotonic clock, anchored at construction."""

    __slots__ = ("_anchor",)

    def __init__(self) -> None:
        self._anchor = time.time() - time.monotonic()

    def now(self) -> float:
        """Return the current time."""
        return self._anchor + time.monotonic()

    async def sleep_until(self, when: float) -> None:
        """Sleep until `when`; never return when it is infinite."""
        if math.isinf(when):
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(max(0.0, when - self.now()))


class SettableClock:
    """A clock for tests: it moves only by `advance`, which wakes the sleepers that are due."""

    __slots__ = ("_now", "_order", "_sleepers")

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._now = now
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        """Return the time last set."""
        return self._now

    async def sleep_until(self, when: float) -> None:
        """Return once `advance` has moved the clock to `when`."""
        if when <= self._now:
            await asyncio.sleep(0)
            return
        sleeper = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (when, next(self._order), sleeper))
        await sleeper

    def advance(self, seconds: float) -> None:
        """Move the clock by `seconds` and wake every sleeper that is due."""
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, sleeper = heapq.heappop(self._sleepers)
            if not sleeper.done():
                sleeper.set_result(None)
