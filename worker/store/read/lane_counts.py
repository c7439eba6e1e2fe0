"""How many jobs wait and run in each lane, and for which fair keys they wait."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jobs.fairness import AT_CAP, KEYLESS, key_queue_name
from jobs.indexes import Index
from jobs.lanes import Lane, has_fair_key
from worker.store.client import Client, pairs, texts
from worker.store.commit import VersionedJob
from worker.store.jobs import JobStore, UnreadableRecord
from worker.store.keys import Keys
from worker.store.lanes import parse_lanes

MAX_KEYS_READ: Final = 1_000
"""Fair keys, of all lanes together, whose jobs are counted to find those with the most."""

BUSIEST_KEYS: Final = 5


@dataclass(frozen=True, slots=True)
class FairKeyCount:
    """The fair keys that have jobs waiting in a lane."""

    waiting: int
    at_cap: int
    """Of them, those at their cap: they have no turn until one of their runs ends."""
    busiest: tuple[tuple[str, int], ...]
    """Those with the most queued jobs and their number, among the first `MAX_KEYS_READ`."""


@dataclass(frozen=True, slots=True)
class LaneCount:
    """The number of queued and active jobs of a lane."""

    lane: Lane
    queued: int
    active: int
    head_since: float | None
    """When the first queued job was queued, Unix seconds."""
    fair_keys: FairKeyCount | None = None
    """None where no queued job has a key."""


class LaneCountReader:
    """Counts of the lanes of one namespace."""

    def __init__(self, client: Client, keys: Keys, jobs: JobStore) -> None:
        self._client = client
        self._keys = keys
        self._jobs = jobs

    async def read(self) -> tuple[list[LaneCount], list[UnreadableRecord]]:
        """The queued and active jobs of each known lane; and unreadable records."""
        lanes = parse_lanes(await self._client.call("ZRANGE", self._keys.lanes, 0, -1))
        queued = await self._client.many([("ZCARD", self._keys.lane(lane)) for lane in lanes])
        active = await self._client.many([("ZCARD", self._keys.active(lane)) for lane in lanes])
        rows = await self._client.many(
            [("ZRANGE", self._keys.lane(lane), 0, 0, "WITHSCORES") for lane in lanes]
        )
        firsts = [pairs(row) for row in rows]
        heads = await self._jobs.read_many([first[0][0] if first else "" for first in firsts])
        fair = [
            lane
            for lane, first in zip(lanes, firsts, strict=True)
            if first and has_fair_key(first[0][1])
        ]
        keys = await self._key_counts(fair) if fair else {}
        counts = [
            LaneCount(
                lane,
                q,
                a,
                head.job.queued_at if isinstance(head, VersionedJob) else None,
                keys.get(lane),
            )
            for lane, q, a, head in zip(lanes, queued, active, heads, strict=True)
        ]
        return counts, [head for head in heads if isinstance(head, UnreadableRecord)]

    async def _key_counts(self, lanes: Sequence[Lane]) -> dict[Lane, FairKeyCount]:
        turns = [self._keys.key_turns(str(lane)) for lane in lanes]
        share = MAX_KEYS_READ // len(turns)
        sizes = await self._client.many([("ZCARD", key) for key in turns])
        keyless = await self._client.many([("ZSCORE", key, KEYLESS) for key in turns])
        capped = await self._client.many([("ZCOUNT", key, AT_CAP, AT_CAP) for key in turns])
        named = await self._client.many([("ZRANGE", key, 0, share) for key in turns])
        asked = [
            (lane, key)
            for lane, row in zip(lanes, named, strict=True)
            for key in texts(row)
            if key != KEYLESS and share
        ]
        queued: list[int] = await self._client.many(
            [
                ("ZCARD", self._keys.index(Index.KEY_QUEUE, key_queue_name(lane, key)))
                for lane, key in asked
            ]
        )
        busiest: dict[Lane, list[tuple[str, int]]] = {lane: [] for lane in lanes}
        for (lane, key), count in zip(asked, queued, strict=True):
            busiest[lane].append((key, count))
        return {
            lane: FairKeyCount(
                size - (empty is not None),
                at_cap,
                tuple(sorted(busiest[lane], key=lambda one: (-one[1], one[0]))[:BUSIEST_KEYS]),
            )
            for lane, size, empty, at_cap in zip(lanes, sizes, keyless, capped, strict=True)
        }
