"""How often breakers trip without an outage, and the table of their transitions."""

from math import comb

import pytest

from jobs.breakers import (
    BREAKER_ROWS,
    BREAKER_RULES,
    BREAKER_TABLE,
    MAX_PAUSE_S,
    BreakerCause,
    BreakerEvent,
    BreakerState,
)

LANE_RULE = BREAKER_RULES[BreakerCause.TARGET_FAILURE]


def outcomes_until_in_row(share: float, in_row: int) -> float:
    """Mean number of outcomes until so many fail in a row, where a share fails at random."""
    return (1 - share**in_row) / ((1 - share) * share**in_row)


def probability_of_more(share: float, failures: int, outcomes: int) -> float:
    """Probability that more than so many of the outcomes failed."""
    return sum(
        comb(outcomes, n) * share**n * (1 - share) ** (outcomes - n)
        for n in range(failures + 1, outcomes + 1)
    )


@pytest.mark.parametrize(
    ("share", "outcomes", "probability"), [(0.1, 1.1e10, 4.4e-19), (0.3, 2.4e5, 2.9e-6)]
)
def test_single_failures_rarely_trip_a_lane(
    share: float, outcomes: float, probability: float
) -> None:
    """The rates that the documentation states."""
    assert outcomes_until_in_row(share, LANE_RULE.in_row) == pytest.approx(outcomes, rel=0.02)
    found = probability_of_more(share, LANE_RULE.most_failures, LANE_RULE.window)
    assert found == pytest.approx(probability, rel=0.02)


def test_one_lost_answer_in_a_hundred_rarely_trips_a_route() -> None:
    rule = BREAKER_RULES[BreakerCause.UNKNOWN_OUTCOME]
    assert outcomes_until_in_row(0.01, rule.in_row) == pytest.approx(10_100, rel=0.01)
    assert probability_of_more(0.01, rule.most_failures, rule.window) < 6e-4


def test_every_pause_is_within_the_longest() -> None:
    for rule in BREAKER_RULES.values():
        assert 0 < rule.first_pause_s <= rule.max_pause_s <= MAX_PAUSE_S


def test_each_state_and_event_has_one_row() -> None:
    assert len(BREAKER_TABLE) == len(BREAKER_ROWS)
    assert {row.event for row in BREAKER_ROWS} == set(BreakerEvent)


def test_an_operator_can_reset_a_breaker_in_every_state() -> None:
    for state in BreakerState:
        assert BREAKER_TABLE[state, BreakerEvent.RESET] is BreakerState.CLOSED
