"""Poll plans: at which ages to poll a run, so that its end is found soon and with few polls.

A poll at age t that finds a run that ended at age u is t - u late. With a price λ (the seconds of
delay that one poll is worth) the plan that minimises

    E[delay] + λ · E[polls]

has the least expected delay for its number of polls: a plan with as many polls and less delay would
have a smaller sum. Let F be the distribution of durations, S = 1 - F, and W(s) the least cost after
age s, weighted by the probability S(s) of reaching it. The next poll is at the t > s that minimises

    W(s) = λ·S(s) + ∫ₛᵗ (t - u) dF(u) + W(t)

and since the integral is ∫ₛᵗ (F(u) - F(s)) du = G(t) - G(s) - F(s)·(t - s) with G = ∫F,

    W(s) = λ·S(s) - G(s) + s·F(s) + min over t of [G(t) + W(t) - t·F(s)]

The bracket is a straight line in F(s) for every t. So, going backwards from the last edge, the
minimum is found on the lower envelope of lines, in O(n log n) for n edges. Many polls come at a
rate of √(f / (2λS)), where f is the density of F: dense where the end is likely.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from jobs.polling.samples import Distribution

NO_NEXT_POLL: Final = -1
"""In place of an edge: the tail begins here."""

MAX_TRIES: Final = 12
"""Most prices that are tried to find the plan with the wanted number of polls."""

TOLERANCE: Final = 0.02
"""Relative error of the number of polls at which the search stops."""

PRICE_BOUNDS_S: Final = (1e-6, 1e6)
"""Bounds of λ, in seconds of delay per poll."""

TAIL_POLLS: Final = 4.0
"""Assumed polls of a run in the tail."""

TAIL_DELAY_SHARE: Final = 0.2
"""Assumed delay of a run in the tail, as a share of its age."""


@dataclass(frozen=True, slots=True)
class IntervalBounds:
    """Least and most seconds between two polls."""

    min_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class PollPlan:
    """The next poll from every age."""

    ages_s: Sequence[float]
    """Edges in seconds, ascending; the first is 0."""
    next_edges: Sequence[int]
    """For each edge the one at which to poll next; `NO_NEXT_POLL` where the tail begins."""
    price_s: float
    """λ: how many seconds of delay a poll is worth."""
    expected_polls: float
    """Expected polls of a run."""
    mean_s: float
    """Expected duration of a run."""

    @property
    def end_s(self) -> float:
        """The age at which the tail begins, about which nothing is known."""
        return self.ages_s[-1]

    def next_poll_age_s(self, age_s: float) -> float | None:
        """The age of the next poll, interpolated between edges; None in the tail."""
        n = bisect_right(self.ages_s, age_s) - 1
        if n >= len(self.ages_s) - 1 or self.next_edges[n] == NO_NEXT_POLL:
            return None
        next_age_s = self.ages_s[self.next_edges[n]]
        if n == 0 or self.next_edges[n + 1] == NO_NEXT_POLL:
            return next_age_s
        share = (age_s - self.ages_s[n]) / (self.ages_s[n + 1] - self.ages_s[n])
        return next_age_s + share * (self.ages_s[self.next_edges[n + 1]] - next_age_s)


def plan_for_polls(
    estimate: Distribution,
    polls_per_run: float,
    bounds: IntervalBounds,
    *,
    min_price_s: float = 0.0,
    start_price_s: float = 0.1,
) -> PollPlan:
    """The plan that takes `polls_per_run` polls, or fewer at a price of `min_price_s`.

    `start_price_s` is where the search for the price begins, such as the price of an earlier plan.
    """
    low, high = PRICE_BOUNDS_S
    price, best = start_price_s, plan_at_price(estimate, start_price_s, bounds)
    for _ in range(MAX_TRIES):
        if abs(best.expected_polls - polls_per_run) <= TOLERANCE * polls_per_run:
            break
        low, high = (price, high) if best.expected_polls > polls_per_run else (low, price)
        guess = (
            price * (best.expected_polls / polls_per_run) ** 2
        )  # many polls are proportional to 1/√λ
        price = guess if low < guess < high else math.sqrt(low * high)
        best = plan_at_price(estimate, price, bounds)
    if best.price_s < min_price_s:
        return plan_at_price(estimate, min_price_s, bounds)
    return best


def plan_at_price(estimate: Distribution, price_s: float, bounds: IntervalBounds) -> PollPlan:
    """The plan of least delay plus polls times `price_s`."""
    return _PlanSearch(estimate, price_s, bounds).run()


class _PlanSearch:
    """The backward search: one line for each edge, and the lower envelope of the lines so far."""

    def __init__(self, estimate: Distribution, price_s: float, bounds: IntervalBounds) -> None:
        self._estimate = estimate
        self._ages, self._ended = estimate.edges_s, estimate.ended_shares
        self._observed = estimate.observed_shares or estimate.ended_shares
        """The distribution to count polls by: F is a little wider than the true one."""
        self._price_s, self._bounds = price_s, bounds
        areas = (
            (self._ended[n] + self._ended[n + 1]) / 2 * (self._ages[n + 1] - self._ages[n])
            for n in range(len(self._ages) - 1)
        )
        self._area = list(accumulate(areas, initial=0.0))
        """G: the integral of F up to each edge."""
        self._base = [0.0] * len(self._ages)
        """G(t) + W(t): the intercept of each line."""
        self._envelope: list[int] = []
        """Edges whose lines are on the lower envelope, the latest edge first."""

    def run(self) -> PollPlan:
        last = len(self._ages) - 1
        nexts, polls = [NO_NEXT_POLL] * (last + 1), [0.0] * (last + 1)
        polls[last] = self._tail(last, nexts)
        waiting = last
        for n in range(last - 1, -1, -1):
            while waiting > n and self._ages[waiting] >= self._ages[n] + self._bounds.min_s:
                self._add(waiting)
                waiting -= 1
            if not self._envelope:
                polls[n] = self._tail(n, nexts)
                continue
            nexts[n] = target = self._bounded(n, self._best(self._ended[n]))
            self._base[n] = self._cost(n, target)
            polls[n] = (1 - self._observed[n]) + polls[target]
        return PollPlan(self._ages, nexts, self._price_s, polls[0], self._estimate.mean_s)

    def _tail(self, n: int, nexts: list[int]) -> float:
        """End the plan at edge n, with the assumed cost of the tail; returns its expected polls."""
        nexts[n] = NO_NEXT_POLL
        left = 1 - self._ended[n]
        cost = 2 * TAIL_POLLS * self._price_s + TAIL_DELAY_SHARE * self._ages[-1]
        self._base[n] = self._area[n] + left * cost
        return (1 - self._observed[n]) * TAIL_POLLS

    def _cost(self, n: int, target: int) -> float:
        """G(s) + W(s) with the next poll at `target`."""
        ended = self._ended[n]
        own_part = self._price_s * (1 - ended) + self._ages[n] * ended
        return own_part + self._base[target] - self._ages[target] * ended

    def _add(self, new: int) -> None:
        """Add a line to the envelope; lines are added in the order of their slopes."""
        lines, base, ages = self._envelope, self._base, self._ages
        while len(lines) > 1:
            late, middle = lines[-2], lines[-1]
            meets_new = (base[late] - base[new]) * (ages[late] - ages[middle])
            meets_middle = (base[late] - base[middle]) * (ages[late] - ages[new])
            if meets_new < meets_middle:
                break
            lines.pop()
        lines.append(new)

    def _best(self, ended: float) -> int:
        """The edge whose line is lowest at F = `ended`."""
        lines, base, ages = self._envelope, self._base, self._ages
        low, high = 0, len(lines) - 1
        while low < high:
            middle = (low + high) // 2
            a, b = lines[middle], lines[middle + 1]
            if base[a] - ages[a] * ended <= base[b] - ages[b] * ended:
                high = middle
            else:
                low = middle + 1
        return lines[low]

    def _bounded(self, n: int, target: int) -> int:
        """`target`, or the last edge within `max_s` of edge n."""
        latest = self._ages[n] + self._bounds.max_s
        if self._ages[target] <= latest:
            return target
        return max(n + 1, bisect_right(self._ages, latest) - 1)
