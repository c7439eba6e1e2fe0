"""Queries over many jobs: lists, groups and counts. None of them scans the keyspace."""

import base64
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Final, assert_never

from jobs.indexes import Index
from jobs.job import Job, split_group
from jobs.lanes import JobId, Lane, target_name
from jobs.states import Kind, State
from jobs.unreadable import unreadable_job
from worker.store.client import BadCursor, Client, pairs, texts
from worker.store.codec import DECODE_ERRORS, decode_cursor, encode
from worker.store.commit import VersionedJob
from worker.store.jobs import JobStore, NewerRecord, UnreadableRecord
from worker.store.keys import Keys
from worker.store.read.filter import Filter
from worker.store.read.lane_counts import LaneCount, LaneCountReader

CHUNK: Final = 200
"""Records read at a time while a list is filtered."""

MAX_SCANNED_RECORDS: Final = 2_500
"""Records that one page reads at most (about 0.1 s); then it returns what it has, and a cursor."""

MAX_SCANNED_IDS: Final = 20_000
"""Ids of the newest jobs that are searched for a prefix."""

DAY_S: Final = 86_400.0

MAX_SAMPLE_TRIES: Final = 5
"""Oldest jobs of a group that are tried as its sample, if some are unreadable."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs, newest first, and the cursor of the next page."""

    jobs: tuple[Job, ...]
    next_cursor: str | None
    unreadable: tuple[UnreadableRecord, ...] = ()
    """Records that cannot be decoded; `jobs` shows each as the dead letter that it should become,
    if the filter admits that."""


@dataclass(frozen=True, slots=True)
class JobGroup:
    """Parked jobs or dead letters of one code and lane; uncertain ones of one cause."""

    state: State
    code: str
    cause: str
    """Empty except for uncertain jobs."""
    lane: Lane
    count: int
    since: float
    """When the oldest job entered the group, Unix seconds."""
    sample: Job


@dataclass(frozen=True, slots=True)
class WebhookHealth:
    """The backlog of webhook deliveries."""

    due: int
    """Runs whose deliveries are due."""
    overdue_s: float | None
    """For how long the oldest of them has been due."""
    orphans: int
    """Runs of the last day with deliveries and no job."""


@dataclass(frozen=True, slots=True)
class _Position:
    """Where a page ended: the index, the score and the member."""

    index: str
    score: float
    member: str

    def encode(self) -> str:
        """The position as an opaque cursor."""
        data = encode((self.index, self.score, self.member))
        return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _position(cursor: str) -> _Position:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return _Position(*decode_cursor(base64.urlsafe_b64decode(padded)))
    except DECODE_ERRORS:
        raise BadCursor from None


class JobQueries:
    """Reads over many jobs of one namespace."""

    def __init__(self, client: Client, keys: Keys, jobs: JobStore) -> None:
        self._client = client
        self._keys = keys
        self._jobs = jobs
        self._lane_counts = LaneCountReader(client, keys, jobs)

    async def page(self, job_filter: Filter, limit: int, cursor: str | None = None) -> Page:
        """A page of the jobs that pass a filter, newest first; raises `BadCursor`.

        A page may be shorter than `limit` and still have a `next_cursor`: a filter that few jobs
        pass is answered in bounded steps.
        """
        candidates = self._indexes(job_filter)
        if cursor is None:
            position = None
            index = await self._smallest_index(candidates, self._target_indexes(job_filter))
        else:
            position = _position(cursor)
            index = position.index
            if index not in (*candidates, *self._target_indexes(job_filter)):
                raise BadCursor("cursor belongs to a list with another filter; start at the top")
        return await self._scan(index, job_filter, limit, position)

    async def count(self, job_filter: Filter) -> int | None:
        """How many jobs pass a filter, if one index has exactly those; else None."""
        narrow = [name for name in self._indexes(job_filter) if name != self._keys.index(Index.ALL)]
        facts = [value for value in astuple(job_filter) if value is not None]
        if len(facts) > 1 or (facts and len(narrow) != 1):
            return None
        key = narrow[0] if narrow else self._keys.index(Index.ALL)
        return int(await self._client.call("ZCARD", key))

    def _indexes(self, job_filter: Filter) -> list[str]:
        key = self._keys.index
        found = [key(Index.ALL)]
        if job_filter.state is not None:
            found.append(key(Index.STATE, job_filter.state))
        if job_filter.target is not None and job_filter.kind is not None:
            found.append(key(Index.TARGET, target_name(job_filter.kind, job_filter.target)))
        if job_filter.tag is not None:
            found.append(key(Index.TAG, job_filter.tag))
        if job_filter.after is not None:
            found.append(key(Index.CHILDREN, job_filter.after))
        if job_filter.batch is not None:
            found.append(key(Index.BATCH, job_filter.batch))
        if job_filter.fair_key is not None:
            found.append(key(Index.FAIR_KEY, job_filter.fair_key))
        if job_filter.finding is not None:
            found.append(key(Index.FINDING, job_filter.finding))
        if job_filter.tenant:
            found.append(key(Index.TENANT, job_filter.tenant))
        return found

    def _target_indexes(self, job_filter: Filter) -> list[str]:
        """The indexes of a target of either kind, if the filter names no kind."""
        if job_filter.target is None or job_filter.kind is not None:
            return []
        return [
            self._keys.index(Index.TARGET, target_name(kind, job_filter.target)) for kind in Kind
        ]

    async def _smallest_index(self, keys: Sequence[str], parts: Sequence[str]) -> str:
        """The smallest index; one of `parts` only if the others of them are empty."""
        sizes = await self._client.many([("ZCARD", key) for key in (*keys, *parts)])
        ranked = list(zip(sizes, (*keys, *parts), strict=True))
        complete, partial = ranked[: len(keys)], ranked[len(keys) :]
        full = [one for one in partial if one[0]]
        if partial and len(full) <= 1:
            complete += full or partial[:1]
        return min(complete)[1]

    async def _scan(
        self,
        index: str,
        job_filter: Filter,
        limit: int,
        position: _Position | None,
    ) -> Page:
        found: list[Job] = []
        unreadable: list[UnreadableRecord] = []
        scanned = 0
        span = self._score_range(index, job_filter)
        while scanned < MAX_SCANNED_RECORDS:
            members = await self._after(index, position, CHUNK, span)
            if not members:
                return Page(tuple(found), None, tuple(unreadable))
            scanned += len(members)
            records = await self._jobs.read_many([member for member, _ in members])
            for (member, score), record in zip(members, records, strict=True):
                position = _Position(index, score, member)
                if record is None:
                    continue
                match record:
                    case UnreadableRecord():
                        unreadable.append(record)
                        job = unreadable_job(member, record.error, score)
                    case NewerRecord():
                        job = record.shown
                    case VersionedJob():
                        job = record.job
                    case _:
                        assert_never(record)
                if job_filter.matches(job):
                    found.append(job)
                    if len(found) == limit:
                        more = await self._after(index, position, 1, span)
                        cursor = position.encode() if more else None
                        return Page(tuple(found), cursor, tuple(unreadable))
        return Page(tuple(found), position.encode() if position else None, tuple(unreadable))

    def _score_range(self, index: str, job_filter: Filter) -> tuple[str, str]:
        """The range of scores, from the top: creation times, unless the index is of a state."""
        if index.startswith(f"{self._keys.index(Index.STATE)}:"):
            return "+inf", "-inf"
        top = "+inf" if job_filter.until is None else f"({job_filter.until!r}"
        return top, "-inf" if job_filter.since is None else repr(job_filter.since)

    async def _after(
        self,
        index: str,
        position: _Position | None,
        count: int,
        span: tuple[str, str],
    ) -> list[tuple[str, float]]:
        """The next members after a position: descending by score, then by member."""
        first, last = span
        top = first if position is None else repr(position.score)
        offset = 0
        while True:
            command = ("ZREVRANGEBYSCORE", index, top, last, "WITHSCORES", "LIMIT", offset, count)
            rows = pairs(await self._client.call(*command))
            if position is None:
                return rows
            after = [
                (member, score)
                for member, score in rows
                if (score, member) < (position.score, position.member)
            ]
            if after or len(rows) < count:
                return after
            offset += count

    async def groups(self, state: State) -> tuple[list[JobGroup], list[UnreadableRecord]]:
        """Groups of parked jobs or dead letters, the largest first; and unreadable records."""
        names = texts(await self._client.call("ZRANGE", self._keys.groups, 0, -1))
        mine = [name for name in names if name.startswith(f"{state}|")]
        keys = [self._keys.index(Index.GROUP, name) for name in mine]
        sizes = await self._client.many([("ZCARD", key) for key in keys])
        firsts = await self._client.many(
            [("ZRANGE", key, 0, MAX_SAMPLE_TRIES - 1, "WITHSCORES") for key in keys]
        )
        rows = [pairs(first) for first in firsts]
        oldest = await self._jobs.read_many([row[0][0] if row else "" for row in rows])
        found: list[JobGroup] = []
        for name, size, members, first in zip(mine, sizes, rows, oldest, strict=True):
            if not size or not members:
                continue
            sample = None
            if isinstance(first, VersionedJob) and first.job.state is state:
                sample = first.job
            elif isinstance(first, NewerRecord):
                sample = first.shown
            sample = sample or await self._sample([member for member, _ in members], state)
            if sample is not None:
                reason, _, lane = name.removeprefix(f"{state}|").rpartition("|")
                code, cause = split_group(reason)
                group = JobGroup(state, code, cause, Lane.parse(lane), size, members[0][1], sample)
                found.append(group)
        unreadable = [one for one in oldest if isinstance(one, UnreadableRecord)]
        return sorted(found, key=lambda group: (-group.count, group.since)), unreadable

    async def group_sizes(self, state: State) -> list[tuple[str, int]]:
        """The code and the size of each group of parked jobs or dead letters."""
        names = texts(await self._client.call("ZRANGE", self._keys.groups, 0, -1))
        mine = [name for name in names if name.startswith(f"{state}|")]
        keys = [self._keys.index(Index.GROUP, name) for name in mine]
        sizes = await self._client.many([("ZCARD", key) for key in keys])
        groups = [name.removeprefix(f"{state}|").rpartition("|")[0] for name in mine]
        codes = [split_group(group)[0] for group in groups]
        return [(code, size) for code, size in zip(codes, sizes, strict=True) if size]

    async def _sample(self, job_ids: Sequence[str], state: State) -> Job | None:
        for job_id in job_ids:
            stored = await self._jobs.load(job_id)
            if stored is not None and stored.job.state is state:
                return stored.job
        return None

    async def ids_with_prefix(self, prefix: str, limit: int) -> list[JobId]:
        """Ids of the newest jobs that begin with `prefix`; an older job is found by its full id."""
        newest = texts(
            await self._client.call(
                "ZREVRANGE", self._keys.index(Index.ALL), 0, MAX_SCANNED_IDS - 1
            )
        )
        return [JobId(name) for name in newest if name.startswith(prefix)][:limit]

    async def webhook_health(self, now: float) -> WebhookHealth:
        """The backlog of webhook deliveries."""
        inbox, orphans = self._keys.inbox, self._keys.orphans
        due, first, unmatched = await self._client.many(
            [
                ("ZCOUNT", inbox, "-inf", now),
                ("ZRANGE", inbox, 0, 0, "WITHSCORES"),
                ("ZCOUNT", orphans, now - DAY_S, "+inf"),
            ]
        )
        oldest = pairs(first)[0][1] if first else None
        overdue = now - oldest if oldest is not None and oldest <= now else None
        return WebhookHealth(due, overdue, unmatched)

    async def held_counts(self, hold_ids: Sequence[str]) -> list[int]:
        """How many parked jobs each hold has."""
        return await self._client.many(
            [("ZCARD", self._keys.index(Index.HELD, hold_id)) for hold_id in hold_ids],
        )

    async def state_counts(self) -> tuple[dict[State, int], dict[State, float]]:
        """How many jobs are in each state, and since when (Unix seconds) the oldest is."""
        keys = [self._keys.index(Index.STATE, state) for state in State]
        sizes = await self._client.many([("ZCARD", key) for key in keys])
        firsts = await self._client.many([("ZRANGE", key, 0, 0, "WITHSCORES") for key in keys])
        oldest = {
            state: pairs(first)[0][1] for state, first in zip(State, firsts, strict=True) if first
        }
        return dict(zip(State, sizes, strict=True)), oldest

    async def rates(self, now: float, window_s: float = 60.0) -> dict[str, float]:
        """Jobs a minute that were enqueued, succeeded or became dead in the last window."""
        keys = {
            "enqueued_per_min": self._keys.index(Index.ALL),
            "succeeded_per_min": self._keys.index(Index.STATE, State.SUCCEEDED),
            "dead_per_min": self._keys.index(Index.STATE, State.DEAD),
        }
        commands = [("ZCOUNT", key, now - window_s, "+inf") for key in keys.values()]
        counts = await self._client.many(commands)
        return {name: count * 60.0 / window_s for name, count in zip(keys, counts, strict=True)}

    async def lane_counts(self) -> tuple[list[LaneCount], list[UnreadableRecord]]:
        """The queued and active jobs of each known lane; and unreadable records."""
        return await self._lane_counts.read()
