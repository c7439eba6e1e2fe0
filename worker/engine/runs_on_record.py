"""Reads every submit on record that may have a row in the provider's list since some time."""

from collections.abc import Collection, Sequence
from typing import Final

from jobs.evidence.runs import RunOnRecord, runs_of
from jobs.job import Job
from worker.engine.unreadable_records import load_jobs
from worker.store import Store
from worker.store.commit import VersionedJob

MAX_RUNS: Final = 100_000
"""Submits on record that are compared with one reading."""


async def runs_since(
    store: Store,
    accounts: Collection[str],
    since: float,
    known: Sequence[VersionedJob],
    now: float,
) -> tuple[list[RunOnRecord] | None, list[VersionedJob]]:
    """The submits that ran since `since` (Unix seconds), or whose outcome is unknown.

    `known` are jobs that count whenever they ran; they come back as they are now. No runs (None)
    and no jobs if there are more than `MAX_RUNS`.
    """
    jobs = {stored.job.id: stored for stored in known}
    runs: dict[str, list[RunOnRecord]] = {}
    count = 0
    async for ids in store.evidence.changed_since(since):
        for stored in await load_jobs(store.jobs, ids, now):
            if stored is None or stored.job.account not in accounts:
                continue
            if stored.job.id in jobs:
                jobs[stored.job.id] = stored
            runs[stored.job.id] = _runs_since(stored.job, since)
            count += len(runs[stored.job.id])
            if count > MAX_RUNS:
                return None, []
    for stored in jobs.values():
        runs.setdefault(stored.job.id, _runs_since(stored.job, since))
    return [run for own in runs.values() for run in own], list(jobs.values())


def _runs_since(job: Job, since: float) -> list[RunOnRecord]:
    """The submits of a job that matter: uncertain ones, and those that ran since then."""
    return [
        run
        for run in runs_of(job)
        if run.submit is not None or run.ended_at is None or run.ended_at >= since
    ]
