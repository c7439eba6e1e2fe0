"""Jobs in Redis: create, load, commit under precondition, claim what is due."""

import time
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, auto
from typing import Any, Final, NamedTuple

import structlog

from jobs.effects import PollHistory
from jobs.holds import hold_id
from jobs.indexes import UNNAMED_INDEXES, Index, entries
from jobs.job import Job
from jobs.lanes import JobId, Scope
from jobs.states import State
from jobs.unreadable import unreadable_job
from worker.store.client import Client, pairs, texts
from worker.store.codec import DECODE_ERRORS, decode_job, decode_poll_history, encode_poll_history
from worker.store.commit import NO_SIDE_WRITES, Change, SideWrites, VersionedJob, WakeUp, version_of
from worker.store.keys import Keys
from worker.store.metrics.buffer import MetricsBuffer
from worker.store.scripts import Scripts

log: Final = structlog.get_logger(__name__)


OK: Final = "ok"

NO_CACHED_JOBS: Final[Mapping[str, tuple[float, "VersionedJob"]]] = {}


class CommitRefused(Enum):
    """Why a write did not happen. Both are normal results, not errors."""

    SUPERSEDED = auto()
    """Somebody changed the job meanwhile: load it again and ask again, or let it be."""
    FULL = auto()
    """A limit the write named is reached."""


class ClaimedPoll(NamedTuple):
    """A running job whose poll was claimed."""

    stored: VersionedJob
    history: PollHistory


class NextPoll(NamedTuple):
    """When a running job is looked at again, and what was seen so far."""

    job: Job
    at: float
    history: PollHistory
    lease: float | None = None
    """The lease it was claimed under: who touched it since has the last word. None: set it."""


class JobStore:
    """The records and places of one namespace."""

    def __init__(
        self, client: Client, keys: Keys, scripts: Scripts, metrics: MetricsBuffer | None = None
    ) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts
        self._metrics = metrics or MetricsBuffer()
        self._poll_keys = (keys.index(Index.INFLIGHT), keys.polls)

    async def create(self, job: Job, inputs: bytes) -> VersionedJob | None:
        """Write a new job with its inputs and its place in one step; None if the id is taken."""
        change = Change(self._keys, job.id, "").write(None, job, SideWrites(inputs=inputs))
        if await self._scripts.commit(change) != OK:
            return None
        self._metrics.job_changed(None, job)
        return VersionedJob(job, change.rev)

    async def commit(
        self, old: VersionedJob, new: Job, side_writes: SideWrites = NO_SIDE_WRITES
    ) -> VersionedJob | CommitRefused:
        """Write the next version of a job, if it still is what `old` read."""
        change = Change(self._keys, new.id, old.rev).write(old.job, new, side_writes)
        match await self._scripts.commit(change):
            case "ok":
                self._metrics.job_changed(old.job, new)
                return VersionedJob(new, change.rev)
            case "full":
                return CommitRefused.FULL
            case _:
                return CommitRefused.SUPERSEDED

    async def wake(self, entry: WakeUp) -> None:
        """Write an arq entry, in order with the commits that were asked for before."""
        await self._scripts.commit(Change(self._keys, "", "").wake(entry))

    async def restore(
        self,
        current: VersionedJob | None,
        ours: VersionedJob,
        side_writes: SideWrites = NO_SIDE_WRITES,
    ) -> bool:
        """Write a version that Redis has lost over the older one (or none) that it has."""
        change = Change(self._keys, ours.job.id, current.rev if current else "").write(
            current.job if current else None,
            ours.job,
            side_writes,
            min_version=version_of(ours.rev),
        )
        return await self._scripts.commit(change) == OK

    async def remove_stale_entry(self, stored: VersionedJob, kind: Index, name: str = "") -> bool:
        """Take a job out of a place its record does not name; a job that moved is left alone."""
        place = self._keys.index(kind, name if kind is Index.LANE else "")
        job = self._keys.job(stored.job.id)
        struck = await self._scripts.remove_entry(job, place, stored.rev, stored.job.id)
        if struck:
            log.warning("index_entry.removed", job_id=stored.job.id, place=kind.value)
        return struck

    async def delete(self, old: VersionedJob) -> bool:
        """Delete a job and all its entries, if it still is what `old` read."""
        change = Change(self._keys, old.job.id, old.rev).delete(old.job)
        return await self._scripts.commit(change) == OK

    async def load(self, job_id: str) -> VersionedJob | None:
        """One job, or None where there is none."""
        return (await self.load_many([job_id]))[0]

    async def load_many(self, job_ids: Sequence[str]) -> list[VersionedJob | None]:
        """Jobs in the order of their ids, None where there is none (or nothing readable)."""
        rows = await self._fields(job_ids, "rev", "rec")
        return [
            await self._read(job_id, rev, rec)
            for job_id, (rev, rec) in zip(job_ids, rows, strict=True)
        ]

    async def load_with_inputs(
        self, job_ids: Sequence[str]
    ) -> list[tuple[VersionedJob, bytes] | None]:
        """Jobs and their inputs (JSON text), in the order of their ids."""
        found: list[tuple[VersionedJob, bytes] | None] = []
        rows = await self._fields(job_ids, "rev", "rec", "inputs")
        for job_id, (rev, rec, inputs) in zip(job_ids, rows, strict=True):
            stored = await self._read(job_id, rev, rec)
            found.append(None if stored is None else (stored, inputs or b"{}"))
        return found

    async def payloads(self, job_id: str) -> tuple[bytes | None, bytes | None]:
        """Inputs and result of a job, as JSON text."""
        ((inputs, result),) = await self._fields([job_id], "inputs", "result")
        return inputs, result

    async def _fields(self, job_ids: Sequence[str], *names: str) -> list[list[Any]]:
        commands = [("HMGET", self._keys.job(job_id), *names) for job_id in job_ids]
        return await self._client.many(commands)

    async def _read(self, job_id: str, rev: bytes | None, rec: bytes | None) -> VersionedJob | None:
        """The job of a row; one that nobody can read becomes a dead letter on the spot."""
        if rev is None or rec is None:
            return None
        try:
            return VersionedJob(decode_job(rec), rev.decode())
        except DECODE_ERRORS as error:
            log.error("record.unreadable", job_id=job_id, error=type(error).__name__)  # noqa: TRY400
            return await self._dead_letter_unreadable(job_id, rev, rec, type(error).__name__)

    async def _dead_letter_unreadable(
        self, job_id: str, rev: bytes, rec: bytes, error_name: str
    ) -> VersionedJob | None:
        dead = unreadable_job(job_id, error_name, time.time())
        change = Change(self._keys, job_id, rev).write(None, dead, SideWrites(unreadable=rec))
        change.ops.append(("D", self._keys.polls, job_id))
        if await self._scripts.commit(change) != OK:
            return None
        own = {self._keys.entry(entry) for entry in entries(dead)}
        for place in await self._candidate_index_keys():
            if place not in own:
                await self._scripts.remove_entry(self._keys.job(job_id), place, change.rev, job_id)
        return VersionedJob(dead, change.rev)

    async def _candidate_index_keys(self) -> list[str]:
        """Every set that can hold a job of which nothing is known, tags and batches aside."""
        lanes, groups, holds = await self._client.many(
            [
                ("ZRANGE", self._keys.lanes, 0, -1),
                ("ZRANGE", self._keys.groups, 0, -1),
                ("HKEYS", self._keys.holds),
            ]
        )
        found = [self._keys.index(kind) for kind in UNNAMED_INDEXES if kind is not Index.ALL]
        found += [self._keys.index(Index.STATE, state) for state in State]
        for lane in texts(lanes):
            target = lane.partition("/")[2]
            found += [self._keys.index(kind, lane) for kind in (Index.LANE, Index.ACTIVE)]
            found.append(self._keys.index(Index.TARGET, target))
        found += [self._keys.index(Index.GROUP, group) for group in texts(groups)]
        for key in texts(holds):
            scope, _, code = key.partition("|")
            name = hold_id(Scope(scope), code)
            found += [self._keys.index(kind, name) for kind in (Index.GATE, Index.HELD)]
        return found

    # Places.

    async def claim_polls(
        self,
        now: float,
        lease_until: float,
        limit: int,
        cached: Mapping[str, tuple[float, VersionedJob]] = NO_CACHED_JOBS,
    ) -> tuple[list[ClaimedPoll], float | None]:
        """Take running jobs whose next poll is due; they come due again when the lease ends.

        `known` are jobs as they were read before, with the time of their next poll: where that is
        still theirs nobody has changed them since, and they are not read again. With the jobs comes
        when the next poll is due.
        """
        rows, next_poll = await self._scripts.poll(self._poll_keys, now, lease_until, limit)
        found = {
            job_id: cached[job_id][1]
            for job_id, at, _ in rows
            if job_id in cached and cached[job_id][0] == at
        }
        unknown = [job_id for job_id, _, _ in rows if job_id not in found]
        for job_id, stored in zip(unknown, await self.load_many(unknown), strict=True):
            if stored is None:
                await self._scripts.remove_entry(
                    self._keys.job(job_id), self._poll_keys[0], "", job_id
                )
            else:
                found[job_id] = stored
        return [
            ClaimedPoll(found[job_id], decode_poll_history(looks, found[job_id].job.submits))
            for job_id, _, looks in rows
            if job_id in found
        ], next_poll

    async def reschedule(self, polls: Iterable[NextPoll]) -> int:
        """Set the next poll of jobs that stay as they are; returns how many still were."""
        rows = [
            (
                next_.job.id,
                next_.lease,
                next_.at,
                encode_poll_history(next_.job.submits, next_.history),
            )
            for next_ in polls
        ]
        return await self._scripts.reschedule(self._poll_keys, rows)

    async def count_polls_until(self, moment: float) -> int:
        """How many running jobs are looked at until a moment."""
        key = self._keys.index(Index.INFLIGHT)
        return int(await self._client.call("ZCOUNT", key, "-inf", moment))

    async def poll_now(self, job_ids: Sequence[str], now: float) -> None:
        """Make the polls of these jobs due, where they are still in flight."""
        if job_ids:
            scores = [part for job_id in job_ids for part in (now, job_id)]
            await self._client.call("ZADD", self._keys.index(Index.INFLIGHT), "XX", *scores)

    async def poll_history(self, job: Job) -> PollHistory:
        """What earlier polls of the job's present attempt saw."""
        looks = await self._client.call("HGET", self._keys.polls, job.id)
        return decode_poll_history(looks, job.submits)

    async def due_jobs(self, now: float, limit: int) -> tuple[list[JobId], float | None]:
        """Scheduled and retrying jobs whose time has come, and when the next one is due."""
        return await self._due_members(self._keys.index(Index.DUE), now, limit)

    async def expired_leases(self, now: float, limit: int) -> list[JobId]:
        """Jobs under submission whose lease has run out."""
        return (await self._due_members(self._keys.index(Index.LEASE), now, limit))[0]

    async def older_than(self, state: str, moment: float, limit: int) -> list[JobId]:
        """Jobs that entered a state before a moment, oldest first."""
        key = self._keys.index(Index.STATE, state)
        found = await self._client.call("ZRANGEBYSCORE", key, "-inf", moment, "LIMIT", 0, limit)
        return [JobId(member) for member in texts(found)]

    async def members(self, kind: Index, name: str, limit: int) -> list[JobId]:
        """The first members of an index."""
        found = await self._client.call("ZRANGE", self._keys.index(kind, name), 0, limit - 1)
        return [JobId(member) for member in texts(found)]

    async def extend_leases(self, job_ids: Sequence[str], until: float) -> None:
        """Push the end of leases out; jobs that are no longer under one are left alone."""
        if job_ids:
            scores = [part for job_id in job_ids for part in (until, job_id)]
            await self._client.call("ZADD", self._keys.index(Index.LEASE), "XX", *scores)

    async def remove_entry_without_record(self, kind: Index, name: str, job_id: str) -> None:
        """Take an id that has no record out of a place, so that it blocks nobody."""
        place = self._keys.index(kind, name)
        if await self._scripts.remove_entry(self._keys.job(job_id), place, "", job_id):
            log.error("index.without_record", job_id=job_id, place=place)

    async def _due_members(
        self,
        key: str,
        now: float,
        limit: int,
    ) -> tuple[list[JobId], float | None]:
        rows = pairs(await self._client.call("ZRANGE", key, 0, limit, "WITHSCORES"))
        ready = [JobId(member) for member, score in rows if score <= now][:limit]
        later = [score for _, score in rows if score > now]
        return ready, min(later, default=None)
