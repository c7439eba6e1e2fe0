"""The pruner: deletes settled jobs after their retention. Parked and dead jobs never expire."""

import asyncio
from typing import Final

from jobs.states import PRUNABLE
from worker.engine.unreadable_records import load_jobs
from worker.engine.wakeups import Wakeup
from worker.store import Store

BATCH: Final = 500
TICK_S: Final = 60.0


class Pruner:
    """Deletes old settled jobs, expired cool-downs and silent workers."""

    name = "pruner"

    def __init__(self, store: Store, retention_s: float) -> None:
        self._store = store
        self._retention_s = retention_s
        self.wakeup = Wakeup()

    async def tick(self, now: float) -> float:
        """Delete a batch of each settled state; returns 0 seconds while there are more."""
        full = False
        for state in PRUNABLE:
            ids = await self._store.jobs.older_than(state, now - self._retention_s, BATCH)
            found = await load_jobs(self._store.jobs, ids, now)
            deletions = [self._store.jobs.delete(stored) for stored in found if stored is not None]
            deleted = sum(await asyncio.gather(*deletions))
            full = full or (len(ids) == BATCH and deleted > 0)
        await self._store.holds.remove_expired_cool_downs(now)
        await self._store.holds.remove_proved_open(now)
        await self._store.holds.remove_expired_sync_only(now)
        await self._store.workers.remove_silent(now)
        if full:
            return 0.0
        await self._store.registers.remove_empty()
        return TICK_S
