"""Which job probes a lane where jobs with equal inputs have failed: one with other inputs."""

from collections.abc import Sequence
from typing import Final

from jobs.breaker_room import BreakerRoom, Head
from jobs.lanes import Lane
from worker.engine.unreadable_records import load_jobs
from worker.store import Store

CANDIDATES: Final = 256
"""Jobs whose inputs are looked at for one probe."""

TAIL_READ: Final = 500
"""Jobs of the tail of a lane from which they are taken, beside those of its head."""


async def other_inputs_first(
    store: Store, room: BreakerRoom, lanes: Sequence[Lane], heads: Sequence[Head], now: float
) -> list[Head]:
    """The heads, each with a job first whose inputs have not failed, if one is found.

    It costs nothing where no several jobs with equal inputs have failed. Jobs with the bad inputs
    may fill the head of a lane, so its newest jobs are candidates too.
    """
    return [
        await _other_inputs_first(store, lane, head, failed, now)
        if head and (failed := room.failed_inputs(lane))
        else head
        for lane, head in zip(lanes, heads, strict=True)
    ]


async def _other_inputs_first(
    store: Store, lane: Lane, head: Head, failed: frozenset[str], now: float
) -> Head:
    others = await store.lanes.tail(lane, TAIL_READ)
    candidates = _spread([*dict.fromkeys([*head, *others])], start=int(now))
    found = await load_jobs(store.jobs, [job_id for job_id, _ in candidates], now)
    for entry, stored in zip(candidates, found, strict=True):
        if stored is not None and stored.job.fingerprint not in failed:
            return [entry, *(other for other in head if other != entry)]
    return head


def _spread(entries: Head, start: int) -> Head:
    """Entries at equal distances, other ones for another start."""
    step = max(1, -(-len(entries) // CANDIDATES))
    return entries[start % step :: step]
