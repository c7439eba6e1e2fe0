"""When an account runs out of credits, and what waits will cost."""

import pytest

from jobs.credits.forecast import AccountSpending, Balance, account_forecast

BALANCE = Balance("default", 1_000.0, 1_790_000_000.0, "ann", "2026-09-21", 40.0)


def test_what_is_left_is_the_balance_less_what_was_spent_since() -> None:
    found = account_forecast("default", [(3, 10.0)], AccountSpending(90.0, BALANCE, 140.0))
    assert (found.left, found.dry_in_s) == (900.0, 36_000.0)
    assert (found.waiting_jobs, found.waiting_cost, found.covers_waiting) == (3, 30.0, True)


@pytest.mark.parametrize(("spent", "left"), [(40.0, 1_000.0), (1_040.0, 0.0), (1_100.0, -60.0)])
def test_more_may_be_spent_than_was_entered(spent: float, left: float) -> None:
    found = account_forecast("default", [(1, 1.0)], AccountSpending(1.0, BALANCE, spent))
    assert found.left == left
    assert (found.dry_in_s == 0.0) is (left <= 0)
    assert found.covers_waiting is (left >= 1.0)


def test_what_is_not_known_is_no_number() -> None:
    found = account_forecast("a", [(2, None), (1, 5.0)], AccountSpending(0.0, None, 0.0))
    assert (found.waiting_cost, found.left, found.dry_in_s) == (None, None, None)
    assert found.covers_waiting is None
    idle = account_forecast("a", [], AccountSpending(0.0, BALANCE, 40.0))
    assert (idle.waiting_cost, idle.left, idle.dry_in_s) == (0.0, 1_000.0, None)
