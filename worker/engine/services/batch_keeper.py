"""The batch keeper: announces what became of batches whose jobs settled or were parked."""

from typing import Final

import structlog

from jobs.batches import BatchEvent
from jobs.callbacks import CallbackType, batch_callback
from jobs.states import State
from worker.engine.wakeups import Wakeup
from worker.store import Store
from worker.store.batch import ANNOUNCED, STALLED, Batch
from worker.store.callback_outbox import host_of
from worker.store.events import BatchNotice

log: Final = structlog.get_logger(__name__)

TICK_S: Final = 1.0
LEASE_S: Final = 10.0
BATCHES_AT_ONCE: Final = 100


class BatchKeeper:
    """Looks at batches that changed; one of all workers does it."""

    name = "batch_keeper"

    def __init__(self, store: Store, worker_id: str) -> None:
        self._store = store
        self._worker_id = worker_id
        self.wakeup = Wakeup()

    async def tick(self, now: float) -> float:
        """Announce what became of some batches; returns 0 seconds while there are more."""
        changed = await self._store.batches.changed(BATCHES_AT_ONCE)
        if not changed or not await self._store.batches.claim(self._worker_id, LEASE_S):
            return TICK_S
        unclear: set[str] = set()
        for batch in await self._store.batches.find_many([name for name, _ in changed], now):
            if batch.record is not None and not await self._announce(batch, now):
                unclear.add(batch.address)
        for address, at in changed:
            if address not in unclear:
                await self._store.batches.mark_seen(address, at)
        return 0.0 if len(changed) == BATCHES_AT_ONCE else TICK_S

    async def _announce(self, batch: Batch, now: float) -> bool:
        """Announce each completion once, and that only an operator brings the batch on.

        False where that is not clear yet: jobs that waited for others are about to be queued.
        """
        for number in range(batch.announced + 1, batch.completions + 1):
            notice = batch_notice(batch, BatchEvent.COMPLETED, now, number)
            sequence = number + batch.stalls
            await self._call_back(batch, CallbackType.BATCH_COMPLETED, number, sequence, now)
            if await self._store.batches.announce(batch, notice, ANNOUNCED, number):
                log.info("batch.completed", batch=batch.address, completion=number)
        # A job that waits for a dead letter waits for an operator, too.
        is_stuck = batch.of(State.PARKED) > 0 or batch.of(State.DEAD) > 0
        is_stalled = is_stuck and 0 < batch.open_jobs == batch.of(State.PARKED, State.WAITING)
        if is_stalled == batch.is_stalled:
            return True
        if is_stalled and batch.of(State.WAITING) and await self._has_due_children(now):
            return False
        number = batch.stalls + 1
        stall = batch_notice(batch, BatchEvent.STALLED, now) if is_stalled else None
        if is_stalled:
            sequence = batch.completions + number
            await self._call_back(batch, CallbackType.BATCH_STALLED, number, sequence, now)
        if await self._store.batches.announce(batch, stall, STALLED, number):
            log.info("batch.stalled" if is_stalled else "batch.resumed", batch=batch.address)
        return True

    async def _has_due_children(self, now: float) -> bool:
        return any(await self._store.dependencies.work(now, 1, 1))

    async def _call_back(
        self, batch: Batch, event: CallbackType, number: int, sequence: int, now: float
    ) -> None:
        """Put the callback of an event into the outbox, before it counts as announced."""
        if (summary := batch.summary(now)) is None:
            return
        host = host_of(summary.callback_url)
        callback = batch_callback(summary, event, number=number, sequence=sequence, host=host)
        await self._store.callbacks.add(callback)


def batch_notice(batch: Batch, event: BatchEvent, now: float, completion: int = 0) -> BatchNotice:
    """What the event stream says of a batch; `now` in Unix seconds."""
    number = completion or batch.completions
    return BatchNotice(batch.address, event, now, batch.total, batch.open_jobs, number)
