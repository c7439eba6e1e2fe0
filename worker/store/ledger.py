"""Reads the ledger: what `commit.lua` added up of the costs of attempts, one hash a day and sum."""

from collections.abc import AsyncGenerator, Sequence
from typing import Final

from jobs.credits.charges import Dimension, Measure
from jobs.credits.report import DaySum
from worker.store.client import Client
from worker.store.keys import Keys

KEYS_AT_ONCE: Final = 20
"""Hashes of one round trip: each may have thousands of fields, and others wait meanwhile."""


class LedgerStore:
    """The ledger of one namespace."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def sums(
        self,
        days: Sequence[str],
        dimension: Dimension,
        measures: Sequence[Measure] = tuple(Measure),
    ) -> AsyncGenerator[DaySum]:
        """Every sum of some days (UTC, `2026-11-27`), or those of some measures."""
        wanted = [(day, measure) for day in days for measure in measures]
        for first in range(0, len(wanted), KEYS_AT_ONCE):
            some = wanted[first : first + KEYS_AT_ONCE]
            rows = await self._client.many(
                [("HGETALL", self._keys.ledger(day, dimension, measure)) for day, measure in some]
            )
            for (day, measure), row in zip(some, rows, strict=True):
                for name, amount in row.items():
                    yield DaySum(day, name.decode("utf-8", "replace"), measure, int(amount))
