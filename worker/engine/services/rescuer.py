"""The rescuer: takes over the submits of a worker that is gone, by what is on record.

A job that was never sent returns to the queue. One that was sent, or a sync run whose connection
died with its worker, parks as `uncertain` (or is retried, where the job opted into that). Claimed
polls need no rescue: their lease ends by itself. After Redis was silent, nothing is taken over
before its worker had the time to extend its leases.
"""

from typing import Final, Protocol

import structlog

from jobs.indexes import Index
from jobs.lifecycle import IllegalTransition
from worker.engine.beat_history import BeatHistory
from worker.engine.deciders import RescueDecider
from worker.engine.unreadable_records import load_jobs
from worker.engine.wakeups import Wakeup
from worker.engine.worker_parts import OutcomeParts, WorkerContext

log: Final = structlog.get_logger(__name__)

TICK_S: Final = 2.0
BATCH: Final = 200


class LeaseHolder(Protocol):
    """What this worker is working on."""

    @property
    def leased_ids(self) -> tuple[str, ...]:
        """Ids of the jobs whose leases this worker has to extend."""
        ...


class Rescuer:
    """Watches for leases that have run out."""

    name = "rescuer"

    def __init__(
        self,
        context: WorkerContext,
        outcomes: OutcomeParts,
        lease_holder: LeaseHolder,
        beat_history: BeatHistory,
    ) -> None:
        self._store = context.store
        self._clock = context.clock
        self._rules = context.rules
        self._completion = outcomes.completion
        self._poison_guard = outcomes.poison_guard
        self._lease_holder = lease_holder
        self._beat_history = beat_history
        self.wakeup = Wakeup()

    async def tick(self, now: float) -> float:
        """Rescue the jobs that lost their worker; returns the seconds until the next tick."""
        ids = await self._store.jobs.expired_leases(now, BATCH)
        ours = set(self._lease_holder.leased_ids)
        await self._store.jobs.extend_leases([i for i in ids if i in ours], now + TICK_S * 2)
        if not self._beat_history.may_judge(self._clock.now()):
            return TICK_S
        lost = [job_id for job_id in ids if job_id not in ours]
        for stored in await load_jobs(self._store.jobs, lost, now):
            if stored is None or (stored.job.lease_until or 0.0) > now:
                continue  # it was read after the leases were: a worker has it again
            decider = RescueDecider(stored.job, self._rules)
            try:
                rescued = await self._completion.complete(stored, decider)
            except IllegalTransition as error:
                await self._poison_guard.isolate(stored.job.id, error)
                continue
            if rescued is None:
                await self._store.jobs.remove_stale_entry(stored, Index.LEASE)
            else:
                self._store.metrics.buffer.job_rescued(stored.job.state)
                log.warning(
                    "job.rescued",
                    job_id=stored.job.id,
                    owner=stored.job.owner,
                    from_state=stored.job.state.value,
                    to_state=rescued.stored.job.state.value,
                )
        return 0.0 if len(ids) == BATCH and lost else TICK_S
