"""The learned schedule: its bounds, its tail, and that jobs never look in step."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.polling.estimator import learn
from jobs.polling.schedules import Learned, PollSchedule, learned
from tests.unit.core.test_learning import lognormal, told

jitters = st.floats(0, 1, exclude_max=True)
quick = settings(max_examples=100, database=None)


def schedule(
    median_s: float = 20, sigma: float = 0.3, min_s: float = 0.5, max_s: float = 30.0
) -> Learned:
    believed = learn(told(lognormal(median_s, sigma), 200))
    assert believed is not None
    return learned(believed, looks=5, min_s=min_s, max_s=max_s)


USUAL = schedule()
NARROW = schedule(sigma=0.1, min_s=2.0, max_s=4.0)
SHORT = schedule(median_s=1.0)


@quick
@given(st.sampled_from([USUAL, NARROW, SHORT]), st.floats(0, 1e6), jitters)
def test_a_pause_keeps_its_bounds_whatever_the_age(
    made: Learned, age_s: float, jitter: float
) -> None:
    assert made.min_s <= made.after(age_s, jitter) <= made.max_s


@quick
@given(st.floats(1, 1e5), st.floats(1, 3))
def test_beyond_what_was_seen_pauses_only_grow(beyond: float, factor: float) -> None:
    here, later = USUAL.plan.end_s * beyond, USUAL.plan.end_s * beyond * factor
    assert USUAL.after(here, 0.5) <= USUAL.after(later, 0.5)
    assert USUAL.after(here, 0.5) <= 0.25 * here


def test_far_beyond_what_was_seen_a_look_comes_after_a_quarter_of_the_age() -> None:
    patient = schedule(max_s=1e6)
    end_s = patient.plan.end_s
    assert patient.after(end_s, 0.5) < 0.1 * end_s
    assert patient.after(100 * end_s, 0.5) == pytest.approx(25 * end_s, rel=0.02)


def test_the_first_look_comes_when_the_first_ends_do_and_later_ones_in_between() -> None:
    age, looks = 0.0, list[float]()
    while age < 40:
        age += USUAL.after(age, 0.5)
        looks.append(age)
    pauses = [b - a for a, b in pairwise(looks)]
    assert 10 < looks[0] < 16
    assert 1 < min(pauses) < max(pauses) < 4


@pytest.mark.parametrize("made", [USUAL, NARROW, SHORT], ids=["usual", "narrow", "short"])
def test_a_thousand_runs_that_began_together_are_never_looked_at_together(made: Learned) -> None:
    dice = random.Random(1)  # noqa: S311 - dice of a test
    ages = [0.0] * 1_000
    for _ in range(4):
        ages = [age + made.after(age, dice.random()) for age in ages]
        assert len(set(ages)) == 1_000
        widest = max(ages) - min(ages)
        fullest = max(sum(a <= age < a + widest / 10 for age in ages) for a in ages[::20])
        assert widest > 0.1 * made.min_s
        assert fullest < 450, "no tenth of the time holds half of the looks"


@quick
@given(st.sampled_from([USUAL, NARROW, SHORT]), st.floats(0, 500))
def test_at_no_age_do_two_dice_say_the_same(made: Learned, age_s: float) -> None:
    """Not at the bounds either: what would fall beyond them is mirrored, not cut off."""
    dice = random.Random(1)  # noqa: S311 - dice of a test
    assert len({made.after(age_s, dice.random()) for _ in range(100)}) == 100


def test_trouble_is_met_with_the_usual_pauses() -> None:
    usual = PollSchedule(0.5, 30.0)
    for troubles in range(8):
        assert USUAL.after_trouble(troubles, 0.3, 2.0) == usual.after_trouble(troubles, 0.3, 2.0)


def test_soon_looks_do_not_make_soon_retries() -> None:
    assert PollSchedule(0.1, 30.0).after_trouble(1, 0.999) == pytest.approx(2.0, rel=0.01)


def test_where_looks_are_scarce_unknown_runs_are_looked_at_less() -> None:
    free, dear = PollSchedule(0.5, 300.0), PollSchedule(0.5, 300.0, price_s=10.0)
    assert dear.after(20.0, 0.5) == pytest.approx(20.0)
    assert free.after(20.0, 0.5) == pytest.approx(5.0)
    assert dear.after(1e4, 0.5) == 300.0
