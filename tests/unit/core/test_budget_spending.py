"""How fast a budget is spent, and when it is reached at that rate."""

import pytest

from jobs.budgets.spending import BudgetSpending, per_hour, reached_in_s, sampled
from tests.unit.core.test_budget_warnings import DAY_S, NOW, status


def readings(*rows: tuple[float, float]) -> BudgetSpending:
    """What was spent so many seconds before now."""
    spending: BudgetSpending | None = None
    for ago, spent in rows:
        spending = sampled(spending, status(spent), NOW - ago) or spending
    assert spending is not None
    return spending


def test_the_pace_is_what_the_last_hour_spent() -> None:
    spending = readings((7_000, 0), (3_600, 10), (1_800, 40))
    assert per_hour(spending, status(70), NOW) == 60.0


def test_a_shorter_time_is_scaled_to_an_hour() -> None:
    assert per_hour(readings((600, 20)), status(30), NOW) == 60.0
    assert per_hour(readings((600, 20)), status(20), NOW) == 0.0


def test_a_correction_is_no_negative_pace() -> None:
    assert per_hour(readings((600, 20)), status(15), NOW) == 0.0


@pytest.mark.parametrize("spending", [None, readings((59, 1)), readings((3_601, 1))])
def test_it_is_unknown_without_a_reading_of_the_last_hour(spending: BudgetSpending | None) -> None:
    assert per_hour(spending, status(30), NOW) is None


def test_another_period_or_generation_begins_anew() -> None:
    spending = readings((600, 20))
    assert per_hour(spending, status(30, generation=6), NOW) is None
    tomorrow = status(1, at=NOW + DAY_S)
    assert per_hour(spending, tomorrow, NOW) is None
    anew = sampled(spending, tomorrow, NOW)
    assert anew is not None
    assert anew.samples == ((NOW, 1_000_000),)


def test_a_reading_is_due_every_five_minutes_and_kept_for_an_hour() -> None:
    spending = readings((299, 20))
    assert sampled(spending, status(30), NOW) is None
    many = readings(*((float(ago), 0.0) for ago in range(9_000, -1, -10)))
    assert 12 <= len(many.samples) <= 13


def test_it_is_reached_when_the_limit_is_spent() -> None:
    """Noon: half a day is left."""
    assert reached_in_s(status(60, 20), 20.0, NOW) == 7_200.0
    assert reached_in_s(status(60, 20), 4.0, NOW) == 36_000.0
    assert reached_in_s(status(60, 20), 3.0, NOW) is None, "the next day begins before"
    assert reached_in_s(status(60, 40), 3.0, NOW) == 0.0
    assert reached_in_s(status(60), None, NOW) is None
    assert reached_in_s(status(60), 0.0, NOW) is None
