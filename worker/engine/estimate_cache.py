"""Estimates for admission: read once in a while, not for each job."""

from collections.abc import Collection
from typing import Final

from jobs.lanes import Lane
from worker.engine.cost_estimator import CostEstimator

MAX_AGE_S: Final = 10.0
"""How old an estimate may be."""

UNKNOWN_MAX_AGE_S: Final = 1.0
"""How long nothing counts as known: under a budget such runs go one at a time."""

MAX_LANES: Final = 5_000
"""Lanes whose estimates are kept; with more, all are read again."""


class EstimateCache:
    """What runs are likely to cost, a few seconds old at most."""

    def __init__(self, estimator: CostEstimator) -> None:
        self._estimator = estimator
        self._estimates: dict[Lane, tuple[float, float | None]] = {}

    async def refresh(self, lanes: Collection[Lane], now: float) -> None:
        """Read the estimates of these lanes that are missing or too old; one command for all."""
        missing = [lane for lane in set(lanes) if not self._is_fresh(lane, now)]
        if not missing:
            return
        if len(self._estimates) + len(missing) > MAX_LANES:
            self._estimates.clear()
        found = await self._estimator.estimates(missing)
        self._estimates |= {lane: (now, credit) for lane, credit in found.items()}

    def of(self, lane: Lane) -> float | None:
        """The credits of one run; None if nothing is known of it."""
        return self._estimates.get(lane, (0.0, None))[1]

    def _is_fresh(self, lane: Lane, now: float) -> bool:
        found = self._estimates.get(lane)
        if found is None:
            return False
        read_at, credit = found
        return 0 <= now - read_at < (UNKNOWN_MAX_AGE_S if credit is None else MAX_AGE_S)
