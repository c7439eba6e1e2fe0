"""The cost reader: reads the provider's list of runs for costs that no answer names.

Webhooks, failed and cancelled runs name no cost. Their jobs are in the cost index, with an
estimate in the ledger. One worker reads the list of one user, at most once a minute and only while
such jobs wait; a whole page answers for up to 500 of them.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from jobs import transitions
from jobs.credits.closing import awaits_cost
from jobs.credits.rows import (
    CLOCK_MARGIN_S,
    CostKey,
    has_shown_its_row,
    named_costs,
    next_check_at,
    unnamed_attempts,
    unnamed_costs,
)
from jobs.evidence.reading import UsageReading
from jobs.indexes import Index
from jobs.job import Job
from jobs.outcomes import CallFailure
from worker.engine.account_identities import AccountIdentities
from worker.engine.runs_on_record import runs_since
from worker.engine.unreadable_records import load_jobs
from worker.engine.usage_lists import UsageLists
from worker.engine.wakeups import Wakeup
from worker.engine.worker_parts import WorkerContext
from worker.store.commit import VersionedJob
from worker.store.jobs import CommitRefused

log: Final = structlog.get_logger(__name__)

TICK_S: Final = 5.0
READ_EVERY_S: Final = 60.0
"""Shortest pause between two readings of one user's list."""

PAGES_PER_TICK: Final = 4
MAX_JOBS: Final = 5_000
"""Jobs whose costs are looked for in one reading."""

WRITES_AT_ONCE: Final = 50
MAX_TRIES: Final = 20
LEASE_S: Final = 60.0


class CostReader:
    """Finds out what attempts cost that ended without a word about it."""

    name = "cost_reader"

    def __init__(
        self,
        context: WorkerContext,
        lists: UsageLists,
        identities: AccountIdentities,
        shared_accounts: frozenset[str],
        *,
        grace_s: float,
        sync_timeout_s: float,
    ) -> None:
        self._context = context
        self._store = context.store
        self._clock = context.clock
        self._lists = lists
        self._identities = identities
        self._shared_accounts = shared_accounts
        self._grace_s = grace_s
        self._sync_timeout_s = sync_timeout_s
        self._readings: dict[str, UsageReading] = {}
        self._not_before: dict[str, float] = {}
        self.wakeup = Wakeup()

    async def tick(self, now: float) -> float:
        """Read some pages where costs are not known; returns the seconds until the next tick."""
        due = await self._store.evidence.due_times(self._context.accounts, Index.COST)
        waiting = [account for account, at in due.items() if at <= now]
        for account in waiting:
            await self._identities.prepare(account)
        for user_id, accounts in self._identities.by_user(self._context.accounts).items():
            if user_id in self._readings or any(account in waiting for account in accounts):
                await self._read_for(user_id, accounts, now)
        return TICK_S

    async def _read_for(self, user_id: str, accounts: tuple[str, ...], now: float) -> None:
        if now < self._not_before.get(user_id, 0.0):
            return
        if await self._lists.cools_down(accounts, now):
            return
        lease = (user_id, self._context.worker_id, LEASE_S, Index.COST)
        if not await self._store.evidence.claim(*lease):
            self._readings.pop(user_id, None)
            return
        reading = self._readings.get(user_id)
        if reading is None:
            jobs = [stored.job for stored in await self._waiting(accounts)]
            reading = self._readings[user_id] = UsageReading(_floor_at(jobs, now), now)
        for _ in range(PAGES_PER_TICK):
            page = await self._lists.page(accounts[0], reading.offset)
            if isinstance(page, CallFailure):
                log.warning("costs.not_read", accounts=accounts, why=page.logged_why)
                self._not_before[user_id] = await self._lists.pause_after(accounts, page)
                del self._readings[user_id]
                return
            reading.add(page.rows, page.total, is_complete=page.is_complete)
            if reading.is_done:
                del self._readings[user_id]
                self._not_before[user_id] = self._clock.now() + READ_EVERY_S
                await self._conclude(accounts, reading)
                return

    async def _waiting(self, accounts: Sequence[str]) -> list[VersionedJob]:
        """The jobs with costs that are not known yet, the next one due first."""
        ids = [
            job_id
            for account in accounts
            for job_id in await self._store.evidence.claimants(account, MAX_JOBS, Index.COST)
        ]
        found = await load_jobs(self._store.jobs, ids, self._clock.now())
        return [stored for stored in found if stored is not None]

    async def _conclude(self, accounts: tuple[str, ...], reading: UsageReading) -> None:
        """Write what the rows tell, and when to look again for what they do not."""
        jobs = await self._waiting(accounts)
        rows = {row.request_id: row for row in reading.rows if row.request_id is not None}
        is_proof = reading.result() is not None
        unnamed = await self._unnamed(accounts, jobs, reading) if is_proof else {}
        writes = [
            self._write(one, {**named_costs(one.job, rows), **unnamed.get(one.job.id, {})})
            for one in jobs
        ]
        for first in range(0, len(writes), WRITES_AT_ONCE):
            await asyncio.gather(*writes[first : first + WRITES_AT_ONCE])

    async def _unnamed(
        self, accounts: tuple[str, ...], jobs: Sequence[VersionedJob], reading: UsageReading
    ) -> dict[str, dict[int, float]]:
        """The costs of attempts that no request id names, by job and number of the attempt."""
        open_attempts = [
            (stored.job, attempt)
            for stored in jobs
            if stored.job.account not in self._shared_accounts
            for attempt in unnamed_attempts(stored.job)
            if has_shown_its_row(attempt, reading, self._grace_s, self._sync_timeout_s)
        ]
        if not open_attempts:
            return {}
        since = min(attempt.started_at for _, attempt in open_attempts) - CLOCK_MARGIN_S
        runs, _ = await runs_since(self._store, accounts, since, jobs, self._clock.now())
        shared: Mapping[CostKey, float | None] = unnamed_costs(runs or [], reading.rows)
        found: dict[str, dict[int, float]] = {}
        for job, attempt in open_attempts:
            cost = shared.get((job.id, attempt.number))
            if cost is not None:
                found.setdefault(job.id, {})[attempt.number] = cost
        return found

    async def _write(self, stored: VersionedJob, costs: Mapping[int, float]) -> None:
        current: VersionedJob | None = stored
        for _ in range(MAX_TRIES):
            if current is None or current.job.cost_check_at is None:
                return
            now = self._clock.now()
            is_due = current.job.cost_check_at <= now
            if not costs and not is_due:
                return
            later = next_check_at(current.job, now) if is_due else current.job.cost_check_at
            after = transitions.record_costs(current.job, now, costs, next_check_at=later)
            written = await self._store.jobs.commit(current, after)
            if not isinstance(written, CommitRefused):
                self._store.costs.note_run(current.job, written.job)
                return
            (current,) = await load_jobs(self._store.jobs, [current.job.id], now)


def _floor_at(jobs: Sequence[Job], now: float) -> float:
    """How far back the list has to be read: to the oldest attempt whose cost is not known."""
    started = [a.started_at for job in jobs for a in job.attempts if awaits_cost(a)]
    return min(started, default=now) - CLOCK_MARGIN_S
