"""The workload of the field: runs that take about 3 s, all at once or evenly.

Durations are lognormal (median 3 s, sigma 0.5, at most 10 s), drawn by the sandbox from a seed.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

SIGMA: Final = 0.5
STEADY_S: Final = 12.0
"""How long runs arrive where they arrive evenly: the first ends come after a second, and for
the last two thirds as many end as arrive."""

RATE_MOST: Final = 750.0
"""Runs a second: with their polls about what the sandbox answers on most of a core."""

ARRIVAL_STEP_S: Final = 0.05
"""Evenly arriving runs come in small groups, this many seconds apart."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Runs to be made. `rate` is runs a second, 0 means all at once; times in seconds."""

    name: str
    runs: int
    rate: float = 0.0
    median_s: float = 3.0

    @property
    def mean_s(self) -> float:
        """The mean duration; the cap takes next to nothing off."""
        return self.median_s * math.exp(SIGMA**2 / 2)

    @property
    def in_flight(self) -> float:
        """Runs that are in flight at once, at most."""
        return self.rate * self.mean_s if self.rate else float(self.runs)


def sandbox(median_s: float) -> tuple[str, ...]:
    """The options of a sandbox that draws durations around a median."""
    cap = median_s * 10 / 3
    return ("--median-s", f"{median_s:g}", "--sigma", f"{SIGMA:g}", "--cap-s", f"{cap:g}")


def burst(runs: int, median_s: float = 3.0) -> Workload:
    """All runs at once."""
    return Workload("burst", runs, median_s=median_s)


def steady(in_flight: int, seconds: float = STEADY_S, median_s: float = 3.0) -> Workload:
    """Runs at the rate that keeps so many in flight."""
    rate = in_flight / Workload("", 0, median_s=median_s).mean_s
    return Workload("steady", math.ceil(rate * seconds), rate, median_s)


def shapes(in_flight: int, median_s: float = 3.0) -> list[Workload]:
    """Both, but for a burst only where steady would be more than the sandbox can answer."""
    even = steady(in_flight, median_s=median_s)
    return [burst(in_flight, median_s), *([even] if even.rate <= RATE_MOST else [])]


async def arrivals(runs: int, rate: float, most: int = 500) -> AsyncGenerator[int]:
    """How many runs arrive together, each time they do: now, or when their time has come."""
    began, given = time.monotonic(), 0
    while given < runs:
        due = runs if not rate else min(runs, int((time.monotonic() - began) * rate) + 1)
        count = min(most, due - given)
        if count:
            given += count
            yield count
        else:
            await asyncio.sleep(ARRIVAL_STEP_S)
