"""Schedules: one hash, each field a name with `<revision> <record as JSON>`; and their ticks.

The revision stands before the record, so that `commit.lua` can compare it. The field without a
name is the version of all: workers read that alone while nothing changes. The highest tick of a
name moves in the step that enqueues its job, or leaves it out, and stays when it is removed.
"""

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Final, NamedTuple, assert_never

import msgspec

from jobs.indexes import Index
from jobs.job import Job
from jobs.lanes import JobId
from jobs.newer import NEWER_SCHEMA
from jobs.schedules.record import CatchUp, Overlap, Schedule, Skip, starts_anew
from jobs.unreadable import UNREADABLE
from worker.store.client import Argument, Client, texts
from worker.store.codec import DECODE_ERRORS, encode
from worker.store.commit import VersionedJob
from worker.store.events import SCHEDULE_EVENT_FIELD, ScheduleNotice, notice_command
from worker.store.jobs import CommitRefused, JobStore
from worker.store.keys import Keys
from worker.store.payload_cipher import PayloadCipher, UnreadablePayload
from worker.store.preconditions import Limit, TickCheck
from worker.store.schema import UNCHANGED, NewerSchema, RecordSchema
from worker.store.scripts import MAX_SWAP_ATTEMPTS, Scripts
from worker.store.side_writes import SideWrites

_schedule: Final = RecordSchema(Schedule, UNCHANGED)
_skip: Final = msgspec.json.Decoder(Skip)

VERSION: Final = ""
"""The field of the version: no schedule has this name."""

MAX_SCHEDULES: Final = 1_000
"""Schedules of a namespace, of all tenants."""

MAX_REMEMBERED: Final = 10_000
"""Names whose highest tick is kept. Above that, those of removed schedules are forgotten."""


class TooManySchedules(Exception):
    """There are as many schedules as there may be."""


class ScheduleSet(NamedTuple):
    """The schedules at one moment."""

    version: int
    """Another one after each change of any of them."""
    schedules: list[Schedule]


class TickResult(Enum):
    """What became of the job of a tick."""

    ENQUEUED = auto()
    OVERLAP = auto()
    """An earlier run is not finished."""
    ID_TAKEN = auto()
    SUPERSEDED = auto()
    """The schedule or its highest tick is another one now, or the tick is not due."""


class StoredSchedule(NamedTuple):
    """A schedule with what a write must still find."""

    schedule: Schedule | None
    data: bytes


class ScheduleStore:
    """The schedules of one namespace, shared by every worker."""

    def __init__(
        self, client: Client, keys: Keys, scripts: Scripts, jobs: JobStore, cipher: PayloadCipher
    ) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts
        self._jobs = jobs
        self._cipher = cipher

    async def version(self) -> int:
        """The version of all; 0 where there never was one."""
        return _number(await self._client.call("HGET", self._keys.schedules, VERSION))

    async def read(self) -> ScheduleSet:
        """Every schedule, by name, and the version of all."""
        found: dict[bytes, bytes] = await self._client.call("HGETALL", self._keys.schedules)
        version = _number(found.pop(VERSION.encode(), None))
        schedules = [_decode(name.decode("utf-8", "replace"), data) for name, data in found.items()]
        return ScheduleSet(version, sorted(schedules, key=lambda one: one.name))

    async def find(self, name: str) -> Schedule | None:
        """One schedule."""
        return (await self._find(name)).schedule

    async def change(
        self,
        name: str,
        transform: Callable[[Schedule | None], Schedule | None],
        inputs: bytes | None = None,
    ) -> Schedule | None:
        """Write what `transform` makes of a schedule (None: there is none); returns that.

        Where its ticks are others than before, those up to now make no job, by Redis' clock.
        `inputs` (a JSON object) replace those that are stored. Raises `TooManySchedules`, and
        RuntimeError after too many lost races.
        """
        for _ in range(MAX_SWAP_ATTEMPTS):
            before = await self._find(name)
            after = transform(before.schedule)
            begins_now = after is not None and starts_anew(before.schedule, after)
            record = b"" if after is None else encode(_without_outer(after))
            sealed = b"" if inputs is None else self._cipher.seal(self.place(name), inputs)
            written = await self._scripts.set_schedule(
                self._all_keys(),
                [name, before.data, record, sealed, int(begins_now), MAX_SCHEDULES],
            )
            if written == "full":
                raise TooManySchedules
            if written == "ok":
                if after is None:
                    await self._forget_ticks()
                return after
        raise RuntimeError(f"schedule {name} changed {MAX_SWAP_ATTEMPTS} times during one write")

    async def _find(self, name: str) -> StoredSchedule:
        data: bytes | None = await self._client.call("HGET", self._keys.schedules, name)
        return (
            StoredSchedule(None, b"") if data is None else StoredSchedule(_decode(name, data), data)
        )

    def place(self, name: str) -> str:
        """What authenticates the inputs of a schedule: their key and field in Redis."""
        return f"{self._keys.schedule_inputs}:{name}"

    async def inputs(self, name: str) -> bytes | None:
        """The inputs of its jobs, a JSON object; None where no key reads them."""
        stored: bytes | None = await self._client.call("HGET", self._keys.schedule_inputs, name)
        try:
            return None if stored is None else self._cipher.open(self.place(name), stored)
        except UnreadablePayload:
            return None

    async def inputs_size(self, name: str) -> int:
        """How many bytes the inputs of its jobs are, as they are stored."""
        found: int = await self._client.call("HSTRLEN", self._keys.schedule_inputs, name)
        return found

    # Ticks.

    async def highest_ticks(self, names: Sequence[str]) -> list[int]:
        """The highest tick of each name, Unix seconds; 0 where there is none."""
        if not names:
            return []
        found = await self._client.call("HMGET", self._keys.schedule_ticks, *names)
        return [_number(one) for one in found]

    async def enqueue_tick(
        self, schedule: Schedule, highest: int, tick: int, job: Job, inputs: bytes
    ) -> TickResult:
        """Write the job of a tick in one step with the tick; raises as `JobStore.create`."""
        check = TickCheck(schedule.name, schedule.revision, highest, tick)
        limits = (
            (Limit(Index.SCHEDULE_OPEN, schedule.name, 1),)
            if schedule.overlap is Overlap.SKIP
            else ()
        )
        written = await self._jobs.create_if(
            job, SideWrites(inputs=inputs, limits=limits, tick=check)
        )
        match written:
            case VersionedJob():
                return TickResult.ENQUEUED
            case CommitRefused.FULL:
                return TickResult.OVERLAP
            case CommitRefused.SUPERSEDED:
                return TickResult.ID_TAKEN
            case CommitRefused.GATED | CommitRefused.RUN_TAKEN:
                return TickResult.SUPERSEDED
            case _:
                assert_never(written)

    async def skip(self, schedule: Schedule, highest: int, skip: Skip) -> bool:
        """Leave the ticks up to that of a skip out; False if something changed meanwhile."""
        keys = [self._keys.schedules, self._keys.schedule_ticks, self._keys.schedule_skips]
        args: list[Argument] = [schedule.name, schedule.revision, highest, skip.tick]
        args.append(encode(skip))
        return await self._scripts.skip_tick(keys, args)

    async def skips(self, names: Sequence[str]) -> list[Skip | None]:
        """The last skip of each name."""
        if not names:
            return []
        found = await self._client.call("HMGET", self._keys.schedule_skips, *names)
        return [_decode_skip(one) for one in found]

    # Its jobs.

    async def newest_jobs(self, name: str, limit: int) -> list[JobId]:
        """The jobs of a schedule that are on record, newest first."""
        key = self._keys.index(Index.SCHEDULE, name)
        return [
            JobId(one) for one in texts(await self._client.call("ZREVRANGE", key, 0, limit - 1))
        ]

    async def newest_of(self, names: Sequence[str]) -> list[JobId | None]:
        """The newest job of each name that is on record."""
        keys = [self._keys.index(Index.SCHEDULE, name) for name in names]
        rows = await self._client.many([("ZREVRANGE", key, 0, 0) for key in keys]) if keys else []
        return [JobId(texts(row)[0]) if row else None for row in rows]

    async def open_jobs(self, name: str, limit: int) -> list[JobId]:
        """Its jobs that keep the next tick from making another, oldest first."""
        return await self._jobs.members(Index.SCHEDULE_OPEN, name, limit)

    async def announce(self, notice: ScheduleNotice) -> None:
        """Add an entry to the event stream; never raises what Redis raises."""
        command = notice_command(self._keys, SCHEDULE_EVENT_FIELD, notice)
        await self._scripts.announcements.send(command)

    async def _forget_ticks(self) -> None:
        """Forget the highest ticks of removed schedules where there are very many."""
        if await self._client.call("HLEN", self._keys.schedule_ticks) <= MAX_REMEMBERED:
            return
        known, names = await self._client.many(
            [("HKEYS", self._keys.schedules), ("HKEYS", self._keys.schedule_ticks)]
        )
        gone = sorted(set(names) - set(known))
        if gone:
            await self._client.call("HDEL", self._keys.schedule_ticks, *gone)

    def _all_keys(self) -> list[str]:
        keys = self._keys
        return [keys.schedules, keys.schedule_inputs, keys.schedule_ticks, keys.schedule_skips]


def _without_outer(schedule: Schedule) -> Schedule:
    """A schedule without what is not stored in its record."""
    return msgspec.structs.replace(schedule, revision=0, error="")


def _number(data: bytes | None) -> int:
    return int(data) if data and data.isdigit() else 0


def _decode(name: str, data: bytes) -> Schedule:
    """A schedule; where it cannot be read, one that says why and makes no jobs."""
    revision, _, record = data.partition(b" ")
    try:
        found = msgspec.structs.replace(_schedule.decode(record), name=name)
        _ = found.lane
        error = ""
    except NewerSchema as newer:
        shown = _schedule.shown(newer)
        found, error = shown or _unreadable(name), f"{NEWER_SCHEMA}: {newer}"
    except (*DECODE_ERRORS, KeyError) as failure:
        found, error = _unreadable(name), f"{UNREADABLE}: {type(failure).__name__}"
    return msgspec.structs.replace(found, name=name, revision=_number(revision), error=error)


def _unreadable(name: str) -> Schedule:
    return Schedule(
        name=name,
        cron="",
        time_zone="",
        job={},
        overlap=Overlap.SKIP,
        catch_up=CatchUp.NONE,
        enabled=False,
        since=0.0,
        set_at=0.0,
        set_by="",
    )


def _decode_skip(data: bytes | None) -> Skip | None:
    try:
        return None if data is None else _skip.decode(data)
    except DECODE_ERRORS:
        return None
