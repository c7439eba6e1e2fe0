"""The provider's deliveries in Redis: an inbox under leases, and those that no job claims.

All that came for one run is one hash: `e:<event>` (when it came, a space, the body), `jobs` (whose
run it is, space between them), `orphan` (what is told of it where it is nobody's), `ended` (the
run's end is on record: whatever still comes of it changes nothing).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec

from jobs.deliveries import ORPHAN_RETENTION_S, RUN_END_MEMORY_S
from jobs.indexes import Index
from jobs.lanes import JobId
from worker.store.client import Client, Command, texts
from worker.store.codec import DECODE_ERRORS, encode
from worker.store.keys import Keys
from worker.store.scripts import Scripts

MAX_ORPHAN_BODY_BYTES: Final = 65_536
"""Bytes of a body that is kept where nobody claims it; a poll brings what is larger."""

MAX_ORPHANS: Final = 10_000
"""Runs without a job that are kept; the oldest go first."""

_EVENT_PREFIX: Final = "e:"
_ENDED: Final = "ended"
_JOBS: Final = "jobs"
_ORPHAN: Final = "orphan"


class ReceiveResult(StrEnum):
    """What became of a delivery that came in."""

    NEW = "new"
    DUPLICATE = "known"
    """The same one is there already."""
    ENDED = "ended"
    """The end of its run is on record already."""


@dataclass(frozen=True, slots=True)
class StoredDelivery:
    """One delivery as it came; `body` is empty where it was too large to keep."""

    event: str
    received_at: float
    body: bytes


@dataclass(frozen=True, slots=True)
class StoredDeliveries:
    """All that came for one run."""

    execution_id: str
    deliveries: tuple[StoredDelivery, ...]
    """In the order they came."""
    jobs: tuple[JobId, ...]
    is_ended: bool


class Orphan(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was told of and belongs to no job of ours."""

    execution_id: str
    event: str
    received_at: float
    targets: tuple[str, ...] = ()
    """What it ran, as `workflow/my-pipeline`, or `model/suno` where it names models alone."""
    status: str | None = None
    cost: float | None = None


_orphan: Final = msgspec.json.Decoder(Orphan)


class WebhookStore:
    """The deliveries of one namespace."""

    def __init__(self, client: Client, keys: Keys, scripts: Scripts) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts

    # Coming in.

    async def receive(
        self, execution_id: str, event: str, body: bytes, now: float
    ) -> ReceiveResult:
        """Store a delivery and ring for the workers, in one step; the same one only once."""
        keys = (
            self._keys.delivery(execution_id),
            self._keys.inbox,
            self._keys.index(Index.EXECUTION, execution_id),
            self._keys.delivered,
        )
        args = (
            _EVENT_PREFIX + event,
            f"{now} ".encode() + body,
            execution_id,
            now,
            ORPHAN_RETENTION_S,
        )
        return ReceiveResult(await self._scripts.receive(keys, args))

    # Working on them.

    async def claim(self, now: float, lease_until: float, limit: int) -> list[StoredDeliveries]:
        """Take what is due; it comes due again when the lease ends."""
        ids = await self._scripts.claim(self._keys.inbox, now, lease_until, limit)
        hashes = await self._client.many([("HGETALL", self._keys.delivery(i)) for i in ids])
        posts = [_parse_deliveries(i, found) for i, found in zip(ids, hashes, strict=True)]
        strays = [post.execution_id for post in posts if not post.jobs and not post.is_ended]
        jobs = dict(zip(strays, await self.jobs_of(strays), strict=True))
        return [
            StoredDeliveries(
                post.execution_id, post.deliveries, jobs[post.execution_id], is_ended=False
            )
            if post.execution_id in jobs
            else post
            for post in posts
        ]

    async def jobs_of(self, execution_ids: Sequence[str]) -> list[tuple[JobId, ...]]:
        """The jobs that have each of these runs at the provider now."""
        keys = [self._keys.index(Index.EXECUTION, name) for name in execution_ids]
        found = await self._client.many([("ZRANGE", key, 0, -1) for key in keys])
        return [tuple(JobId(member) for member in texts(members)) for members in found]

    async def finish(self, stored: StoredDeliveries) -> None:
        """Put a run's deliveries away: its end is on record, its bodies are not needed any more."""
        key, name = self._keys.delivery(stored.execution_id), stored.execution_id
        emptied = [part for one in stored.deliveries for part in (_EVENT_PREFIX + one.event, "")]
        await self._client.many(
            [
                ("HSET", key, _ENDED, 1, *emptied),
                ("EXPIRE", key, RUN_END_MEMORY_S),
                ("ZREM", self._keys.inbox, name),
                ("ZREM", self._keys.orphans, name),
            ]
        )

    async def drop(self, stored: StoredDeliveries) -> None:
        """Forget deliveries that told of no end; those to come are another matter."""
        fields = [_EVENT_PREFIX + one.event for one in stored.deliveries]
        commands: list[Command] = [("ZREM", self._keys.inbox, stored.execution_id)]
        if fields:
            commands.append(("HDEL", self._keys.delivery(stored.execution_id), *fields))
        await self._client.many(commands)

    async def record_run_end(self, execution_id: str) -> bool:
        """Note that the end of a run is on record; returns whether a delivery had come of it."""
        key = self._keys.delivery(execution_id)
        fields, _, _ = await self._client.many(
            [("HKEYS", key), ("HSET", key, _ENDED, 1), ("EXPIRE", key, RUN_END_MEMORY_S)]
        )
        return any(field.startswith(_EVENT_PREFIX) for field in texts(fields))

    async def make_due(self, execution_id: str, now: float) -> bool:
        """Look at once for the job of a run that waits for one; returns whether one waited."""
        return bool(
            await self._client.call("ZADD", self._keys.inbox, "XX", "CH", now, execution_id)
        )

    # Those that no job claims.

    async def keep_orphan(
        self, orphan: Orphan, stored: StoredDeliveries, next_check_at: float | None
    ) -> None:
        """Keep a run's deliveries without a job; they are looked at again then, or never."""
        key, name = self._keys.delivery(stored.execution_id), stored.execution_id
        commands: list[Command] = [
            ("HSET", key, _ORPHAN, encode(orphan)),
            ("ZADD", self._keys.orphans, "NX", orphan.received_at, name),
        ]
        if next_check_at is not None:
            commands.append(("ZADD", self._keys.inbox, next_check_at, name))
        else:
            commands.append(("ZREM", self._keys.inbox, name))
            commands += [
                ("HSET", key, _EVENT_PREFIX + one.event, f"{one.received_at} ")
                for one in stored.deliveries
                if len(one.body) > MAX_ORPHAN_BODY_BYTES
            ]
        await self._client.many(commands)

    async def attach(self, execution_id: str, job_id: str, now: float) -> None:
        """Give a run to the job that a person attached it to, and look at what came of it."""
        key = self._keys.delivery(execution_id)
        await self._client.many(
            [
                ("HSET", key, _JOBS, job_id),
                ("EXPIRE", key, ORPHAN_RETENTION_S),
                ("ZREM", self._keys.orphans, execution_id),
                ("ZADD", self._keys.inbox, now, execution_id),
                ("PUBLISH", self._keys.delivered, execution_id),
            ]
        )

    async def orphans(self, since: float, until: float, limit: int) -> list[Orphan]:
        """Runs without a job that were told of within a time, the earliest first."""
        span = (since, until, "LIMIT", 0, limit)
        ids = texts(await self._client.call("ZRANGEBYSCORE", self._keys.orphans, *span))
        rows = await self._client.many(
            [("HGET", self._keys.delivery(name), _ORPHAN) for name in ids]
        )
        found: list[Orphan] = []
        for row in rows:
            try:
                found += [] if row is None else [_orphan.decode(row)]
            except DECODE_ERRORS:
                continue
        return found

    async def remove_expired_orphans(self, now: float) -> None:
        """Forget those kept long enough, and the oldest of too many."""
        orphans = self._keys.orphans
        await self._client.call("ZREMRANGEBYSCORE", orphans, "-inf", now - ORPHAN_RETENTION_S)
        over = texts(await self._client.call("ZRANGE", orphans, 0, -MAX_ORPHANS - 1))
        if over:
            await self._client.many(
                [
                    ("ZREM", orphans, *over),
                    ("ZREM", self._keys.inbox, *over),
                    *(("DEL", self._keys.delivery(name)) for name in over),
                ]
            )


def _parse_deliveries(execution_id: str, fields: dict[bytes, Any]) -> StoredDeliveries:
    named = {name.decode("utf-8", "replace"): value for name, value in fields.items()}
    arrivals = [
        _parse_delivery(name.removeprefix(_EVENT_PREFIX), value)
        for name, value in named.items()
        if name.startswith(_EVENT_PREFIX)
    ]
    jobs = named.get(_JOBS, b"").decode("utf-8", "replace").split()
    return StoredDeliveries(
        execution_id,
        tuple(sorted(arrivals, key=lambda one: one.received_at)),
        tuple(JobId(name) for name in jobs),
        is_ended=_ENDED in named,
    )


def _parse_delivery(event: str, value: bytes) -> StoredDelivery:
    """A delivery as it was stored; one that nobody can read came at the beginning of time."""
    moment, _, body = value.partition(b" ")
    try:
        return StoredDelivery(event, float(moment), body)
    except ValueError:
        return StoredDelivery(event, 0.0, b"")
