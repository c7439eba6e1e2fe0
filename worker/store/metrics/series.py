"""What happened over time, for charts: a hash a bucket, which expires.

Buckets of 10 s are kept for an hour, those of 5 min for a day. Nothing that is alive depends on
them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from worker.store.client import Client, Command
from worker.store.keys import Keys
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
"""What a bucket counts, beside the delays."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """Buckets of one length."""

    step_s: int
    retention_s: int


FINE: Final = Resolution(10, 3_600)
COARSE: Final = Resolution(300, 86_400)


class SeriesWindow(StrEnum):
    """How far back to look."""

    FIVE_MINUTES = "5m"
    HOUR = "1h"
    DAY = "24h"


_WINDOWS: Final[dict[SeriesWindow, tuple[Resolution, int, int]]] = {
    SeriesWindow.FIVE_MINUTES: (FINE, 30, 1),
    SeriesWindow.HOUR: (FINE, 60, 6),
    SeriesWindow.DAY: (COARSE, 288, 1),
}
"""Window → grain, number of points, buckets a point."""


@dataclass(frozen=True, slots=True)
class SeriesPoint:
    """What happened in one stretch of time."""

    at: float
    """When it began, Unix seconds."""
    step_s: int
    counts: Mapping[str, float]
    """Every one of `FIELDS`; credits are a sum, the others numbers of happenings."""
    delay_p50_s: float | None
    """From the end of runs to their record; None where none ended."""
    delay_p95_s: float | None


class Series:
    """The buckets of one namespace."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def increments(self, deltas: Mapping[str, float], now: float) -> list[Command]:
        """The commands that add to the buckets of this moment."""
        commands: list[Command] = []
        if not deltas:
            return commands
        for grain in (FINE, COARSE):
            key = self._key(grain, _start(now, grain.step_s))
            commands += [("HINCRBYFLOAT", key, field, amount) for field, amount in deltas.items()]
            commands.append(("EXPIRE", key, grain.retention_s + 2 * grain.step_s))
        return commands

    async def read(self, window: SeriesWindow, now: float) -> list[SeriesPoint]:
        """The points of a window, oldest first; the last one is not over yet."""
        grain, number, merged = _WINDOWS[window]
        step = grain.step_s * merged
        first = _start(now, step) - (number - 1) * step
        starts = [first + n * grain.step_s for n in range(number * merged)]
        rows = await self._client.many([("HGETALL", self._key(grain, at)) for at in starts])
        buckets = [_numbers(row) for row in rows]
        return [
            _point(starts[n], step, buckets[n : n + merged]) for n in range(0, len(buckets), merged)
        ]

    def _key(self, grain: Resolution, start: int) -> str:
        return self._keys.series(grain.step_s, start)


def _start(now: float, step_s: int) -> int:
    return int(now) // step_s * step_s


def _numbers(row: Mapping[bytes, bytes]) -> dict[str, float]:
    found: dict[str, float] = {}
    for field, text in row.items():
        try:
            found[field.decode()] = float(text)
        except ValueError:
            continue
    return found


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
    """The value below which a share of what was seen lies, straight lines within a bucket.

    What lies above the last bound counts as that bound. None where nothing was seen.
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
