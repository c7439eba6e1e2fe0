"""Job records in Redis: create, load, commit under a precondition; and the indexes of jobs."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import Any, Final, NamedTuple

import structlog
from redis.exceptions import ResponseError

from jobs.batches import BatchSealed, batch_of
from jobs.indexes import Index, entries
from jobs.job import Job
from jobs.known_runs import lacks_submit, lost_ids
from jobs.lanes import JobId
from jobs.newer import newer_job
from jobs.payloads import MissingPayload
from worker.store.callback_outbox import CallbackOutbox
from worker.store.candidate_indexes import candidate_index_keys
from worker.store.client import Client, Durability, pairs, texts
from worker.store.codec import DECODE_ERRORS, decode_job
from worker.store.commit import (
    BATCH_SEALED,
    ERASED_AT,
    Change,
    RestoreResult,
    VersionedJob,
)
from worker.store.keys import Keys
from worker.store.metrics.buffer import MetricsBuffer
from worker.store.newer_jobs import NewerJobs
from worker.store.payloads import INPUTS, PayloadStore
from worker.store.recovery import RecoveryStore
from worker.store.refusals import is_recovering
from worker.store.schema import NewerSchema
from worker.store.scripts import CommitResult, Scripts
from worker.store.side_writes import ANY_EPOCH, NO_SIDE_WRITES, ArqWakeup, SideWrites

log: Final = structlog.get_logger(__name__)


SCAN_CHUNK: Final = 200
"""About how many jobs of an index are read at a time."""


class UnreadableRecord(NamedTuple):
    """A job's record that cannot be decoded."""

    job_id: str
    rev: bytes
    """The revision that a write over it must find, as stored."""
    text: bytes
    """The record as stored."""
    error: str
    """The name of the class of the decoding error."""

    def __repr__(self) -> str:
        """The record without its text, which may hold a customer's data."""
        return f"UnreadableRecord({self.job_id!r}, {self.error})"


class NewerRecord(NamedTuple):
    """A job's record that a newer version wrote: it is shown, and not changed."""

    shown: Job
    """What can be read of it, see `jobs.newer`."""
    rev: str
    why: str

    @property
    def job_id(self) -> str:
        """The id of the job."""
        return self.shown.id


StoredRecord = VersionedJob | UnreadableRecord | NewerRecord


class CommitRefused(Enum):
    """Why a write did not happen; all are normal results, not errors."""

    SUPERSEDED = auto()
    """Another writer changed the job meanwhile: load it and decide again, or give up."""
    FULL = auto()
    """A limit that the write named is reached."""
    GATED = auto()
    """A breaker that the write named is in another epoch."""
    RUN_TAKEN = auto()
    """The run that the write adds to the record is another job's."""


_REFUSED: Final = {
    CommitResult.SUPERSEDED: CommitRefused.SUPERSEDED,
    CommitResult.FULL: CommitRefused.FULL,
    CommitResult.GATED: CommitRefused.GATED,
    CommitResult.TAKEN: CommitRefused.RUN_TAKEN,
}


class JobStore:
    """The job records and indexes of one namespace."""

    def __init__(
        self,
        client: Client,
        keys: Keys,
        scripts: Scripts,
        metrics: MetricsBuffer,
        recovery: RecoveryStore,
        *,
        payloads: PayloadStore,
        outbox: CallbackOutbox | None = None,
    ) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts
        self._metrics = metrics
        self._recovery = recovery
        self._payloads = payloads
        self._outbox = outbox or CallbackOutbox(keys)
        self.newer = NewerJobs()

    async def create(
        self, job: Job, inputs: bytes, metadata: bytes | None = None
    ) -> VersionedJob | None:
        """Write a new job, its payloads and its entries in one step; None if the id is taken.

        Raises `BatchSealed` where its batch takes no more jobs.
        """
        written = await self.create_if(job, SideWrites(inputs=inputs, metadata=metadata))
        return written if isinstance(written, VersionedJob) else None

    async def create_if(self, job: Job, side_writes: SideWrites) -> VersionedJob | CommitRefused:
        """Write a new job under further preconditions; `SUPERSEDED` means that the id is taken.

        Raises `BatchSealed`.
        """
        batch = batch_of(job)
        needed = replace(side_writes, data_epoch=ANY_EPOCH, awaits_replicas=True, joins_batch=batch)
        sealed = self._payloads.sealed(job.id, needed)
        change = self._change("", None, job, sealed)
        result = await self._commit_when_ready(change)
        if result is CommitResult.GATED and batch is not None:
            record = self._keys.batch_record(batch)
            if await self._client.call("HEXISTS", record, BATCH_SEALED):
                raise BatchSealed(job.batch or batch)
        if result is not CommitResult.OK:
            return _REFUSED[result]
        self._metrics.job_changed(None, job)
        return VersionedJob(job, change.rev, change.durability)

    async def commit(
        self, old: VersionedJob, new: Job, side_writes: SideWrites = NO_SIDE_WRITES
    ) -> VersionedJob | CommitRefused:
        """Write the next version of a job, if its revision is still that of `old`."""
        sealed = self._payloads.sealed(new.id, side_writes)
        change = self._change(old.rev, old.job, new, sealed)
        if side_writes.data_epoch == ANY_EPOCH:
            result = await self._commit_when_ready(change)
        else:
            result = await self._scripts.commit(change)
        if result is not CommitResult.OK:
            return _REFUSED[result]
        self._metrics.job_changed(old.job, new)
        return VersionedJob(new, change.rev, change.durability)

    def _change(
        self,
        rev: str,
        old: Job | None,
        new: Job,
        side_writes: SideWrites,
        restored_rev: str | None = None,
    ) -> Change:
        """The change to the next version of a job, with the callback that reports it."""
        change = Change(self._keys, new.id, rev)
        change.write(old, new, side_writes, restored_rev=restored_rev)
        change.ops += self._outbox.operations(old, new, change)
        return change

    async def _commit_when_ready(self, change: Change) -> CommitResult:
        """Commit; where the data may not be relied on, once more a moment later."""
        try:
            return await self._scripts.commit(change)
        except ResponseError as error:
            if not is_recovering(error) or not await self._recovery.until_ready():
                raise
            return await self._scripts.commit(change)

    async def durability(self) -> Durability | None:
        """Whether replicas have all that is written by now; None if they need not."""
        change = Change(self._keys, "", "")
        change.awaits_replicas = True
        await self._scripts.commit(change)
        return change.durability

    async def wake(self, entry: ArqWakeup) -> None:
        """Write an arq entry after the commits that were requested before it."""
        await self._scripts.commit(Change(self._keys, "", "").wake(entry))

    async def restore(
        self,
        current: VersionedJob | None,
        ours: VersionedJob,
        side_writes: SideWrites = NO_SIDE_WRITES,
    ) -> RestoreResult:
        """Write a version that Redis lost over the older one that it has (None: it has none).

        A record that has a submit or the id of a run which `ours` lacks is never replaced.
        """
        if current is not None and (
            lost_ids(current.job, ours.job) or lacks_submit(ours.job, current.job)
        ):
            return RestoreResult.OTHER_RUN
        rev, old = (current.rev, current.job) if current else ("", None)
        sealed = self._payloads.sealed(ours.job.id, side_writes)
        change = self._change(rev, old, ours.job, sealed, ours.rev)
        is_written = await self._scripts.commit(change) is CommitResult.OK
        return RestoreResult.RESTORED if is_written else RestoreResult.SUPERSEDED

    async def remove_stale_entry(self, stored: VersionedJob, kind: Index, name: str = "") -> bool:
        """Remove a job from an index that its record does not name, if the job is unchanged."""
        index_key = self._keys.index(kind, name)
        job_key = self._keys.job(stored.job.id)
        removed = await self._scripts.remove_entry(job_key, index_key, stored.rev, stored.job.id)
        if removed:
            log.warning("index_entry.removed", job_id=stored.job.id, index=kind.value)
        return removed

    async def delete(self, old: VersionedJob) -> bool:
        """Delete a job and all its index entries, if its revision is still that of `old`."""
        change = Change(self._keys, old.job.id, old.rev).delete(old.job)
        return await self._scripts.commit(change) is CommitResult.OK

    async def load(self, job_id: str) -> VersionedJob | None:
        """One job; None if there is none, or none that this version can read."""
        return (await self.load_many([job_id]))[0]

    async def load_many(self, job_ids: Sequence[str]) -> list[VersionedJob | None]:
        """Jobs in the order of their ids; None for one that is missing, unreadable or newer."""
        return [
            found if isinstance(found, VersionedJob) else None
            for found in await self.read_many(job_ids)
        ]

    async def read_many(self, job_ids: Sequence[str]) -> list[StoredRecord | None]:
        """Records in the order of their ids, unreadable ones as such; None for a missing one."""
        rows = await self._fields(job_ids, "rev", "rec")
        return [
            self._parse(job_id, rev, rec) for job_id, (rev, rec) in zip(job_ids, rows, strict=True)
        ]

    async def read_with_inputs(
        self, job_ids: Sequence[str]
    ) -> list[tuple[StoredRecord, bytes | MissingPayload] | None]:
        """Records and their inputs (JSON text), in the order of their ids.

        Without inputs the job must not be submitted.
        """
        rows = await self._fields(job_ids, "rev", "rec", INPUTS, ERASED_AT)
        return [
            None
            if (found := self._parse(job_id, rev, rec)) is None
            else (found, self._payloads.opened(job_id, INPUTS, inputs, erased))
            for job_id, (rev, rec, inputs, erased) in zip(job_ids, rows, strict=True)
        ]

    def _parse(self, job_id: str, rev: bytes | None, rec: bytes | None) -> StoredRecord | None:
        found = _parse_record(job_id, rev, rec)
        if isinstance(found, NewerRecord):
            self.newer.note(job_id)
        return found

    async def _fields(self, job_ids: Sequence[str], *names: str) -> list[list[Any]]:
        return await self._client.many([("HMGET", self._keys.job(one), *names) for one in job_ids])

    async def replace_unreadable(self, record: UnreadableRecord, dead: Job) -> VersionedJob | None:
        """Write a dead letter over an unreadable record, if it still has the same revision.

        The text of the record stays in the hash, in field `unreadable`. The job id is removed from
        every index that can be found without the record. None if the record changed meanwhile.
        """
        job_id = record.job_id
        change = Change(self._keys, job_id, record.rev)
        change.write(None, dead, SideWrites(unreadable=record.text))
        change.ops.append(("D", self._keys.polls, job_id))
        if await self._scripts.commit(change) is not CommitResult.OK:
            return None
        own = {self._keys.entry(entry) for entry in entries(dead)}
        for index_key in await candidate_index_keys(self._client, self._keys):
            if index_key not in own:
                await self._scripts.remove_entry(
                    self._keys.job(job_id), index_key, change.rev, job_id
                )
        return VersionedJob(dead, change.rev)

    # Indexes.

    async def due_jobs(self, now: float, limit: int) -> tuple[list[JobId], float | None]:
        """Scheduled and retrying jobs that are due, and when the next one is (Unix seconds)."""
        return await self._due_members(self._keys.index(Index.DUE), now, limit)

    async def past_start_by(self, now: float, limit: int) -> tuple[list[JobId], float | None]:
        """Jobs that were not sent by their `start_by`, and when the next one is too late."""
        return await self._due_members(self._keys.index(Index.START_BY), now, limit)

    async def expired_leases(self, now: float, limit: int) -> list[JobId]:
        """Submitting jobs whose lease has expired."""
        return (await self._due_members(self._keys.index(Index.LEASE), now, limit))[0]

    async def older_than(
        self, state: str, moment: float, limit: int, first: int = 0
    ) -> list[JobId]:
        """Jobs that entered a state before a moment, oldest first, without the `first` ones."""
        key, part = self._keys.index(Index.STATE, state), ("LIMIT", first, limit)
        found = await self._client.call("ZRANGEBYSCORE", key, "-inf", moment, *part)
        return [JobId(member) for member in texts(found)]

    async def entered_since(self, state: str, moment: float) -> AsyncGenerator[list[JobId]]:
        """Jobs that are in a state and entered it at a moment or later, in chunks."""
        key, first = self._keys.index(Index.STATE, state), 0
        while True:
            part = ("LIMIT", first, SCAN_CHUNK)
            found = texts(await self._client.call("ZRANGEBYSCORE", key, moment, "+inf", *part))
            yield [JobId(member) for member in found]
            if len(found) < SCAN_CHUNK:
                return
            first += SCAN_CHUNK

    async def members(self, kind: Index, name: str, limit: int, first: int = 0) -> list[JobId]:
        """Some members of an index, in its order, from a position on."""
        key, last = self._keys.index(kind, name), first + limit - 1
        found = await self._client.call("ZRANGE", key, first, last)
        return [JobId(member) for member in texts(found)]

    async def ids_in(self, kind: Index, name: str) -> AsyncGenerator[list[str]]:
        """The ids of an index in chunks, in no order; one that stays in it is not missed."""
        key, cursor = self._keys.index(kind, name), 0
        while True:
            cursor, found = await self._client.call("ZSCAN", key, cursor, "COUNT", SCAN_CHUNK)
            yield texts([member for member, _ in found])
            if not cursor:
                return

    async def extend_leases(self, job_ids: Sequence[str], until: float) -> None:
        """Extend leases; a job that has none any more is left alone."""
        if job_ids:
            scores = [part for job_id in job_ids for part in (until, job_id)]
            await self._client.call("ZADD", self._keys.index(Index.LEASE), "XX", *scores)

    async def remove_entry_without_record(self, kind: Index, name: str, job_id: str) -> None:
        """Remove an id that has no record from an index, so that it blocks no other job."""
        index_key = self._keys.index(kind, name)
        if await self._scripts.remove_entry(self._keys.job(job_id), index_key, "", job_id):
            log.error("index.without_record", job_id=job_id, index=index_key)

    async def _due_members(
        self, key: str, now: float, limit: int
    ) -> tuple[list[JobId], float | None]:
        last = limit + len(self.newer.ids())
        found = pairs(await self._client.call("ZRANGE", key, 0, last, "WITHSCORES"))
        rows = self.newer.without(found, lambda row: row[0], limit + 1)
        ready = [JobId(member) for member, score in rows if score <= now][:limit]
        later = [score for _, score in rows if score > now]
        return ready, min(later, default=None)


def _parse_record(job_id: str, rev: bytes | None, rec: bytes | None) -> StoredRecord | None:
    if rev is None or rec is None:
        return None
    try:
        return VersionedJob(decode_job(rec), rev.decode())
    except NewerSchema as newer:
        shown = newer_job(job_id, newer.members, str(newer), 0.0)
        return NewerRecord(shown, rev.decode(), str(newer))
    except DECODE_ERRORS as error:
        return UnreadableRecord(job_id, rev, rec, type(error).__name__)
