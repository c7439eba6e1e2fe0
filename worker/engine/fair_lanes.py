"""Fairness at admission: whose turn it is in lanes whose jobs name fair keys.

It reads as many keys as there are free slots, the next ones in the order of their turns, never all
that wait. A lane without keys costs nothing.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from jobs.breaker_room import Head
from jobs.fairness import KEYLESS, FairTurn, in_turns
from jobs.job import Job
from jobs.lanes import JobId, Lane, cap_of_lane, has_fair_key
from worker.store import Store
from worker.store.fair_queues import KeyQueue
from worker.store.preconditions import Limit, key_cap

SPARE: Final = 2
"""Jobs and keys that are read for each free slot: some keys have fewer jobs than others, and some
lanes fewer keys."""

TURN_STEP_S: Final = 1e-6
"""Between the turns of jobs that are admitted at one moment, which keeps their order."""


class FairLanes:
    """The turns of fair keys, of one tick after the other.

    `caps` are by scope, as those of lanes: how many jobs of a key may be active in a lane.
    """

    def __init__(self, store: Store, caps: Mapping[str, int]) -> None:
        self._store = store
        self._caps = caps
        self._fair: frozenset[Lane] = frozenset()
        """Lanes that had jobs with a key when they were last read."""
        self._keys: dict[JobId, str] = {}
        self._last_turn = 0.0
        self.has_moved = False
        """Whether a key that admits nothing gave its turn away in this tick: others are behind."""

    def begin(self) -> None:
        """Begin a tick."""
        self.has_moved = False
        self._keys = {}

    def counts(self, lanes: Sequence[Lane], counts: Sequence[int]) -> list[int]:
        """How many first jobs of each lane to read: of one with keys, whether it still has any."""
        if not self._fair:
            return list(counts)
        return [
            1 if lane in self._fair else count for lane, count in zip(lanes, counts, strict=True)
        ]

    async def in_turn(
        self, lanes: Sequence[Lane], heads: Sequence[Head], counts: Sequence[int], now: float
    ) -> list[Head]:
        """The first jobs of each lane, of one with keys in the order in which these take turns."""
        wanted = {
            lane: count
            for lane, head, count in zip(lanes, heads, counts, strict=True)
            if head and has_fair_key(head[0][1])
        }
        if not wanted and not self._fair:
            return list(heads)
        self._fair = frozenset(wanted)
        if not wanted:
            return list(heads)
        queues = await self._queues(wanted)
        await self._pass_idle_turns([one for found in queues.values() for one in found], now)
        return [
            self._merged(queues[lane]) if lane in queues else head
            for lane, head in zip(lanes, heads, strict=True)
        ]

    async def _queues(self, wanted: Mapping[Lane, int]) -> dict[Lane, list[KeyQueue]]:
        """The queues of the next keys of each lane that may admit a job."""
        share = -(-SPARE * max(wanted.values()) // len(wanted))
        counts = [min(count, share) for count in wanted.values()]
        keys = await self._store.lanes.fair_queues.next_keys(list(wanted), counts)
        reads: list[tuple[Lane, str, int]] = []
        for (lane, count), read, names in zip(wanted.items(), counts, keys, strict=True):
            of_each = 1 if len(names) >= read else -(-SPARE * count // max(1, len(names)))
            reads += [(lane, name, min(count, of_each)) for name in names]
        capped = {lane for lane in wanted if cap_of_lane(self._caps, lane) is not None}
        found: dict[Lane, list[KeyQueue]] = {lane: [] for lane in wanted}
        for queue in await self._store.lanes.fair_queues.queues(reads, capped):
            found[queue.lane].append(queue)
        return found

    def _merged(self, queues: Sequence[KeyQueue]) -> Head:
        for queue in queues:
            self._keys.update(dict.fromkeys((job_id for job_id, _ in queue.head), queue.key))
        return in_turns([queue.head for queue in queues], [self._room(queue) for queue in queues])

    def _room(self, queue: KeyQueue) -> int:
        cap = cap_of_lane(self._caps, queue.lane)
        if cap is None or queue.active is None:
            return len(queue.head)
        return max(0, cap - queue.active)

    async def _pass_idle_turns(self, queues: Sequence[KeyQueue], now: float) -> None:
        """Let the turns of keys pass that admit nothing: they have no jobs, or are at their cap."""
        idle = [one for one in queues if one.key != KEYLESS and not (one.head and self._room(one))]
        self.has_moved = bool(idle)
        await asyncio.gather(
            *(
                self._store.lanes.fair_queues.take(
                    one.lane, one.key, FairTurn(now, cap_of_lane(self._caps, one.lane) or 0)
                )
                for one in idle
            )
        )

    def key_of(self, job_id: JobId) -> str:
        """The key that a job was read for in this tick; empty for none."""
        return self._keys.get(job_id, KEYLESS)

    def turn(self, job: Job, now: float) -> FairTurn | None:
        """The turn that the admission of a job takes; None in a lane without keys."""
        if job.lane not in self._fair or job.bypass_hold:
            return None
        self._last_turn = max(now, self._last_turn + TURN_STEP_S)
        cap = None if job.fair_key is None else cap_of_lane(self._caps, job.lane)
        return FairTurn(self._last_turn, cap or 0)

    def limits(self, job: Job) -> tuple[Limit, ...]:
        """The preconditions of the admission of a job: the cap of its key."""
        cap = None if job.fair_key is None else cap_of_lane(self._caps, job.lane)
        return () if cap is None else (key_cap(job, cap),)
