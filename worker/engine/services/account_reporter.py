"""Reports the accounts that this worker has API keys for, so that others are refused at enqueue."""

from collections.abc import Sequence
from typing import Final

from worker.engine.wakeups import Wakeup
from worker.store.accounts import AccountStore

TICK_S: Final = 60.0


class AccountReporter:
    """Reports at the start, and then once a minute: one command."""

    name = "account_reporter"

    def __init__(self, store: AccountStore, accounts: Sequence[str]) -> None:
        self._store = store
        self._accounts = accounts
        self.wakeup = Wakeup()

    async def tick(self, now: float) -> float:
        """Report; returns the seconds until the next time."""
        if self._accounts:
            await self._store.report(self._accounts, now)
        return TICK_S
