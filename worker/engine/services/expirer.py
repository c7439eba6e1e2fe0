"""The expirer: cancels jobs that were not sent by their `start_by`."""

import asyncio
from collections.abc import Awaitable
from typing import Final

from jobs.indexes import Index
from jobs.lanes import JobId
from jobs.start_by import is_expired
from worker.engine.unreadable_records import load_jobs
from worker.engine.unsendable_jobs import expire_job
from worker.engine.wakeups import Wakeup
from worker.store import Store

BATCH: Final = 500
TICK_S: Final = 3.0
"""Pause between two ticks. Admission and the send mark check the time themselves, so a job that is
cancelled a little later is not sent meanwhile."""


class Expirer:
    """Cancels jobs in batches as their `start_by` passes."""

    name = "expirer"

    def __init__(self, store: Store) -> None:
        self._store = store
        self.wakeup = Wakeup()

    async def tick(self, now: float) -> float:
        """Cancel what is too late; returns the seconds until the next tick."""
        ids, next_at = await self._store.jobs.past_start_by(now, BATCH)
        if ids:
            await self._expire(ids, now)
        if len(ids) == BATCH:
            return 0.0
        return TICK_S if next_at is None else min(TICK_S, max(0.0, next_at - now))

    async def _expire(self, ids: list[JobId], now: float) -> None:
        writes: list[Awaitable[object]] = []
        for job_id, stored in zip(ids, await load_jobs(self._store.jobs, ids, now), strict=True):
            if stored is None:
                writes.append(
                    self._store.jobs.remove_entry_without_record(Index.START_BY, "", job_id)
                )
            elif is_expired(stored.job, now):
                writes.append(expire_job(self._store, stored, now))
            else:  # an entry that its record has not; a job that was just sent has none
                writes.append(self._store.jobs.remove_stale_entry(stored, Index.START_BY))
        await asyncio.gather(*writes)
