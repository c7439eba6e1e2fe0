"""A job whose record is there and whose inputs are not: it is parked, and never submitted.

Where others encrypt under a key that this worker does not have, the job is left to them.
"""

from typing import Final

import structlog

from jobs import transitions
from jobs.payloads import MissingPayload
from worker.store import Store
from worker.store.commit import VersionedJob

log: Final = structlog.get_logger(__name__)


async def is_for_others(store: Store, why: MissingPayload) -> bool:
    """Whether inputs may be unreadable only because this worker lacks a key that is in use."""
    return why is MissingPayload.KEY_LOST and bool(await store.payloads.find_lacking())


async def park_inputs_lost(
    store: Store, stored: VersionedJob, now: float, why: MissingPayload
) -> None:
    """Park a job that was to be sent, or cancel it if that was requested.

    Where it is for others, or another process changed it meanwhile, nothing is written.
    """
    if await is_for_others(store, why):
        return
    job = stored.job
    if job.cancel_requested:
        after = transitions.cancel(job, now, note="never sent")
    else:
        after = transitions.park_inputs_lost(job, now, why)
    if isinstance(await store.jobs.commit(stored, after), VersionedJob):
        log.error("job.inputs_lost", job_id=job.id, state=after.state.value, why=why.value)
