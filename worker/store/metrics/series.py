"""Time series for charts: one hash a bucket, which expires.

Buckets of 10 s are kept for an hour, buckets of 5 min for a day. No job depends on them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from worker.store.client import Client, numbers
from worker.store.keys import Keys
from worker.store.metrics.buffer import CREDITS_OF
from worker.store.metrics.catalog import DELAY_BOUNDS_S

SERIES_FIELDS: Final = (
    "enqueued",
    "succeeded",
    "dead",
    "cancelled",
    "parked",
    "submits",
    "polls",
    "rate_limited",
    "credits",
)
"""What a bucket counts beside the delays."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """Buckets of one length."""

    step_s: int
    retention_s: int


FINE: Final = Resolution(10, 3_600)
COARSE: Final = Resolution(300, 86_400)


class SeriesWindow(StrEnum):
    """How far back a chart goes."""

    FIVE_MINUTES = "5m"
    HOUR = "1h"
    DAY = "24h"


_WINDOWS: Final[dict[SeriesWindow, tuple[Resolution, int, int]]] = {
    SeriesWindow.FIVE_MINUTES: (FINE, 30, 1),
    SeriesWindow.HOUR: (FINE, 60, 6),
    SeriesWindow.DAY: (COARSE, 288, 1),
}
"""Window → resolution, number of points, buckets a point."""


@dataclass(frozen=True, slots=True)
class SeriesPoint:
    """What was counted in one interval."""

    at: float
    """Start of the interval, Unix seconds."""
    step_s: int
    counts: Mapping[str, float]
    """Each of `SERIES_FIELDS`; credits are a sum, the others counts."""
    delay_p50_s: float | None
    """From the end of a run to its record; None if none ended."""
    delay_p95_s: float | None


class Series:
    """The buckets of one namespace."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def buckets(
        self, deltas: Mapping[str, float], now: float
    ) -> list[tuple[str, int, Mapping[str, float]]]:
        """What to add to the buckets of `now`: key, seconds to keep it, amounts by field."""
        return [
            (
                self._key(resolution, _start(now, resolution.step_s)),
                resolution.retention_s + 2 * resolution.step_s,
                deltas,
            )
            for resolution in (FINE, COARSE)
            if deltas
        ]

    async def read(self, window: SeriesWindow, now: float) -> list[SeriesPoint]:
        """The points of a window, oldest first; the last interval has not ended yet."""
        resolution, number, merge_count = _WINDOWS[window]
        step = resolution.step_s * merge_count
        first = _start(now, step) - (number - 1) * step
        starts = [first + n * resolution.step_s for n in range(number * merge_count)]
        rows = await self._client.many([("HGETALL", self._key(resolution, at)) for at in starts])
        buckets = [numbers(row) for row in rows]
        return [
            _point(starts[n], step, buckets[n : n + merge_count])
            for n in range(0, len(buckets), merge_count)
        ]

    async def credits_of_accounts(self, now: float) -> dict[str, float]:
        """Account → credits that became known in the last hour."""
        step = FINE.step_s
        last = _start(now, step)
        starts = range(last - FINE.retention_s + step, last + step, step)
        rows = await self._client.many([("HGETALL", self._key(FINE, at)) for at in starts])
        found: dict[str, float] = {}
        for row in rows:
            for field, amount in numbers(row).items():
                if field.startswith(CREDITS_OF):
                    account = field.removeprefix(CREDITS_OF)
                    found[account] = found.get(account, 0.0) + amount
        return found

    def _key(self, resolution: Resolution, start: int) -> str:
        return self._keys.series(resolution.step_s, start)


def _start(now: float, step_s: int) -> int:
    return int(now) // step_s * step_s


def _point(at: int, step_s: int, buckets: Sequence[Mapping[str, float]]) -> SeriesPoint:
    def total(field: str) -> float:
        return sum(bucket.get(field, 0.0) for bucket in buckets)

    delays = [total(f"delay{n}") for n in range(len(DELAY_BOUNDS_S) + 1)]
    return SeriesPoint(
        at=float(at),
        step_s=step_s,
        counts={field: round(total(field), 6) for field in SERIES_FIELDS},
        delay_p50_s=quantile(delays, 0.5),
        delay_p95_s=quantile(delays, 0.95),
    )


def quantile(counts: Sequence[float], q: float) -> float | None:
    """The `q` quantile of a histogram over `DELAY_BOUNDS_S`, interpolated within a bucket.

    A value above the last bound counts as that bound. None without values.
    """
    wanted = q * sum(counts)
    if not sum(counts):
        return None
    below, low = 0.0, 0.0
    for count, high in zip(counts, DELAY_BOUNDS_S, strict=False):
        if count and below + count >= wanted:
            return round(low + (high - low) * (wanted - below) / count, 3)
        below, low = below + count, high
    return DELAY_BOUNDS_S[-1]
