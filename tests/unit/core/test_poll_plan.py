"""A plan is optimal at its price and within its bounds."""

import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.polling.estimator import estimate_durations
from jobs.polling.plan import (
    NO_NEXT_POLL,
    TAIL_POLLS,
    IntervalBounds,
    PollPlan,
    plan_at_price,
    plan_for_polls,
)
from jobs.polling.samples import Distribution
from tests.unit.core.test_estimator import lognormal, webhook_samples

FREE = IntervalBounds(1e-9, 1e9)
quick = settings(max_examples=40, database=None)


@st.composite
def small(draw: st.DrawFn) -> Distribution:
    """A distribution of a few bins, its tail empty."""
    widths = draw(st.lists(st.floats(0.5, 5), min_size=2, max_size=7))
    shares = draw(st.lists(st.integers(1, 20), min_size=len(widths), max_size=len(widths)))
    edges, ended = [0.0], [0.0]
    for width, share in zip(widths, shares, strict=True):
        edges.append(edges[-1] + width)
        ended.append(ended[-1] + share / sum(shares))
    return Distribution(edges, [*ended[:-1], 1.0])


def total_delay(estimate: Distribution, begin: int, end: int) -> float:
    """The delay that a poll at `end` causes to runs that ended since `begin`, by plain sums."""
    found = 0.0
    for n in range(begin, end):
        middle = (estimate.edges_s[n] + estimate.edges_s[n + 1]) / 2
        share = estimate.ended_shares[n + 1] - estimate.ended_shares[n]
        found += share * (estimate.edges_s[end] - middle)
    return found


def cost(estimate: Distribution, polls: list[int], price: float) -> float:
    """E[delay] + price · E[polls] of polls at these edges."""
    begins = [0, *polls[:-1]]
    return sum(
        total_delay(estimate, begin, end) + price * (1 - estimate.ended_shares[begin])
        for begin, end in zip(begins, polls, strict=True)
    )


def best(estimate: Distribution, price: float) -> float:
    """The least cost of every set of edges, by brute force."""
    last = len(estimate.edges_s) - 1
    inner = range(1, last)
    return min(
        cost(estimate, [n for n in inner if chosen >> n & 1] + [last], price)
        for chosen in range(0, 1 << last, 2)
    )


def planned_polls(plan: PollPlan) -> list[int]:
    polls, n = list[int](), 0
    while plan.next_edges[n] != NO_NEXT_POLL:
        n = plan.next_edges[n]
        polls.append(n)
    return polls


@quick
@given(small(), st.floats(0.01, 10))
def test_no_other_polls_cost_less(estimate: Distribution, price: float) -> None:
    polls = planned_polls(plan_at_price(estimate, price, FREE))
    assert polls[-1] == len(estimate.edges_s) - 1
    assert cost(estimate, polls, price) == pytest.approx(best(estimate, price))


@quick
@given(small(), st.floats(0.01, 10))
def test_a_plan_says_how_many_polls_it_takes(estimate: Distribution, price: float) -> None:
    plan = plan_at_price(estimate, price, FREE)
    begins = [0, *planned_polls(plan)[:-1]]
    assert plan.expected_polls == pytest.approx(sum(1 - estimate.ended_shares[n] for n in begins))


@quick
@given(small(), small(), st.floats(0.01, 10))
def test_polls_are_counted_by_the_runs_as_they_were_observed(
    estimate: Distribution, other: Distribution, price: float
) -> None:
    """The smoothed estimate decides when to poll, the observed one counts the polls."""
    counted = [other.ended_by(age) for age in estimate.edges_s]
    usual = plan_at_price(estimate, price, FREE)
    plan = plan_at_price(replace(estimate, observed_shares=counted), price, FREE)
    assert plan.next_edges == usual.next_edges
    begins = [0, *planned_polls(plan)]
    polls = sum(1 - counted[n] for n in begins[:-1]) + TAIL_POLLS * (1 - counted[begins[-1]])
    assert plan.expected_polls == pytest.approx(polls)


@pytest.mark.parametrize("polls", [2.5, 4.0])
def test_as_many_polls_are_taken_as_were_planned(polls: float) -> None:
    """On average over random estimates; a count by the smoothed one would be 3 % too high."""
    taken = list[float]()
    for seed in range(40):
        estimate = estimate_durations(webhook_samples(lognormal(3, 0.5), 200, seed))
        assert estimate is not None
        plan = plan_for_polls(estimate, polls, IntervalBounds(0.05, 120.0))
        ages = [0.0, *(plan.ages_s[n] for n in planned_polls(plan))]
        taken.append(sum(0.5 * math.erfc(math.log(a / 3) / 0.5 / 2**0.5) for a in ages[1:]) + 1)
    assert sum(taken) / len(taken) == pytest.approx(polls, rel=0.02)


@quick
@given(small(), st.floats(0.01, 5), st.floats(0.1, 4), st.floats(1, 4))
def test_polls_keep_their_bounds_where_the_grid_allows(
    estimate: Distribution, price: float, min_s: float, factor: float
) -> None:
    max_s = min_s * factor
    plan = plan_at_price(estimate, price, IntervalBounds(min_s, max_s))
    widest = max(b - a for a, b in pairwise(estimate.edges_s))
    for n, target in enumerate(plan.next_edges):
        if target != NO_NEXT_POLL:
            interval = estimate.edges_s[target] - estimate.edges_s[n]
            assert interval <= max(max_s, widest) + 1e-9
            assert interval >= min(min_s, max_s - widest) - 1e-9


@pytest.mark.parametrize("polls", [2.5, 4.0, 8.0])
def test_the_wanted_number_of_polls_is_met(polls: float) -> None:
    estimate = estimate_durations(webhook_samples(lognormal(20, 0.4), 200))
    assert estimate is not None
    assert plan_for_polls(estimate, polls, FREE).expected_polls == pytest.approx(polls, rel=0.05)


def test_a_least_price_removes_polls() -> None:
    estimate = estimate_durations(webhook_samples(lognormal(20, 0.4), 200))
    assert estimate is not None
    usual = plan_for_polls(estimate, 6.0, FREE)
    scarce = plan_for_polls(estimate, 6.0, FREE, min_price_s=4 * usual.price_s)
    assert scarce.price_s == 4 * usual.price_s
    assert scarce.expected_polls < 0.75 * usual.expected_polls
    assert plan_for_polls(estimate, 6.0, FREE, min_price_s=usual.price_s / 2) == usual


def test_polls_are_dense_where_ends_are_likely() -> None:
    """The rate of polls is proportional to √(f/S)."""
    estimate = estimate_durations(webhook_samples(lognormal(20, 0.2), 200))
    assert estimate is not None
    plan = plan_for_polls(estimate, 12.0, FREE)
    polls = [plan.ages_s[n] for n in planned_polls(plan)]
    intervals = [b - a for a, b in pairwise(polls)]
    assert polls[0] > 10
    assert min(intervals) < 0.25 * max(intervals[0], intervals[-1])


def test_every_age_has_a_next_poll_behind_it_until_the_tail() -> None:
    estimate = estimate_durations(webhook_samples(lognormal(20, 0.3), 200))
    assert estimate is not None
    plan = plan_for_polls(estimate, 5.0, IntervalBounds(0.5, 30.0))
    rng = random.Random(4)  # noqa: S311 - not for secrets
    for _ in range(500):
        age = rng.uniform(0, plan.end_s)
        next_age_s = plan.next_poll_age_s(age)
        assert next_age_s is None or next_age_s > age - 1e-9
    assert plan.next_poll_age_s(plan.end_s) is None
    assert math.isclose(plan.mean_s, estimate.mean_s)
