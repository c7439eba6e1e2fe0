"""Sketches of durations: bounded, merged in any order, and read from Redis as written."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.polling.samples import (
    BINS,
    GRID_START_S,
    LOG_STEP,
    MAX_PENDING,
    MAX_SAMPLES,
    SAMPLING_KEYS,
    Distribution,
    DurationSample,
    PendingSamples,
    bin_edge_s,
    bin_of,
    completion_horizon_s,
    distribution_from_bins,
    merge_samples,
    sample_at,
    sample_between,
    split_complete,
)

quick = settings(max_examples=60, database=None)
ages = st.floats(0, 1e6, allow_nan=False)


@st.composite
def a_run(draw: st.DrawFn) -> DurationSample:
    running_bin, ended_bin = sorted(
        draw(st.lists(st.integers(0, BINS - 1), min_size=2, max_size=2))
    )
    return DurationSample(draw(st.integers(0, 2_000_000_000_000_000)), running_bin, ended_bin)


runs = a_run()
sketches = st.lists(runs, max_size=300)


@quick
@given(sketches, sketches, sketches)
def test_sketches_merge_to_the_same_in_any_order(
    a: list[DurationSample], b: list[DurationSample], c: list[DurationSample]
) -> None:
    assert (
        merge_samples(a, b, c)
        == merge_samples(c, merge_samples(b, a))
        == merge_samples(merge_samples(a, c), b)
    )


@quick
@given(sketches, sketches)
def test_a_sketch_keeps_the_newest_runs_and_no_more(
    a: list[DurationSample], b: list[DurationSample]
) -> None:
    found = merge_samples(a, b)
    assert len(found) == min(MAX_SAMPLES, len(a) + len(b))
    assert [run.began_us for run in found] == sorted(run.began_us for run in a + b)[-MAX_SAMPLES:]


@quick
@given(runs)
def test_a_run_is_read_as_it_was_written(run: DurationSample) -> None:
    assert DurationSample.parse(str(run).encode()) == run


@pytest.mark.parametrize(
    "text", [b"", b"1:2", b"1:2:3:4", b"a:b:c", b"1:9:3", b"1:-1:3", b"1:2:99999", b"\xff:1:2"]
)
def test_any_other_text_is_none(text: bytes) -> None:
    assert DurationSample.parse(text) is None


@quick
@given(ages)
def test_an_age_lies_in_its_bin(age_s: float) -> None:
    number = bin_of(age_s)
    assert 0 <= number < BINS
    if GRID_START_S < age_s < bin_edge_s(BINS - 1):
        assert bin_edge_s(number) * (1 - 1e-9) <= age_s <= bin_edge_s(number + 1) * (1 + 1e-9)


def test_a_bin_is_two_percent_wide_and_the_grid_reaches_a_day() -> None:
    assert bin_edge_s(101) / bin_edge_s(100) == pytest.approx(1 + LOG_STEP, abs=0.001)
    assert bin_edge_s(BINS) > 86_400


@quick
@given(ages, ages | st.none())
def test_what_polls_observed_is_an_interval_that_ends_where_the_end_was_found(
    found_s: float, running_s: float | None
) -> None:
    sample = sample_between(1_000.75, running_s, found_s)
    assert (sample.began_us, sample.ended_bin) == (1_000_750_000, bin_of(found_s))
    assert sample.running_bin <= sample.ended_bin
    assert sample_at(1_000.75, found_s) == DurationSample(
        1_000_750_000, sample.ended_bin, sample.ended_bin
    )


@quick
@given(sketches, st.floats(0, 1e6), st.floats(0, 2e6))
def test_a_run_counts_a_fixed_time_after_it_began_however_short_it_was(
    pending: list[DurationSample], horizon_s: float, now: float
) -> None:
    complete, incomplete = split_complete(pending, horizon_s, now)
    assert sorted(complete + incomplete) == sorted(pending)
    assert complete == sorted(complete)
    assert all(run.began_us <= round((now - horizon_s) * 1000) * 1000 + 999 for run in complete)
    assert all(run.began_us > round((now - horizon_s) * 1000) * 1000 + 999 for run in incomplete)


def test_runs_that_began_together_are_ordered_independently_of_their_length() -> None:
    rng = random.Random(1)  # noqa: S311 - not for secrets
    together = [sample_at(5.0, 1.0 + n, sampling_key=rng.randrange(1 << 32)) for n in range(1_000)]
    longer = sum(run.ended_bin >= bin_of(501.0) for run in merge_samples(together))
    assert 0.4 < longer / MAX_SAMPLES < 0.6


def test_a_run_is_counted_at_one_and_a_half_times_the_age_by_which_most_have_ended() -> None:
    certain = Distribution((0.0, 10.0, 20.0), (0.0, 0.0, 0.99))
    assert completion_horizon_s(certain, []) == pytest.approx(1.5 * (10 + 10 * 0.95 / 0.99))
    assert completion_horizon_s(a_distribution(), []) == 30.0, (
        "the tail begins before the share has ended"
    )


def counted(
    rng: random.Random, rate: int, seconds: float, pending_samples: PendingSamples
) -> list[list[DurationSample]]:
    """Samples of runs of 1 to 9 s that begin at `rate` and are counted 10 s later, every 3 s."""
    ends = list[tuple[float, float, int]]()
    for n in range(int(rate * seconds)):
        ends.append((n / rate + rng.uniform(1, 9), n / rate, rng.randrange(1000)))
    ends.sort()
    found, tick = list[list[DurationSample]](), 3.0
    for end, began, sampling_key in ends:
        while end >= tick:
            found.append(pending_samples.pop_complete(10.0, tick))
            tick += 3.0
        pending_samples.add(sample_at(began, end - began, sampling_key))
        assert len(pending_samples.samples) <= MAX_PENDING
    return found


@pytest.mark.parametrize("rate", [100, 600, 3_000])
def test_of_too_many_runs_those_that_count_are_as_long_as_all(rate: int) -> None:
    """Runs are dropped at random; if the oldest were dropped, only long ones would be left."""
    found = counted(random.Random(1), rate, 60.0, PendingSamples())  # noqa: S311 - not for secrets
    newest = [run for runs in found[4:] for run in runs[-MAX_SAMPLES:]]
    assert len(newest) > 0.6 * MAX_SAMPLES * len(found[4:]), "too few are left"
    means = sum(bin_edge_s(run.ended_bin) for run in newest) / len(newest)
    assert means == pytest.approx(5.0, rel=0.04)


def test_when_fewer_runs_come_more_of_them_are_followed_again_and_no_more_long_than_short() -> None:
    rng, pending_samples = random.Random(2), PendingSamples()  # noqa: S311 - not for secrets
    counted(rng, 3_000, 30.0, pending_samples)
    low_limit = pending_samples.key_limit
    assert low_limit < 500
    pending_samples.samples = []
    found = counted(rng, 100, 90.0, pending_samples)
    assert pending_samples.key_limit > low_limit
    lengths = [bin_edge_s(run.ended_bin) for runs in found for run in runs]
    assert sum(lengths) / len(lengths) == pytest.approx(5.0, rel=0.04)


def test_without_an_estimate_runs_wait_for_longer_than_the_longest() -> None:
    assert completion_horizon_s(None, []) == 0.0
    assert completion_horizon_s(None, [sample_at(0, 3.0), sample_at(0, 10.0)]) == pytest.approx(
        15, rel=0.03
    )


def a_distribution() -> Distribution:
    """Uniform between two ages, one run of ten after that."""
    return Distribution((0.0, 10.0, 20.0), (0.0, 0.0, 0.9))


def test_the_share_that_ended_grows_evenly_within_a_bin() -> None:
    shares = [a_distribution().ended_by(age) for age in (0, 5, 10, 15, 20, 99)]
    assert shares == pytest.approx([0, 0, 0, 0.45, 0.9, 0.9])


def test_the_mean_counts_the_tail_where_it_begins() -> None:
    assert a_distribution().mean_s == pytest.approx(0.9 * 15 + 0.1 * 20)


@pytest.mark.parametrize(
    ("age_s", "share", "remaining"),
    [(0, 0.45, 15), (10, 0.45, 5), (15, 0.5, 15 * 0 + 55 / 18), (0, 0.9, None), (25, 0.1, None)],
)
def test_the_remaining_time_is_of_the_runs_that_reach_the_age(
    age_s: float, share: float, remaining: float | None
) -> None:
    found = a_distribution().remaining_s(age_s, share)
    assert found == (None if remaining is None else pytest.approx(remaining))


def test_shares_become_a_distribution_with_its_tail() -> None:
    distribution = distribution_from_bins(100, [0.25, 0.75], tail_share=0.2)
    assert distribution.edges_s == (0.0, bin_edge_s(100), bin_edge_s(101), bin_edge_s(102))
    assert distribution.ended_shares == pytest.approx((0.0, 0.0, 0.2, 0.8))


def test_runs_go_on_being_sampled_at_random_while_none_waits() -> None:
    pending_samples = PendingSamples()
    for n in range(3 * MAX_PENDING):
        pending_samples.add(sample_at(1_000.0 + n / 1_000, 5.0, n * 7_919))
    assert pending_samples.pop_complete(7.5, 1_100.0)
    assert (pending_samples.samples, pending_samples.is_idle) == ([], False)
    assert pending_samples.pop_complete(7.5, 1_110.0) == []
    assert (pending_samples.key_limit, pending_samples.is_idle) == (SAMPLING_KEYS, True)
