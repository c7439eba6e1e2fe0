"""Counters in Redis: every process adds what it counted, so a number is that of all of them."""

from typing import Final

from worker.store.client import Client, Command
from worker.store.keys import Keys
from worker.store.metrics.buffer import MetricsBuffer
from worker.store.metrics.series import Series

FLUSH_INTERVAL_S: Final = 2.0
"""How often a process brings what it counted."""


class Counters:
    """The counters of one namespace."""

    def __init__(self, client: Client, keys: Keys, buffer: MetricsBuffer, series: Series) -> None:
        self._client = client
        self._keys = keys
        self._buffer = buffer
        self._series = series

    async def flush(self, now: float) -> None:
        """Bring what this process counted, in one round trip; where that fails it is kept.

        A reply that is lost may count some of it twice: they are numbers to look at.
        """
        taken = self._buffer.drain()
        if not taken.totals:
            return
        commands: list[Command] = [
            ("HINCRBYFLOAT", self._keys.counters, field, amount)
            for field, amount in taken.totals.items()
        ]
        commands += self._series.increments(taken.series, now)
        try:
            await self._client.many(commands)
        except BaseException:
            self._buffer.restore(taken)
            raise

    async def read(self) -> dict[str, float]:
        """Field → number; fields are those of `worker.store.metrics.catalog`."""
        found: dict[bytes, bytes] = await self._client.call("HGETALL", self._keys.counters)
        numbers: dict[str, float] = {}
        for field, text in found.items():
            try:
                numbers[field.decode()] = float(text)
            except ValueError:
                continue
        return numbers
