"""Writes what this process keeps in memory for Redis: counts, audit entries, costs of runs."""

from worker.engine.wakeups import Wakeup
from worker.store import Store
from worker.store.metrics.counters import FLUSH_INTERVAL_S


class MetricsFlusher:
    """Adds the counters of this process to those that all processes share."""

    name = "metrics_flusher"

    def __init__(self, store: Store) -> None:
        self._store = store
        self.wakeup = Wakeup()

    async def tick(self, now: float) -> float:
        """Add what was counted since the last flush; returns the seconds until the next."""
        await self._store.audit.write_pending()
        await self._store.metrics.counters.flush(now)
        await self._store.costs.write_due(now)
        return FLUSH_INTERVAL_S
