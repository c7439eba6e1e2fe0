"""What operators ask for about findings: read the list again, and switch reconciling on again."""

from collections.abc import Sequence

import msgspec

from jobs.job import Job
from jobs.transitions import record_findings
from worker.app.actions import Actor
from worker.clock import Clock
from worker.engine.unreadable_records import load_jobs
from worker.store import Store
from worker.store.commit import VersionedJob
from worker.store.side_writes import NewAuditEntry


class EvidenceActions:
    """Acts on findings; the evidence service of a worker does the reading."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def read_again(self, job_ids: Sequence[str]) -> int:
        """Have the list read now for the last uncertain submits of jobs; how many have one."""
        now, count = self._clock.now(), 0
        for stored in await load_jobs(self._store.jobs, job_ids, now):
            if stored is None or not stored.job.uncertain_submits:
                continue
            after = due_now(stored.job, now)
            count += isinstance(await self._store.jobs.commit(stored, after), VersionedJob)
        return count

    async def switch_reconcile_on(self, account: str, actor: Actor) -> bool:
        """Trust missing rows of an account again; whether that was switched off."""
        was_off = await self._store.evidence.switch_reconcile_on(account)
        if was_off:
            entry = NewAuditEntry(
                self._clock.now(), actor.name, "reconcile_on", account, actor.note, 0
            )
            await self._store.audit.record(entry)
        return was_off


def due_now(job: Job, now: float) -> Job:
    """The job with its last uncertain submit due to be compared with the list now."""
    *earlier, newest = job.uncertain_submits
    return record_findings(job, now, (*earlier, msgspec.structs.replace(newest, check_at=now)))
