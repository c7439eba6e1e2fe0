"""The evidence service: reads the provider's list of runs for submits whose outcome is unknown.

It works only while an account has uncertain submits to compare. One worker reads the list of one
user, under a lease; accounts whose keys belong to one user are read as one. Two readings in a row
have to agree before anything is concluded, and jobs are read after the list, so that a run that was
just accepted is known.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from jobs.evidence.assess import EvidenceRules, SubmitKey, assess
from jobs.evidence.reading import CompleteReading, UsageReading, agree
from jobs.evidence.records import Assessment, is_late_row
from jobs.evidence.runs import RunOnRecord
from jobs.evidence.schedule import next_check_at, unread
from jobs.outcomes import CallFailure
from worker.engine.account_identities import AccountIdentities
from worker.engine.evidence_writer import EvidenceWriter
from worker.engine.runs_on_record import runs_since
from worker.engine.unreadable_records import load_jobs
from worker.engine.usage_lists import TOO_MANY_REQUESTS, UsageLists
from worker.engine.wakeups import Wakeup
from worker.engine.worker_parts import WorkerContext
from worker.store.commit import VersionedJob

log: Final = structlog.get_logger(__name__)

TICK_S: Final = 2.0
PAGES_PER_TICK: Final = 4
MAX_CLAIMANTS: Final = 5_000
"""Jobs with uncertain submits that are compared at once."""

READ_BACK_S: Final = 600.0
"""How far before the oldest submit the list is read at first; doubled until it proves enough."""

MAX_READ_BACK_S: Final = 40 * 3_600.0
RECENT_S: Final = 1_800.0
"""Submits that are no older are read for together, which takes few pages more."""

LEASE_S: Final = 60.0
WRITES_AT_ONCE: Final = 50


@dataclass(slots=True)
class _Comparison:
    """The readings of one user's list under way."""

    accounts: tuple[str, ...]
    user_id: str
    since: float
    """When the oldest submit was sent that is compared."""
    reading: UsageReading
    first: CompleteReading | None = None
    """The reading before this one, if it was complete."""


@dataclass(frozen=True, slots=True)
class EvidenceSettings:
    """The settings of the service. Durations are seconds."""

    accounts: tuple[str, ...]
    shared_accounts: frozenset[str]
    grace_s: float
    sync_timeout_s: float


@dataclass(slots=True)
class _UserState:
    not_before: float = 0.0
    read_back_s: float = READ_BACK_S
    comparison: _Comparison | None = field(default=None)


class EvidenceService:
    """Finds out whether uncertain submits started a run."""

    name = "evidence"

    def __init__(
        self,
        context: WorkerContext,
        lists: UsageLists,
        identities: AccountIdentities,
        settings: EvidenceSettings,
    ) -> None:
        self._context = context
        self._store = context.store
        self._clock = context.clock
        self._lists = lists
        self._identities = identities
        self._settings = settings
        self._writer = EvidenceWriter(context.store, context.clock, context.wakeups)
        self._users: dict[str, _UserState] = {}
        self.wakeup = Wakeup()

    async def tick(self, now: float) -> float:
        """Read some pages where evidence is needed; returns the seconds until the next tick."""
        due = await self._store.evidence.due_times(self._settings.accounts)
        waiting = [account for account, at in due.items() if at <= now]
        for account in waiting:
            await self._identities.prepare(account)
        for account in waiting:
            if self._identities.user_id(account) is None:
                await self._record_unread((account,), "the user of the key is not known yet", now)
        for user_id, accounts in self._identities.by_user(self._settings.accounts).items():
            if any(account in waiting for account in accounts) or self._is_under_way(user_id):
                await self._work_for(user_id, accounts, now)
        return TICK_S

    def _is_under_way(self, user_id: str) -> bool:
        state = self._users.get(user_id)
        return state is not None and state.comparison is not None

    def _rules(self, user_id: str, account: str) -> EvidenceRules:
        return EvidenceRules(
            base_url=self._identities.base_url,
            user_id=user_id,
            grace_s=self._settings.grace_s,
            sync_timeout_s=self._settings.sync_timeout_s,
            is_shared=account in self._settings.shared_accounts,
        )

    async def _work_for(self, user_id: str, accounts: tuple[str, ...], now: float) -> None:
        state = self._users.setdefault(user_id, _UserState())
        if now < state.not_before or await self._lists.cools_down(accounts, now):
            return
        if not await self._store.evidence.claim(user_id, self._context.worker_id, LEASE_S):
            state.comparison = None
            return
        if state.comparison is None:
            since = await self._postpone_unripe(user_id, accounts, now)
            if since is None:
                return
            state.comparison = self._comparison(user_id, accounts, since, state)
        await self._read_pages(state, state.comparison)

    def _comparison(
        self, user_id: str, accounts: tuple[str, ...], since: float, state: _UserState
    ) -> _Comparison:
        reading = self._new_reading(since, state)
        return _Comparison(accounts, user_id, since, reading)

    def _new_reading(self, since: float, state: _UserState) -> UsageReading:
        return UsageReading(
            floor_at=since - self._settings.grace_s - state.read_back_s,
            started_at=self._clock.now(),
        )

    async def _postpone_unripe(
        self, user_id: str, accounts: Sequence[str], now: float
    ) -> float | None:
        """When the oldest submit that can be assessed now was sent; None if there is none yet.

        Submits whose grace runs are checked at its end. Those that are only watched for late rows
        wait for the ones without a final finding, unless they are recent, too.
        """
        still_open: list[float] = []
        watched: list[float] = []
        for stored in await self._claimants(accounts):
            rules, changed = self._rules(user_id, stored.job.account), False
            for submit in stored.job.uncertain_submits:
                if submit.check_at is None or submit.check_at > now:
                    continue
                ripe_at = submit.sent_at + rules.grace_of(submit.mode)
                if ripe_at > now or next_check_at(submit, rules, now) is None:
                    changed = True
                else:
                    (watched if submit.is_final else still_open).append(submit.sent_at)
            if changed:
                await self._writer.write(stored, {}, rules)
        recent = [sent_at for sent_at in watched if sent_at >= now - RECENT_S]
        return min(still_open + recent if still_open else watched, default=None)

    async def _claimants(self, accounts: Iterable[str]) -> list[VersionedJob]:
        ids = [
            job_id
            for account in accounts
            for job_id in await self._store.evidence.claimants(account, MAX_CLAIMANTS)
        ]
        found = await load_jobs(self._store.jobs, ids, self._clock.now())
        return [stored for stored in found if stored is not None]

    # Reading.

    async def _read_pages(self, state: _UserState, comparison: _Comparison) -> None:
        for _ in range(PAGES_PER_TICK):
            reading = comparison.reading
            page = await self._lists.page(comparison.accounts[0], reading.offset)
            if isinstance(page, CallFailure):
                await self._pause(state, comparison, page)
                return
            reading.add(page.rows, page.total, is_complete=page.is_complete)
            if not reading.is_done:
                continue
            if await self._reading_ended(state, comparison):
                state.comparison = None
                return

    async def _pause(
        self, state: _UserState, comparison: _Comparison, failure: CallFailure
    ) -> None:
        """The list could not be read: wait, and say so where a finding is due."""
        state.not_before = await self._lists.pause_after(comparison.accounts, failure)
        if failure.http_status == TOO_MANY_REQUESTS:
            return
        state.comparison = None
        log.warning("usage.not_read", accounts=comparison.accounts, why=failure.logged_why)
        why = f"the list of runs could not be read: {failure.why}"
        await self._record_unread(comparison.accounts, why, self._clock.now())

    async def _reading_ended(self, state: _UserState, comparison: _Comparison) -> bool:
        """Compare a reading with the one before; whether the comparison is over."""
        result = comparison.reading.result()
        if result is None:
            log.info("usage.reading_void", user=comparison.user_id, why=comparison.reading.void)
            await self._record_unread(
                comparison.accounts, comparison.reading.void, self._clock.now()
            )
            return True
        first, comparison.first = comparison.first, result
        if first is not None and agree(first, result):
            await self._conclude(state, comparison, result)
            return True
        comparison.reading = self._new_reading(comparison.since, state)
        return False

    # Concluding.

    async def _conclude(
        self, state: _UserState, comparison: _Comparison, reading: CompleteReading
    ) -> None:
        accounts = frozenset(comparison.accounts)
        runs, jobs = await self._runs(comparison, accounts)
        if runs is None:
            await self._record_unread(
                comparison.accounts, "too many runs since then", self._clock.now()
            )
            return
        lacks_depth = False
        found: dict[str, dict[SubmitKey, Assessment]] = {}
        for account in accounts:
            rules = self._rules(comparison.user_id, account)
            found[account] = assess(runs, reading, rules, comparison.since)
            lacks_depth = lacks_depth or any(one.lacks_depth for one in found[account].values())
        if lacks_depth and not reading.is_whole and state.read_back_s < MAX_READ_BACK_S:
            state.read_back_s *= 4
        else:
            state.read_back_s = READ_BACK_S
        writes: list[Coroutine[Any, Any, None]] = []
        for stored in jobs:
            assessed = found[stored.job.account]
            own = {
                submit.number: assessed[key]
                for submit in stored.job.uncertain_submits
                if (key := (stored.job.id, submit.number)) in assessed
            }
            if own:
                writes.append(self._write(stored, own, comparison.user_id))
        for first in range(0, len(writes), WRITES_AT_ONCE):
            await asyncio.gather(*writes[first : first + WRITES_AT_ONCE])

    async def _write(
        self, stored: VersionedJob, found: dict[int, Assessment], user_id: str
    ) -> None:
        before = {submit.number: submit for submit in stored.job.uncertain_submits}
        after = await self._writer.write(stored, found, self._rules(user_id, stored.job.account))
        for submit in after.uncertain_submits if after is not None else ():
            was = before.get(submit.number)
            if was is not None and is_late_row(was, submit):
                await self._writer.switch_reconcile_off(stored.job, submit)

    async def _runs(
        self, comparison: _Comparison, accounts: frozenset[str]
    ) -> tuple[list[RunOnRecord] | None, list[VersionedJob]]:
        """Every submit on record that may have a row, and the jobs with uncertain ones."""
        since, known = comparison.reading.floor_at, await self._claimants(accounts)
        return await runs_since(self._store, accounts, since, known, self._clock.now())

    async def _record_unread(self, accounts: Sequence[str], why: str, now: float) -> None:
        """The list said nothing: note it with each submit that is due."""
        for stored in await self._claimants(accounts):
            user_id = self._identities.user_id(stored.job.account) or ""
            rules = self._rules(user_id, stored.job.account)
            found = {
                submit.number: unread(submit, rules, why, now)
                for submit in stored.job.uncertain_submits
                if submit.check_at is not None and submit.check_at <= now
            }
            if found:
                await self._writer.write(stored, found, rules)
