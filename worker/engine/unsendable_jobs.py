"""Queued jobs that cannot be sent: those whose `start_by` has passed, and those without inputs."""

from typing import Final

import structlog

from jobs.payloads import MissingPayload
from jobs.start_by import is_expired
from jobs.transitions import expire
from worker.engine.budget_gate import QueuedJob
from worker.engine.lost_inputs import park_inputs_lost
from worker.store import Store
from worker.store.commit import VersionedJob

log: Final = structlog.get_logger(__name__)


async def sendable(
    store: Store, stored: VersionedJob, inputs: bytes | MissingPayload, now: float
) -> QueuedJob | None:
    """A queued job with its inputs; None for one that is cancelled or parked instead."""
    if is_expired(stored.job, now):
        await expire_job(store, stored, now)
    elif isinstance(inputs, MissingPayload):
        await park_inputs_lost(store, stored, now, inputs)
    else:
        return stored, inputs
    return None


async def expire_job(store: Store, stored: VersionedJob, now: float) -> None:
    """Cancel a job whose `start_by` has passed; where it changed meanwhile, nothing is written."""
    after = expire(stored.job, now)
    if isinstance(await store.jobs.commit(stored, after), VersionedJob):
        log.info("job.expired", job_id=after.id, from_state=stored.job.state.value)
