"""Which queued jobs are submitted next: by priority, then lane by lane, and sometimes by age."""

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jobs.lanes import JobId, Lane, Scope, priority_of, queued_at_of
from jobs.rate_limits import NO_LIMIT, Allowance

OLDEST_EVERY: Final = 8
"""Every eighth job comes from the lane whose first job has waited longest, whatever its priority:
lanes of high priority do not starve the others."""


@dataclass(frozen=True, slots=True)
class FreeSlots:
    """How many more jobs may be admitted now."""

    submits: int
    """To be submitted async. A submit holds its slot until the provider has answered."""
    sync_runs: int
    """To be run sync. A sync run holds its slot until it ends, which can take minutes."""

    @property
    def has_any(self) -> bool:
        """Whether a job of either sort may be admitted."""
        return self.submits > 0 or self.sync_runs > 0

    def of_lane(self, *, is_sync_only: bool) -> int:
        """The slots that jobs of a lane may take."""
        return max(0, self.sync_runs if is_sync_only else self.submits)

    def less(self, *, submits: int = 0, sync_runs: int = 0) -> "FreeSlots":
        """What is left after so many admissions."""
        return FreeSlots(self.submits - submits, self.sync_runs - sync_runs)


@dataclass(frozen=True, slots=True)
class Pick:
    """A job to admit."""

    lane: Lane
    job_id: JobId
    priority: int


class _RemainingAllowance:
    """The allowance of each route, less what was picked."""

    def __init__(self, allowances: Mapping[Scope, Allowance]) -> None:
        self._allowances = allowances
        self._taken: dict[Scope, int] = {}

    def allows(self, route: Scope, priority: int) -> bool:
        allowance = self._allowances.get(route, NO_LIMIT)
        limit = allowance.urgent if priority > 0 else allowance.normal
        return self._taken.get(route, 0) < limit

    def take(self, route: Scope) -> None:
        self._taken[route] = self._taken.get(route, 0) + 1


def choose(
    lanes: Sequence[Lane],
    heads: Sequence[Sequence[tuple[JobId, float]]],
    free_slots: FreeSlots,
    lane_room: Mapping[Lane, int],
    *,
    sync_only: Collection[Lane] = (),
    allowances: Mapping[Scope, Allowance] | None = None,
    picked_before: int = 0,
) -> list[Pick]:
    """At most `free_slots` jobs: higher priorities first, lanes of equal priority in turn.

    Lanes of `sync_only` take slots of sync runs, all others those of submits: where the slots of
    one sort are used up, lanes of the other sort go on.

    `lanes` are in the order of their turns. `heads` are the first jobs of each lane with their
    queue scores. `lane_room` is how many more jobs a capped lane may run; lanes without a cap are
    not in it. `allowances` are the requests that each route may make; a route that is not in it has
    no limit. `picked_before` is how many jobs were picked in earlier calls.
    """
    remaining = _RemainingAllowance(allowances or {})
    left = {is_sync: free_slots.of_lane(is_sync_only=is_sync) for is_sync in (False, True)}
    waiting = [
        (-priority_of(head[0][1]), turn, turn, 0)
        for turn, (lane, head) in enumerate(zip(lanes, heads, strict=True))
        if head and lane_room.get(lane, len(head)) > 0
    ]
    heapq.heapify(waiting)
    picks: list[Pick] = []
    turn = len(lanes)
    while waiting and any(left.values()):
        by_age = (picked_before + len(picks) + 1) % OLDEST_EVERY == 0
        _, _, number, taken = _pop_oldest(waiting, heads) if by_age else heapq.heappop(waiting)
        lane, head = lanes[number], heads[number]
        is_sync = lane in sync_only
        if not left[is_sync]:
            continue
        limit = min(len(head), lane_room.get(lane, len(head)))
        while taken < limit and not remaining.allows(lane.route, priority_of(head[taken][1])):
            taken += 1  # an urgent job behind it may use the reserve
        if taken == limit:
            continue
        job_id, score = head[taken]
        priority = priority_of(score)
        left[is_sync] -= 1
        remaining.take(lane.route)
        picks.append(Pick(lane, job_id, priority))
        taken += 1
        if taken < limit:
            heapq.heappush(waiting, (-priority_of(head[taken][1]), turn, number, taken))
            turn += 1
    return picks


_LaneTurn = tuple[int, int, int, int]
"""Of a lane: its next job's negated priority, its turn, its number, how many jobs it has passed."""


def _pop_oldest(
    waiting: list[_LaneTurn], heads: Sequence[Sequence[tuple[JobId, float]]]
) -> _LaneTurn:
    """Remove and return the lane whose next job has waited longest."""
    oldest = min(waiting, key=lambda entry: queued_at_of(heads[entry[2]][entry[3]][1]))
    waiting.remove(oldest)
    heapq.heapify(waiting)
    return oldest
