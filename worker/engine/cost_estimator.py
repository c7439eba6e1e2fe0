"""What runs are likely to cost: what is on record, put together by `jobs.credits.estimates`."""

from collections.abc import Collection

from jobs.credits.estimates import estimate
from jobs.lanes import Lane, target_name
from worker.store import Store


class CostEstimator:
    """Estimates of one namespace. `default`: the credits of `KNOUDS_DEFAULT_ESTIMATE`."""

    def __init__(self, store: Store, default: float | None) -> None:
        self._store = store
        self._default = default

    async def estimates(self, lanes: Collection[Lane]) -> dict[Lane, float | None]:
        """The credits of one run of each lane; None where nothing is known."""
        targets = {lane: target_name(lane.kind, lane.target) for lane in lanes}
        recent = await self._store.costs.recent(set(targets.values()))
        return {
            lane: estimate(None, recent.get(target), self._default)
            for lane, target in targets.items()
        }
