"""Jobs for callers that may write: an unreadable record becomes a dead letter when it is met.

Reads of the store return an unreadable record as a value and leave it alone. These functions
replace it by a dead letter with the code `UNREADABLE_RECORD`, which an operator discards. A record
that a newer version wrote is never replaced, and is none that the caller may work with.
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Final

import structlog

from jobs.indexes import Index
from jobs.job import Job
from jobs.payloads import MissingPayload
from jobs.unreadable import unreadable_job
from worker.store.commit import VersionedJob
from worker.store.jobs import JobStore, NewerRecord, StoredRecord, UnreadableRecord
from worker.store.schema import NewerRecordError

log: Final = structlog.get_logger(__name__)

MAX_LOGGED: Final = 1_000
_logged: Final[dict[str, None]] = {}
"""Newer records that were logged: each is met again and again."""


async def load_job(jobs: JobStore, job_id: str, now: float) -> VersionedJob | None:
    """One job, a dead letter if its record is unreadable; None if there is none.

    Raises `NewerRecordError` for one that a newer version wrote.
    """
    (found,) = await load_records(jobs, [job_id], now)
    if isinstance(found, NewerRecord):
        raise NewerRecordError("job", job_id, found.why)
    return found


async def load_jobs(
    jobs: JobStore, job_ids: Sequence[str], now: float
) -> list[VersionedJob | None]:
    """Jobs in the order of their ids; None also for those that a newer version wrote."""
    return [_workable(found) for found in await load_records(jobs, job_ids, now)]


async def load_records(
    jobs: JobStore, job_ids: Sequence[str], now: float
) -> list[VersionedJob | NewerRecord | None]:
    """Jobs in the order of their ids, newer records as such."""
    return [await _readable(jobs, record, now) for record in await jobs.read_many(job_ids)]


async def load_jobs_with_inputs(
    jobs: JobStore, job_ids: Sequence[str], now: float
) -> list[tuple[VersionedJob, bytes | MissingPayload] | None]:
    """Jobs and their inputs (JSON text, or why there are none), else as `load_jobs`."""
    found: list[tuple[VersionedJob, bytes | MissingPayload] | None] = []
    for row in await jobs.read_with_inputs(job_ids):
        record, inputs = row or (None, MissingPayload.LOST)
        stored = _workable(await _readable(jobs, record, now))
        found.append(None if stored is None else (stored, inputs))
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


def _workable(found: VersionedJob | NewerRecord | None) -> VersionedJob | None:
    return None if isinstance(found, NewerRecord) else found


async def _readable(
    jobs: JobStore, record: StoredRecord | None, now: float
) -> VersionedJob | NewerRecord | None:
    if isinstance(record, UnreadableRecord):
        return await _replace(jobs, record, now)
    if isinstance(record, NewerRecord) and record.job_id not in _logged:
        if len(_logged) >= MAX_LOGGED:
            _logged.clear()
        _logged[record.job_id] = None
        log.warning("record.newer", job_id=record.job_id, why=record.why)
    return record


async def _replace(jobs: JobStore, record: UnreadableRecord, now: float) -> VersionedJob | None:
    log.error("record.unreadable", job_id=record.job_id, error=record.error)
    return await jobs.replace_unreadable(record, unreadable_job(record.job_id, record.error, now))
