"""Edits of jobs by operators: priority, tags, times; of jobs that are not at the provider."""

from msgspec import UNSET

from jobs.job import Job
from jobs.states import UNSENT
from jobs.transitions import JobEdit, edit
from worker.app.action_table import EditAction
from worker.app.actions import MAX_ACTION_TRIES, Actor, NoSuchJob
from worker.app.enqueue import MAX_DELAY_S, InvalidRequest
from worker.clock import Clock
from worker.engine.unreadable_records import load_job
from worker.store import Store
from worker.store.commit import VersionedJob
from worker.store.side_writes import ANY_EPOCH, NewAuditEntry, SideWrites


class JobEdits:
    """Edits the jobs of one namespace, each in one commit with its audit entry."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def edit(self, job_id: str, wanted: JobEdit, actor: Actor) -> Job:
        """Change a job; returns it as it is then. One that has these values stays unchanged.

        When another process was faster, it is decided again on the job as it is then. Raises
        `NoSuchJob`, `NewerRecordError`, `InvalidRequest`, and `IllegalTransition` where the
        provider has it, or may have it.
        """
        for _ in range(MAX_ACTION_TRIES):
            now = self._clock.now()
            stored = await load_job(self._store.jobs, job_id, now)
            if stored is None:
                raise NoSuchJob(job_id)
            after = edit(stored.job, now, wanted, by=actor.name, note=actor.note)
            _check_times(wanted, after, now)
            if after is stored.job:
                return after
            note = after.events[-1].note
            entry = NewAuditEntry(now, actor.name, EditAction.EDIT, job_id, note, 1)
            side_writes = SideWrites(audit_entry=entry, data_epoch=ANY_EPOCH)
            written = await self._store.jobs.commit(stored, after, side_writes)
            if isinstance(written, VersionedJob):
                return written.job
        raise RuntimeError(f"job {job_id} changed {MAX_ACTION_TRIES} times while it was edited")


def _check_times(wanted: JobEdit, after: Job, now: float) -> None:
    """Raise `InvalidRequest` for times at which the job could not be sent."""
    for name in ("run_at", "start_by"):
        at = getattr(wanted, name)
        if isinstance(at, float) and at > now + MAX_DELAY_S:
            raise InvalidRequest(name, "must be within ten years from now")
    if wanted.start_by is UNSET and wanted.run_at is UNSET:
        return
    field = "run_at" if wanted.start_by is UNSET else "start_by"
    if after.start_by is None:
        return
    if wanted.start_by is not UNSET and after.start_by <= now:
        raise InvalidRequest("start_by", 'is in the past: give a time in the future, or "none"')
    if after.state in UNSENT and after.start_by <= (after.due_at or now):
        problem = "is not before start_by" if field == "run_at" else "is not after run_at"
        raise InvalidRequest(field, f"{problem}: it could never be sent")
