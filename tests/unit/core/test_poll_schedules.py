"""The planned schedule: its bounds, its tail, and that jobs are not polled together."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.polling.estimator import estimate_durations
from jobs.polling.schedules import PlannedSchedule, PollSchedule, planned_schedule
from tests.unit.core.test_estimator import lognormal, webhook_samples

jitters = st.floats(0, 1, exclude_max=True)
quick = settings(max_examples=100, database=None)


def schedule(
    median_s: float = 20, sigma: float = 0.3, min_s: float = 0.5, max_s: float = 30.0
) -> PlannedSchedule:
    estimate = estimate_durations(webhook_samples(lognormal(median_s, sigma), 200))
    assert estimate is not None
    return planned_schedule(estimate, polls_per_run=5, min_s=min_s, max_s=max_s)


USUAL = schedule()
NARROW = schedule(sigma=0.1, min_s=2.0, max_s=4.0)
SHORT = schedule(median_s=1.0)


@quick
@given(st.sampled_from([USUAL, NARROW, SHORT]), st.floats(0, 1e6), jitters)
def test_an_interval_keeps_its_bounds_whatever_the_age(
    planned: PlannedSchedule, age_s: float, jitter: float
) -> None:
    assert planned.min_s <= planned.next_delay_s(age_s, jitter) <= planned.max_s


@quick
@given(st.floats(1, 1e5), st.floats(1, 3))
def test_beyond_the_samples_intervals_only_grow(beyond: float, factor: float) -> None:
    here, later = USUAL.plan.end_s * beyond, USUAL.plan.end_s * beyond * factor
    assert USUAL.next_delay_s(here, 0.5) <= USUAL.next_delay_s(later, 0.5)
    assert USUAL.next_delay_s(here, 0.5) <= 0.25 * here


def test_far_beyond_the_samples_a_poll_comes_after_a_quarter_of_the_age() -> None:
    unbounded = schedule(max_s=1e6)
    end_s = unbounded.plan.end_s
    assert unbounded.next_delay_s(end_s, 0.5) < 0.1 * end_s
    assert unbounded.next_delay_s(100 * end_s, 0.5) == pytest.approx(25 * end_s, rel=0.02)


def test_the_first_poll_comes_when_the_first_ends_do_and_later_ones_in_between() -> None:
    age, poll_ages = 0.0, list[float]()
    while age < 40:
        age += USUAL.next_delay_s(age, 0.5)
        poll_ages.append(age)
    intervals = [b - a for a, b in pairwise(poll_ages)]
    assert 10 < poll_ages[0] < 16
    assert 1 < min(intervals) < max(intervals) < 4


@pytest.mark.parametrize("planned", [USUAL, NARROW, SHORT], ids=["usual", "narrow", "short"])
def test_a_thousand_runs_that_began_together_are_never_polled_together(
    planned: PlannedSchedule,
) -> None:
    rng = random.Random(1)  # noqa: S311 - not for secrets
    ages = [0.0] * 1_000
    for _ in range(4):
        ages = [age + planned.next_delay_s(age, rng.random()) for age in ages]
        assert len(set(ages)) == 1_000
        widest = max(ages) - min(ages)
        fullest = max(sum(a <= age < a + widest / 10 for age in ages) for a in ages[::20])
        assert widest > 0.1 * planned.min_s
        assert fullest < 450, "no tenth of the time has half of the polls"


@quick
@given(st.sampled_from([USUAL, NARROW, SHORT]), st.floats(0, 500))
def test_at_no_age_do_two_values_of_jitter_give_the_same_interval(
    planned: PlannedSchedule, age_s: float
) -> None:
    """Not at the bounds either, where intervals are mirrored, not clipped."""
    rng = random.Random(1)  # noqa: S311 - not for secrets
    assert len({planned.next_delay_s(age_s, rng.random()) for _ in range(100)}) == 100


def test_failed_polls_are_retried_at_the_usual_intervals() -> None:
    usual = PollSchedule(0.5, 30.0)
    for failures in range(8):
        assert USUAL.failure_delay_s(failures, 0.3, 2.0) == usual.failure_delay_s(
            failures, 0.3, 2.0
        )


def test_early_polls_do_not_make_early_retries() -> None:
    assert PollSchedule(0.1, 30.0).failure_delay_s(1, 0.999) == pytest.approx(2.0, rel=0.01)


def test_where_polls_are_scarce_unknown_runs_are_polled_less() -> None:
    free, scarce = PollSchedule(0.5, 300.0), PollSchedule(0.5, 300.0, price_s=10.0)
    assert scarce.next_delay_s(20.0, 0.5) == pytest.approx(20.0)
    assert free.next_delay_s(20.0, 0.5) == pytest.approx(5.0)
    assert scarce.next_delay_s(1e4, 0.5) == 300.0
