"""Poison: a job that makes our own code raise is put aside, and everybody else goes on."""

from collections import Counter
from typing import Final

import structlog

from jobs import transitions
from jobs.effects import Decision
from jobs.job import Job, Reason
from jobs.lifecycle import TABLE, Move
from jobs.outcomes import Fault
from worker.engine.completion import Settling
from worker.store import Store

log: Final = structlog.get_logger(__name__)

INTERNAL: Final = "INTERNAL_ERROR"
ACTION: Final = "This is a fault of the worker: report it with the job's id, requeue after a fix"

STRIKES: Final = 3
"""Errors in a row after which a job is put aside where trying again costs nothing."""


class Isolation:
    """Puts jobs aside."""

    def __init__(self, store: Store, settling: Settling) -> None:
        self._store = store
        self._settling = settling
        self._strikes: Counter[str] = Counter()

    async def strike(self, job_id: str, error: BaseException) -> None:
        """Count an error of a job whose step is tried again anyway."""
        self._strikes[job_id] += 1
        log.error("job.struck", job_id=job_id, error=type(error).__name__, exc_info=error)
        if self._strikes[job_id] >= STRIKES:
            await self.isolate(job_id, error)

    async def isolate(self, job_id: str, error: BaseException) -> None:
        """Make it a dead letter, or `uncertain` where its request may have started a run."""
        self._strikes.pop(job_id, None)
        stored = await self._settling.patiently(self._store.jobs.load, job_id)
        if stored is None:
            return
        log.error("job.isolated", job_id=job_id, error=type(error).__name__, exc_info=error)
        what = f"{type(error).__name__} in the worker"

        def decide(job: Job, now: float) -> Decision | None:
            if job.sent_at is not None and job.execution_id is None:
                if (job.state, Move.HOLD) in TABLE:
                    return Decision(transitions.doubt(job, now, why=what))
                return None
            if (job.state, Move.BURY) not in TABLE:
                return None
            reason = Reason(code=INTERNAL, message=_message(job, what), action=ACTION)
            return Decision(transitions.bury(job, now, Fault(INTERNAL, what), reason))

        await self._settling.settle(stored, decide)


def _message(job: Job, what: str) -> str:
    if job.execution_id is None:
        return what
    return f"{what}; run {job.execution_id} may still go on at the provider"
