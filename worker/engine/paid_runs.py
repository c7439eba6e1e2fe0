"""Finds the runs of an account that the provider has: they are paid for, and polled."""

from collections.abc import AsyncGenerator

from jobs.indexes import Index, accepts_run_updates
from jobs.lanes import JobId
from worker.store.jobs import JobStore


async def paid_runs(jobs: JobStore, account: str) -> AsyncGenerator[list[JobId]]:
    """The ids of the jobs whose run is polled, in chunks; reads every job in flight.

    For acts of an operator: it costs too much to be done often.
    """
    async for ids in jobs.ids_in(Index.INFLIGHT, ""):
        found = [stored.job for stored in await jobs.load_many(ids) if stored is not None]
        yield [job.id for job in found if job.account == account and accepts_run_updates(job)]
