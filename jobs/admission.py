"""Who goes next: by priority, within a priority lane by lane, and now and then by age alone."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jobs.lanes import JobId, Lane, Scope, priority_of, queued_at_of
from jobs.rate_limits import NO_LIMIT, Allowance

OLDEST_EVERY: Final = 8
"""Every so many jobs the lane goes first whose first job waits longest, whatever its priority: no
lane is starved for ever by those that are always more urgent."""


@dataclass(frozen=True, slots=True)
class Pick:
    """A job whose turn it is."""

    lane: Lane
    job_id: JobId
    priority: int

    @property
    def is_urgent(self) -> bool:
        """Whether it may take of what is reserved for the urgent."""
        return self.priority > 0


class _RemainingAllowance:
    """What the routes have left, counted down by what is picked."""

    def __init__(self, allowances: Mapping[Scope, Allowance]) -> None:
        self._allowances = allowances
        self._taken: dict[Scope, int] = {}

    def allows(self, route: Scope, priority: int) -> bool:
        left = self._allowances.get(route, NO_LIMIT)
        most = left.urgent if priority > 0 else left.normal
        return self._taken.get(route, 0) < most

    def take(self, route: Scope) -> None:
        self._taken[route] = self._taken.get(route, 0) + 1


def choose(
    lanes: Sequence[Lane],
    heads: Sequence[Sequence[tuple[JobId, float]]],
    free_slots: int,
    lane_room: Mapping[Lane, int],
    *,
    allowances: Mapping[Scope, Allowance] | None = None,
    picked_before: int = 0,
) -> list[Pick]:
    """At most `free` jobs: higher priority first, lanes of equal priority taking turns.

    `lanes` come in the order of their turns, `heads` are the first jobs of each with their place
    in line, `room` says how many more a capped lane may run, `left` how many requests each route
    has left (none named: any number), `served` how many were picked before.
    """
    budget = _RemainingAllowance(allowances or {})
    waiting = [
        (-priority_of(head[0][1]), turn, turn, 0)
        for turn, (lane, head) in enumerate(zip(lanes, heads, strict=True))
        if head and lane_room.get(lane, free_slots) > 0
    ]
    heapq.heapify(waiting)
    picks: list[Pick] = []
    turn = len(lanes)
    while waiting and len(picks) < free_slots:
        by_age = (picked_before + len(picks) + 1) % OLDEST_EVERY == 0
        _, _, number, taken = _pop_oldest(waiting, heads) if by_age else heapq.heappop(waiting)
        lane, head = lanes[number], heads[number]
        most = min(len(head), lane_room.get(lane, free_slots))
        while taken < most and not budget.allows(lane.route, priority_of(head[taken][1])):
            taken += 1  # the urgent behind it may take of what is reserved
        if taken == most:
            continue
        job_id, place = head[taken]
        priority = priority_of(place)
        budget.take(lane.route)
        picks.append(Pick(lane, job_id, priority))
        taken += 1
        if taken < most:
            heapq.heappush(waiting, (-priority_of(head[taken][1]), turn, number, taken))
            turn += 1
    return picks


_LaneTurn = tuple[int, int, int, int]


def _pop_oldest(
    waiting: list[_LaneTurn], heads: Sequence[Sequence[tuple[JobId, float]]]
) -> _LaneTurn:
    """Take out the lane whose first job waits longest."""
    oldest = min(waiting, key=lambda entry: queued_at_of(heads[entry[2]][entry[3]][1]))
    waiting.remove(oldest)
    heapq.heapify(waiting)
    return oldest
