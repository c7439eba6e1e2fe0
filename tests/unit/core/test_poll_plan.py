"""The plan is the best there is, at its price and within its bounds."""

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


def total_delay(believed: Distribution, begin: int, end: int) -> float:
    """The delay that a look brings to those that ended since the one before, by plain sums."""
    found = 0.0
    for n in range(begin, end):
        middle = (believed.edges_s[n] + believed.edges_s[n + 1]) / 2
        share = believed.ended_shares[n + 1] - believed.ended_shares[n]
        found += share * (believed.edges_s[end] - middle)
    return found


def cost(believed: Distribution, polls: list[int], price: float) -> float:
    """E[delay] + price · E[looks] of looks at these edges."""
    begins = [0, *polls[:-1]]
    return sum(
        total_delay(believed, begin, end) + price * (1 - believed.ended_shares[begin])
        for begin, end in zip(begins, polls, strict=True)
    )


def best(believed: Distribution, price: float) -> float:
    """The least cost over every set of edges, tried out."""
    last = len(believed.edges_s) - 1
    inner = range(1, last)
    return min(
        cost(believed, [n for n in inner if chosen >> n & 1] + [last], price)
        for chosen in range(0, 1 << last, 2)
    )


def planned_polls(made: PollPlan) -> list[int]:
    looks, n = list[int](), 0
    while made.next_edges[n] != NO_NEXT_POLL:
        n = made.next_edges[n]
        looks.append(n)
    return looks


@quick
@given(small(), st.floats(0.01, 10))
def test_no_other_polls_cost_less(believed: Distribution, price: float) -> None:
    looks = planned_polls(plan_at_price(believed, price, FREE))
    assert looks[-1] == len(believed.edges_s) - 1
    assert cost(believed, looks, price) == pytest.approx(best(believed, price))


@quick
@given(small(), st.floats(0.01, 10))
def test_a_plan_says_how_many_polls_it_takes(believed: Distribution, price: float) -> None:
    made = plan_at_price(believed, price, FREE)
    begins = [0, *planned_polls(made)[:-1]]
    assert made.expected_polls == pytest.approx(sum(1 - believed.ended_shares[n] for n in begins))


@quick
@given(small(), small(), st.floats(0.01, 10))
def test_polls_are_counted_by_the_runs_as_they_were_observed(
    believed: Distribution, other: Distribution, price: float
) -> None:
    """What is smoothed says where to look, what was seen says how many looks that takes."""
    counted = [other.ended_by(age) for age in believed.edges_s]
    usual = plan_at_price(believed, price, FREE)
    made = plan_at_price(replace(believed, observed_shares=counted), price, FREE)
    assert made.next_edges == usual.next_edges
    begins = [0, *planned_polls(made)]
    looks = sum(1 - counted[n] for n in begins[:-1]) + TAIL_POLLS * (1 - counted[begins[-1]])
    assert made.expected_polls == pytest.approx(looks)


@pytest.mark.parametrize("looks", [2.5, 4.0])
def test_as_many_polls_are_taken_as_were_planned(looks: float) -> None:
    """On average over what was learned by chance; a smoothed count would say 3 % too many."""
    taken = list[float]()
    for seed in range(40):
        believed = estimate_durations(webhook_samples(lognormal(3, 0.5), 200, seed))
        assert believed is not None
        made = plan_for_polls(believed, looks, IntervalBounds(0.05, 120.0))
        ages = [0.0, *(made.ages_s[n] for n in planned_polls(made))]
        taken.append(sum(0.5 * math.erfc(math.log(a / 3) / 0.5 / 2**0.5) for a in ages[1:]) + 1)
    assert sum(taken) / len(taken) == pytest.approx(looks, rel=0.02)


@quick
@given(small(), st.floats(0.01, 5), st.floats(0.1, 4), st.floats(1, 4))
def test_polls_keep_their_bounds_where_the_grid_allows(
    believed: Distribution, price: float, min_s: float, factor: float
) -> None:
    max_s = min_s * factor
    made = plan_at_price(believed, price, IntervalBounds(min_s, max_s))
    widest = max(b - a for a, b in pairwise(believed.edges_s))
    for n, target in enumerate(made.next_edges):
        if target != NO_NEXT_POLL:
            pause = believed.edges_s[target] - believed.edges_s[n]
            assert pause <= max(max_s, widest) + 1e-9
            assert pause >= min(min_s, max_s - widest) - 1e-9


@pytest.mark.parametrize("looks", [2.5, 4.0, 8.0])
def test_the_wanted_number_of_polls_is_met(looks: float) -> None:
    believed = estimate_durations(webhook_samples(lognormal(20, 0.4), 200))
    assert believed is not None
    assert plan_for_polls(believed, looks, FREE).expected_polls == pytest.approx(looks, rel=0.05)


def test_a_least_price_removes_polls() -> None:
    believed = estimate_durations(webhook_samples(lognormal(20, 0.4), 200))
    assert believed is not None
    usual = plan_for_polls(believed, 6.0, FREE)
    dear = plan_for_polls(believed, 6.0, FREE, min_price_s=4 * usual.price_s)
    assert dear.price_s == 4 * usual.price_s
    assert dear.expected_polls < 0.75 * usual.expected_polls
    assert plan_for_polls(believed, 6.0, FREE, min_price_s=usual.price_s / 2) == usual


def test_polls_are_dense_where_ends_are_likely() -> None:
    """As many looks as the rule of the square root has: the rate goes with √(f/S)."""
    believed = estimate_durations(webhook_samples(lognormal(20, 0.2), 200))
    assert believed is not None
    made = plan_for_polls(believed, 12.0, FREE)
    looks = [made.ages_s[n] for n in planned_polls(made)]
    pauses = [b - a for a, b in pairwise(looks)]
    assert looks[0] > 10
    assert min(pauses) < 0.25 * max(pauses[0], pauses[-1])


def test_every_age_has_a_next_poll_behind_it_until_the_tail() -> None:
    believed = estimate_durations(webhook_samples(lognormal(20, 0.3), 200))
    assert believed is not None
    made = plan_for_polls(believed, 5.0, IntervalBounds(0.5, 30.0))
    dice = random.Random(4)  # noqa: S311 - dice of a test
    for _ in range(500):
        age = dice.uniform(0, made.end_s)
        look = made.next_poll_age_s(age)
        assert look is None or look > age - 1e-9
    assert made.next_poll_age_s(made.end_s) is None
    assert math.isclose(made.mean_s, believed.mean_s)
