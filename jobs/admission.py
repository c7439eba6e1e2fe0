"""Who goes next: by priority, and within a priority lane by lane."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobs.lanes import JobId, Lane, priority_of


@dataclass(frozen=True, slots=True)
class Pick:
    """A job whose turn it is."""

    lane: Lane
    job_id: JobId


def choose(
    lanes: Sequence[Lane],
    heads: Sequence[Sequence[tuple[JobId, float]]],
    free: int,
    room: Mapping[Lane, int],
) -> list[Pick]:
    """At most `free` jobs: higher priority first, lanes of equal priority taking turns.

    `lanes` come in the order of their turns, `heads` are the first jobs of each with their place
    in line, `room` says how many more a capped lane may run.
    """
    waiting = [
        (-priority_of(head[0][1]), turn, turn, 0)
        for turn, (lane, head) in enumerate(zip(lanes, heads, strict=True))
        if head and room.get(lane, free) > 0
    ]
    heapq.heapify(waiting)
    picks: list[Pick] = []
    turn = len(lanes)
    while waiting and len(picks) < free:
        _, _, number, taken = heapq.heappop(waiting)
        lane, head = lanes[number], heads[number]
        picks.append(Pick(lane, head[taken][0]))
        taken += 1
        if taken < min(len(head), room.get(lane, free)):
            heapq.heappush(waiting, (-priority_of(head[taken][1]), turn, number, taken))
            turn += 1
    return picks
