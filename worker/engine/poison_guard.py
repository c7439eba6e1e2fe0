"""Isolates a job that makes the worker's own code raise, so that the other jobs go on."""

from collections import Counter
from typing import Final

import structlog

from worker.engine.completion import Completion
from worker.engine.deciders import IsolationDecider
from worker.store import Store

log: Final = structlog.get_logger(__name__)

MAX_FAILURES: Final = 3
"""Errors in a row after which a job is isolated, where a repetition costs nothing."""


class PoisonGuard:
    """Counts errors by job, and isolates jobs."""

    def __init__(self, store: Store, completion: Completion) -> None:
        self._store = store
        self._completion = completion
        self._failures: Counter[str] = Counter()

    async def record_failure(self, job_id: str, error: BaseException) -> None:
        """Count an error of a job whose step is repeated anyway; isolate it after the third."""
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
        await self._completion.complete(stored, IsolationDecider(type(error).__name__))
