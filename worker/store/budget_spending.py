"""What budgets had spent in the last hour: one small hash, which expires when nobody writes it."""

from collections.abc import Mapping
from typing import Final

from jobs.budgets.spending import BudgetSpending
from worker.store.client import Client
from worker.store.codec import DECODE_ERRORS, encode
from worker.store.keys import Keys
from worker.store.schema import UNCHANGED, NewerSchema, RecordSchema

_schema: Final = RecordSchema(BudgetSpending, UNCHANGED)

EXPIRES_S: Final = 7_200


class BudgetSpendingStore:
    """What budgets of one namespace had spent."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def read(self) -> dict[str, BudgetSpending]:
        """Name of a budget → its spending; without those that cannot be read."""
        found: dict[str, BudgetSpending] = {}
        stored: dict[bytes, bytes] = await self._client.call("HGETALL", self._keys.budget_spending)
        for name, data in stored.items():
            try:
                found[name.decode("utf-8", "replace")] = _schema.decode(data)
            except (NewerSchema, *DECODE_ERRORS):
                continue
        return found

    async def write(self, spending_of: Mapping[str, BudgetSpending]) -> None:
        """Replace all of them."""
        key = self._keys.budget_spending
        pairs = [
            part for name, spending in spending_of.items() for part in (name, encode(spending))
        ]
        await self._client.many([("DEL", key), ("HSET", key, *pairs), ("EXPIRE", key, EXPIRES_S)])
