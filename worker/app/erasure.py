"""Erases what a job was given and what it made, by the act of an operator."""

from typing import Final

from jobs import transitions
from jobs.job import Job
from jobs.states import PRUNABLE, State
from worker.app.action_table import PayloadAction
from worker.app.actions import MAX_ACTION_TRIES, Actor, NoSuchJob
from worker.clock import Clock
from worker.engine.payload_remains import erase_remains
from worker.engine.unreadable_records import load_job
from worker.store import Store
from worker.store.commit import VersionedJob
from worker.store.side_writes import ANY_EPOCH, NewAuditEntry, SideWrites

FORCED_STATES: Final = frozenset({State.DEAD, State.PARKED})
"""States in which a job may still run: its payloads are erased only by an explicit act."""


class ErasureRefused(Exception):
    """The payloads of a job in this state are not erased."""

    def __init__(self, job: Job) -> None:
        self.state = job.state
        if job.state in FORCED_STATES:
            fix = "it could not run again: say force=true, or discard it first"
        else:
            fix = "it may still need them: cancel it, or wait until it has ended"
        super().__init__(f"the job is {job.state}, {fix}")


class PayloadErasure:
    """Erases payloads: inputs and result, what deliveries and arq hold of them, and messages."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def erase(self, job_id: str, actor: Actor, *, force: bool = False) -> Job:
        """Erase the payloads of a settled job; `force` also those of a dead or parked one.

        The record stays, with its history. It can be repeated. Raises `NoSuchJob`,
        `NewerRecordError` and `ErasureRefused`.
        """
        for _ in range(MAX_ACTION_TRIES):
            stored = await load_job(self._store.jobs, job_id, self._clock.now())
            if stored is None:
                raise NoSuchJob(job_id)
            job, now = stored.job, self._clock.now()
            if job.state not in PRUNABLE and not (force and job.state in FORCED_STATES):
                raise ErasureRefused(job)
            await erase_remains(self._store, [job])
            after = transitions.erase_payloads(job, now, by=actor.name, note=actor.note)
            entry = NewAuditEntry(now, actor.name, PayloadAction.ERASE, job_id, actor.note, 1)
            side_writes = SideWrites(audit_entry=entry, data_epoch=ANY_EPOCH, erased_at=now)
            written = await self._store.jobs.commit(stored, after, side_writes)
            if isinstance(written, VersionedJob):
                return written.job
        raise RuntimeError(f"job {job_id} changed {MAX_ACTION_TRIES} times while it was erased")
