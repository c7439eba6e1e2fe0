"""The heartbeats of the workers."""

from typing import Final

import msgspec

from worker.store.client import Client
from worker.store.codec import DECODE_ERRORS, encode
from worker.store.keys import Keys

ALIVE_LEASES: Final = 1.5
"""A worker sends three heartbeats a lease; one silent for so many leases counts as dead."""

FORGET_AFTER_S: Final = 3_600.0
"""A worker that was silent for this long is removed."""


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker reports of itself."""

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
    """Background services that are being restarted → the class of their last error."""


_heartbeat: Final = msgspec.json.Decoder(Heartbeat)


class WorkerStore:
    """The workers of one namespace."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def record_heartbeat(self, heartbeat: Heartbeat) -> None:
        """Store a worker's heartbeat."""
        await self._client.call("HSET", self._keys.workers, heartbeat.id, encode(heartbeat))

    async def remove(self, worker_id: str) -> None:
        """Remove a worker."""
        await self._client.call("HDEL", self._keys.workers, worker_id)

    async def heartbeats(self) -> list[Heartbeat]:
        """The last heartbeat of every known worker, alive or not, the oldest worker first."""
        found: list[Heartbeat] = []
        for data in await self._client.call("HVALS", self._keys.workers):
            try:
                found.append(_heartbeat.decode(data))
            except DECODE_ERRORS:
                continue
        return sorted(found, key=lambda beat: beat.started_at)

    async def remove_silent(self, now: float) -> None:
        """Remove workers that have been silent for `FORGET_AFTER_S`."""
        for beat in await self.heartbeats():
            if beat.seen_at < now - FORGET_AFTER_S:
                await self.remove(beat.id)
