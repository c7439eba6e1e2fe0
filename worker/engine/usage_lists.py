"""Reads pages of the provider's list of runs, under its rate limit: one pause for all readers."""

from collections.abc import Sequence
from typing import Final

from jobs.evidence.reading import PAGE_ROWS
from jobs.holds import CoolDown
from jobs.lanes import Scope, usage_scope
from jobs.outcomes import CallFailure
from worker.clock import Clock
from worker.provider.port import RunProvider, UnknownAccount, UsagePage
from worker.store.holds import HoldStore

RATE_LIMITED_WAIT_S: Final = 30.0
FAILED_WAIT_S: Final = 10.0
TOO_MANY_REQUESTS: Final = 429


class UsageLists:
    """The lists of runs of the accounts of this process."""

    def __init__(self, provider: RunProvider, holds: HoldStore, clock: Clock) -> None:
        self._provider = provider
        self._holds = holds
        self._clock = clock

    async def cools_down(self, accounts: Sequence[str], now: float) -> bool:
        """Whether the lists of some accounts of one user must not be read now."""
        gates = await self._holds.gates()
        scopes = [scope for a in accounts for scope in (Scope(a), usage_scope(a))]
        return gates.running_cool_down(scopes, now) is not None

    async def page(self, account: str, offset: int) -> UsagePage | CallFailure:
        """The page that begins `offset` rows after the newest one."""
        try:
            return await self._provider.usage(account, limit=PAGE_ROWS, offset=offset)
        except UnknownAccount as error:
            return CallFailure(str(error), 401)

    async def pause_after(self, accounts: Sequence[str], failure: CallFailure) -> float:
        """When to read again after a failure, Unix seconds; after a 429 for every worker."""
        now, wait_s = self._clock.now(), failure.retry_after_s
        if failure.http_status != TOO_MANY_REQUESTS:
            return now + (FAILED_WAIT_S if wait_s is None else wait_s)
        until = now + (RATE_LIMITED_WAIT_S if wait_s is None else wait_s)
        for account in accounts:
            await self._holds.place_cool_down(CoolDown(usage_scope(account), until, "429"))
        return until
