"""The credits that the last run of each target cost."""

from worker.store.client import Client, numbers
from worker.store.keys import Keys


class CostStore:
    """The last cost of each target of one namespace."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def record(self, target_name: str, cost: float) -> None:
        """Note what the last run of a target (`kind/target`) cost, in credits."""
        await self._client.call("HSET", self._keys.costs, target_name, cost)

    async def last(self) -> dict[str, float]:
        """`kind/target` → the credits its last run cost."""
        return numbers(await self._client.call("HGETALL", self._keys.costs))
