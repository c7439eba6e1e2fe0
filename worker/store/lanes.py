"""Lanes: the order of their turns, and the queued jobs of each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jobs.fairness import KEYLESS
from jobs.indexes import Index
from jobs.lanes import JobId, Lane, Scope, covers, has_fair_key
from worker.store.client import Client, pairs, texts
from worker.store.fair_queues import FairQueueStore
from worker.store.keys import Keys
from worker.store.newer_jobs import NewerJobs
from worker.store.scripts import Scripts

WINDOW_LANES: Final = 256
"""Lanes that admission looks at in one tick."""

DUE_TOLERANCE_S: Final = 1.0
"""A lane counts as due so early: processes differ a little in what they take for now."""


@dataclass(frozen=True, slots=True)
class QueueSnapshot:
    """What admission reads first; its size does not depend on how many jobs are queued."""

    lanes: tuple[Lane, ...]
    """Lanes with jobs, the least recently served first; of many, the first `WINDOW_LANES` that are
    due."""
    bypass_count: int
    """Jobs that an operator released through a closed gate."""
    submitting_count: int
    """Jobs of all workers that are admitted to be submitted async, and not yet answered.

    Not the length of arq's queue: entries that a killed worker had picked up stay there until arq's
    own keys expire, and would take slots of live workers.
    """
    sync_count: int
    """Jobs of all workers that are admitted as sync runs, or whose connection is open."""
    lane_count: int = 0
    """Lanes on the register."""

    @property
    def is_window(self) -> bool:
        """Whether there are more lanes than `lanes` can have."""
        return self.lane_count > WINDOW_LANES


class LaneStore:
    """Lanes of one namespace."""

    def __init__(self, client: Client, keys: Keys, scripts: Scripts, newer: NewerJobs) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts
        self._newer = newer
        self.fair_queues = FairQueueStore(client, keys, scripts, newer)

    async def snapshot(self, now: float = math.inf) -> QueueSnapshot:
        """The lanes in the order of their turns.

        Where there are more than `WINDOW_LANES`, the first ones that are due at `now`, Unix
        seconds; without it all of them.
        """
        last = -1 if now == math.inf else WINDOW_LANES - 1
        lanes, count, passes, leased, sync = await self._client.many(
            [
                ("ZRANGE", self._keys.lanes, 0, last, "WITHSCORES"),
                ("ZCARD", self._keys.lanes),
                ("ZCARD", self._keys.index(Index.BYPASS)),
                ("ZCARD", self._keys.index(Index.LEASE)),
                ("ZCARD", self._keys.index(Index.SYNC)),
            ],
        )
        # What is leased is being submitted, or is a sync run.
        submitting = max(0, int(leased) - int(sync))
        names, due_by = lanes[::2], now + DUE_TOLERANCE_S
        if count > WINDOW_LANES:
            scores = map(float, lanes[1::2])
            names = [name for name, at in zip(names, scores, strict=True) if at <= due_by]
        return QueueSnapshot(
            tuple(parse_lanes(names)), int(passes), submitting, int(sync), int(count)
        )

    async def heads(
        self, lanes: Sequence[Lane], counts: Sequence[int]
    ) -> list[list[tuple[JobId, float]]]:
        """The first jobs of each lane, as many as its count, with their score, the lowest first.

        Without those that are known to be of a newer version.
        """
        more = len(self._newer.ids())
        commands = [
            ("ZRANGE", self._keys.lane(lane), 0, count + more - 1, "WITHSCORES")
            for lane, count in zip(lanes, counts, strict=True)
        ]
        rows = await self._client.many(commands)
        heads = [[(JobId(member), score) for member, score in pairs(row)] for row in rows]
        return [
            self._newer.without(head, lambda entry: entry[0], count)
            for head, count in zip(heads, counts, strict=True)
        ]

    async def oldest(self, lane: Lane, count: int) -> list[tuple[JobId, float]]:
        """The first jobs of a lane by priority and age, of those with a fair key and without."""
        (head,) = await self.heads([lane], [count])
        if not head or not has_fair_key(head[0][1]):
            return head
        (keyless,) = await self.fair_queues.queues([(lane, KEYLESS, count)], ())
        return list(dict.fromkeys([*head, *keyless.head]))

    async def tail(self, lane: Lane, count: int) -> list[tuple[JobId, float]]:
        """The last jobs of a lane with their scores, the last one first."""
        key = self._keys.lane(lane)
        row = await self._client.call("ZREVRANGE", key, 0, count - 1, "WITHSCORES")
        return [(JobId(member), score) for member, score in pairs(row)]

    async def bypass_jobs(self, first: int, count: int) -> list[JobId]:
        """Jobs that an operator released through a closed gate, in queue order from `first` on."""
        key, last = self._keys.index(Index.BYPASS), first + count - 1
        found = await self._client.call("ZRANGE", key, first, last)
        return [JobId(member) for member in texts(found)]

    async def gate_counts(self, gate_ids: Sequence[str]) -> list[int]:
        """How many submits or runs each opening hold or probing breaker counts now."""
        keys = [self._keys.index(Index.GATE, gate_id) for gate_id in gate_ids]
        return await self._client.many([("ZCARD", key) for key in keys])

    async def active_counts(self, lanes: Sequence[Lane]) -> list[int]:
        """How many jobs of each lane are submitting or running."""
        return await self._client.many([("ZCARD", self._keys.active(lane)) for lane in lanes])

    async def queued_counts(self) -> dict[Lane, int]:
        """How many jobs are queued in each lane."""
        lanes = parse_lanes(await self._client.call("ZRANGE", self._keys.lanes, 0, -1))
        counts = await self._client.many([("ZCARD", self._keys.lane(lane)) for lane in lanes])
        return dict(zip(lanes, counts, strict=True))

    async def record_turns(self, turns: Mapping[Lane, float]) -> None:
        """Record when lanes were served (Unix seconds); they are last in the order of turns now."""
        if turns:
            scores = [part for lane, at in turns.items() for part in (at, str(lane))]
            await self._client.call("ZADD", self._keys.lanes, "XX", *scores)

    async def make_due(self, scope: Scope, now: float) -> None:
        """Let the lanes of a scope that were put off take their turn now."""
        if await self._client.call("ZCARD", self._keys.lanes) <= WINDOW_LANES:
            return
        off = await self._client.call("ZRANGEBYSCORE", self._keys.lanes, now, "+inf")
        lanes = [lane for lane in parse_lanes(off) if covers(scope, lane)]
        await self.record_turns(dict.fromkeys(lanes, now))

    async def notify(self, scope: Scope) -> None:
        """Tell the workers that jobs of a scope may be admitted now."""
        await self._scripts.announcements.send(("PUBLISH", self._keys.wake, scope))

    async def retire(self, lane: Lane) -> bool:
        """Remove a lane from the register if no job is queued in it."""
        return await self._scripts.retire(self._keys.lanes, str(lane), [self._keys.lane(lane)])

    async def route_jobs_ahead(self, lane: Lane, position: int) -> int:
        """How many jobs of the route are ahead of the one at a position of a lane.

        Lanes take turns: of each other lane, as many jobs go first as are ahead in the job's own
        lane, and one more.
        """
        queues = await self.snapshot()
        others = [other for other in queues.lanes if other.route == lane.route and other != lane]
        counts: list[int] = await self._client.many(
            [("ZCARD", self._keys.lane(other)) for other in others]
        )
        return position + sum(min(count, position + 1) for count in counts)

    async def position(self, lane: Lane, job_id: str) -> int | None:
        """How many jobs are ahead of this one in its lane; None if it is not queued there."""
        rank: int | None = await self._client.call("ZRANK", self._keys.lane(lane), job_id)
        return rank


def parse_lanes(names: Sequence[bytes]) -> list[Lane]:
    """The lanes of a register; a malformed name is skipped."""
    found: list[Lane] = []
    for name in names:
        try:
            found.append(Lane.parse(name.decode()))
        except ValueError:
            continue
    return found
