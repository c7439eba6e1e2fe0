"""Counters in Redis: every process adds what it counted, so each is the sum of all processes."""

import secrets
from dataclasses import dataclass
from typing import Final

from worker.store.client import Argument, Client, numbers
from worker.store.keys import Keys
from worker.store.metrics.buffer import MetricDeltas, MetricsBuffer
from worker.store.metrics.series import Series
from worker.store.scripts import Scripts

FLUSH_INTERVAL_S: Final = 2.0
"""How often a process writes what it counted."""

FLUSH_MEMORY_S: Final = 3_600
"""How long Redis knows the last flush of a process."""


@dataclass(frozen=True, slots=True)
class _Flush:
    """What is written in one step, until Redis has confirmed it."""

    id: str
    deltas: MetricDeltas
    at: float


class Counters:
    """The counters of one namespace."""

    def __init__(
        self, client: Client, keys: Keys, scripts: Scripts, buffer: MetricsBuffer, series: Series
    ) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts
        self._buffer = buffer
        self._series = series
        self._key = keys.flush(secrets.token_hex(4))
        self._count = 0
        self._unconfirmed: _Flush | None = None

    async def flush(self, now: float) -> None:
        """Write what this process counted, in one round trip.

        What fails, or whose reply is lost, is written again under the same id, and counts once.
        """
        while (flush := self._unconfirmed or self._next_flush(now)) is not None:
            self._unconfirmed = flush
            await self._write(flush)
            self._unconfirmed = None

    def _next_flush(self, now: float) -> _Flush | None:
        deltas = self._buffer.drain()
        if not deltas.totals:
            return None
        self._count += 1
        return _Flush(str(self._count), deltas, now)

    async def _write(self, flush: _Flush) -> None:
        keys, args = [self._key], list[Argument]([flush.id, FLUSH_MEMORY_S * 1_000])
        totals = (self._keys.counters, 0, flush.deltas.totals)
        for key, keep_s, deltas in (totals, *self._series.buckets(flush.deltas.series, flush.at)):
            keys.append(key)
            args += [keep_s, len(deltas)]
            args += [part for pair in deltas.items() for part in pair]
        await self._scripts.count(keys, args)

    async def read(self) -> dict[str, float]:
        """Field → number; the fields are those of `worker.store.metrics.catalog`."""
        found: dict[bytes, bytes] = await self._client.call("HGETALL", self._keys.counters)
        return numbers(found)
