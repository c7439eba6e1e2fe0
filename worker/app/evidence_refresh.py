"""Findings that a bulk resubmit relies on: which jobs it may send, and how recent they are."""

import asyncio
from typing import Final

from jobs.evidence.records import EvidenceFinding
from jobs.indexes import Index
from jobs.job import Job
from worker.app.bulk_request import JobSelection
from worker.app.evidence_actions import due_now
from worker.clock import Clock
from worker.engine.unreadable_records import jobs_in, load_jobs
from worker.store import Store

MAX_AGE_S: Final = 300.0
"""A finding that is older is read again before a job is sent because of it."""

REFRESH_WAIT_S: Final = 20.0
"""How long a bulk resubmit waits for workers to read older findings again."""

REFRESH_POLL_S: Final = 0.5
IDS_AT_ONCE: Final = 200


def why_not_resubmitted(job: Job, now: float) -> str:
    """Why a bulk resubmit leaves a job alone; empty if its last submit surely did not start."""
    submit = job.last_uncertain_submit
    if submit is None:
        return "its outcome is known"
    if submit.finding is not EvidenceFinding.NOT_STARTED:
        return f"its finding is {submit.finding}, not not_started: resolve it by itself"
    if is_stale(job, now):
        return "its finding is older than 5 min and is read again now: repeat this in a minute"
    return ""


def is_stale(job: Job, now: float) -> bool:
    """Whether its finding is `not_started` and too old to rely on."""
    submit = job.last_uncertain_submit
    if submit is None or submit.finding is not EvidenceFinding.NOT_STARTED:
        return False
    return submit.checked_at is None or submit.checked_at < now - MAX_AGE_S


async def refresh_findings(store: Store, clock: Clock, selection: JobSelection) -> None:
    """Have workers read older findings of the selected jobs again, and wait a while for them."""
    now, name = clock.now(), EvidenceFinding.NOT_STARTED.value
    stale = [
        job.id
        async for job in jobs_in(store.jobs, Index.FINDING, name, now)
        if selection.matches(job) and is_stale(job, now)
    ]
    for first in range(0, len(stale), IDS_AT_ONCE):
        for stored in await load_jobs(store.jobs, stale[first : first + IDS_AT_ONCE], now):
            if stored is not None and is_stale(stored.job, now):
                await store.jobs.commit(stored, due_now(stored.job, now))
    waited_s = 0.0
    while stale and waited_s < REFRESH_WAIT_S:
        await asyncio.sleep(REFRESH_POLL_S)
        waited_s += REFRESH_POLL_S
        found = await load_jobs(store.jobs, stale[-1:], clock.now())
        stale = [s.job.id for s in found if s is not None and is_stale(s.job, clock.now())]
