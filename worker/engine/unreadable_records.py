"""Jobs for callers that may write: an unreadable record becomes a dead letter when it is met.

Reads of the store return an unreadable record as a value and leave it alone. These functions
replace it by a dead letter with the code `UNREADABLE_RECORD`, which an operator discards.
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Final

import structlog

from jobs.indexes import Index
from jobs.job import Job
from jobs.unreadable import unreadable_job
from worker.store.commit import VersionedJob
from worker.store.jobs import JobStore, UnreadableRecord

log: Final = structlog.get_logger(__name__)


async def load_job(jobs: JobStore, job_id: str, now: float) -> VersionedJob | None:
    """One job, a dead letter if its record is unreadable; None if there is none."""
    return (await load_jobs(jobs, [job_id], now))[0]


async def load_jobs(
    jobs: JobStore, job_ids: Sequence[str], now: float
) -> list[VersionedJob | None]:
    """Jobs in the order of their ids, as `load_job` returns each."""
    return [
        await _replace(jobs, record, now) if isinstance(record, UnreadableRecord) else record
        for record in await jobs.read_many(job_ids)
    ]


async def load_jobs_with_inputs(
    jobs: JobStore, job_ids: Sequence[str], now: float
) -> list[tuple[VersionedJob, bytes | None] | None]:
    """Jobs and their inputs (JSON text; None where Redis lost them) in the order of their ids."""
    found: list[tuple[VersionedJob, bytes | None] | None] = []
    for row in await jobs.read_with_inputs(job_ids):
        record, inputs = row or (None, None)
        if isinstance(record, UnreadableRecord):
            record = await _replace(jobs, record, now)
        found.append(None if record is None else (record, inputs))
    return found


async def jobs_in(jobs: JobStore, kind: Index, name: str, now: float) -> AsyncGenerator[Job]:
    """The jobs of an index, in no order; one that stays in it is not missed."""
    async for job_ids in jobs.ids_in(kind, name):
        for stored in await load_jobs(jobs, job_ids, now):
            if stored is not None:
                yield stored.job


async def dead_letter_unreadable(
    jobs: JobStore, records: Iterable[UnreadableRecord], now: float
) -> None:
    """Replace unreadable records by dead letters."""
    for record in records:
        await _replace(jobs, record, now)


async def _replace(jobs: JobStore, record: UnreadableRecord, now: float) -> VersionedJob | None:
    log.error("record.unreadable", job_id=record.job_id, error=record.error)
    return await jobs.replace_unreadable(record, unreadable_job(record.job_id, record.error, now))
