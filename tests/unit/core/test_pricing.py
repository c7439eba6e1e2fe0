"""The price of a look: rises until the looks fit, falls when they do, the same for all."""

import pytest

from jobs.polling.estimator import learn
from jobs.polling.plan import Bounds, Plan, plan_for
from jobs.polling.price import FIRST_S, FULL, steered
from tests.unit.core.test_learning import lognormal, told

BOUNDS = Bounds(0.5, 300.0)


def plans(price: float) -> tuple[Plan, Plan]:
    """Of short runs and of long ones, at the price of their account."""
    short, long = learn(told(lognormal(5, 0.3), 200)), learn(told(lognormal(120, 0.3), 200))
    assert short is not None
    assert long is not None
    made = [plan_for(d, 5.0, BOUNDS, least_price_s=price) for d in (short, long)]
    return made[0], made[1]


def rate(price: float, runs: int = 100) -> float:
    return sum(runs * made.looks / made.mean_s for made in plans(price))


def test_looks_that_fit_are_free() -> None:
    assert steered(0.0, wanted=8.0, allowed=10.0) == 0.0
    assert steered(0.0, wanted=1e6, allowed=None) == 0.0


def test_the_price_settles_where_the_looks_fit_and_stays() -> None:
    price = 0.0
    for _ in range(12):
        price = steered(price, rate(price), allowed=50.0)
    assert rate(price) == pytest.approx(FULL * 50.0, rel=0.1)


def test_looks_are_taken_from_those_who_need_them_least() -> None:
    """At one price short runs give up looks; long ones, to whom a look is worth more, do not."""
    (short, long), (dear_short, dear_long) = plans(0.0), plans(plans(0.0)[0].price_s * 8)
    assert dear_short.looks < 0.7 * short.looks
    assert dear_long.looks == long.looks


def test_a_limit_that_is_gone_makes_looks_free_at_once_and_one_that_widens_soon() -> None:
    assert steered(40.0, wanted=1.0, allowed=None) == 0.0
    price = 40.0
    for _ in range(8):
        price = steered(price, wanted=1.0, allowed=1e6)
    assert price == 0.0


def test_a_price_begins_low_and_moves_in_bounded_steps() -> None:
    assert steered(0.0, wanted=1e9, allowed=1.0) == 4 * FIRST_S
    assert steered(1.0, wanted=1e9, allowed=1.0) == 4.0
    assert steered(3_000.0, wanted=1e9, allowed=1.0) == 3_600.0
