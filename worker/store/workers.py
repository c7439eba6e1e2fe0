"""The heartbeats of the workers."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from worker.clock import MAX_CLOCK_OFF_S
from worker.store.announcements import Announcements
from worker.store.client import Client, unix_time
from worker.store.codec import DECODE_ERRORS, encode
from worker.store.keys import Keys
from worker.store.schema import UNCHANGED, NewerSchema, RecordSchema

ALIVE_LEASES: Final = 1.5
"""A worker sends three heartbeats a lease; one silent for so many leases counts as dead."""

FORGET_AFTER_S: Final = 3_600.0
"""A worker that was silent for this long is removed."""


class Heartbeat(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="schema",
    tag=1,
    forbid_unknown_fields=True,
):
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
    drained: bool = False
    """An operator took it out of service: it admits nothing, and finishes what it has."""
    failures: dict[str, str] = {}
    """Background services that are being restarted → the class of their last error; other
    problems → a text for the operator."""

    polls_failing_since: float | None = None
    """Since when none of its polls got an answer; None while they do, or it makes none."""
    poll_failure: str = ""
    """Why the last of these polls got no answer."""
    unproved_accounts: tuple[str, ...] = ()
    """Accounts whose submits wait until a poll of one of their runs is answered."""

    clock_ahead_s: float = 0.0
    """How far the clock of its machine is ahead of Redis'. It works by the time of Redis."""

    @property
    def is_clock_off(self) -> bool:
        """Whether its clock is so far off that it sends nothing."""
        return abs(self.clock_ahead_s) > MAX_CLOCK_OFF_S

    @property
    def is_leaving(self) -> bool:
        """Whether it was told to take no more jobs."""
        return self.stopping or self.drained

    @property
    def takes_work(self) -> bool:
        """Whether it admits jobs."""
        return not (self.is_leaving or self.is_clock_off)


def drain_message(worker_id: str) -> str:
    """What is published as a wake-up for one worker, once it is to be drained or not any more."""
    return f"drain:{worker_id}"


_heartbeat: Final = RecordSchema(Heartbeat, UNCHANGED)


class WorkerSurroundings(NamedTuple):
    """What a worker finds around it."""

    heartbeats: list[Heartbeat]
    is_drained: bool
    """An operator asks it to take no more work."""
    redis_time: float
    """Unix seconds, by the clock of Redis."""
    eviction_policy: str
    """How Redis evicts keys when it is full; empty if it does not."""


class WorkerStore:
    """The workers of one namespace."""

    def __init__(self, client: Client, keys: Keys, announcements: Announcements) -> None:
        self._client = client
        self._keys = keys
        self._announcements = announcements

    async def record_heartbeat(self, heartbeat: Heartbeat) -> None:
        """Store a worker's heartbeat."""
        await self._client.call("HSET", self._keys.workers, heartbeat.id, encode(heartbeat))

    async def remove(self, worker_id: str) -> None:
        """Remove a worker, and what else is known of it."""
        keys, recovery = self._keys, self._keys.recovery
        await self._client.many(
            [
                ("HDEL", keys.workers, worker_id),
                ("HDEL", keys.drains, worker_id),
                ("HDEL", recovery, worker_id, f"?{worker_id}"),
            ]
        )

    async def heartbeats(self) -> list[Heartbeat]:
        """The last heartbeat of every known worker, alive or not, the oldest worker first."""
        return decode_heartbeats(await self._client.call("HVALS", self._keys.workers))

    async def drain(self, worker_id: str, at: float) -> None:
        """Ask a worker to take no more work; it reads that at once."""
        await self._client.call("HSET", self._keys.drains, worker_id, at)
        await self._announcements.send(("PUBLISH", self._keys.wake, drain_message(worker_id)))

    async def undo_drain(self, worker_id: str) -> None:
        """Let a worker take work again; it reads that at once."""
        await self._client.call("HDEL", self._keys.drains, worker_id)
        await self._announcements.send(("PUBLISH", self._keys.wake, drain_message(worker_id)))

    async def surroundings(self, worker_id: str) -> WorkerSurroundings:
        """What a worker finds around it."""
        redis_time, rows, is_drained, memory = await self._client.many(
            [
                ("TIME",),
                ("HVALS", self._keys.workers),
                ("HEXISTS", self._keys.drains, worker_id),
                ("INFO", "memory"),
            ]
        )
        return WorkerSurroundings(
            heartbeats=decode_heartbeats(rows),
            is_drained=bool(is_drained),
            redis_time=unix_time(redis_time),
            eviction_policy=_eviction_policy(memory),
        )

    async def remove_silent(self, now: float) -> None:
        """Remove workers that have been silent for `FORGET_AFTER_S`, unless of a newer version."""
        rows = await self._client.call("HVALS", self._keys.workers)
        for beat in decode_heartbeats(rows, with_newer=False):
            if beat.seen_at < now - FORGET_AFTER_S:
                await self.remove(beat.id)


def _eviction_policy(memory: Mapping[str, object]) -> str:
    policy = str(memory.get("maxmemory_policy", ""))
    return "" if policy == "noeviction" or not memory.get("maxmemory") else policy


def decode_heartbeats(rows: Sequence[bytes], *, with_newer: bool = True) -> list[Heartbeat]:
    """The heartbeats that can be read, the oldest worker first.

    Of one that a newer version wrote, what can be read: its worker lives and takes work.
    """
    found: list[Heartbeat | None] = []
    for data in rows:
        try:
            found.append(_heartbeat.decode(data))
        except NewerSchema as newer:
            found.append(_heartbeat.shown(newer) if with_newer else None)
        except DECODE_ERRORS:
            continue
    return sorted((beat for beat in found if beat), key=lambda beat: beat.started_at)
