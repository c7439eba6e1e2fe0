"""Brings what this worker counted to Redis, every few seconds."""

from worker.clock import Clock
from worker.engine.wakeups import Wakeup
from worker.store import Store
from worker.store.metrics.counters import FLUSH_INTERVAL_S


class MetricsFlusher:
    """Keeps the counters of all workers in one place."""

    name = "metrics_flusher"

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.wakeup = Wakeup()

    async def tick(self, now: float) -> float:
        """Add what was counted since the last time."""
        await self._store.counters.flush(now)
        return FLUSH_INTERVAL_S

    async def flush(self) -> None:
        """Bring the last of it, before the worker ends."""
        await self._store.counters.flush(self._clock.now())
