"""The price of a poll: it rises until the polls fit the limit, and falls when they do."""

import pytest

from jobs.polling.estimator import estimate_durations
from jobs.polling.plan import IntervalBounds, PollPlan, plan_for_polls
from jobs.polling.price import MIN_PRICE_S, TARGET_UTILISATION, adjusted_price_s
from tests.unit.core.test_estimator import lognormal, webhook_samples

BOUNDS = IntervalBounds(0.5, 300.0)


def plans(price: float) -> tuple[PollPlan, PollPlan]:
    """The plans of short runs and of long runs, at the price of their account."""
    short, long = (
        estimate_durations(webhook_samples(lognormal(5, 0.3), 200)),
        estimate_durations(webhook_samples(lognormal(120, 0.3), 200)),
    )
    assert short is not None
    assert long is not None
    found = [plan_for_polls(d, 5.0, BOUNDS, min_price_s=price) for d in (short, long)]
    return found[0], found[1]


def rate(price: float, runs: int = 100) -> float:
    return sum(runs * plan.expected_polls / plan.mean_s for plan in plans(price))


def test_polls_that_fit_are_free() -> None:
    assert adjusted_price_s(0.0, wanted_per_s=8.0, allowed_per_s=10.0) == 0.0
    assert adjusted_price_s(0.0, wanted_per_s=1e6, allowed_per_s=None) == 0.0


def test_the_price_settles_where_the_polls_fit_and_stays() -> None:
    price = 0.0
    for _ in range(12):
        price = adjusted_price_s(price, rate(price), allowed_per_s=50.0)
    assert rate(price) == pytest.approx(TARGET_UTILISATION * 50.0, rel=0.1)


def test_polls_are_taken_from_those_who_need_them_least() -> None:
    """At one price short runs take fewer polls; long ones, where a poll is worth more, do not."""
    (short, long), (scarce_short, scarce_long) = plans(0.0), plans(plans(0.0)[0].price_s * 8)
    assert scarce_short.expected_polls < 0.7 * short.expected_polls
    assert scarce_long.expected_polls == long.expected_polls


def test_a_limit_that_is_gone_makes_polls_free_at_once_and_one_that_widens_soon() -> None:
    assert adjusted_price_s(40.0, wanted_per_s=1.0, allowed_per_s=None) == 0.0
    price = 40.0
    for _ in range(8):
        price = adjusted_price_s(price, wanted_per_s=1.0, allowed_per_s=1e6)
    assert price == 0.0


def test_a_price_begins_low_and_changes_in_bounded_steps() -> None:
    assert adjusted_price_s(0.0, wanted_per_s=1e9, allowed_per_s=1.0) == 4 * MIN_PRICE_S
    assert adjusted_price_s(1.0, wanted_per_s=1e9, allowed_per_s=1.0) == 4.0
    assert adjusted_price_s(3_000.0, wanted_per_s=1e9, allowed_per_s=1.0) == 3_600.0
