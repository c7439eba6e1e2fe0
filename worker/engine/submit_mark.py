"""The record that a submit is about to be sent, committed before its first byte."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from redis.exceptions import RedisError

from jobs.job import Job
from jobs.start_by import send_limit
from worker.clock import Clock
from worker.engine.remembered_jobs import RememberedJob
from worker.engine.services.redis_recovery import RedisRecovery
from worker.store.commit import VersionedJob
from worker.store.jobs import JobStore
from worker.store.preconditions import epoch_checks
from worker.store.refusals import is_recovering
from worker.store.side_writes import SideWrites


class FencedOut(Exception):
    """Before the first byte the job or the primary changed, or the lease ended."""


@dataclass(slots=True)
class SubmitMark:
    """The record that a submit is about to be sent, committed before its first byte."""

    stored: VersionedJob
    """The job as this worker last wrote it."""
    _transition: Callable[[Job, float], Job]
    _inputs: bytes
    _jobs: JobStore
    _redis_recovery: RedisRecovery
    _clock: Clock
    is_recorded: bool = False

    @property
    def remembered(self) -> RememberedJob:
        """What is known of the run."""
        return RememberedJob(self.stored, self._inputs)

    async def record(self) -> None:
        """Commit the transition. Raises `FencedOut` when the job or the primary changed.

        Also where the mark has to be on a replica and is not: nothing is sent, and the job returns
        to the queue.
        """
        generation = await self._redis_recovery.trusted_generation()
        if generation is None:
            raise FencedOut
        sent_by = send_limit(self.stored.job) or math.inf
        if self._clock.now() >= sent_by:
            raise FencedOut  # from the queue it is cancelled
        side_writes = SideWrites(
            epochs=epoch_checks(self.stored.job),
            data_epoch=self._redis_recovery.data_epoch,
            awaits_replicas=True,
        )
        after = self._transition(self.stored.job, self._clock.now())
        try:
            written = await self._jobs.commit(self.stored, after, side_writes)
        except RedisError as error:
            if not is_recovering(error):
                raise
            self._redis_recovery.note_recovering()
            raise FencedOut from None
        if not isinstance(written, VersionedJob):
            raise FencedOut
        self.stored = written
        if not self._redis_recovery.replica_marks.record(written.durability):
            raise FencedOut
        if generation != await self._redis_recovery.trusted_generation():
            raise FencedOut
        if self._clock.now() >= min(sent_by, after.lease_until or 0.0):
            raise FencedOut  # whoever took it over may have it submitted again, or it is too late
        self.is_recorded = True
        self._redis_recovery.remembered.remember(written, inputs=self._inputs)
