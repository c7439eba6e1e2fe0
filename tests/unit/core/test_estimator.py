"""Estimates of durations: near the truth, also from intervals, and soon after a change."""

import random
from collections.abc import Callable, Iterable

import pytest

from jobs.polling.estimator import MIN_SAMPLES, estimate_durations, is_worth_estimating
from jobs.polling.samples import Distribution, DurationSample, bin_edge_s, sample_at, sample_between
from jobs.polling.schedules import PlannedSchedule, PollSchedule, planned_schedule

Draw = Callable[[random.Random], float]


def lognormal(median_s: float, sigma: float) -> Draw:
    return lambda rng: median_s * rng.lognormvariate(0, sigma)


def webhook_samples(draw: Draw, runs: int, seed: int = 1) -> list[DurationSample]:
    """Samples of runs whose end a webhook reported."""
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    return [sample_at(n, draw(rng)) for n in range(runs)]


def polled_samples(draw: Draw, runs: int, step_s: float, seed: int = 1) -> list[DurationSample]:
    """Samples of runs that were polled every `step_s` seconds."""
    rng, found = random.Random(seed), list[DurationSample]()  # noqa: S311 - not for secrets
    for n in range(runs):
        polls = int(draw(rng) // step_s)
        found.append(sample_between(n, polls * step_s if polls else None, (polls + 1) * step_s))
    return found


def quantiles(estimate: Distribution | None, shares: Iterable[float]) -> list[float]:
    assert estimate is not None
    return [estimate.remaining_s(0.0, share) or 0.0 for share in shares]


def test_there_is_no_estimate_without_samples() -> None:
    assert estimate_durations([]) is None


def test_one_run_is_enough_for_an_estimate() -> None:
    (median,) = quantiles(estimate_durations([sample_at(0, 30.0)]), [0.4])
    assert median == pytest.approx(30, rel=0.15)


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.5])
def test_ends_reported_by_webhook_give_the_true_distribution(sigma: float) -> None:
    found = quantiles(
        estimate_durations(webhook_samples(lognormal(20, sigma), 200)), [0.1, 0.5, 0.9]
    )
    true = [20 * 2.718281828 ** (sigma * z) for z in (-1.2816, 0, 1.2816)]
    assert found == pytest.approx(true, rel=0.02 + 0.3 * sigma)


def test_a_coarse_poll_is_spread_over_its_interval_and_not_taken_for_the_end() -> None:
    """Polls every 5 s find ends 2.5 s late on average; the estimated median is not late."""
    (median,) = quantiles(estimate_durations(polled_samples(lognormal(20, 0.3), 200, 5.0)), [0.5])
    assert median == pytest.approx(20, rel=0.05)


def test_two_modes_stay_two() -> None:
    def either(rng: random.Random) -> float:
        return lognormal(8 if rng.random() < 0.5 else 60, 0.15)(rng)

    estimate = estimate_durations(webhook_samples(either, 200))
    assert estimate is not None
    assert estimate.ended_by(13) == pytest.approx(0.5, abs=0.08)
    assert estimate.ended_by(38) - estimate.ended_by(13) < 0.05


def test_newer_runs_weigh_more() -> None:
    def median(first: float, then: float) -> float:
        samples = webhook_samples(lognormal(first, 0.3), 120) + webhook_samples(
            lognormal(then, 0.3), 120, seed=2
        )
        return quantiles(estimate_durations(samples), [0.5])[0]

    assert median(20, 22) > 1.02 * median(22, 20)


def test_two_dozen_runs_that_take_twice_as_long_change_the_estimate() -> None:
    samples = webhook_samples(lognormal(20, 0.3), 200) + webhook_samples(
        lognormal(40, 0.3), 24, seed=2
    )
    assert quantiles(estimate_durations(samples), [0.5]) == pytest.approx([40], rel=0.12)


def test_chance_is_not_taken_for_a_change() -> None:
    """Of 60 histories without a change, every estimate is about that of all runs."""
    medians = [
        quantiles(estimate_durations(webhook_samples(lognormal(20, 0.3), 240, seed)), [0.5])[0]
        for seed in range(60)
    ]
    assert max(abs(median - 20) for median in medians) < 1.6


def test_a_few_runs_without_polls_change_little() -> None:
    """Of runs that were not polled before their end only the end is known."""
    samples = webhook_samples(lognormal(20, 0.2), 100)
    unpolled = [sample_between(200 + n, None, 30.0) for n in range(20)]
    assert quantiles(estimate_durations(samples + unpolled), [0.5]) == pytest.approx([20], rel=0.06)


def test_the_tail_holds_what_was_not_observed() -> None:
    few, many = (
        estimate_durations(webhook_samples(lognormal(20, 0.1), 20)),
        estimate_durations(webhook_samples(lognormal(20, 0.1), 200)),
    )
    assert few is not None
    assert many is not None
    assert 1 - few.ended_shares[-1] > 1 - many.ended_shares[-1] > 0


@pytest.mark.parametrize("age_s", [0.0, 0.01, bin_edge_s(718), 1e7])
def test_ages_off_the_grid_are_samples_too(age_s: float) -> None:
    assert estimate_durations([sample_at(n, age_s) for n in range(30)]) is not None


def test_an_estimate_takes_enough_samples_of_which_enough_are_new() -> None:
    assert not is_worth_estimating(MIN_SAMPLES - 1, MIN_SAMPLES - 1)
    assert is_worth_estimating(MIN_SAMPLES, MIN_SAMPLES)
    assert not is_worth_estimating(240, 15)
    assert is_worth_estimating(240, 20)


def learned_from_polls(
    draw: Draw, runs: int, first_estimate: Distribution | None, seed: int
) -> Distribution:
    """The estimate after runs that were each polled by the estimate before it."""
    rng, samples = random.Random(seed), list[DurationSample]()  # noqa: S311 - not for secrets
    schedule: PollSchedule = PollSchedule(0.5, 30.0)
    estimate = first_estimate
    for n in range(runs):
        if estimate is not None and n % 10 == 0:
            schedule = planned_schedule(estimate, polls_per_run=5, min_s=0.1, max_s=60)
        age, running, ends = 0.0, None, draw(rng)
        while (age := age + schedule.next_delay_s(age, rng.random())) < ends:
            running = age
        samples.append(sample_between(n, running, age))
        estimate = estimate_durations(samples) if n % 10 == 9 else estimate
    assert isinstance(schedule, PlannedSchedule)
    assert estimate is not None
    return estimate


@pytest.mark.parametrize("wrong_s", [5.0, 80.0])
def test_a_wrong_estimate_does_not_confirm_itself_by_the_polls_it_causes(wrong_s: float) -> None:
    """Polls planned for other durations give wide intervals; the estimate still converges."""
    wrong = estimate_durations(webhook_samples(lognormal(wrong_s, 0.2), 100))
    found = learned_from_polls(lognormal(20, 0.2), 120, wrong, seed=3)
    assert quantiles(found, [0.1, 0.5, 0.9]) == pytest.approx([15.5, 20, 25.8], rel=0.08)
