"""When to look at a run so that its end is found soon and with few looks.

A look at age t that finds the run ended at u comes t - u late. With a price λ (seconds of delay
that one look is worth) the plan that minimises

    E[delay] + λ · E[looks]

is the least expected delay for the number of looks it takes: a plan with as many looks and less
delay would have a smaller sum. Let F be the distribution, S = 1 - F, and W(s) the least cost of all
that comes after age s, weighted by the probability S(s) of getting there. The next look is at the
t > s that minimises

    W(s) = λ·S(s) + ∫ₛᵗ (t - u) dF(u) + W(t)

and since the integral is ∫ₛᵗ (F(u) - F(s)) du = G(t) - G(s) - F(s)·(t - s) with G = ∫F,

    W(s) = λ·S(s) - G(s) + s·F(s) + min over t of [G(t) + W(t) - t·F(s)]

The bracket is a straight line in F(s) for every t, so from the last edge backwards the minimum is
found on the lower envelope of lines: O(n log n) for n edges. Where looks are many, this comes to
looks at the rate √(f / (2λS)): dense where the end is likely, sparse where it is not.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from jobs.polling.samples import Distribution

NO_NEXT_POLL: Final = -1

MAX_TRIES: Final = 12
"""Prices that are tried until a plan takes the wanted number of looks."""

TOLERANCE: Final = 0.02
"""Within which part of the wanted number a plan is good enough."""

PRICE_BOUNDS_S: Final = (1e-6, 1e6)
"""Bounds of λ, seconds a look."""

TAIL_POLLS: Final = 4.0
"""Looks that a run in the tail is thought to take."""

TAIL_DELAY_SHARE: Final = 0.2
"""Delay of a run in the tail, in parts of its age."""


@dataclass(frozen=True, slots=True)
class IntervalBounds:
    """Least and most seconds between two looks."""

    min_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class PollPlan:
    """The next look from every age."""

    ages_s: Sequence[float]
    """Edges in seconds, ascending; the first is 0."""
    next_edges: Sequence[int]
    """The edge at which to look next, for each; `NEVER` where the tail begins."""
    price_s: float
    """λ: how many seconds of delay a look is worth."""
    expected_polls: float
    """Looks a run is expected to take."""
    mean_s: float
    """How long a run is expected to take."""

    @property
    def end_s(self) -> float:
        """The age from which on nothing is known."""
        return self.ages_s[-1]

    def next_poll_age_s(self, age_s: float) -> float | None:
        """The age of the next look, None in the tail."""
        n = bisect_right(self.ages_s, age_s) - 1
        if n >= len(self.ages_s) - 1 or self.next_edges[n] == NO_NEXT_POLL:
            return None
        here = self.ages_s[self.next_edges[n]]
        if n == 0 or self.next_edges[n + 1] == NO_NEXT_POLL:
            return here
        share = (age_s - self.ages_s[n]) / (self.ages_s[n + 1] - self.ages_s[n])
        return here + share * (self.ages_s[self.next_edges[n + 1]] - here)


def plan_for_polls(
    estimate: Distribution,
    polls_per_run: float,
    bounds: IntervalBounds,
    *,
    min_price_s: float = 0.0,
    start_price_s: float = 0.1,
) -> PollPlan:
    """The plan that takes so many looks a run, or fewer where a look costs more than they bring.

    `near_s` is where the search for the price begins: the one of an earlier plan.
    """
    low, high = PRICE_BOUNDS_S
    price, best = start_price_s, plan_at_price(estimate, start_price_s, bounds)
    for _ in range(MAX_TRIES):
        if abs(best.expected_polls - polls_per_run) <= TOLERANCE * polls_per_run:
            break
        low, high = (price, high) if best.expected_polls > polls_per_run else (low, price)
        guess = (
            price * (best.expected_polls / polls_per_run) ** 2
        )  # looks go with 1/√λ where they are many
        price = guess if low < guess < high else math.sqrt(low * high)
        best = plan_at_price(estimate, price, bounds)
    if best.price_s < min_price_s:
        return plan_at_price(estimate, min_price_s, bounds)
    return best


def plan_at_price(estimate: Distribution, price_s: float, bounds: IntervalBounds) -> PollPlan:
    """The plan of least delay at a price."""
    return _PlanSearch(estimate, price_s, bounds).run()


class _PlanSearch:
    """The backward search: one line for every edge, and the lower envelope of those so far."""

    def __init__(self, estimate: Distribution, price_s: float, bounds: IntervalBounds) -> None:
        self._estimate = estimate
        self._ages, self._ended = estimate.edges_s, estimate.ended_shares
        self._observed = estimate.observed_shares or estimate.ended_shares
        """What looks are counted by: F itself is a little wider than the truth."""
        self._price_s, self._bounds = price_s, bounds
        areas = (
            (self._ended[n] + self._ended[n + 1]) / 2 * (self._ages[n + 1] - self._ages[n])
            for n in range(len(self._ages) - 1)
        )
        self._area = list(accumulate(areas, initial=0.0))
        """G: the integral of F up to each edge."""
        self._base = [0.0] * len(self._ages)
        """G(t) + W(t): where each line begins."""
        self._envelope: list[int] = []
        """Edges whose lines are the lowest somewhere, the latest edge first."""

    def run(self) -> PollPlan:
        last = len(self._ages) - 1
        nexts, looks = [NO_NEXT_POLL] * (last + 1), [0.0] * (last + 1)
        looks[last] = self._tail(last, nexts)
        waiting = last
        for n in range(last - 1, -1, -1):
            while waiting > n and self._ages[waiting] >= self._ages[n] + self._bounds.min_s:
                self._add(waiting)
                waiting -= 1
            if not self._envelope:
                looks[n] = self._tail(n, nexts)
                continue
            nexts[n] = target = self._bounded(n, self._best(self._ended[n]))
            self._base[n] = self._cost(n, target)
            looks[n] = (1 - self._observed[n]) + looks[target]
        return PollPlan(self._ages, nexts, self._price_s, looks[0], self._estimate.mean_s)

    def _tail(self, n: int, nexts: list[int]) -> float:
        """What is done where nothing is known is not planned: only its cost is guessed."""
        nexts[n] = NO_NEXT_POLL
        left = 1 - self._ended[n]
        cost = 2 * TAIL_POLLS * self._price_s + TAIL_DELAY_SHARE * self._ages[-1]
        self._base[n] = self._area[n] + left * cost
        return (1 - self._observed[n]) * TAIL_POLLS

    def _cost(self, n: int, target: int) -> float:
        """G(s) + W(s) with the next look at `target`."""
        ended = self._ended[n]
        asked = self._price_s * (1 - ended) + self._ages[n] * ended
        return asked + self._base[target] - self._ages[target] * ended

    def _add(self, new: int) -> None:
        """Put a line on the envelope; lines come in the order of their slopes."""
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
        """The edge whose line is the lowest at F = `ended`."""
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
        """No later than the most that may lie between two looks."""
        latest = self._ages[n] + self._bounds.max_s
        if self._ages[target] <= latest:
            return target
        return max(n + 1, bisect_right(self._ages, latest) - 1)
