"""What a run is likely to cost, in credits. None is a value: nothing is known.

An estimate is on the high side, since budgets are reserved by it: what a run costs above its
estimate is what a budget can be exceeded by.
"""

import math
from collections.abc import Sequence
from typing import Final

MAX_COSTS: Final = 100
"""Runs of a target that count, the newest."""

SHARE: Final = 0.95
"""Share of these runs that cost no more than `recent_cost`."""


def estimate(price: float | None, recent: float | None, default: float | None) -> float | None:
    """The most of what is known: the provider's price, recent runs, and the operator's default.

    `price`: the provider's estimate. `recent`: see `recent_cost`. None if all three are unknown.
    """
    return max((one for one in (price, recent, default) if one is not None), default=None)


def recent_cost(costs: Sequence[float]) -> float | None:
    """The 95th percentile of what runs cost (nearest rank, so one of them); None without runs."""
    if not costs:
        return None
    return sorted(costs)[math.ceil(SHARE * len(costs)) - 1]


def total_estimate(counts: Sequence[tuple[float | None, int]]) -> float | None:
    """The credits of many runs, from the estimate of one and their number; None if one is."""
    total = 0.0
    for each, count in counts:
        if each is None and count:
            return None
        total += (each or 0.0) * count
    return total
