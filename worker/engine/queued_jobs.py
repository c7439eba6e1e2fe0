"""Loads the jobs that admission picked, and mends indexes that name others."""

from collections.abc import Callable, Sequence

from jobs.admission import Pick
from jobs.fairness import KEYLESS, key_queue_name
from jobs.indexes import Index
from jobs.job import Job
from jobs.lanes import JobId
from jobs.states import State
from worker.engine.budget_gate import QueuedJob
from worker.engine.unreadable_records import load_jobs_with_inputs
from worker.engine.unsendable_jobs import sendable
from worker.store import Store

Entry = tuple[Index, str]
"""An index, and its name."""


class QueuedJobLoader:
    """Loads queued jobs with their inputs, without those that cannot be sent."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def bypassing(self, first: int, count: int, now: float) -> list[QueuedJob]:
        """Some of the jobs that an operator released through a closed gate, in queue order."""
        ids = await self._store.lanes.bypass_jobs(first, count)
        return await self._load([(job_id, [(Index.BYPASS, "")], _is_queued) for job_id in ids], now)

    async def picked(
        self, picks: Sequence[Pick], key_of: Callable[[JobId], str], now: float
    ) -> list[QueuedJob]:
        """The jobs of picks. `key_of` tells the fair key that one was picked for."""
        wanted: list[tuple[JobId, list[Entry], Callable[[Job], bool]]] = []
        for pick in picks:
            entries: list[Entry] = [(Index.LANE, str(pick.lane))]
            if (key := key_of(pick.job_id)) != KEYLESS:
                entries.append((Index.KEY_QUEUE, key_queue_name(pick.lane, key)))
            wanted.append((pick.job_id, entries, _is_queued_in(pick)))
        return await self._load(wanted, now)

    async def _load(
        self, wanted: Sequence[tuple[JobId, list[Entry], Callable[[Job], bool]]], now: float
    ) -> list[QueuedJob]:
        queued: list[QueuedJob] = []
        ids = [job_id for job_id, _, _ in wanted]
        rows = await load_jobs_with_inputs(self._store.jobs, ids, now)
        for (job_id, entries, is_here), found in zip(wanted, rows, strict=True):
            if found is None:
                for kind, name in entries:
                    await self._store.jobs.remove_entry_without_record(kind, name, job_id)
                continue
            stored, inputs = found
            if not is_here(stored.job):
                for kind, name in entries:
                    await self._store.jobs.remove_stale_entry(stored, kind, name)
            elif (found := await sendable(self._store, stored, inputs, now)) is not None:
                queued.append(found)
        return queued


def _is_queued(job: Job) -> bool:
    return job.state is State.QUEUED


def _is_queued_in(pick: Pick) -> Callable[[Job], bool]:
    return lambda job: job.state is State.QUEUED and job.lane == pick.lane
