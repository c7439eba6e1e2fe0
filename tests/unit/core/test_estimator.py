"""What is believed of durations: near the truth, also from intervals, and soon after a change."""

import random
from collections.abc import Callable, Iterable

import pytest

from jobs.polling.estimator import MIN_SAMPLES, estimate_durations, is_worth_estimating
from jobs.polling.samples import Distribution, DurationSample, bin_edge_s, sample_at, sample_between
from jobs.polling.schedules import PlannedSchedule, PollSchedule, planned_schedule

Draw = Callable[[random.Random], float]


def lognormal(median_s: float, sigma: float) -> Draw:
    return lambda dice: median_s * dice.lognormvariate(0, sigma)


def webhook_samples(draw: Draw, runs: int, seed: int = 1) -> list[DurationSample]:
    """Runs whose end a webhook told."""
    dice = random.Random(seed)  # noqa: S311 - dice of a test
    return [sample_at(n, draw(dice)) for n in range(runs)]


def polled_samples(draw: Draw, runs: int, step_s: float, seed: int = 1) -> list[DurationSample]:
    """Runs that were looked at every so many seconds."""
    dice, found = random.Random(seed), list[DurationSample]()  # noqa: S311 - dice of a test
    for n in range(runs):
        looks = int(draw(dice) // step_s)
        found.append(sample_between(n, looks * step_s if looks else None, (looks + 1) * step_s))
    return found


def quantiles(believed: Distribution | None, shares: Iterable[float]) -> list[float]:
    assert believed is not None
    return [believed.remaining_s(0.0, share) or 0.0 for share in shares]


def test_nothing_is_believed_of_nothing() -> None:
    assert estimate_durations([]) is None


def test_one_run_is_enough_to_believe_something() -> None:
    (median,) = quantiles(estimate_durations([sample_at(0, 30.0)]), [0.4])
    assert median == pytest.approx(30, rel=0.15)


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.5])
def test_ends_reported_by_webhook_are_believed(sigma: float) -> None:
    found = quantiles(
        estimate_durations(webhook_samples(lognormal(20, sigma), 200)), [0.1, 0.5, 0.9]
    )
    true = [20 * 2.718281828 ** (sigma * z) for z in (-1.2816, 0, 1.2816)]
    assert found == pytest.approx(true, rel=0.02 + 0.3 * sigma)


def test_a_coarse_poll_is_spread_over_its_interval_and_not_taken_for_the_end() -> None:
    """Looks every 5 s find ends 2.5 s late on average; the median believed is not late."""
    (median,) = quantiles(estimate_durations(polled_samples(lognormal(20, 0.3), 200, 5.0)), [0.5])
    assert median == pytest.approx(20, rel=0.05)


def test_two_modes_stay_two() -> None:
    def either(dice: random.Random) -> float:
        return lognormal(8 if dice.random() < 0.5 else 60, 0.15)(dice)

    believed = estimate_durations(webhook_samples(either, 200))
    assert believed is not None
    assert believed.ended_by(13) == pytest.approx(0.5, abs=0.08)
    assert believed.ended_by(38) - believed.ended_by(13) < 0.05


def test_newer_runs_weigh_more() -> None:
    def median(first: float, then: float) -> float:
        seen = webhook_samples(lognormal(first, 0.3), 120) + webhook_samples(
            lognormal(then, 0.3), 120, seed=2
        )
        return quantiles(estimate_durations(seen), [0.5])[0]

    assert median(20, 22) > 1.02 * median(22, 20)


def test_runs_that_suddenly_take_twice_as_long_are_believed_after_two_dozen() -> None:
    seen = webhook_samples(lognormal(20, 0.3), 200) + webhook_samples(
        lognormal(40, 0.3), 24, seed=2
    )
    assert quantiles(estimate_durations(seen), [0.5]) == pytest.approx([40], rel=0.12)


def test_chance_is_not_taken_for_a_change() -> None:
    """Of 60 histories without one, all believe about what all of their runs say."""
    medians = [
        quantiles(estimate_durations(webhook_samples(lognormal(20, 0.3), 240, seed)), [0.5])[0]
        for seed in range(60)
    ]
    assert max(abs(median - 20) for median in medians) < 1.6


def test_a_few_runs_in_the_dark_cost_little() -> None:
    """Of runs that nobody looked at before their end only the end is known."""
    seen = webhook_samples(lognormal(20, 0.2), 100)
    blind = [sample_between(200 + n, None, 30.0) for n in range(20)]
    assert quantiles(estimate_durations(seen + blind), [0.5]) == pytest.approx([20], rel=0.06)


def test_the_tail_holds_what_was_not_observed() -> None:
    few, many = (
        estimate_durations(webhook_samples(lognormal(20, 0.1), 20)),
        estimate_durations(webhook_samples(lognormal(20, 0.1), 200)),
    )
    assert few is not None
    assert many is not None
    assert 1 - few.ended_shares[-1] > 1 - many.ended_shares[-1] > 0


@pytest.mark.parametrize("age_s", [0.0, 0.01, bin_edge_s(718), 1e7])
def test_ages_off_the_grid_are_learned_from_too(age_s: float) -> None:
    assert estimate_durations([sample_at(n, age_s) for n in range(30)]) is not None


def test_it_is_worth_learning_from_enough_runs_of_which_enough_are_new() -> None:
    assert not is_worth_estimating(MIN_SAMPLES - 1, MIN_SAMPLES - 1)
    assert is_worth_estimating(MIN_SAMPLES, MIN_SAMPLES)
    assert not is_worth_estimating(240, 15)
    assert is_worth_estimating(240, 20)


def learned_from_polls(
    draw: Draw, runs: int, began: Distribution | None, seed: int
) -> Distribution:
    """What is believed after runs that were looked at by what was believed before each."""
    dice, seen = random.Random(seed), list[DurationSample]()  # noqa: S311 - dice of a test
    schedule: PollSchedule = PollSchedule(0.5, 30.0)
    believed = began
    for n in range(runs):
        if believed is not None and n % 10 == 0:
            schedule = planned_schedule(believed, polls_per_run=5, min_s=0.1, max_s=60)
        age, running, ends = 0.0, None, draw(dice)
        while (age := age + schedule.next_delay_s(age, dice.random())) < ends:
            running = age
        seen.append(sample_between(n, running, age))
        believed = estimate_durations(seen) if n % 10 == 9 else believed
    assert isinstance(schedule, PlannedSchedule)
    assert believed is not None
    return believed


@pytest.mark.parametrize("wrong_s", [5.0, 80.0])
def test_a_wrong_estimate_does_not_confirm_itself_by_the_polls_it_causes(wrong_s: float) -> None:
    """Looks made for runs of another length see only coarsely; belief still comes to the truth."""
    wrong = estimate_durations(webhook_samples(lognormal(wrong_s, 0.2), 100))
    found = learned_from_polls(lognormal(20, 0.2), 120, wrong, seed=3)
    assert quantiles(found, [0.1, 0.5, 0.9]) == pytest.approx([15.5, 20, 25.8], rel=0.08)
