"""Lanes of accounts that this worker has no API key for: it leaves them alone, or parks their jobs.

Jobs of an account that no worker has a key for park under one hold, `no_key`, without a submit:
accepted before workers reported their accounts, or enqueued by plain arq.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from jobs.error_table import ACTION_NO_KEY, KEYLESS_SCOPE
from jobs.holds import Hold, hold_id
from jobs.job import NO_KEY, Reason
from jobs.lanes import JobId, Lane
from jobs.outcomes import ProviderError
from jobs.states import State
from jobs.transitions import park_refused
from worker.engine.unreadable_records import load_jobs
from worker.store import Store
from worker.store.commit import VersionedJob

log: Final = structlog.get_logger(__name__)

GRACE_S: Final = 5.0
"""How long after its start a worker parks nothing: others may be about to report their accounts."""

KNOWN_FOR_S: Final = 5.0
"""How long a read of the known accounts is used."""

PARKED_AT_ONCE: Final = 8
"""Jobs of one lane that a tick parks."""


class KeylessLanes:
    """Tells the lanes of a worker's accounts from others.

    `accounts`: those that the worker has keys for; without any, every lane is its own.
    """

    def __init__(self, store: Store, accounts: Sequence[str]) -> None:
        self._store = store
        self._own = frozenset(accounts)
        self._started_at: float | None = None
        self._known: frozenset[str] = frozenset()
        self._read_at = float("-inf")

    async def own(self, lanes: Sequence[Lane], now: float) -> tuple[Lane, ...]:
        """The lanes whose jobs this worker can submit; jobs nobody has a key for are parked."""
        if self._started_at is None:
            self._started_at = now
        own = tuple(lane for lane in lanes if not self._own or lane.account in self._own)
        if len(own) < len(lanes) and now >= self._started_at + GRACE_S:
            await self._park([lane for lane in lanes if lane.account not in self._own], now)
        return own

    async def _park(self, others: Sequence[Lane], now: float) -> None:
        if now >= self._read_at + KNOWN_FOR_S:
            self._known, self._read_at = await self._store.accounts.known(), now
        keyless = [lane for lane in others if lane.account not in self._known]
        heads = await self._store.lanes.heads(keyless, [PARKED_AT_ONCE] * len(keyless))
        ids: list[JobId] = []
        for lane, head in zip(keyless, heads, strict=True):
            if not head:
                await self._store.lanes.retire(lane)
            ids += [job_id for job_id, _ in head]
        if not ids:
            return
        hold = _hold(now)
        await self._store.holds.place(hold)
        stored = await load_jobs(self._store.jobs, ids, now)
        queued = [one for one in stored if one is not None and one.job.state is State.QUEUED]
        parked = sum(await asyncio.gather(*(self._park_one(one, hold, now) for one in queued)))
        log.warning("jobs.without_key", parked=parked, hold=hold.id)

    async def _park_one(self, stored: VersionedJob, hold: Hold, now: float) -> bool:
        message = f"account {stored.job.account!r} has no API key"
        reason = Reason(code=NO_KEY, message=message, action=ACTION_NO_KEY, hold_id=hold.id)
        after = park_refused(stored.job, now, ProviderError(NO_KEY, message), reason)
        return isinstance(await self._store.jobs.commit(stored, after), VersionedJob)


def _hold(now: float) -> Hold:
    return Hold(
        id=hold_id(KEYLESS_SCOPE, NO_KEY),
        scope=KEYLESS_SCOPE,
        code=NO_KEY,
        created_at=now,
        message="jobs name accounts that have no API key",
        action=ACTION_NO_KEY,
    )
