"""Poison: a job that makes our own code raise is put aside, and everybody else goes on."""

from collections import Counter
from typing import Final

import structlog

from jobs import transitions
from jobs.effects import Decision
from jobs.job import Job, Reason
from jobs.lifecycle import TRANSITIONS, Transition
from jobs.outcomes import ProviderError
from worker.engine.completion import Completion
from worker.store import Store

log: Final = structlog.get_logger(__name__)

INTERNAL: Final = "INTERNAL_ERROR"
ACTION: Final = "This is a fault of the worker: report it with the job's id, requeue after a fix"

MAX_FAILURES: Final = 3
"""Errors in a row after which a job is put aside where trying again costs nothing."""


class PoisonGuard:
    """Puts jobs aside."""

    def __init__(self, store: Store, completion: Completion) -> None:
        self._store = store
        self._completion = completion
        self._failures: Counter[str] = Counter()

    async def record_failure(self, job_id: str, error: BaseException) -> None:
        """Count an error of a job whose step is tried again anyway."""
        self._failures[job_id] += 1
        log.error(
            "job.failed_internally", job_id=job_id, error=type(error).__name__, exc_info=error
        )
        if self._failures[job_id] >= MAX_FAILURES:
            await self.isolate(job_id, error)

    async def isolate(self, job_id: str, error: BaseException) -> None:
        """Make it a dead letter, or `uncertain` where its request may have started a run."""
        self._failures.pop(job_id, None)
        stored = await self._completion.retry_while_down(self._store.jobs.load, job_id)
        if stored is None:
            return
        log.error("job.isolated", job_id=job_id, error=type(error).__name__, exc_info=error)
        what = f"{type(error).__name__} in the worker"

        def decide(job: Job, now: float) -> Decision | None:
            if job.sent_at is not None and job.execution_id is None:
                if (job.state, Transition.PARK_UNCERTAIN) in TRANSITIONS:
                    return Decision(transitions.park_uncertain(job, now, why=what))
                return None
            if (job.state, Transition.DEAD_LETTER) not in TRANSITIONS:
                return None
            reason = Reason(code=INTERNAL, message=_message(job, what), action=ACTION)
            return Decision(
                transitions.dead_letter(job, now, ProviderError(INTERNAL, what), reason)
            )

        await self._completion.complete(stored, decide)


def _message(job: Job, what: str) -> str:
    if job.execution_id is None:
        return what
    return f"{what}; run {job.execution_id} may still go on at the provider"
