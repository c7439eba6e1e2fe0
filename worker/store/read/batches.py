"""Summaries of batches: progress, cost, failures. The work is bounded, however large a batch is.

A small batch is counted job by job. Of a large one a sample is read and scaled up, which makes an
estimate; only parked jobs and dead letters are counted in full, as long as that is cheap.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jobs.indexes import Index
from jobs.job import Job
from jobs.states import State
from worker.store.client import Client, pairs, texts
from worker.store.commit import VersionedJob
from worker.store.jobs import JobStore, UnreadableRecord
from worker.store.keys import Keys

LIST_SAMPLE: Final = 150
"""Jobs of each batch that are read for a list."""

SINGLE_SAMPLE: Final = 2_000
"""Jobs that are read for a single batch."""

MAX_INTERSECTION: Final = 5_000
"""An intersection is counted in full if the smaller set has no more members."""

_NEEDS_OPERATOR: Final = (State.PARKED, State.DEAD)


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """The progress of a batch."""

    name: str
    last_used: float | None
    """When its last job was enqueued, Unix seconds; None if unknown."""
    total: int
    states: dict[State, int]
    is_exact: bool
    """Whether every job was read; else counts and cost are estimates."""
    cost: float | None
    """Credits its runs cost so far; None if no cost is known."""
    codes: tuple[tuple[str, int], ...]
    """Code → count of the parked jobs and dead letters that were read, the most frequent first."""
    unreadable: tuple[UnreadableRecord, ...]
    """Records that were read and say nothing; the caller decides what becomes of them."""

    def of(self, *states: State) -> int:
        """How many jobs are in any of these states."""
        return sum(self.states.get(state, 0) for state in states)


class BatchStore:
    """The batches of one namespace."""

    def __init__(self, client: Client, keys: Keys, jobs: JobStore) -> None:
        self._client = client
        self._keys = keys
        self._jobs = jobs

    async def page(self, first: int, count: int) -> tuple[list[BatchSummary], int]:
        """`count` batches from the `first` on, the most recently used first; and their total."""
        register, last = self._keys.batches, first + count - 1
        total, rows = await self._client.many(
            [("ZCARD", register), ("ZREVRANGE", register, first, last, "WITHSCORES")]
        )
        used = dict(pairs(rows))
        return await self._summaries(list(used), LIST_SAMPLE, used), int(total)

    async def find(self, name: str) -> BatchSummary | None:
        """One batch from a larger sample; None if it has no job."""
        score = await self._client.call("ZSCORE", self._keys.batches, name)
        used = {} if score is None else {name: float(score)}
        return next(iter(await self._summaries([name], SINGLE_SAMPLE, used)), None)

    async def _summaries(
        self, names: Sequence[str], sample: int, used: dict[str, float]
    ) -> list[BatchSummary]:
        keys = [self._keys.index(Index.BATCH, name) for name in names]
        sizes: list[int] = await self._client.many([("ZCARD", key) for key in keys])
        picked = await self._client.many(
            [
                ("ZRANGE", key, 0, -1) if size <= sample else ("ZRANDMEMBER", key, sample)
                for key, size in zip(keys, sizes, strict=True)
            ]
        )
        found: list[BatchSummary] = []
        for name, key, size, members in zip(names, keys, sizes, picked, strict=True):
            if not size:
                continue
            records = await self._jobs.read_many(texts(members))
            jobs = [one.job for one in records if isinstance(one, VersionedJob)]
            unreadable = tuple(one for one in records if isinstance(one, UnreadableRecord))
            states = _scaled_counts(jobs, size) | await self._exact_counts(key, size, sample)
            found.append(_summary(name, used.get(name), size, jobs, states, unreadable=unreadable))
        return found

    async def _exact_counts(self, key: str, size: int, sample: int) -> dict[State, int]:
        """Counts of parked jobs and dead letters of a sampled batch, if the sets are small."""
        if size <= sample:
            return {}
        sets = {state: self._keys.index(Index.STATE, state) for state in _NEEDS_OPERATOR}
        sizes = await self._client.many([("ZCARD", name) for name in sets.values()])
        small = [
            (state, name)
            for (state, name), members in zip(sets.items(), sizes, strict=True)
            if min(size, members) <= MAX_INTERSECTION
        ]
        common = await self._client.many([("ZINTER", 2, key, name) for _, name in small])
        return {state: len(members) for (state, _), members in zip(small, common, strict=True)}


def _scaled_counts(jobs: Sequence[Job], size: int) -> dict[State, int]:
    counts = dict.fromkeys(State, 0)
    for job in jobs:
        counts[job.state] += 1
    part = size / max(1, len(jobs))
    return {state: round(count * part) for state, count in counts.items()}


def _summary(
    name: str,
    last_used: float | None,
    size: int,
    jobs: Sequence[Job],
    states: dict[State, int],
    *,
    unreadable: tuple[UnreadableRecord, ...],
) -> BatchSummary:
    paid = [job.cost for job in jobs if job.cost is not None]
    codes: dict[str, int] = {}
    for job in jobs:
        if job.state in _NEEDS_OPERATOR and job.reason is not None:
            codes[job.reason.code] = codes.get(job.reason.code, 0) + 1
    return BatchSummary(
        name=name,
        last_used=last_used,
        total=size,
        states=states,
        is_exact=len(jobs) == size,
        cost=sum(paid) * (size / max(1, len(jobs))) if paid else None,
        codes=tuple(sorted(codes.items(), key=lambda entry: -entry[1])),
        unreadable=unreadable,
    )
