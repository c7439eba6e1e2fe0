"""The pruner: erases payloads of settled jobs after their retention, later deletes the jobs.

Parked and dead jobs never expire.
"""

import asyncio
from typing import Final

from jobs import transitions
from jobs.batches import batch_of
from jobs.states import PRUNABLE, State
from worker.engine.callback_retention import prune_callbacks
from worker.engine.payload_remains import erase_remains
from worker.engine.unreadable_records import load_jobs
from worker.engine.wakeups import Wakeup
from worker.store import Store
from worker.store.side_writes import SideWrites

BATCH: Final = 500
TICK_S: Final = 60.0


class Pruner:
    """Deletes old settled jobs, their payloads before, callbacks, cool-downs and silent workers."""

    name = "pruner"

    def __init__(self, store: Store, retention_s: float, payload_retention_s: float = 0.0) -> None:
        self._store = store
        self._retention_s = retention_s
        self._payload_retention_s = payload_retention_s
        self._first_old = dict.fromkeys(PRUNABLE, 0)
        """Old jobs that stay, and are passed over until all behind them were looked at."""
        self.wakeup = Wakeup()

    async def tick(self, now: float) -> float:
        """Delete a batch of each settled state; returns 0 seconds while there are more."""
        full = False
        for state in PRUNABLE:
            full = await self._delete(state, now) or full
            if self._payload_retention_s:
                full = await self._erase_payloads(state, now) or full
        callbacks, metrics = self._store.callbacks, self._store.metrics.buffer
        full = await prune_callbacks(callbacks, metrics, now, self._retention_s) or full
        await self._store.holds.remove_expired_cool_downs(now)
        await self._store.holds.remove_proved_open(now)
        await self._store.holds.remove_expired_sync_only(now)
        await self._store.workers.remove_silent(now)
        if full:
            return 0.0
        await self._store.registers.remove_empty()
        await self._store.batches.forget_old(now - self._retention_s)
        return TICK_S

    async def _delete(self, state: State, now: float) -> bool:
        """Delete a batch of jobs in a state; whether there are more.

        Those of a batch that was created and is not complete stay.
        """
        until, first = now - self._retention_s, self._first_old[state]
        ids = await self._store.jobs.older_than(state, until, BATCH, first)
        found = [one for one in await load_jobs(self._store.jobs, ids, now) if one is not None]
        names = sorted({name for one in found if (name := batch_of(one.job)) is not None})
        kept = dict(zip(names, await self._store.batches.is_kept(names), strict=True))
        expired = [one for one in found if not kept.get(batch_of(one.job) or "", False)]
        await asyncio.gather(*(self._store.jobs.delete(one) for one in expired))
        is_full = len(ids) == BATCH
        self._first_old[state] = first + len(found) - len(expired) if is_full else 0
        return is_full and bool(found)

    async def _erase_payloads(self, state: State, now: float) -> bool:
        """Erase the payloads of a batch of jobs in a state; whether there are more."""
        until = now - self._payload_retention_s
        batch = await self._store.payload_retention.next_batch(state, until, BATCH)
        found = await load_jobs(self._store.jobs, batch.unerased, now)
        settled = [one for one in found if one is not None and one.job.state is state]
        await erase_remains(self._store, [stored.job for stored in settled])
        erased_at = SideWrites(erased_at=now)
        await asyncio.gather(
            *(
                self._store.jobs.commit(
                    stored, transitions.erase_payloads(stored.job, now), erased_at
                )
                for stored in settled
            )
        )
        await self._store.payload_retention.record(state, batch)
        return batch.is_full
