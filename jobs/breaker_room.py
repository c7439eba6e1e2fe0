"""What probing breakers leave for admission: how many submits, and of which jobs first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jobs.breakers import Breaker, BreakerCause
from jobs.lanes import JobId, Lane, Scope
from jobs.rate_limits import Allowance

PROBE_CHOICE: Final = 500
"""Jobs of a lane among which the next probe is chosen."""

Head = list[tuple[JobId, float]]
"""The first jobs of a lane with their queue scores."""


@dataclass(frozen=True, slots=True)
class BreakerRoom:
    """What is left of the steps of probing breakers."""

    left: Mapping[Scope, int]
    """Scope → submits that it lets through now; other scopes are not limited."""
    breakers: Mapping[Scope, Breaker]
    """Lane → the breaker of its target, if that probes."""
    slowed: frozenset[Scope] = frozenset()
    """Lanes that lost answers themselves: their own breaker lets only some submits through."""

    def of_lane(self, lane: Lane) -> bool:
        """Whether every breaker that covers the lane has room for a submit."""
        return all(self.left.get(scope, 1) > 0 for scope in lane.scopes)

    def heads(self, lane: Lane) -> int:
        """How many of its first jobs have to be read to choose one that probes the lane."""
        return PROBE_CHOICE if Scope(str(lane)) in self.breakers else 0

    def in_turn(self, lane: Lane, head: Head) -> Head:
        """The first jobs of a lane in the order in which they probe it.

        Those that probed it last come only if there are no others. Priorities do not count: jobs
        whose inputs always fail could be the first of the lane. Each probe begins elsewhere.
        """
        breaker = self.breakers.get(Scope(str(lane)))
        if breaker is None or not head:
            return head
        probed = set(breaker.probed_jobs)
        others = [entry for entry in head if entry[0] not in probed] or head
        first = breaker.epoch % len(others)
        return others[first:] + others[:first]

    def failed_inputs(self, lane: Lane) -> frozenset[str]:
        """Digests of the inputs that failed, if a job with others should probe the lane."""
        breaker = self.breakers.get(Scope(str(lane)))
        return frozenset() if breaker is None else breaker.suspect_inputs

    def within(self, lane_room: Mapping[Lane, int], lanes: Sequence[Lane]) -> dict[Lane, int]:
        """How many more jobs each lane may run, by its cap and its breaker."""
        found = dict(lane_room)
        for lane in lanes:
            left = self.left.get(Scope(str(lane)))
            if left is not None:
                found[lane] = min(left, found.get(lane, left))
        return found

    def unslowed_first(
        self, lane_room: Mapping[Lane, int], lanes: Sequence[Lane], heads: Sequence[Head]
    ) -> dict[Lane, int]:
        """How many more jobs each lane may run, none of slowed lanes while others probe the route.

        A lane that loses every answer would keep its route stopped by being its canary.
        """
        found = dict(lane_room)
        probing = {
            lane.route
            for lane, head in zip(lanes, heads, strict=True)
            if head and Scope(str(lane)) not in self.slowed and found.get(lane, 1) > 0
        }.intersection(self.left)
        for lane in lanes:
            if lane.route in probing and Scope(str(lane)) in self.slowed:
                found[lane] = 0
        return found

    def allowances(self, allowances: Mapping[Scope, Allowance]) -> dict[Scope, Allowance]:
        """The requests that each route may make, by its rate limit and its breaker."""
        return {
            route: allowance
            if (left := self._left_of_route(route)) is None
            else Allowance(min(left, allowance.normal), min(left, allowance.urgent))
            for route, allowance in allowances.items()
        }

    def _left_of_route(self, route: Scope) -> int | None:
        scopes = (Scope(route.partition("/")[0]), route)
        return min((self.left[one] for one in scopes if one in self.left), default=None)


def breaker_room(breakers: Iterable[Breaker], counts: Sequence[int], now: float) -> BreakerRoom:
    """What is left of the steps of breakers, of which so many submits or runs are counted now."""
    left: dict[Scope, int] = {}
    probes: dict[Scope, Breaker] = {}
    slowed: set[Scope] = set()
    for breaker, count in zip(breakers, counts, strict=True):
        free = max(0, (breaker.submits_allowed(now) or 0) - count)
        left[breaker.scope] = min(free, left.get(breaker.scope, free))
        if breaker.cause is BreakerCause.TARGET_FAILURE:
            probes[breaker.scope] = breaker
        elif breaker.route_key is not None:
            slowed.add(breaker.scope)
    return BreakerRoom(left, probes, frozenset(slowed))
