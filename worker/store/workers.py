"""The workers beside each other, and what they learned: heartbeats and costs."""

from typing import Final

import msgspec

from jobs.lanes import target_name
from worker.store.client import Client
from worker.store.codec import DECODE_ERRORS, encode
from worker.store.keys import Keys

ALIVE_LEASES: Final = 1.5
"""A worker beats three times in a lease; one silent for so many leases does not count."""

FORGET_AFTER_S: Final = 3_600.0
"""A worker that was silent this long is forgotten."""


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker says of itself."""

    id: str
    host: str
    pid: int
    started_at: float
    seen_at: float
    submitting: int = 0
    sync_runs: int = 0
    polling: int = 0
    stopping: bool = False
    failures: dict[str, str] = {}
    """Background services that are being restarted, with the class of their last error."""


_heartbeat: Final = msgspec.json.Decoder(Heartbeat)


class WorkerStore:
    """Heartbeats and costs of one namespace."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def record_heartbeat(self, heartbeat: Heartbeat) -> None:
        """Say that this worker lives."""
        await self._client.call("HSET", self._keys.workers, heartbeat.id, encode(heartbeat))

    async def remove(self, worker_id: str) -> None:
        """Say good-bye."""
        await self._client.call("HDEL", self._keys.workers, worker_id)

    async def heartbeats(self) -> list[Heartbeat]:
        """Every worker that is known, whether it still lives or not."""
        found: list[Heartbeat] = []
        for data in await self._client.call("HVALS", self._keys.workers):
            try:
                found.append(_heartbeat.decode(data))
            except DECODE_ERRORS:
                continue
        return sorted(found, key=lambda beat: beat.started_at)

    async def remove_silent(self, now: float) -> None:
        """Forget workers that have been silent for long."""
        for beat in await self.heartbeats():
            if beat.seen_at < now - FORGET_AFTER_S:
                await self.remove(beat.id)

    async def record_cost(self, kind: str, target: str, cost: float) -> None:
        """Note what the last run of a target cost."""
        await self._client.call("HSET", self._keys.costs, target_name(kind, target), cost)

    async def costs(self) -> dict[str, float]:
        """`kind/target` → credits its last run cost."""
        found: dict[bytes, bytes] = await self._client.call("HGETALL", self._keys.costs)
        return {name.decode(): float(cost) for name, cost in found.items()}
