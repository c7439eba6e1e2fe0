"""What runs are likely to cost: what is on record, put together by `jobs.credits.estimates`."""

from collections.abc import Collection, Mapping

from jobs.credits.estimates import estimate, total_estimate
from jobs.lanes import Lane
from worker.clock import Clock
from worker.store.lane_facts import LaneFacts, LaneFactsStore


class CostEstimator:
    """Estimates of one namespace. `default`: the credits of `KNOUDS_DEFAULT_ESTIMATE`."""

    def __init__(self, facts: LaneFactsStore, clock: Clock, default: float | None) -> None:
        self._facts = facts
        self._clock = clock
        self._default = default

    async def estimates(self, lanes: Collection[Lane]) -> dict[Lane, float | None]:
        """The credits of one run of each lane; None where nothing is known."""
        found = await self._facts.read(lanes, self._clock.now())
        return {lane: self.estimate(facts) for lane, facts in found.items()}

    async def total(self, runs: Mapping[Lane, int]) -> float | None:
        """The credits of some runs of each lane; None where nothing is known of one."""
        found = await self.estimates(runs.keys())
        return total_estimate([(found[lane], count) for lane, count in runs.items()])

    def estimate(self, facts: LaneFacts) -> float | None:
        """The credits of one run of a lane, from what is known of it."""
        return estimate(facts.price, facts.recent_cost, self._default)
