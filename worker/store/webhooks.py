"""Webhook deliveries in Redis: an inbox under leases, and orphan deliveries.

The deliveries of one run are one hash: `e:<event>` (time received, a space, the body), `jobs`
(ids of the jobs that have the run, with spaces between), `orphan` (a summary, if no job has the
run), `ended` (the run's end is recorded: later deliveries change nothing).
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec
import structlog

from jobs.deliveries import ORPHAN_RETENTION_S, RUN_END_MEMORY_S
from jobs.indexes import Index
from jobs.lanes import JobId
from worker.store.client import Client, Command, texts
from worker.store.codec import DECODE_ERRORS, encode
from worker.store.keys import Keys
from worker.store.payload_cipher import PayloadCipher, UnreadablePayload
from worker.store.schema import UNCHANGED, NewerSchema, RecordSchema
from worker.store.scripts import Scripts

log: Final = structlog.get_logger(__name__)

MAX_ORPHAN_BODY_BYTES: Final = 65_536
"""Bytes of an orphan delivery's body that are kept; a poll fetches a larger result."""

MAX_ORPHANS: Final = 10_000
"""Orphan runs that are kept; the oldest are removed first."""

MAX_ORPHAN_BYTES: Final = 64 << 20
"""Bytes of memory that their deliveries may take; the oldest are removed first."""

EVENT_PREFIX: Final = "e:"
_ENDED: Final = "ended"
_JOBS: Final = "jobs"
_ORPHAN: Final = "orphan"


class ReceiveResult(StrEnum):
    """How a received delivery was stored."""

    NEW = "new"
    DUPLICATE = "known"
    """The same delivery is stored already."""
    ENDED = "ended"
    """The end of its run is recorded already."""


@dataclass(frozen=True, slots=True)
class StoredDelivery:
    """One delivery as received; `body` is empty if it was too large to keep."""

    event: str
    received_at: float
    body: bytes


@dataclass(frozen=True, slots=True)
class StoredDeliveries:
    """The deliveries of one run."""

    execution_id: str
    deliveries: tuple[StoredDelivery, ...]
    """In the order received."""
    jobs: tuple[JobId, ...]
    is_ended: bool
    has_newer_orphan: bool = False
    """Whether a newer version wrote the summary of an orphan: it stays as it is."""


class Orphan(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="schema",
    tag=1,
    forbid_unknown_fields=True,
):
    """A run with deliveries that belongs to no job."""

    execution_id: str
    event: str
    received_at: float
    targets: tuple[str, ...] = ()
    """What it ran, as `workflow/my-pipeline`, or `model/suno` if the delivery names only models."""
    status: str | None = None
    cost: float | None = None
    request_id: str | None = None
    """The request id that its deliveries carry: a row of the provider's list has the same."""


_orphan: Final = RecordSchema(Orphan, UNCHANGED)


class WebhookStore:
    """The deliveries of one namespace."""

    def __init__(self, client: Client, keys: Keys, scripts: Scripts, cipher: PayloadCipher) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts
        self._cipher = cipher

    # Receiving.

    async def receive(
        self, execution_id: str, event: str, body: bytes, now: float
    ) -> ReceiveResult:
        """Store a delivery and wake the workers, in one step; the same delivery only once."""
        keys = (
            self._keys.delivery(execution_id),
            self._keys.inbox,
            self._keys.index(Index.EXECUTION, execution_id),
            self._keys.delivered,
        )
        args = (
            EVENT_PREFIX + event,
            f"{now} ".encode() + self._cipher.seal(self.place(execution_id, event), body),
            execution_id,
            now,
            ORPHAN_RETENTION_S,
        )
        return ReceiveResult(await self._scripts.receive(keys, args))

    # Processing.

    async def claim(self, now: float, lease_until: float, limit: int) -> list[StoredDeliveries]:
        """Claim due deliveries; they are due again when the lease ends."""
        ids = await self._scripts.claim(self._keys.inbox, now, lease_until, limit)
        hashes = await self._client.many([("HGETALL", self._keys.delivery(i)) for i in ids])
        runs = [self._parse_deliveries(i, found) for i, found in zip(ids, hashes, strict=True)]
        unmatched = [run.execution_id for run in runs if not run.jobs and not run.is_ended]
        jobs = dict(zip(unmatched, await self.jobs_of(unmatched), strict=True))
        return [
            dataclasses.replace(run, jobs=jobs[run.execution_id])
            if run.execution_id in jobs
            else run
            for run in runs
        ]

    async def jobs_of(self, execution_ids: Sequence[str]) -> list[tuple[JobId, ...]]:
        """For each run, the jobs that have it at the provider now."""
        keys = [self._keys.index(Index.EXECUTION, name) for name in execution_ids]
        found = await self._client.many([("ZRANGE", key, 0, -1) for key in keys])
        return [tuple(JobId(member) for member in texts(members)) for members in found]

    async def run_owner(self, execution_id: str) -> str | None:
        """The job that a run belongs to; None if it belongs to none, or ended long ago."""
        owner = await self._client.call("GET", self._keys.run_owner(execution_id))
        if owner is not None:
            return str(owner.decode())
        index_key = self._keys.index(Index.EXECUTION, execution_id)
        return next(iter(texts(await self._client.call("ZRANGE", index_key, 0, 0))), None)

    async def finish(self, stored: StoredDeliveries) -> None:
        """Empty a run's deliveries: its end is recorded, so the bodies are not needed."""
        key, name = self._keys.delivery(stored.execution_id), stored.execution_id
        emptied = [part for one in stored.deliveries for part in (EVENT_PREFIX + one.event, "")]
        await self._client.many(
            [
                ("HSET", key, _ENDED, 1, *emptied),
                ("EXPIRE", key, RUN_END_MEMORY_S),
                ("ZREM", self._keys.inbox, name),
                ("ZREM", self._keys.orphans, name),
            ]
        )

    async def erase_bodies(self, execution_ids: Sequence[str]) -> None:
        """Empty the deliveries of runs, but not the facts that they came."""
        keys = [self._keys.delivery(name) for name in execution_ids]
        hashes = await self._client.many([("HGETALL", key) for key in keys])
        emptied: list[Command] = [
            ("HSET", key, name, value.partition(b" ")[0] + b" ")
            for key, found in zip(keys, hashes, strict=True)
            for name, value in found.items()
            if name.startswith(EVENT_PREFIX.encode()) and value.partition(b" ")[2]
        ]
        await self._client.many(emptied)

    async def drop(self, stored: StoredDeliveries) -> None:
        """Remove deliveries that report no end of the run; later ones are still processed."""
        fields = [EVENT_PREFIX + one.event for one in stored.deliveries]
        commands: list[Command] = [("ZREM", self._keys.inbox, stored.execution_id)]
        if fields:
            commands.append(("HDEL", self._keys.delivery(stored.execution_id), *fields))
        await self._client.many(commands)

    async def record_run_end(self, execution_id: str) -> bool:
        """Record that a run has ended; returns whether a delivery had come for it."""
        key = self._keys.delivery(execution_id)
        fields, _, _ = await self._client.many(
            [("HKEYS", key), ("HSET", key, _ENDED, 1), ("EXPIRE", key, RUN_END_MEMORY_S)]
        )
        return any(field.startswith(EVENT_PREFIX) for field in texts(fields))

    async def make_due(self, execution_id: str, now: float) -> bool:
        """Make a run's deliveries due now; returns whether there were any."""
        return bool(
            await self._client.call("ZADD", self._keys.inbox, "XX", "CH", now, execution_id)
        )

    def place(self, execution_id: str, event: str) -> str:
        """What authenticates the body of a delivery: its key and its event."""
        return f"{self._keys.delivery(execution_id)}:{event}"

    def _parse_deliveries(self, execution_id: str, fields: dict[bytes, Any]) -> StoredDeliveries:
        named = {name.decode("utf-8", "replace"): value for name, value in fields.items()}
        arrivals = [
            self._parse_delivery(execution_id, name.removeprefix(EVENT_PREFIX), value)
            for name, value in named.items()
            if name.startswith(EVENT_PREFIX)
        ]
        jobs = named.get(_JOBS, b"").decode("utf-8", "replace").split()
        return StoredDeliveries(
            execution_id,
            tuple(sorted(arrivals, key=lambda one: one.received_at)),
            tuple(JobId(name) for name in jobs),
            is_ended=_ENDED in named,
            has_newer_orphan=_is_newer(named.get(_ORPHAN)),
        )

    def _parse_delivery(self, execution_id: str, event: str, value: bytes) -> StoredDelivery:
        """A delivery as it was received; an unreadable one has no body, or even time 0."""
        moment, _, body = value.partition(b" ")
        try:
            body = body and self._cipher.open(self.place(execution_id, event), body)
        except UnreadablePayload as error:
            log.error("payload.unreadable", execution_id=execution_id, key_id=error.key_id)  # noqa: TRY400
            body = b""
        try:
            return StoredDelivery(event, float(moment), body)
        except ValueError:
            return StoredDelivery(event, 0.0, b"")

    # Orphans.

    async def keep_orphan(
        self, orphan: Orphan, stored: StoredDeliveries, next_check_at: float | None
    ) -> None:
        """Keep the deliveries of a run without a job, due at `next_check_at` (None: never)."""
        key, name = self._keys.delivery(stored.execution_id), stored.execution_id
        commands: list[Command] = (
            [] if stored.has_newer_orphan else [("HSET", key, _ORPHAN, encode(orphan))]
        )
        commands += [
            ("ZADD", self._keys.orphans, "NX", orphan.received_at, name),
        ]
        if next_check_at is not None:
            commands.append(("ZADD", self._keys.inbox, next_check_at, name))
        else:
            commands.append(("ZREM", self._keys.inbox, name))
            commands += [
                ("HSET", key, EVENT_PREFIX + one.event, f"{one.received_at} ")
                for one in stored.deliveries
                if len(one.body) > MAX_ORPHAN_BODY_BYTES
            ]
        await self._client.many(commands)

    async def attach(self, execution_id: str, job_id: str, now: float) -> None:
        """Give a run to the job that an operator attached it to, and make its deliveries due."""
        key = self._keys.delivery(execution_id)
        await self._client.many(
            [
                ("HSET", key, _JOBS, job_id),
                ("EXPIRE", key, ORPHAN_RETENTION_S),
                ("ZREM", self._keys.orphans, execution_id),
                ("ZADD", self._keys.inbox, now, execution_id),
            ]
        )
        await self._scripts.announcements.send(("PUBLISH", self._keys.delivered, execution_id))

    async def orphans(self, since: float, until: float, limit: int) -> list[Orphan]:
        """Orphan runs whose first delivery came in a time span, the earliest first."""
        span = (since, until, "LIMIT", 0, limit)
        ids = texts(await self._client.call("ZRANGEBYSCORE", self._keys.orphans, *span))
        rows = await self._client.many(
            [("HGET", self._keys.delivery(name), _ORPHAN) for name in ids]
        )
        found = [None if row is None else _decode_orphan(row) for row in rows]
        return [orphan for orphan in found if orphan is not None]

    async def remove_expired_orphans(self, now: float) -> None:
        """Remove orphans past their retention, and the oldest beyond number and bytes."""
        orphans = self._keys.orphans
        await self._client.call("ZREMRANGEBYSCORE", orphans, "-inf", now - ORPHAN_RETENTION_S)
        over = texts(await self._client.call("ZRANGE", orphans, 0, -MAX_ORPHANS - 1))
        if over := over + await self._over_the_bytes(len(over)):
            await self._client.many(
                [
                    ("ZREM", orphans, *over),
                    ("ZREM", self._keys.inbox, *over),
                    *(("DEL", self._keys.delivery(name)) for name in over),
                ]
            )

    async def _over_the_bytes(self, first: int) -> list[str]:
        """The oldest orphans from position `first` on that are too much in bytes.

        Where Redis' user may not ask for sizes, their number alone is limited.
        """
        names = texts(await self._client.call("ZRANGE", self._keys.orphans, first, -1))
        keys = [self._keys.delivery(name) for name in names]
        commands: list[Command] = [("MEMORY USAGE", key, "SAMPLES", 0) for key in keys]
        sizes = await self._client.try_many(commands)
        left = MAX_ORPHAN_BYTES
        for number in range(len(names) - 1, -1, -1):
            left -= sizes[number] if isinstance(sizes[number], int) else 0
            if left < 0:
                return names[: number + 1]
        return []


def _decode_orphan(data: bytes) -> Orphan | None:
    """An orphan; of one that a newer version wrote, what can be read. None if it is unreadable."""
    try:
        return _orphan.decode(data)
    except NewerSchema as newer:
        return _orphan.shown(newer)
    except DECODE_ERRORS:
        return None


def _is_newer(data: bytes | None) -> bool:
    try:
        _orphan.decode(data or b"")
    except NewerSchema:
        return True
    except DECODE_ERRORS:
        return False
    return False
