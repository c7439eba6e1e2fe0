"""Counters in Redis: every process adds what it counted, so each is the sum of all processes."""

from typing import Final

from worker.store.client import Client, Command, numbers
from worker.store.keys import Keys
from worker.store.metrics.buffer import MetricsBuffer
from worker.store.metrics.series import Series

FLUSH_INTERVAL_S: Final = 2.0
"""How often a process writes what it counted."""


class Counters:
    """The counters of one namespace."""

    def __init__(self, client: Client, keys: Keys, buffer: MetricsBuffer, series: Series) -> None:
        self._client = client
        self._keys = keys
        self._buffer = buffer
        self._series = series

    async def flush(self, now: float) -> None:
        """Write what this process counted, in one round trip; if that fails, it is kept.

        A lost reply may count some of it twice; metrics may be inexact.
        """
        deltas = self._buffer.drain()
        if not deltas.totals:
            return
        commands: list[Command] = [
            ("HINCRBYFLOAT", self._keys.counters, field, amount)
            for field, amount in deltas.totals.items()
        ]
        commands += self._series.increments(deltas.series, now)
        try:
            await self._client.many(commands)
        except BaseException:
            self._buffer.restore(deltas)
            raise

    async def read(self) -> dict[str, float]:
        """Field → number; the fields are those of `worker.store.metrics.catalog`."""
        found: dict[bytes, bytes] = await self._client.call("HGETALL", self._keys.counters)
        return numbers(found)
