"""When an account is likely to run out of credits within the hour, and how often that is said."""

import msgspec
import pytest

from jobs.credits.forecast import AccountForecast, AccountSpending, Balance, account_forecast
from jobs.credits.low_balance import (
    REARM_S,
    BalanceCause,
    BalanceChange,
    BalanceMark,
    LaneLoad,
    advanced,
    cost_within_hour,
    low_cause,
)
from jobs.lanes import Lane
from jobs.rate_limits import URGENT_RESERVE, RateLimitBucket
from jobs.states import Kind

NOW = 1_790_000_000.0
BALANCE = Balance("default", 1_000.0, NOW - 7_200, "ann", "2026-09-21", 0.0)
SUNO, KLING = Lane("default", Kind.MODEL, "suno"), Lane("default", Kind.MODEL, "kling")
LOW, ENOUGH = BalanceChange.LOW, BalanceChange.ENOUGH


def forecast(
    left: float, per_hour: float = 0.0, balance: Balance | None = BALANCE
) -> AccountForecast:
    return account_forecast("default", [], AccountSpending(per_hour, balance, 1_000.0 - left))


@pytest.mark.parametrize(
    ("left", "per_hour", "ahead", "cause"),
    [
        (100.0, 99.0, 0.0, None),
        (100.0, 100.0, 0.0, BalanceCause.PACE),
        (100.0, 0.0, 100.0, None),
        (100.0, 0.0, 100.5, BalanceCause.WAITING),
        (-5.0, 1.0, 0.0, BalanceCause.PACE),
        (-5.0, 0.0, 1.0, BalanceCause.WAITING),
        (0.0, 0.0, 0.0, None),
    ],
)
def test_it_is_low_where_an_hour_costs_more_than_is_left(
    left: float, per_hour: float, ahead: float, cause: BalanceCause | None
) -> None:
    assert low_cause(forecast(left, per_hour), ahead) is cause


def test_nothing_is_known_without_a_balance() -> None:
    assert low_cause(forecast(0.0, 100.0, None), 1_000.0) is None


def said(*steps: tuple[float, AccountForecast]) -> list[BalanceChange | None]:
    mark: BalanceMark | None = None
    found: list[BalanceChange | None] = []
    for at, step in steps:
        mark, change = advanced(mark, step, 0.0, NOW + at)
        found.append(change)
    return found


def test_it_is_said_once_while_it_comes_and_goes() -> None:
    low, fine = forecast(10, 20), forecast(10, 5)
    steps = [(0, low), (60, low), (120, fine), (60 + REARM_S - 1, fine), (60 + REARM_S - 1, low)]
    assert said(*steps) == [LOW, None, None, None, None]


def test_it_is_armed_again_when_it_was_not_likely_for_some_time() -> None:
    low, fine = forecast(10, 20), forecast(10, 5)
    assert said((0, low), (REARM_S, fine), (REARM_S + 60, low)) == [LOW, ENOUGH, LOW]


def test_it_is_armed_again_by_another_balance() -> None:
    topped_up = msgspec.structs.replace(BALANCE, entered_at=NOW + 30)
    assert said((0, forecast(10, 20)), (60, forecast(10, 20, topped_up))) == [LOW, LOW]
    assert said((0, forecast(10, 20)), (60, forecast(900, 20, topped_up))) == [LOW, ENOUGH]
    assert said((0, forecast(10, 20)), (60, forecast(10, 20, None))) == [LOW, ENOUGH]


def test_what_runs_and_what_may_start_costs_credits() -> None:
    loads = [LaneLoad(SUNO, 5, 2, 10.0), LaneLoad(KLING, 3, 1, None), LaneLoad(SUNO, 0, 1, 4.0)]
    assert cost_within_hour(loads, {}, NOW) == 74.0
    assert cost_within_hour([], {}, NOW) == 0.0


def test_a_rate_limit_lets_only_some_start() -> None:
    """30 of a minute's requests are for submits: 30 now, and 30 in each of the 60 minutes after."""
    limit = 30 + URGENT_RESERVE
    bucket = RateLimitBucket(limit=limit, remaining=limit, reset_at=NOW + 60)
    loads = [LaneLoad(SUNO, 100_000, 0, 1.0), LaneLoad(KLING, 100_000, 0, 3.0)]
    found = cost_within_hour(loads, {SUNO.route: bucket}, NOW, window_s=60.0)
    starts = 30 * 61
    assert found == pytest.approx(starts / 2 * 1.0 + starts / 2 * 3.0)
    few = [LaneLoad(SUNO, 100, 0, 1.0)]
    assert cost_within_hour(few, {SUNO.route: bucket}, NOW, window_s=60.0) == 100.0
