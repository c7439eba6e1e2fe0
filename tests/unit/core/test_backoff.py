"""Backoff and poll schedule: their bounds, and bounds that are refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.backoff import Backoff
from jobs.polling.schedules import PollSchedule

jitters = st.floats(0, 1, exclude_max=True)
quick = settings(max_examples=50, database=None)


@pytest.mark.parametrize(
    ("attempt", "ceiling"), [(1, 2), (2, 4), (3, 8), (4, 16), (8, 256), (9, 300), (5_000, 300)]
)
def test_the_backoff_doubles_up_to_its_cap(attempt: int, ceiling: float) -> None:
    assert Backoff().wait_s(attempt, 0.0) == 0
    assert Backoff().wait_s(attempt, 0.5) == ceiling / 2
    assert ceiling * 0.99 < Backoff().wait_s(attempt, 0.999) < ceiling


@quick
@given(st.integers(1, 100), jitters, st.floats(0, 50), st.floats(50, 900))
def test_a_backoff_never_exceeds_its_cap(
    attempt: int, jitter: float, base_s: float, cap_s: float
) -> None:
    wait = Backoff(base_s, cap_s).wait_s(attempt, jitter)
    assert 0 <= wait <= min(cap_s, base_s * 2 ** (attempt - 1))


@quick
@given(st.integers(1, 100), jitters, st.floats(0, 5_000))
def test_no_wait_is_shorter_than_retry_after(attempt: int, jitter: float, floor_s: float) -> None:
    wait = Backoff().wait_s(attempt, jitter, floor_s)
    assert wait == max(floor_s, Backoff().wait_s(attempt, jitter))


@pytest.mark.parametrize(("base_s", "cap_s"), [(-1, 10), (11, 10)])
def test_a_backoff_with_crossed_bounds_is_refused(base_s: float, cap_s: float) -> None:
    with pytest.raises(ValueError, match="base_s"):
        Backoff(base_s, cap_s)


@quick
@given(st.floats(0, 1e7), jitters)
def test_the_next_poll_lies_within_a_tenth_of_the_bounds(age_s: float, jitter: float) -> None:
    interval = PollSchedule(1.0, 30.0).next_delay_s(age_s, jitter)
    assert 0.9 * 1.0 <= interval <= 1.1 * 30.0
    assert interval <= max(2.2, age_s * 0.25 * 1.1)


@pytest.mark.parametrize(
    ("age_s", "interval"), [(0, 2), (4, 2), (8, 2), (16, 4), (40, 10), (120, 30), (9e9, 30)]
)
def test_intervals_grow_in_proportion_to_the_age(age_s: float, interval: float) -> None:
    assert PollSchedule(1.0, 30.0).next_delay_s(age_s, 0.5) == pytest.approx(interval)


@quick
@given(st.integers(1, 10_000), jitters, st.none() | st.floats(0, 500))
def test_failed_polls_back_off_to_the_longest_interval_and_heed_retry_after(
    failures: int, jitter: float, floor_s: float | None
) -> None:
    interval = PollSchedule(1.0, 30.0).failure_delay_s(failures, jitter, floor_s)
    assert (floor_s or 0.0) <= interval <= max(30.0, floor_s or 0.0)
    assert interval >= min(30.0, 2.0 ** min(failures, 10)) / 2


@pytest.mark.parametrize(("min_s", "max_s"), [(0, 10), (-1, 10), (11, 10)])
def test_a_schedule_with_crossed_bounds_is_refused(min_s: float, max_s: float) -> None:
    with pytest.raises(ValueError, match="min_s"):
        PollSchedule(min_s, max_s)
