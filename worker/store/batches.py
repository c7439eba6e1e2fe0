"""Batches: what was said of them, how many of their jobs are in which state, and their results.

The counts are the sizes of indexes, which change in the step that changes a job. Beside them each
batch has a hash: the record of one that was created, whether it is sealed, how often it completed,
what its jobs cost, and how many were pruned.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import RedisError

from jobs.batches import BatchRecord, batch_address
from jobs.indexes import Index, batch_state_name
from jobs.lanes import JobId
from jobs.states import State
from jobs.tenants import tenant_of
from worker.store.batch import RATE_WINDOW_S, Batch, batch_of_fields, number_in
from worker.store.client import Client, pairs, texts
from worker.store.codec import encode
from worker.store.commit import BATCH_SEALED, VersionedJob
from worker.store.events import BATCH_EVENT_FIELD, BatchNotice, notice_command
from worker.store.jobs import JobStore, UnreadableRecord
from worker.store.keys import Keys
from worker.store.leases import claim_lease
from worker.store.scripts import Scripts

FAILURE_SAMPLE: Final = 500
"""Parked jobs, and as many dead letters, that are read for the causes of a batch's failures."""

MAX_SCANNED_NAMES: Final = 5_000
"""Names that are looked through for one page of a tenant's batches."""

CHUNK: Final = 500
"""Batches that are looked at in one round trip."""

_NEEDS_OPERATOR: Final = (State.PARKED, State.DEAD)


@dataclass(frozen=True, slots=True)
class BatchFailures:
    """Why jobs of a batch are parked or dead."""

    codes: tuple[tuple[str, int], ...]
    """Code → count of the jobs that were read, the most frequent first."""
    unread: int
    """Parked jobs and dead letters that were not read."""
    unreadable: tuple[UnreadableRecord, ...]
    """Records that say nothing; the caller decides what becomes of them."""


class BatchStore:
    """The batches of one namespace. `address` is the stored name of a batch."""

    def __init__(self, client: Client, keys: Keys, scripts: Scripts, jobs: JobStore) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts
        self._jobs = jobs

    # Reads.

    async def page(self, first: int, count: int, now: float) -> tuple[list[Batch], int]:
        """`count` batches from the `first` on, the most recently used first; and their total."""
        used, total = await self._names(first, count)
        return await self._read(list(used), used, now), total

    async def page_of_tenant(
        self, tenant: str, first: int, count: int, now: float
    ) -> tuple[list[Batch], int | None]:
        """`count` batches of a tenant from the `first` of all on, and where the next page begins.

        A page may be short, and still have a next one: so many names are looked through.
        """
        used, total = await self._names(first, MAX_SCANNED_NAMES)
        positions = {name: at for at, name in enumerate(used, first) if tenant_of(name) == tenant}
        own = dict(list(positions.items())[:count])
        found = await self._read(list(own), used, now)
        following = own.popitem()[1] + 1 if len(own) == count else first + MAX_SCANNED_NAMES
        return found, following if following < total else None

    async def _names(self, first: int, count: int) -> tuple[dict[str, float], int]:
        """Stored names with the time of their last use, the latest first; and their total."""
        register, last = self._keys.batches, first + count - 1
        total, rows = await self._client.many(
            [("ZCARD", register), ("ZREVRANGE", register, first, last, "WITHSCORES")]
        )
        return dict(pairs(rows)), int(total)

    async def find(self, address: str, now: float) -> Batch | None:
        """One batch; None if nobody created it and no job is in it."""
        return next(iter(await self.find_many([address], now)), None)

    async def find_many(self, addresses: Sequence[str], now: float) -> list[Batch]:
        """Those of some batches that there are, as `find`."""
        scores = await self._client.many(
            [("ZSCORE", self._keys.batches, name) for name in addresses]
        )
        found = zip(addresses, scores, strict=True)
        used = {name: float(score) for name, score in found if score is not None}
        return await self._read(addresses, used, now)

    async def _read(self, names: Sequence[str], used: dict[str, float], now: float) -> list[Batch]:
        commands: list[tuple[Any, ...]] = []
        for name in names:
            succeeded = self._state_key(name, State.SUCCEEDED)
            commands.append(("HGETALL", self._keys.batch_record(name)))
            commands.append(("ZCOUNT", succeeded, now - RATE_WINDOW_S, "+inf"))
            commands += [("ZCARD", self._state_key(name, state)) for state in State]
        replies = await self._client.many(commands)
        each = 2 + len(State)
        found = [
            batch_of_fields(name, used.get(name), *replies[at * each : (at + 1) * each])
            for at, name in enumerate(names)
        ]
        return [one for one in found if one.record is not None or one.total]

    def _state_key(self, address: str, state: State) -> str:
        return self._keys.index(Index.BATCH_STATE, batch_state_name(address, state))

    async def failures(self, address: str) -> BatchFailures:
        """Why jobs of a batch are parked or dead, from the latest of them."""
        keys = [self._state_key(address, state) for state in _NEEDS_OPERATOR]
        replies = await self._client.many(
            [
                command
                for key in keys
                for command in (("ZCARD", key), ("ZREVRANGE", key, 0, FAILURE_SAMPLE - 1))
            ]
        )
        ids = [job_id for members in replies[1::2] for job_id in texts(members)]
        records = await self._jobs.read_many(ids)
        codes = Counter(
            one.job.reason.code
            for one in records
            if isinstance(one, VersionedJob) and one.job.reason is not None
        )
        unreadable = tuple(one for one in records if isinstance(one, UnreadableRecord))
        return BatchFailures(tuple(codes.most_common()), sum(replies[::2]) - len(ids), unreadable)

    async def settled(self, address: str, after: float, limit: int) -> list[tuple[JobId, float]]:
        """Settled jobs behind a position, in the order in which that was written.

        With each its own position; 0 is before the first.
        """
        key = self._keys.index(Index.BATCH_SETTLED, address)
        found = await self._client.call(
            "ZRANGEBYSCORE", key, f"({after!r}", "+inf", "WITHSCORES", "LIMIT", 0, limit
        )
        return [(JobId(job_id), score) for job_id, score in pairs(found)]

    async def is_kept(self, addresses: Sequence[str]) -> list[bool]:
        """Whether the jobs of each batch stay on record: it was created, and is not complete."""
        replies = await self._client.many(
            [
                command
                for name in addresses
                for command in (
                    ("HMGET", self._keys.batch_record(name), "rec", BATCH_SEALED),
                    ("EXISTS", self._keys.index(Index.BATCH_OPEN, name)),
                )
            ]
        )
        fields, has_open = replies[::2], replies[1::2]
        return [
            rec is not None and (sealed is None or bool(waits))
            for (rec, sealed), waits in zip(fields, has_open, strict=True)
        ]

    # Changes.

    async def create(self, tenant: str, record: BatchRecord) -> bool:
        """Write the record of a batch; False if it has one, which stays."""
        address = batch_address(tenant, record.name)
        replies = await self._client.try_transaction(
            [
                ("HSETNX", self._keys.batch_record(address), "rec", encode(record)),
                ("ZADD", self._keys.batches, "GT", record.created_at, address),
            ]
        )
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
        return bool(replies[0])

    async def seal(self, address: str, at: float) -> bool:
        """Let no more jobs join; False if it was sealed before."""
        return await self._run_sealing(address, at, "sealed_at")

    async def mark_cancelled(self, address: str, at: float) -> None:
        """Let no more jobs join, since it is cancelled."""
        for field in ("sealed_at", "cancelled_at"):
            await self._run_sealing(address, at, field)

    async def _run_sealing(self, address: str, at: float, field: str) -> bool:
        open_jobs = self._keys.index(Index.BATCH_OPEN, address)
        keys = (self._keys.batch_record(address), open_jobs, self._keys.batch_changes)
        return await self._scripts.seal_batch(keys, (at, address, field))

    async def claim(self, worker_id: str, lease_s: float) -> bool:
        """Whether a worker keeps the batches for the next `lease_s` seconds."""
        return await claim_lease(self._client, self._keys.batch_lease, worker_id, lease_s)

    async def changed(self, limit: int) -> list[tuple[str, float]]:
        """Batches of which a job settled or was parked, and when; the first ones first."""
        found = await self._client.call(
            "ZRANGE", self._keys.batch_changes, 0, limit - 1, "WITHSCORES"
        )
        return pairs(found)

    async def mark_seen(self, address: str, at: float) -> None:
        """Note that a change was looked at; a later one stays."""
        await self._scripts.remove_seen(self._keys.batch_changes, address, at)

    async def announce(
        self, batch: Batch, notice: BatchNotice | None, field: str, value: int
    ) -> bool:
        """Report a change of a batch in the event stream, by one worker; False: another did.

        `field` notes the value that is announced; without a notice it is only noted.
        """
        key = self._keys.batch_record(batch.address)
        before = await self._client.call("HGET", key, field) or b""
        if before == str(value).encode():
            return False
        if not await self._scripts.swap(key, field, before, str(value).encode()):
            return False
        if notice is not None:
            await self.report(notice)
        return True

    async def report(self, notice: BatchNotice) -> None:
        """Add an entry to the event stream; never raises what Redis raises."""
        command = notice_command(self._keys, BATCH_EVENT_FIELD, notice)
        await self._scripts.announcements.send(command)

    async def forget_old(self, until: float) -> None:
        """Forget batches without jobs; created ones once they are that old."""
        names = texts(await self._client.call("ZRANGE", self._keys.batches, 0, -1))
        for first in range(0, len(names), CHUNK):
            chunk = names[first : first + CHUNK]
            sizes = await self._client.many(
                [("ZCARD", self._keys.index(Index.BATCH, name)) for name in chunk]
            )
            empty = [name for name, size in zip(chunk, sizes, strict=True) if not size]
            for name in empty:
                if await self._may_be_forgotten(name, until):
                    members, record = (
                        self._keys.index(Index.BATCH, name),
                        self._keys.batch_record(name),
                    )
                    await self._scripts.retire(self._keys.batches, name, [members], [record])

    async def _may_be_forgotten(self, address: str, until: float) -> bool:
        (rec, *times), used = await self._client.many(
            [
                ("HMGET", self._keys.batch_record(address), "rec", "last", "sealed_at"),
                ("ZSCORE", self._keys.batches, address),
            ]
        )
        return rec is None or max(number_in(one) or 0.0 for one in (*times, used)) < until
