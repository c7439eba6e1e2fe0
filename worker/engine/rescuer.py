"""The rescuer: picks up what a worker that is gone has left, by what is on record.

Never sent: back in line. Sent, or a sync run whose connection died with its worker: nobody knows,
so it parks as `uncertain` (or is retried, where the job opted into that). Claimed polls need no
rescuer, their lease ends by itself.
"""

from collections.abc import Callable
from typing import Final

import structlog

from jobs import transitions
from jobs.decide import decide_submit
from jobs.effects import Decision, DecisionContext, DecisionRules
from jobs.indexes import Index
from jobs.job import Job
from jobs.lifecycle import IllegalTransition
from jobs.outcomes import Lost
from jobs.states import State
from worker.clock import Clock
from worker.engine.completion import Completion
from worker.engine.poison_guard import PoisonGuard
from worker.engine.submitter import Submitter
from worker.engine.unreadable_records import load_jobs
from worker.engine.wakeups import Wakeup
from worker.store import Store

log: Final = structlog.get_logger(__name__)

TICK_S: Final = 2.0
BATCH: Final = 200


class Rescuer:
    """Looks for leases that have run out."""

    name = "rescuer"

    def __init__(
        self,
        *,
        store: Store,
        completion: Completion,
        submitter: Submitter,
        poison_guard: PoisonGuard,
        clock: Clock,
        rules: DecisionRules,
    ) -> None:
        self._store = store
        self._completion = completion
        self._submitter = submitter
        self._poison_guard = poison_guard
        self._clock = clock
        self._rules = rules
        self.wakeup = Wakeup()

    async def tick(self, now: float) -> float:
        """Rescue what has lost its worker."""
        ids = await self._store.jobs.expired_leases(now, BATCH)
        ours = set(self._submitter.leased_ids)
        await self._store.jobs.extend_leases([i for i in ids if i in ours], now + TICK_S * 2)
        lost = [job_id for job_id in ids if job_id not in ours]
        for stored in await load_jobs(self._store.jobs, lost, now):
            if stored is None or (stored.job.lease_until or 0.0) > now:
                continue  # read after the list of leases: it is in somebody's hands again
            try:
                rescued = await self._completion.complete(stored, self._decide(stored.job))
            except IllegalTransition as error:
                await self._poison_guard.isolate(stored.job.id, error)
                continue
            if rescued is None:
                await self._store.jobs.remove_stale_entry(stored, Index.LEASE)
            else:
                self._store.metrics.job_rescued(stored.job.state)
                log.warning(
                    "job.rescued",
                    job_id=stored.job.id,
                    found=stored.job.state.value,
                    owner=stored.job.owner,
                    now=rescued.job.state.value,
                )
        return 0.0 if len(ids) == BATCH and lost else TICK_S

    def _decide(self, found: Job) -> Callable[[Job, float], Decision | None]:
        """Rescue the version that was found; one that moved on is in somebody's hands."""

        def decide(job: Job, now: float) -> Decision | None:
            if job is not found:
                return None
            return _rescue(job, DecisionContext(now, self._clock.jitter(), self._rules))

        return decide


def _rescue(job: Job, context: DecisionContext) -> Decision | None:
    now = context.now
    if job.execution_id is not None:
        return None
    match job.state:
        case State.SUBMITTING if job.sent_at is None and job.cancel_requested:
            return Decision(transitions.cancel(job, now, note="never sent"))
        case State.SUBMITTING if job.sent_at is None:
            return Decision(transitions.return_to_queue(job, now, why="admitted, but never sent"))
        case State.SUBMITTING | State.RUNNING | State.CANCELLING:
            why = f"worker {job.owner} was lost while the request was under way"
            return decide_submit(job, Lost(why), context)
        case _:
            return None
