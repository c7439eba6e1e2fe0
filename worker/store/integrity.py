"""Reads of everything in a namespace, page by page on a live system, and repairs of index entries.

Nothing here blocks the server: the keyspace and the sets are read with SCAN and ZSCAN, pipelines
are short. Names that are not UTF-8 come as text with surrogates.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from redis.exceptions import ResponseError

from jobs.callbacks import CallbackState
from jobs.indexes import UNNAMED_INDEXES, Index
from jobs.job import Job
from worker.store.client import Argument, Client, Command
from worker.store.codec import DECODE_ERRORS, decode_job
from worker.store.keys import Keys
from worker.store.schema import NewerSchema
from worker.store.scripts import Scripts

PAGE_SIZE: Final = 1_000
"""Keys or members read at a time, and the most commands of a pipeline."""

RECORD_PAGE_SIZE: Final = 500
"""Records read at a time; they are larger than members."""

MAX_TRANSACTION_JOBS: Final = 50
"""Jobs read in one transaction."""

SMALL_SET_SIZE: Final = 100
"""Members of a set that is read together with others."""

_INDEX_BY_VALUE: Final = {kind.value: kind for kind in Index}


@dataclass(frozen=True, slots=True)
class Record:
    """A job's record. If it exists, either `job` or `unreadable_reason` is set."""

    job_id: str
    exists: bool
    rev: str = ""
    job: Job | None = None
    unreadable_reason: str = ""
    """Why it cannot be read."""
    is_malformed: bool = False
    """It is complete, but cannot be decoded: a read through the API makes it a dead letter."""
    is_newer: bool = False
    """A newer version wrote it: nothing is wrong with it."""


@dataclass(frozen=True, slots=True)
class RecordWithScores:
    """A record and some of its index entries, read in one atomic step."""

    record: Record
    scores: Mapping[str, float | None]
    """Key → the job's score, None if it is not in the set; unreadable keys are left out."""


RepairOperation = tuple[str, str, float, str]
"""One of `repair.lua`: letter, key, score (ignored for a removal), member."""


@dataclass(frozen=True, slots=True)
class RepairStep:
    """A step of `repair.lua`."""

    watched_key: str
    expected_rev: str
    """A revision; or `""`: the key must not exist; or `"*"`: it must exist."""
    operations: tuple[RepairOperation, ...]


class IndexSizes(NamedTuple):
    """Sizes of sorted sets, and the names on the registers; unreadable keys are left out."""

    counts: Mapping[str, int]
    lanes: Sequence[str] | None
    groups: Sequence[str] | None
    budgets: Sequence[str] | None
    """Those that jobs wait for."""


class KeyTurn(NamedTuple):
    """A fair key in the turns of its lane, read in one atomic step with its sets of jobs."""

    name: str
    score: float | None
    """None if it is not there."""
    waits: bool
    is_active: bool


class IntegrityReader:
    """The reads of the integrity check, and its one write."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    # Names.

    def job_of(self, key: str) -> str | None:
        """The job id of a record's key; None for another key."""
        prefix = self._keys.job("")
        return key.removeprefix(prefix) if key.startswith(prefix) else None

    def index_of(self, key: str) -> tuple[Index, str] | None:
        """The index and the name of an index's key; None for another key."""
        word, _, name = key.removeprefix(f"{self._keys.namespace}:").partition(":")
        kind = _INDEX_BY_VALUE.get(word)
        return None if kind is None else (kind, name)

    def lane_of_turns(self, key: str) -> str | None:
        """The lane whose turns of fair keys a key holds; None for another key."""
        prefix = self._keys.key_turns("")
        return key.removeprefix(prefix) if key.startswith(prefix) else None

    def fixed_key_types(self) -> dict[str, str]:
        """The fixed keys of the namespace and the type each must have."""
        keys = self._keys
        sets = [keys.index(kind) for kind in UNNAMED_INDEXES]
        sets += [keys.lanes, keys.groups, keys.sync_only, keys.arq_queue, keys.inbox, keys.orphans]
        sets += [
            keys.batches,
            keys.batch_changes,
            keys.sessions,
            keys.used_workflows,
            keys.budget_waits,
        ]
        hashes = [keys.holds, keys.cool_downs, keys.costs, keys.rate_limits, keys.workers]
        hashes += [keys.counters, keys.breakers, keys.drains, keys.recovery, keys.accounts]
        hashes += [keys.payload_retention, keys.payload_keys]
        sets += [keys.callback_hosts, *(keys.callbacks(state) for state in CallbackState)]
        hashes += [keys.callback_breakers, keys.callback_use]
        hashes += [keys.budgets, keys.balances, keys.warnings, keys.budget_spending]
        hashes += [keys.schedules, keys.schedule_inputs, keys.schedule_ticks, keys.schedule_skips]
        others = {keys.audit: "stream"}
        return dict.fromkeys(sets, "zset") | dict.fromkeys(hashes, "hash") | others

    # Reads.

    async def scan_keys(self) -> AsyncIterator[list[str]]:
        """Every key of the namespace that exists during the scan; some come twice."""
        cursor = 0
        while True:
            scan = ("SCAN", cursor, "MATCH", f"{self._keys.namespace}:*", "COUNT", PAGE_SIZE)
            cursor, found = await self._client.call(*scan)
            yield [_text(key) for key in found]
            if not cursor:
                return

    async def types(self, keys: Sequence[str]) -> dict[str, str]:
        """The type of each key, `none` if it does not exist."""
        found: list[bytes] = []
        for page in paged(keys, PAGE_SIZE):
            found += await self._client.many([("TYPE", _raw(key)) for key in page])
        return {key: kind.decode() for key, kind in zip(keys, found, strict=True)}

    async def records(self, job_ids: Sequence[str]) -> list[Record]:
        """The records of some jobs, each read by itself."""
        commands = [("HMGET", _raw(self._keys.job(name)), "rev", "rec") for name in job_ids]
        replies = await self._client.try_many(commands)
        return [_parse_record(name, reply) for name, reply in zip(job_ids, replies, strict=True)]

    async def scores(
        self, members_by_key: Mapping[str, Sequence[str]]
    ) -> dict[str, Sequence[float | None]]:
        """Key → the scores of some members in their order; unreadable keys are left out.

        No list of members is longer than a page.
        """
        found: dict[str, Sequence[float | None]] = {}
        for page in paged(list(members_by_key), PAGE_SIZE):
            commands: list[Command] = [
                ("ZMSCORE", _raw(key), *map(_raw, members_by_key[key])) for key in page
            ]
            for key, reply in zip(page, await self._client.try_many(commands), strict=True):
                if isinstance(reply, ResponseError):
                    continue
                if isinstance(reply, Exception):
                    raise reply
                found[key] = reply
        return found

    async def walk(self, keys: Sequence[str]) -> AsyncIterator[tuple[str, list[str]]]:
        """The members of sorted sets that are there during the scan, in pages; some come twice."""
        for page in paged(keys, PAGE_SIZE):
            sizes = await self._client.many([("ZCARD", _raw(key)) for key in page])
            small = [key for key, size in zip(page, sizes, strict=True) if size <= SMALL_SET_SIZE]
            for several in paged(small, SMALL_SET_SIZE):
                scans = [("ZSCAN", _raw(key), 0, "COUNT", PAGE_SIZE) for key in several]
                replies = await self._client.many(scans)
                for key, (cursor, found) in zip(several, replies, strict=True):
                    yield key, [_text(member) for member, _ in found]
                    if cursor:  # it has grown meanwhile
                        async for members in self.members(key):
                            yield key, members
            for key in set(page).difference(small):
                async for members in self.members(key):
                    yield key, members

    async def members(self, key: str) -> AsyncIterator[list[str]]:
        """The members of one sorted set that are there during the scan; some come twice."""
        cursor = 0
        while True:
            cursor, found = await self._client.call("ZSCAN", _raw(key), cursor, "COUNT", PAGE_SIZE)
            yield [_text(member) for member, _ in found]
            if not cursor:
                return

    async def read_with_scores(
        self, keys_by_job: Mapping[str, Sequence[str]]
    ) -> dict[str, RecordWithScores]:
        """Job id → its record and its scores under some keys, both of the same moment."""
        found: dict[str, RecordWithScores] = {}
        for page in paged(list(keys_by_job), MAX_TRANSACTION_JOBS):
            commands: list[Command] = []
            for name in page:
                job = _raw(self._keys.job(name))
                commands += [("EXISTS", job), ("HMGET", job, "rev", "rec")]
                commands += [("ZSCORE", _raw(key), _raw(name)) for key in keys_by_job[name]]
            replies = iter(await self._client.try_transaction(commands))
            for name in page:
                exists = bool(next(replies))
                record = _parse_record(name, next(replies), exists=exists)
                scores = [(key, next(replies)) for key in keys_by_job[name]]
                read = {key: score for key, score in scores if not isinstance(score, Exception)}
                found[name] = RecordWithScores(record, read)
        return found

    async def unregistered(self, register: str, key_by_name: Mapping[str, str]) -> list[str]:
        """The names that are not on a register although their set has members."""
        found: list[str] = []
        for page in paged(list(key_by_name), PAGE_SIZE // 2):
            commands: list[Command] = []
            for name in page:
                commands += [("EXISTS", _raw(key_by_name[name])), ("ZSCORE", register, _raw(name))]
            replies = await self._client.try_transaction(commands)
            states = zip(page, replies[::2], replies[1::2], strict=True)
            found += [name for name, exists, score in states if exists and score is None]
        return found

    async def turns(self, lane: str, names: Sequence[str]) -> list[KeyTurn]:
        """Some fair keys of a lane, each with its sets of jobs of the same moment."""
        found: list[KeyTurn] = []
        turns = _raw(self._keys.key_turns(lane))
        for page in paged(names, MAX_TRANSACTION_JOBS):
            commands: list[Command] = []
            for name in page:
                queue, active = self.key_sets(lane, name)
                commands += [("ZSCORE", turns, _raw(name))]
                commands += [("EXISTS", _raw(queue)), ("EXISTS", _raw(active))]
            replies = await self._client.try_transaction(commands)
            for name, score, waits, active in zip(
                page, replies[::3], replies[1::3], replies[2::3], strict=True
            ):
                found.append(KeyTurn(name, score, bool(waits), bool(active)))
        return found

    def key_sets(self, lane: str, name: str) -> tuple[str, str]:
        """The sets of the waiting and the active jobs of a fair key.

        Jobs without a key need a turn while others have one: theirs is the set of turns itself.
        """
        if not name:
            return self._keys.key_turns(lane), self._keys.key_turns(lane)
        index, text = self._keys.index, f"{lane}|{name}"
        return index(Index.KEY_QUEUE, text), index(Index.KEY_ACTIVE, text)

    async def sizes(self, keys: Sequence[str]) -> IndexSizes:
        """The sizes of sorted sets and the names on the registers, all of the same moment."""
        commands: list[Command] = [("ZCARD", _raw(key)) for key in keys]
        registers = (self._keys.lanes, self._keys.groups, self._keys.budget_waits)
        commands += [("ZRANGE", name, 0, -1) for name in registers]
        *counts, lanes, groups, budgets = await self._client.try_transaction(commands)
        sizes = zip(keys, counts, strict=True)
        return IndexSizes(
            {key: size for key, size in sizes if isinstance(size, int)},
            None if isinstance(lanes, Exception) else [_text(name) for name in lanes],
            None if isinstance(groups, Exception) else [_text(name) for name in groups],
            None if isinstance(budgets, Exception) else [_text(name) for name in budgets],
        )

    async def arq_queue_size(self) -> int:
        """Entries in arq's queue."""
        return int(await self._client.call("ZCARD", self._keys.arq_queue))

    # The write.

    async def repair(self, step: RepairStep) -> bool:
        """Run the operations if the precondition still holds; returns whether it did."""
        keys, args = [step.watched_key], list[Argument]([step.expected_rev])
        for letter, key, score, member in step.operations:
            if key not in keys[1:]:
                keys.append(key)
            number = keys.index(key, 1) + 1
            args += [letter, number, *([] if letter == "R" else [score]), _raw(member)]
        return await self._scripts.repair([_raw(key) for key in keys], args) >= 0


def paged(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """A sequence in pages of `size`."""
    for start in range(0, len(names), size):
        yield names[start : start + size]


def _parse_record(job_id: str, reply: Any, *, exists: bool | None = None) -> Record:
    if isinstance(reply, ResponseError):
        return Record(job_id, exists=True, unreadable_reason="its key does not hold a hash")
    if isinstance(reply, Exception):
        raise reply
    rev, rec = reply
    if exists is None:
        exists = rev is not None or rec is not None
    if not exists:
        return Record(job_id, exists=False)
    if rev is None or rec is None:
        missing = "revision" if rec is not None else "record" if rev is not None else "content"
        return Record(job_id, exists=True, unreadable_reason=f"it has no {missing}")
    try:
        job = decode_job(rec)
    except NewerSchema as newer:
        why = str(newer)
        return Record(job_id, exists=True, rev=_text(rev), unreadable_reason=why, is_newer=True)
    except DECODE_ERRORS as error:
        why = f"it is not what a record looks like ({type(error).__name__})"
        return Record(job_id, exists=True, rev=_text(rev), unreadable_reason=why, is_malformed=True)
    if job.id != job_id:
        fault = "it is the record of another job"
        return Record(job_id, exists=True, rev=_text(rev), unreadable_reason=fault)
    return Record(job_id, exists=True, rev=_text(rev), job=job)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
