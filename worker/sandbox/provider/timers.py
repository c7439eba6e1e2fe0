"""What happens later: one heap of entries by time."""

import asyncio
import heapq
import itertools
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TypeAlias

from worker.sandbox.clock import SandboxClock
from worker.sandbox.provider.accounts import Hook
from worker.sandbox.provider.runs import SandboxRun

_MAX_SLEEP_S = 3600.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook to send; `attempt` counts from 1."""

    hook: Hook
    body: bytes
    run: SandboxRun | None = None
    attempt: int = 1


TimerEntry: TypeAlias = SandboxRun | Delivery
"""A run that may have ended (charge, refund, send its webhook), or a webhook to send."""


class TimerQueue:
    """Entries by time. Adding one is synchronous and cheap; only `due_entries` waits."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, TimerEntry]] = []
        self._order = itertools.count()
        self._sleep: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, when: float, entry: TimerEntry) -> None:
        """Add `entry` for the time `when`."""
        heapq.heappush(self._heap, (when, next(self._order), entry))
        if self._sleep is not None and self._heap[0][0] == when:
            self._sleep.cancel()

    def clear(self) -> None:
        """Remove every entry."""
        self._heap.clear()

    async def due_entries(self, clock: SandboxClock) -> AsyncGenerator[TimerEntry]:
        """Yield each entry at its time, without end."""
        while True:
            now = clock.now()
            while self._heap and self._heap[0][0] <= now:
                yield heapq.heappop(self._heap)[2]
            until = self._heap[0][0] if self._heap else now + _MAX_SLEEP_S
            if until <= now:
                continue
            self._sleep = asyncio.ensure_future(clock.sleep_until(until))
            try:
                await asyncio.wait({self._sleep})
            finally:
                self._sleep.cancel()
                self._sleep = None
