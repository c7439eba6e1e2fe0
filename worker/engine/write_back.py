"""Writes back a version of a job that Redis lost, unless Redis knows a run that it does not."""

from typing import Final, assert_never

import msgspec
import structlog

from jobs import transitions
from jobs.job import Job
from jobs.known_runs import lacks_submit, lost_ids
from worker.store.commit import RestoreResult, VersionedJob
from worker.store.jobs import JobStore
from worker.store.side_writes import SideWrites

log: Final = structlog.get_logger(__name__)


async def write_back(
    jobs: JobStore,
    found: VersionedJob | None,
    ours: VersionedJob,
    side_writes: SideWrites,
    now: float,
) -> bool:
    """Write `ours` over the older version `found`; False after a lost race: read it again.

    A run is polled at once: what a webhook said of it may be lost, too. Where `found` has a submit
    that `ours` lacks (another worker submitted the job after Redis lost our submit), it stays, and
    our run is noted in its history.
    """
    if ours.job.execution_id is not None and ours.job.next_poll_at is not None:
        due = msgspec.structs.replace(ours.job, next_poll_at=min(now, ours.job.next_poll_at))
        ours = msgspec.structs.replace(ours, job=due)
    result = await jobs.restore(found, ours, side_writes)
    match result:
        case RestoreResult.RESTORED:
            log.warning("job.restored", job_id=ours.job.id, state=ours.job.state)
            return True
        case RestoreResult.SUPERSEDED:
            return False
        case RestoreResult.OTHER_RUN:
            return found is None or await _note_our_run(jobs, found, ours.job, now)
        case _:
            assert_never(result)


async def _note_our_run(jobs: JobStore, found: VersionedJob, ours: Job, now: float) -> bool:
    """Note a run or a submit that only our version knows; False after a lost race."""
    unknown = lost_ids(ours, found.job)
    if unknown:
        note = f"{', '.join(unknown)} (of a submit that Redis lost)"
    elif lacks_submit(found.job, ours):
        note = f"of submit {ours.submits}, which Redis lost; its id is not known"
    else:
        return True
    noted = transitions.record_other_run(found.job, now, note)
    if noted is found.job:
        return True
    if not isinstance(await jobs.commit(found, noted), VersionedJob):
        return False
    log.error(
        "job.run_twice",
        job_id=ours.id,
        execution_id=found.job.execution_id,
        other_ids=list(unknown),
    )
    return True
