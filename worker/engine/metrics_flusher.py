"""Brings what this worker counted to Redis, every few seconds."""

from worker.clock import Clock
from worker.engine.wakeups import Bell
from worker.store import Store
from worker.store.metrics.counters import FLUSH_S


class Counting:
    """Keeps the counters of all workers in one place."""

    name = "counting"

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.bell = Bell()

    async def tick(self, now: float) -> float:
        """Add what was counted since the last time."""
        await self._store.counters.flush(now)
        return FLUSH_S

    async def finish(self) -> None:
        """Bring the last of it, before the worker ends."""
        await self._store.counters.flush(self._clock.now())
