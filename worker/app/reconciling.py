"""Reads the provider's list of an account and compares it with what is on record."""

from typing import Final

from jobs.credits.reconcile import Reconciliation, reconcile
from jobs.evidence.reading import UsageReading
from jobs.outcomes import CallFailure
from jobs.usage import UsageRow
from worker.clock import Clock
from worker.engine.account_identities import AccountIdentities
from worker.engine.runs_on_record import runs_since
from worker.engine.usage_lists import UsageLists
from worker.provider.port import RunProvider
from worker.store import Store

MARGIN_S: Final = 120.0
"""Runs and rows this close to the beginning are not compared: one side may lack them."""


class ListNotRead(Exception):
    """The provider's list could not be read as far as it is needed."""


class Reconciler:
    """Compares the ledger with the list of one account."""

    def __init__(
        self, store: Store, provider: RunProvider, clock: Clock, base_url: str, grace_s: float
    ) -> None:
        self._store = store
        self._clock = clock
        self._lists = UsageLists(provider, store.holds, clock)
        self._identities = AccountIdentities(provider, clock, base_url)
        self._grace_s = grace_s

    async def reconcile(
        self, account: str, accounts: tuple[str, ...], since: float
    ) -> Reconciliation:
        """Compare everything since a time (Unix seconds); raises `ListNotRead`.

        `accounts`: every account with a key; those of the same user of the provider share its list.
        """
        rows = await self._rows(account, since)
        now = self._clock.now()
        runs, _ = await runs_since(
            self._store, await self._same_user(account, accounts), since - MARGIN_S, (), now
        )
        if runs is None:
            raise ListNotRead("there are too many runs on record since then: choose a later time")
        wanted = [row for row in rows if (row.created_at or 0.0) >= since - MARGIN_S]
        found = reconcile(runs, wanted, now - self._grace_s)
        edge = since + MARGIN_S
        times = {row.id: row.created_at or 0.0 for row in wanted}
        sent = {(run.job_id, run.number): run.sent_at for run in runs}
        inside = [
            one
            for one in found.differences
            if max(times.get(one.row or -1, 0.0), sent.get((one.job_id, one.attempt), 0.0)) >= edge
        ]
        return found._replace(differences=inside)

    async def _rows(self, account: str, since: float) -> tuple[UsageRow, ...]:
        reading = UsageReading(floor_at=since - MARGIN_S, started_at=self._clock.now())
        while not reading.is_done:
            page = await self._lists.page(account, reading.offset)
            if isinstance(page, CallFailure):
                raise ListNotRead(f"the list of runs of {account} could not be read: {page.why}")
            reading.add(page.rows, page.total, is_complete=page.is_complete)
        if reading.void:
            raise ListNotRead(f"{reading.void}: try again, or choose a later time")
        return reading.rows

    async def _same_user(self, account: str, accounts: tuple[str, ...]) -> tuple[str, ...]:
        """The accounts that share the list of `account`."""
        try:
            for one in accounts:
                await self._identities.prepare(one)
            user_id = self._identities.user_id(account)
            if user_id is None:
                raise ListNotRead(f"the provider does not say whose key {account} is")
            return self._identities.by_user(accounts)[user_id]
        finally:
            await self._identities.close()
