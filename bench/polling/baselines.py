"""What polls are compared with: the optimum, who knows the distribution, and plain policies.

The optimum is found by itself, from the true distribution and over a grid of its own, and shares
nothing with the code that it is held against.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise
from typing import Final

from bench.polling.duration_cases import DurationCase

GRID: Final = 800
"""Points of time, evenly spread over the logarithm."""

PRICES: Final = 32
"""Points of the optimum's curve."""

QUANTILES: Final = 20_000


@dataclass(frozen=True, slots=True)
class PolicyPoint:
    """What a policy comes to."""

    polls: float
    """Polls a run, on average."""
    delay_s: float
    """From a run's end to the poll that finds it, on average."""
    p99_s: float = math.nan
    """The delay that one run of a hundred exceeds."""


@cache
def optimum(case: DurationCase) -> tuple[PolicyPoint, ...]:
    """The least delay for any number of polls: a curve, by rising number of polls."""
    first, last = case.span()
    step = math.log(last / first) / (GRID - 1)
    ages = [0.0] + [first * math.exp(step * n) for n in range(GRID)]
    ended = [case.ended_by(age) for age in ages[:-1]] + [1.0]
    points = [_cheapest(ages, ended, last / 8 * 0.7**n) for n in range(PRICES)]
    return tuple(sorted(points, key=lambda point: point.polls))


def _cheapest(ages: Sequence[float], ended: Sequence[float], price: float) -> PolicyPoint:
    """Dynamic programming: the policy of least E[delay] + price · E[polls].

    `cost[s]` is the least of what comes after age s, weighted by the share of runs that get there.
    """
    steps = zip(pairwise(ended), pairwise(ages), strict=True)
    areas = [(a + b) / 2 * (t - s) for (a, b), (s, t) in steps]
    area = list(accumulate(areas, initial=0.0))
    points = len(ages)
    cost, polls = [0.0] * points, [0.0] * points
    for s in range(points - 2, -1, -1):
        left = 1 - ended[s]
        least, best = math.inf, points - 1
        for t in range(s + 1, points):
            late = area[t] - area[s] - ended[s] * (ages[t] - ages[s])
            if late > least:
                break  # it only grows from here on
            if late + cost[t] < least:
                least, best = late + cost[t], t
        cost[s] = price * left + least
        polls[s] = left + polls[best]
    return PolicyPoint(polls[0], cost[0] - price * polls[0])


def at_polls(curve: Sequence[PolicyPoint], polls: float) -> float:
    """The delay of a curve at a number of polls: between two points, as if polls · delay did."""
    n = bisect_left([point.polls for point in curve], polls)
    if n in (0, len(curve)):
        raise ValueError(f"{polls} polls lie off the curve")
    a, b = curve[n - 1], curve[n]
    share = (polls - a.polls) / (b.polls - a.polls)
    return math.exp(math.log(a.delay_s) * (1 - share) + math.log(b.delay_s) * share)


def at_delay(curve: Sequence[PolicyPoint], delay_s: float) -> float:
    """The number of polls at which a curve comes to a delay."""
    mirrored = sorted(
        (PolicyPoint(p.delay_s, p.polls) for p in curve), key=lambda point: point.polls
    )
    return at_polls(mirrored, delay_s)


@cache
def fixed_at(case: DurationCase, polls: float) -> PolicyPoint:
    """The one fixed interval that takes so many polls a run."""
    short, long = 1e-3, 10 * case.span()[1]
    for _ in range(60):
        interval = math.sqrt(short * long)
        short, long = (interval, long) if _count(case, interval) > polls else (short, interval)
    return fixed(case, long)


def fixed(case: DurationCase, interval_s: float) -> PolicyPoint:
    """A poll at a fixed interval."""
    return _measure_policy(case, lambda age: age + interval_s)


def _count(case: DurationCase, interval_s: float) -> float:
    last = case.span()[1]
    return 1 + sum(
        1 - case.ended_by(n * interval_s) for n in range(1, math.ceil(last / interval_s) + 1)
    )


@cache
def backoff(case: DurationCase) -> PolicyPoint:
    """The usual one: after 1 s, then pauses that grow by half, at most 20 s."""
    polls_at, pause = [0.0], 1.0
    while polls_at[-1] < 2 * case.span()[1]:
        polls_at.append(polls_at[-1] + pause)
        pause = min(20.0, pause * 1.5)
    return _measure_policy(case, lambda age: polls_at[bisect_left(polls_at, age) + 1])


def _measure_policy(case: DurationCase, following: Callable[[float], float]) -> PolicyPoint:
    """Play a policy without chance over evenly spread quantiles of the distribution."""
    durations = _quantiles(case)
    delays: list[float] = []
    poll_at, count, polls = following(0.0), 1, 0
    for duration in durations:
        while poll_at < duration:
            poll_at, count = following(poll_at), count + 1
        delays.append(poll_at - duration)
        polls += count
    delays.sort()
    return PolicyPoint(
        polls / len(durations), sum(delays) / len(delays), delays[int(0.99 * len(delays))]
    )


@cache
def _quantiles(case: DurationCase) -> tuple[float, ...]:
    """Durations, ascending."""
    first, last = case.span()
    step = math.log(last / first) / 4_000
    ages = [first * math.exp(step * n) for n in range(4_001)]
    ended = [case.ended_by(age) for age in ages]
    found: list[float] = []
    n = 0
    for number in range(QUANTILES):
        share = (number + 0.5) / QUANTILES
        while n < len(ended) - 1 and ended[n] < share:
            n += 1
        within = 1.0
        if n and ended[n] > ended[n - 1]:
            within = min(1.0, max(0.0, (share - ended[n - 1]) / (ended[n] - ended[n - 1])))
        found.append(ages[n - 1] + within * (ages[n] - ages[n - 1]) if n else ages[0])
    return tuple(found)
