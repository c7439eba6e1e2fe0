"""Jobs in Redis: create, load, commit under precondition, claim what is due."""

import time
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, auto
from typing import Any, Final, NamedTuple

import structlog

from jobs.decide import hold_id
from jobs.effects import Looks
from jobs.indexes import Index, entries
from jobs.job import Job
from jobs.lanes import JobId, Scope
from jobs.states import State
from jobs.unreadable import unreadable
from worker.store.client import Client, pairs, texts
from worker.store.codec import BROKEN, decode_job, decode_looks, encode_looks
from worker.store.commit import NOTHING, Change, Extra, Stored, WakeUp, age_of
from worker.store.keys import Keys
from worker.store.metrics.buffer import Tally
from worker.store.scripts import Scripts

log: Final = structlog.get_logger(__name__)


OK: Final = "ok"

NOBODY: Final[Mapping[str, tuple[float, "Stored"]]] = {}

_SINGLE: Final = (Index.DUE, Index.PASS, Index.LEASE, Index.INFLIGHT)


class NotWritten(Enum):
    """Why a write did not happen. Both are normal results, not errors."""

    SUPERSEDED = auto()
    """Somebody changed the job meanwhile: load it again and ask again, or let it be."""
    FULL = auto()
    """A limit the write named is reached."""


class Due(NamedTuple):
    """A running job whose poll was claimed."""

    stored: Stored
    looks: Looks


class NextLook(NamedTuple):
    """When a running job is looked at again, and what was seen so far."""

    job: Job
    at: float
    looks: Looks
    lease: float | None = None
    """The lease it was claimed under: who touched it since has the last word. None: set it."""


class JobStore:
    """The records and places of one namespace."""

    def __init__(
        self, client: Client, keys: Keys, scripts: Scripts, tally: Tally | None = None
    ) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts
        self._tally = tally or Tally()
        self._watch = (keys.index(Index.INFLIGHT), keys.looks)

    async def create(self, job: Job, inputs: bytes) -> Stored | None:
        """Write a new job with its inputs and its place in one step; None if the id is taken."""
        change = Change(self._keys, job.id, "").write(None, job, Extra(inputs=inputs))
        if await self._scripts.commit(change) != OK:
            return None
        self._tally.moved(None, job)
        return Stored(job, change.rev)

    async def commit(self, old: Stored, new: Job, extra: Extra = NOTHING) -> Stored | NotWritten:
        """Write the next version of a job, if it still is what `old` read."""
        change = Change(self._keys, new.id, old.rev).write(old.job, new, extra)
        match await self._scripts.commit(change):
            case "ok":
                self._tally.moved(old.job, new)
                return Stored(new, change.rev)
            case "full":
                return NotWritten.FULL
            case _:
                return NotWritten.SUPERSEDED

    async def wake(self, entry: WakeUp) -> None:
        """Write an arq entry, in order with the commits that were asked for before."""
        await self._scripts.commit(Change(self._keys, "", "").wake(entry))

    async def restore(self, standing: Stored | None, ours: Stored, extra: Extra = NOTHING) -> bool:
        """Write a version that Redis has lost over the older one (or none) that it has."""
        change = Change(self._keys, ours.job.id, standing.rev if standing else "").write(
            standing.job if standing else None, ours.job, extra, age=age_of(ours.rev)
        )
        return await self._scripts.commit(change) == OK

    async def strike(self, stored: Stored, kind: Index, name: str = "") -> bool:
        """Take a job out of a place its record does not name; a job that moved is left alone."""
        place = self._keys.index(kind, name if kind is Index.LANE else "")
        job = self._keys.job(stored.job.id)
        struck = await self._scripts.strike(job, place, stored.rev, stored.job.id)
        if struck:
            log.warning("place.struck", job_id=stored.job.id, place=kind.value)
        return struck

    async def delete(self, old: Stored) -> bool:
        """Delete a job and all its entries, if it still is what `old` read."""
        change = Change(self._keys, old.job.id, old.rev).delete(old.job)
        return await self._scripts.commit(change) == OK

    async def load(self, job_id: str) -> Stored | None:
        """One job, or None where there is none."""
        return (await self.load_many([job_id]))[0]

    async def load_many(self, job_ids: Sequence[str]) -> list[Stored | None]:
        """Jobs in the order of their ids, None where there is none (or nothing readable)."""
        rows = await self._fields(job_ids, "rev", "rec")
        return [
            await self._read(job_id, rev, rec)
            for job_id, (rev, rec) in zip(job_ids, rows, strict=True)
        ]

    async def load_with_inputs(self, job_ids: Sequence[str]) -> list[tuple[Stored, bytes] | None]:
        """Jobs and their inputs (JSON text), in the order of their ids."""
        found: list[tuple[Stored, bytes] | None] = []
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

    async def _read(self, job_id: str, rev: bytes | None, rec: bytes | None) -> Stored | None:
        """The job of a row; one that nobody can read becomes a dead letter on the spot."""
        if rev is None or rec is None:
            return None
        try:
            return Stored(decode_job(rec), rev.decode())
        except BROKEN as error:
            log.error("record.unreadable", job_id=job_id, error=type(error).__name__)  # noqa: TRY400
            return await self._bury_unreadable(job_id, rev, rec, type(error).__name__)

    async def _bury_unreadable(
        self, job_id: str, rev: bytes, rec: bytes, why: str
    ) -> Stored | None:
        dead = unreadable(job_id, why, time.time())
        change = Change(self._keys, job_id, rev).write(None, dead, Extra(unreadable=rec))
        change.ops.append(("D", self._keys.looks, job_id))
        if await self._scripts.commit(change) != OK:
            return None
        own = {self._keys.entry(entry) for entry in entries(dead)}
        for place in await self._wherever():
            if place not in own:
                await self._scripts.strike(self._keys.job(job_id), place, change.rev, job_id)
        return Stored(dead, change.rev)

    async def _wherever(self) -> list[str]:
        """Every set that can hold a job of which nothing is known, tags and batches aside."""
        lanes, groups, holds = await self._client.many(
            [
                ("ZRANGE", self._keys.lanes, 0, -1),
                ("ZRANGE", self._keys.groups, 0, -1),
                ("HKEYS", self._keys.holds),
            ]
        )
        found = [self._keys.index(kind) for kind in _SINGLE]
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
        known: Mapping[str, tuple[float, Stored]] = NOBODY,
    ) -> tuple[list[Due], float | None]:
        """Take running jobs whose next poll is due; they come due again when the lease ends.

        `known` are jobs as they were read before, with the time of their next poll: where that is
        still theirs nobody has changed them since, and they are not read again. With the jobs comes
        when the next poll is due.
        """
        rows, next_poll = await self._scripts.poll(self._watch, now, lease_until, limit)
        found = {
            job_id: known[job_id][1]
            for job_id, at, _ in rows
            if job_id in known and known[job_id][0] == at
        }
        unknown = [job_id for job_id, _, _ in rows if job_id not in found]
        for job_id, stored in zip(unknown, await self.load_many(unknown), strict=True):
            if stored is None:
                await self._scripts.strike(self._keys.job(job_id), self._watch[0], "", job_id)
            else:
                found[job_id] = stored
        return [
            Due(found[job_id], decode_looks(looks, found[job_id].job.submits))
            for job_id, _, looks in rows
            if job_id in found
        ], next_poll

    async def reschedule(self, looked: Iterable[NextLook]) -> int:
        """Set the next poll of jobs that stay as they are; returns how many still were."""
        rows = [
            (next_.job.id, next_.lease, next_.at, encode_looks(next_.job.submits, next_.looks))
            for next_ in looked
        ]
        return await self._scripts.reschedule(self._watch, rows)

    async def polls_until(self, moment: float) -> int:
        """How many running jobs are looked at until a moment."""
        key = self._keys.index(Index.INFLIGHT)
        return int(await self._client.call("ZCOUNT", key, "-inf", moment))

    async def poll_now(self, job_ids: Sequence[str], now: float) -> None:
        """Make the polls of these jobs due, where they are still in flight."""
        if job_ids:
            scores = [part for job_id in job_ids for part in (now, job_id)]
            await self._client.call("ZADD", self._keys.index(Index.INFLIGHT), "XX", *scores)

    async def looks(self, job: Job) -> Looks:
        """What earlier polls of the job's present attempt saw."""
        looks = await self._client.call("HGET", self._keys.looks, job.id)
        return decode_looks(looks, job.submits)

    async def due(self, now: float, limit: int) -> tuple[list[JobId], float | None]:
        """Scheduled and retrying jobs whose time has come, and when the next one is due."""
        return await self._earliest(self._keys.index(Index.DUE), now, limit)

    async def expired_leases(self, now: float, limit: int) -> list[JobId]:
        """Jobs under submission whose lease has run out."""
        return (await self._earliest(self._keys.index(Index.LEASE), now, limit))[0]

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

    async def strike_missing(self, kind: Index, name: str, job_id: str) -> None:
        """Take an id that has no record out of a place, so that it blocks nobody."""
        place = self._keys.index(kind, name)
        if await self._scripts.strike(self._keys.job(job_id), place, "", job_id):
            log.error("place.without_record", job_id=job_id, place=place)

    async def _earliest(
        self,
        key: str,
        now: float,
        limit: int,
    ) -> tuple[list[JobId], float | None]:
        rows = pairs(await self._client.call("ZRANGE", key, 0, limit, "WITHSCORES"))
        ready = [JobId(member) for member, score in rows if score <= now][:limit]
        later = [score for _, score in rows if score > now]
        return ready, min(later, default=None)
