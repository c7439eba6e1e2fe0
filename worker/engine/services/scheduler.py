"""The scheduler: queues scheduled jobs and retries when they are due."""

import asyncio
from collections.abc import Awaitable
from typing import Final

from jobs.indexes import Index
from jobs.lanes import JobId
from jobs.states import State
from jobs.transitions import park_awaiting, promote
from worker.engine.unreadable_records import load_jobs
from worker.engine.wakeups import Wakeup, Wakeups
from worker.store import Store

BATCH: Final = 500
TICK_S: Final = 1.0
"""Longest pause between two ticks: other workers and the API schedule jobs without a wake-up."""


class Scheduler:
    """Moves `scheduled` and `retrying` jobs to `queued` when they are due.

    A job that still waits for a finding then is parked: only its finding may send it again.
    """

    name = "scheduler"

    def __init__(self, store: Store, wakeups: Wakeups) -> None:
        self._store = store
        self._wakeups = wakeups

    @property
    def wakeup(self) -> Wakeup:
        """Ends the pause between two ticks early."""
        return self._wakeups.scheduler

    async def tick(self, now: float) -> float:
        """Queue the jobs that are due; returns the seconds until the next one is."""
        ids, next_due = await self._store.jobs.due_jobs(now, BATCH)
        if ids:
            await self._promote(ids, now)
        if len(ids) == BATCH:
            return 0.0
        return TICK_S if next_due is None else min(TICK_S, max(0.0, next_due - now))

    async def _promote(self, ids: list[JobId], now: float) -> None:
        waiting = (State.SCHEDULED, State.RETRYING)
        commits: list[Awaitable[object]] = []
        for stored in await load_jobs(self._store.jobs, ids, now):
            if stored is None:
                continue
            if stored.job.state in waiting and (stored.job.due_at or 0.0) > now:
                continue  # it ran and failed again since the index was read
            if stored.job.awaits_finding:
                parked = park_awaiting(stored.job, now, note="no finding in time")
                commits.append(self._store.jobs.commit(stored, parked))
            elif stored.job.state in waiting:
                commits.append(self._store.jobs.commit(stored, promote(stored.job, now)))
            else:
                commits.append(self._store.jobs.remove_stale_entry(stored, Index.DUE))
        await asyncio.gather(*commits)
        self._wakeups.admission.notify()
