"""Poll schedules: when a running job is polled next."""

import math
from dataclasses import dataclass, field
from typing import Final

from jobs.polling.plan import IntervalBounds, PollPlan, plan_for_polls
from jobs.polling.samples import Distribution

INTERVAL_GROWTH: Final = 0.25
"""The next poll comes after a quarter of the run's age. So the delay stays in proportion to the
duration, and a run takes O(log age) polls."""

UNKNOWN_MIN_FACTOR: Final = 2.0
"""The first interval of a run of unknown duration, in units of `min_s`."""

STUCK_POLL_INTERVAL_S: Final = 300.0
"""Interval between polls of a run past its deadline."""

SAFETY_NET_FIRST_S: Final = 30.0
"""Least time until the first poll of a run that announces a webhook."""

FAILURE_BACKOFF_S: Final = 1.0
"""The first interval after a failed poll is at least this, also where `min_s` is shorter."""

PLAN_JITTER: Final = 0.3
"""Jitter of a planned poll, as a share of the shorter of the intervals before and after it.

The cost is flat around the optimum, so this adds about 1 % of delay, and runs that began together
are not polled together.
"""


@dataclass(frozen=True, slots=True)
class PollSchedule:
    """Intervals that grow with the age of the run, between two bounds, with jitter."""

    min_s: float = 0.5
    max_s: float = 30.0
    price_s: float = 0.0
    """λ: how many seconds of delay a poll is worth; 0 where polls are not scarce."""

    def __post_init__(self) -> None:
        """Raise ValueError unless 0 < min_s ≤ max_s."""
        if not 0 < self.min_s <= self.max_s:
            raise ValueError(f"min_s {self.min_s} must be above 0 and at most max_s {self.max_s}")

    def next_delay_s(self, age_s: float, jitter: float) -> float:
        """Seconds until the next poll of a run that started `age_s` ago; `jitter` in [0, 1).

        At a price λ the best interval is √(2λS/f) (see `plan`); f/S is taken as 1/age here.
        """
        interval_s = max(
            UNKNOWN_MIN_FACTOR * self.min_s,
            age_s * INTERVAL_GROWTH,
            math.sqrt(2 * self.price_s * age_s),
        )
        return min(self.max_s, interval_s) * (0.9 + 0.2 * jitter)

    def failure_delay_s(self, failures: int, jitter: float, floor_s: float | None = None) -> float:
        """Seconds until the next poll after `failures` failed ones in a row, at least `floor_s`."""
        interval_s = min(self.max_s, max(self.min_s, FAILURE_BACKOFF_S) * 2.0 ** min(failures, 30))
        return max(floor_s or 0.0, interval_s * (0.5 + 0.5 * jitter))


@dataclass(frozen=True, slots=True)
class SafetyNetSchedule(PollSchedule):
    """For runs whose end a webhook reports: a late first poll, then one whenever the age doubles.

    It finds the end if the webhook is lost, and takes O(log age) polls. Failed polls are repeated
    at the usual intervals.
    """

    def next_delay_s(self, age_s: float, jitter: float) -> float:
        """Seconds until the next poll of a run that started `age_s` ago; `jitter` in [0, 1)."""
        first = max(SAFETY_NET_FIRST_S, 4.0 * self.max_s)
        return max(first, age_s) * (0.9 + 0.2 * jitter)


@dataclass(frozen=True, slots=True)
class PlannedSchedule(PollSchedule):
    """Polls when the end is likely, by a plan made from the durations of the target's runs."""

    plan: PollPlan = field(kw_only=True)

    def next_delay_s(self, age_s: float, jitter: float) -> float:
        """Seconds until the next poll of a run that started `age_s` ago; `jitter` in [0, 1).

        Always between `min_s` and `max_s`.
        """
        next_age_s = self.plan.next_poll_age_s(age_s)
        if next_age_s is None:
            interval_s = min(self.max_s, max(self.min_s, self._tail_delay_s(age_s)))
            return self._within_bounds(interval_s * (0.9 + 0.2 * jitter))
        interval_s = min(self.max_s, max(self.min_s, next_age_s - age_s))
        following_age_s = self.plan.next_poll_age_s(age_s + interval_s)
        following_s = (
            self._tail_delay_s(next_age_s)
            if following_age_s is None
            else following_age_s - age_s - interval_s
        )
        shorter_s = min(interval_s, max(self.min_s, following_s))
        return self._within_bounds(interval_s + (jitter - 0.5) * PLAN_JITTER * shorter_s)

    def _tail_delay_s(self, age_s: float) -> float:
        """The interval in the tail: it grows from the last planned one to a quarter of the age."""
        beyond_s = max(0.0, age_s - self.plan.end_s)
        return min(
            INTERVAL_GROWTH * age_s,
            math.sqrt(self.plan.price_s * age_s) + INTERVAL_GROWTH * beyond_s,
        )

    def _within_bounds(self, interval_s: float) -> float:
        """The interval mirrored at the bounds: clipped there, many polls would coincide."""
        if interval_s < self.min_s:
            interval_s = 2 * self.min_s - interval_s
        if interval_s > self.max_s:
            interval_s = 2 * self.max_s - interval_s
        return min(self.max_s, max(self.min_s, interval_s))


def planned_schedule(
    estimate: Distribution,
    *,
    polls_per_run: float,
    min_s: float,
    max_s: float,
    min_price_s: float = 0.0,
    start_price_s: float = 0.1,
) -> PlannedSchedule:
    """The schedule that takes `polls_per_run` polls, or fewer at a price of `min_price_s`."""
    plan = plan_for_polls(
        estimate,
        polls_per_run,
        IntervalBounds(min_s, max_s),
        min_price_s=min_price_s,
        start_price_s=start_price_s,
    )
    return PlannedSchedule(min_s, max_s, plan.price_s, plan=plan)
