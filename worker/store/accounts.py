"""The accounts that workers have API keys for, as labels. They stay known without live workers."""

from collections.abc import Sequence
from typing import Final

from worker.store.client import Client, numbers
from worker.store.keys import Keys

REPORTED_WITHIN_S: Final = 600.0
"""An account that no worker reported for so long, while some reported others, is not known."""


class AccountStore:
    """The accounts of one namespace."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def report(self, accounts: Sequence[str], now: float) -> None:
        """Report the accounts that a worker has keys for; forget those that none reports."""
        key, pairs = self._keys.accounts, [part for one in accounts for part in (one, now)]
        _, found = await self._client.many([("HSET", key, *pairs), ("HGETALL", key)])
        reported = numbers(found)
        stale = set(reported) - reported_lately(reported)
        if stale:
            await self._client.call("HDEL", key, *sorted(stale))

    async def known(self) -> frozenset[str]:
        """The accounts with a key; empty if no worker ever reported any."""
        found = await self._client.call("HGETALL", self._keys.accounts)
        return reported_lately(numbers(found))


def reported_lately(reported_at: dict[str, float]) -> frozenset[str]:
    """The accounts reported lately, compared with the newest report.

    So nothing changes while no worker lives.
    """
    since = max(reported_at.values(), default=0.0) - REPORTED_WITHIN_S
    return frozenset(account for account, at in reported_at.items() if at >= since)
