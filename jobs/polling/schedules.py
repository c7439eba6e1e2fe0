"""When to look at a running job again: the schedules, and which of them suits a run."""

import math
from dataclasses import dataclass, field
from typing import Final

from jobs.polling.plan import IntervalBounds, PollPlan, plan_for_polls
from jobs.polling.samples import Distribution

INTERVAL_GROWTH: Final = 0.25
"""The next look comes after a quarter of the run's age: the delay stays in proportion to the wait,
and a run of any length costs O(log age) looks."""

UNKNOWN_MIN_FACTOR: Final = 2.0
"""The least pause where nothing is known, in least pauses."""

STUCK_POLL_INTERVAL_S: Final = 300.0
"""How often a run past its deadline is looked at."""

SAFETY_NET_FIRST_S: Final = 30.0
"""The least time until a run is looked at whose end a webhook is to tell."""

FAILURE_BACKOFF_S: Final = 1.0
"""The unit of the pauses after looks that did not get through, however soon looks may follow."""

PLAN_JITTER: Final = 0.3
"""How far a planned look is moved about, in parts of the pause before or after it, the shorter.

Around the best moment the cost is flat, so this costs about 1 % of delay, and runs that began
together are not looked at together.
"""


@dataclass(frozen=True, slots=True)
class PollSchedule:
    """Geometric steps between two bounds, jittered so that jobs never look in step."""

    min_s: float = 0.5
    max_s: float = 30.0
    price_s: float = 0.0
    """How many seconds of delay a look is worth, where looks are scarce."""

    def __post_init__(self) -> None:
        """Refuse bounds that cannot be meant."""
        if not 0 < self.min_s <= self.max_s:
            raise ValueError(f"min_s {self.min_s} must be above 0 and at most max_s {self.max_s}")

    def next_delay_s(self, age_s: float, jitter: float) -> float:
        """Seconds until the next look at a run that started `age_s` ago; `jitter` in [0, 1).

        At a price λ the best pause is √(2λS/f); with nothing known, f/S is taken as 1/age.
        """
        pause = max(
            UNKNOWN_MIN_FACTOR * self.min_s,
            age_s * INTERVAL_GROWTH,
            math.sqrt(2 * self.price_s * age_s),
        )
        return min(self.max_s, pause) * (0.9 + 0.2 * jitter)

    def failure_delay_s(self, failures: int, jitter: float, floor_s: float | None = None) -> float:
        """Seconds until the next look after `troubles` looks in a row that did not get through."""
        step = min(self.max_s, max(self.min_s, FAILURE_BACKOFF_S) * 2.0 ** min(failures, 30))
        return max(floor_s or 0.0, step * (0.5 + 0.5 * jitter))


@dataclass(frozen=True, slots=True)
class SafetyNetSchedule(PollSchedule):
    """For runs whose end a webhook tells: the first look late, then each at twice the run's age.

    A lost webhook is found out by it, at the cost of O(log age) looks. Trouble is another matter:
    there the steps are the usual ones.
    """

    def next_delay_s(self, age_s: float, jitter: float) -> float:
        """Seconds until the next look at a run that started `age_s` ago; `jitter` in [0, 1)."""
        first = max(SAFETY_NET_FIRST_S, 4.0 * self.max_s)
        return max(first, age_s) * (0.9 + 0.2 * jitter)


@dataclass(frozen=True, slots=True)
class PlannedSchedule(PollSchedule):
    """Looks when the end is likely, by a plan made from how long runs of the target took."""

    plan: PollPlan = field(kw_only=True)

    def next_delay_s(self, age_s: float, jitter: float) -> float:
        """Seconds until the next look at a run that started `age_s` ago; `jitter` in [0, 1).

        Always between the two bounds.
        """
        look = self.plan.next_poll_age_s(age_s)
        if look is None:
            pause = min(self.max_s, max(self.min_s, self._tail_delay_s(age_s)))
            return self._within(pause * (0.9 + 0.2 * jitter))
        pause = min(self.max_s, max(self.min_s, look - age_s))
        following = self.plan.next_poll_age_s(age_s + pause)
        then = self._tail_delay_s(look) if following is None else following - age_s - pause
        return self._within(
            pause + (jitter - 0.5) * PLAN_JITTER * min(pause, max(self.min_s, then))
        )

    def _tail_delay_s(self, age_s: float) -> float:
        """From the last of the planned pauses on they grow towards a quarter of the age."""
        beyond = max(0.0, age_s - self.plan.end_s)
        return min(
            INTERVAL_GROWTH * age_s, math.sqrt(self.plan.price_s * age_s) + INTERVAL_GROWTH * beyond
        )

    def _within(self, pause: float) -> float:
        """Mirrored at the bounds: cut off there, many would look at the same moment."""
        if pause < self.min_s:
            pause = 2 * self.min_s - pause
        if pause > self.max_s:
            pause = 2 * self.max_s - pause
        return min(self.max_s, max(self.min_s, pause))


def planned_schedule(
    estimate: Distribution,
    *,
    polls_per_run: float,
    min_s: float,
    max_s: float,
    min_price_s: float = 0.0,
    start_price_s: float = 0.1,
) -> PlannedSchedule:
    """The schedule that takes `looks` a run, or fewer where the least price is above its own."""
    plan = plan_for_polls(
        estimate,
        polls_per_run,
        IntervalBounds(min_s, max_s),
        min_price_s=min_price_s,
        start_price_s=start_price_s,
    )
    return PlannedSchedule(min_s, max_s, plan.price_s, plan=plan)
