"""What admission reads of lanes whose jobs wait by fair key, see `jobs.fairness`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from jobs.fairness import KEYLESS, FairPlace, FairTurn, fair_key_of, key_queue_name
from jobs.indexes import Index
from jobs.job import Job
from jobs.lanes import MIN_KEYLESS_SCORE, JobId, Lane
from worker.store.client import Client, Command, pairs, texts
from worker.store.commit import Change
from worker.store.keys import Keys
from worker.store.newer_jobs import NewerJobs
from worker.store.scripts import Scripts


@dataclass(frozen=True, slots=True)
class KeyQueue:
    """The first waiting jobs of a key in a lane."""

    lane: Lane
    key: str
    """As it is stored; `KEYLESS` for the jobs without one."""
    head: list[tuple[JobId, float]]
    """With their queue scores, the lowest first."""
    active: int | None
    """Jobs that count against its cap; None if it has none."""


class FairQueueStore:
    """The fair keys of the lanes of one namespace, and their turns."""

    def __init__(self, client: Client, keys: Keys, scripts: Scripts, newer: NewerJobs) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts
        self._newer = newer

    async def next_keys(self, lanes: Sequence[Lane], counts: Sequence[int]) -> list[list[str]]:
        """The next keys of each lane in the order of their turns, without those at their cap."""
        rows = await self._client.many(
            [
                ("ZRANGEBYSCORE", self._keys.key_turns(str(lane)), "-inf", "(+inf", *limit)
                for lane, count in zip(lanes, counts, strict=True)
                for limit in [("LIMIT", 0, count)]
            ]
        )
        return [texts(row) for row in rows]

    async def queues(
        self, wanted: Sequence[tuple[Lane, str, int]], capped: Collection[Lane]
    ) -> list[KeyQueue]:
        """The first jobs of keys: lane, key and how many of each. `capped` lanes cap their keys."""
        more = len(self._newer.ids())
        counted = [(lane, key) for lane, key, _ in wanted if key != KEYLESS and lane in capped]
        replies = await self._client.many(
            [
                *(self._head_command(lane, key, count + more) for lane, key, count in wanted),
                *(("ZCARD", self._set(Index.KEY_ACTIVE, lane, key)) for lane, key in counted),
            ]
        )
        active: dict[tuple[Lane, str], int] = dict(
            zip(counted, replies[len(wanted) :], strict=True)
        )
        found: list[KeyQueue] = []
        for (lane, key, count), row in zip(wanted, replies, strict=False):
            rows = [(JobId(member), score) for member, score in pairs(row)]
            head = self._newer.without(rows, lambda entry: entry[0], count)
            found.append(KeyQueue(lane, key, head, active.get((lane, key))))
        return found

    async def place(self, job: Job) -> FairPlace | None:
        """Where a job waits; None if it does not, or no queued job of its lane has a key."""
        lane, key = job.lane, fair_key_of(job)
        turns, queue = self._keys.key_turns(str(lane)), self._keys.lane(lane)
        keyed = self._set(Index.KEY_QUEUE, lane, key)
        known, turn, queued, with_key, rank, in_key, active = await self._client.many(
            [
                ("ZCARD", turns),
                ("ZRANK", turns, key),
                ("ZCARD", queue),
                ("ZCOUNT", queue, "-inf", f"({MIN_KEYLESS_SCORE!r}"),
                ("ZRANK", queue, job.id),
                ("ZRANK", keyed, job.id),
                ("ZCARD", self._set(Index.KEY_ACTIVE, lane, key)),
            ]
        )
        if not known or rank is None or (key != KEYLESS and in_key is None):
            return None
        ahead_in_key = rank - with_key if key == KEYLESS else in_key
        others = known - 1 - (key != KEYLESS and queued == with_key)
        ahead = min(queued - 1, ahead_in_key * (others + 1) + min(turn or 0, others))
        return FairPlace(job.fair_key or "", ahead_in_key, others, ahead, active)

    def _head_command(self, lane: Lane, key: str, count: int) -> Command:
        if key == KEYLESS:
            first, span = MIN_KEYLESS_SCORE, ("WITHSCORES", "LIMIT", 0, count)
            return ("ZRANGEBYSCORE", self._keys.lane(lane), first, "+inf", *span)
        return ("ZRANGE", self._set(Index.KEY_QUEUE, lane, key), 0, count - 1, "WITHSCORES")

    def _set(self, kind: Index, lane: Lane, key: str) -> str:
        return self._keys.index(kind, key_queue_name(lane, key))

    async def take(self, lane: Lane, key: str, turn: FairTurn) -> None:
        """Take the turn of a key that admits nothing: it has no jobs, or is at its cap."""
        change = Change(self._keys, "", "")
        change.ops.append(
            (
                "T",
                self._keys.key_turns(str(lane)),
                self._set(Index.KEY_QUEUE, lane, key),
                self._set(Index.KEY_ACTIVE, lane, key),
                key,
                turn.at,
                turn.cap,
            )
        )
        await self._scripts.commit(change)
