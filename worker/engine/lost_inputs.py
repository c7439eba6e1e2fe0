"""A job whose record is there and whose inputs are not: it is parked, and never submitted."""

from typing import Final

import structlog

from jobs import transitions
from jobs.payloads import MissingPayload
from worker.store.commit import VersionedJob
from worker.store.jobs import JobStore

log: Final = structlog.get_logger(__name__)


async def park_inputs_lost(
    jobs: JobStore, stored: VersionedJob, now: float, why: MissingPayload
) -> None:
    """Park a job that was to be sent, or cancel it if that was requested.

    Where another process changed the job meanwhile, nothing is written: it is read again.
    """
    job = stored.job
    if job.cancel_requested:
        after = transitions.cancel(job, now, note="never sent")
    else:
        after = transitions.park_inputs_lost(job, now, why)
    if isinstance(await jobs.commit(stored, after), VersionedJob):
        log.error("job.inputs_lost", job_id=job.id, state=after.state.value, why=why.value)
