"""What the dependency keeper finds its jobs by: parents that settled, and children that are due."""

from collections.abc import Sequence
from typing import Final

from jobs.indexes import Index
from jobs.lanes import JobId
from worker.store.client import Client, pairs, texts
from worker.store.keys import Keys
from worker.store.leases import claim_lease
from worker.store.scripts import Scripts

DEPENDENCIES_MESSAGE: Final = "dependencies"
"""The message on the channel of wake-ups that a parent has settled: `commit.lua` sends it."""


class DependencyStore:
    """The jobs of one namespace that wait for others."""

    def __init__(self, client: Client, keys: Keys, scripts: Scripts) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts

    async def claim(self, worker_id: str, lease_s: float) -> bool:
        """Whether a worker moves these jobs on for the next `lease_s` seconds."""
        return await claim_lease(self._client, self._keys.dependency_lease, worker_id, lease_s)

    async def work(
        self, now: float, parents: int, children: int
    ) -> tuple[list[tuple[str, float]], list[JobId]]:
        """Parents that settled and when, and children that are due, the first ones first."""
        settled, due = await self._client.many(
            [
                ("ZRANGE", self._keys.settled_parents, 0, parents - 1, "WITHSCORES"),
                (
                    "ZRANGEBYSCORE",
                    self._keys.index(Index.WAITING),
                    "-inf",
                    now,
                    "LIMIT",
                    0,
                    children,
                ),
            ]
        )
        return pairs(settled), [JobId(one) for one in texts(due)]

    async def mark_seen(self, parent: str, at: float) -> None:
        """Note that the children of a parent were moved on; a later end of it stays."""
        await self._scripts.remove_seen(self._keys.settled_parents, parent, at)

    async def children(self, parent: str, limit: int) -> tuple[list[JobId], int]:
        """Jobs that were enqueued to wait for a job, the first ones first, and how many."""
        key = self._keys.index(Index.CHILDREN, parent)
        found, count = await self._client.many([("ZRANGE", key, 0, limit - 1), ("ZCARD", key)])
        return [JobId(one) for one in texts(found)], int(count)

    async def with_waiting_children(self, job_ids: Sequence[str]) -> set[str]:
        """Those of some jobs that others wait for now."""
        keys = [self._keys.index(Index.WAITING_CHILDREN, job_id) for job_id in job_ids]
        counts = await self._client.many([("ZCARD", key) for key in keys])
        return {job_id for job_id, count in zip(job_ids, counts, strict=True) if count}
