"""The balances that people entered, one for each account."""

from jobs.credits.forecast import Balance
from worker.store.client import Client
from worker.store.codec import DECODE_ERRORS, encode
from worker.store.keys import Keys
from worker.store.leases import claim_lease
from worker.store.schema import UNCHANGED, NewerSchema, RecordSchema

_schema = RecordSchema(Balance, UNCHANGED)


class BalanceStore:
    """The balances of one namespace."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def set(self, balance: Balance) -> None:
        """Replace the balance of an account."""
        await self._client.call("HSET", self._keys.balances, balance.account, encode(balance))

    async def claim(self, worker_id: str, lease_s: float) -> bool:
        """Whether this worker watches the balances for the next seconds."""
        return await claim_lease(self._client, self._keys.balance_lease, worker_id, lease_s)

    async def all(self) -> dict[str, Balance]:
        """Every balance by account; without those that cannot be read."""
        found: dict[str, Balance] = {}
        for account, text in (await self._client.call("HGETALL", self._keys.balances)).items():
            try:
                found[account.decode("utf-8", "replace")] = _schema.decode(text)
            except (NewerSchema, *DECODE_ERRORS):
                continue
        return found
