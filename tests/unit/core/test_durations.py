"""The sketch of durations: bounded, merged in any order, and the same after Redis as before."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.polling.samples import (
    BINS,
    KEPT,
    LOTS,
    SHORTEST_S,
    STEP,
    WAITING_MOST,
    Distribution,
    Seen,
    Waiting,
    bin_of,
    distribution,
    edge,
    horizon,
    merged,
    ripened,
    seen_at,
    seen_between,
)

quick = settings(max_examples=60, database=None)
ages = st.floats(0, 1e6, allow_nan=False)


@st.composite
def a_run(draw: st.DrawFn) -> Seen:
    after, by = sorted(draw(st.lists(st.integers(0, BINS - 1), min_size=2, max_size=2)))
    return Seen(draw(st.integers(0, 2_000_000_000_000_000)), after, by)


runs = a_run()
sketches = st.lists(runs, max_size=300)


@quick
@given(sketches, sketches, sketches)
def test_sketches_merge_to_the_same_in_any_order(
    a: list[Seen], b: list[Seen], c: list[Seen]
) -> None:
    assert merged(a, b, c) == merged(c, merged(b, a)) == merged(merged(a, c), b)


@quick
@given(sketches, sketches)
def test_a_sketch_keeps_the_newest_runs_and_no_more(a: list[Seen], b: list[Seen]) -> None:
    found = merged(a, b)
    assert len(found) == min(KEPT, len(a) + len(b))
    assert [run.began for run in found] == sorted(run.began for run in a + b)[-KEPT:]


@quick
@given(runs)
def test_a_run_is_read_as_it_was_written(run: Seen) -> None:
    assert Seen.parse(str(run).encode()) == run


@pytest.mark.parametrize(
    "text", [b"", b"1:2", b"1:2:3:4", b"a:b:c", b"1:9:3", b"1:-1:3", b"1:2:99999", b"\xff:1:2"]
)
def test_what_is_no_run_is_none(text: bytes) -> None:
    assert Seen.parse(text) is None


@quick
@given(ages)
def test_an_age_lies_in_its_bin(age_s: float) -> None:
    number = bin_of(age_s)
    assert 0 <= number < BINS
    if SHORTEST_S < age_s < edge(BINS - 1):
        assert edge(number) * (1 - 1e-9) <= age_s <= edge(number + 1) * (1 + 1e-9)


def test_a_bin_is_two_percent_wide_and_the_grid_reaches_a_day() -> None:
    assert edge(101) / edge(100) == pytest.approx(1 + STEP, abs=0.001)
    assert edge(BINS) > 86_400


@quick
@given(ages, ages | st.none())
def test_what_polls_saw_is_an_interval_that_ends_where_the_end_was_found(
    found_s: float, running_s: float | None
) -> None:
    seen = seen_between(1_000.75, running_s, found_s)
    assert (seen.began, seen.by) == (1_000_750_000, bin_of(found_s))
    assert seen.after <= seen.by
    assert seen_at(1_000.75, found_s) == Seen(1_000_750_000, seen.by, seen.by)


@quick
@given(sketches, st.floats(0, 1e6), st.floats(0, 2e6))
def test_a_run_counts_a_fixed_time_after_it_began_however_short_it_was(
    held: list[Seen], horizon_s: float, now: float
) -> None:
    ripe, unripe = ripened(held, horizon_s, now)
    assert sorted(ripe + unripe) == sorted(held)
    assert ripe == sorted(ripe)
    assert all(run.began <= round((now - horizon_s) * 1000) * 1000 + 999 for run in ripe)
    assert all(run.began > round((now - horizon_s) * 1000) * 1000 + 999 for run in unripe)


def test_runs_that_began_together_stand_in_an_order_that_says_nothing_of_their_length() -> None:
    dice = random.Random(1)  # noqa: S311 - dice of a test
    together = [seen_at(5.0, 1.0 + n, lot=dice.randrange(1 << 32)) for n in range(1_000)]
    longer = sum(run.by >= bin_of(501.0) for run in merged(together))
    assert 0.4 < longer / KEPT < 0.6


def test_a_run_counts_half_as_long_again_after_most_of_its_like_have_ended() -> None:
    certain = Distribution((0.0, 10.0, 20.0), (0.0, 0.0, 0.99))
    assert horizon(certain, []) == pytest.approx(1.5 * (10 + 10 * 0.95 / 0.99))
    assert horizon(believed(), []) == 30.0, "after the tail begins, if that is all that is known"


def counted(dice: random.Random, rate: int, seconds: float, waiting: Waiting) -> list[list[Seen]]:
    """Runs of 1 to 9 s that begin at a rate and count 10 s later, by every 3 s."""
    ends = list[tuple[float, float, int]]()
    for n in range(int(rate * seconds)):
        ends.append((n / rate + dice.uniform(1, 9), n / rate, dice.randrange(1000)))
    ends.sort()
    found, tick = list[list[Seen]](), 3.0
    for end, began, lot in ends:
        while end >= tick:
            found.append(waiting.ripe(10.0, tick))
            tick += 3.0
        waiting.add(seen_at(began, end - began, lot))
        assert len(waiting.runs) <= WAITING_MOST
    return found


@pytest.mark.parametrize("rate", [100, 600, 3_000])
def test_of_too_many_runs_those_that_count_are_as_long_as_all(rate: int) -> None:
    """Runs are let go by lot; by how long they have waited, only the long ones would be left."""
    found = counted(random.Random(1), rate, 60.0, Waiting())  # noqa: S311 - dice of a test
    newest = [run for runs in found[4:] for run in runs[-KEPT:]]
    assert len(newest) > 0.6 * KEPT * len(found[4:]), "enough are left"
    means = sum(edge(run.by) for run in newest) / len(newest)
    assert means == pytest.approx(5.0, rel=0.04)


def test_when_fewer_runs_come_more_of_them_are_followed_again_and_no_more_long_than_short() -> None:
    dice, waiting = random.Random(2), Waiting()  # noqa: S311 - dice of a test
    counted(dice, 3_000, 30.0, waiting)
    few = waiting.lots
    assert few < 500
    waiting.runs = []
    found = counted(dice, 100, 90.0, waiting)
    assert waiting.lots > few
    lengths = [edge(run.by) for runs in found for run in runs]
    assert sum(lengths) / len(lengths) == pytest.approx(5.0, rel=0.04)


def test_while_nothing_is_believed_runs_wait_for_a_quiet_time() -> None:
    assert horizon(None, []) == 0.0
    assert horizon(None, [seen_at(0, 3.0), seen_at(0, 10.0)]) == pytest.approx(15, rel=0.03)


def believed() -> Distribution:
    """Evenly between two ages, one run of ten beyond."""
    return Distribution((0.0, 10.0, 20.0), (0.0, 0.0, 0.9))


def test_the_share_that_ended_grows_evenly_within_a_bin() -> None:
    shares = [believed().ended_by(age) for age in (0, 5, 10, 15, 20, 99)]
    assert shares == pytest.approx([0, 0, 0, 0.45, 0.9, 0.9])


def test_the_mean_counts_the_tail_where_it_begins() -> None:
    assert believed().mean_s == pytest.approx(0.9 * 15 + 0.1 * 20)


@pytest.mark.parametrize(
    ("age_s", "share", "remaining"),
    [(0, 0.45, 15), (10, 0.45, 5), (15, 0.5, 15 * 0 + 55 / 18), (0, 0.9, None), (25, 0.1, None)],
)
def test_what_remains_counts_from_those_that_came_so_far(
    age_s: float, share: float, remaining: float | None
) -> None:
    found = believed().remaining(age_s, share)
    assert found == (None if remaining is None else pytest.approx(remaining))


def test_shares_become_a_distribution_with_its_tail() -> None:
    made = distribution(100, [0.25, 0.75], tail=0.2)
    assert made.edges == (0.0, edge(100), edge(101), edge(102))
    assert made.ended == pytest.approx((0.0, 0.0, 0.2, 0.8))


def test_runs_go_on_being_let_go_by_lot_while_none_waits() -> None:
    waiting = Waiting()
    for n in range(3 * WAITING_MOST):
        waiting.add(seen_at(1_000.0 + n / 1_000, 5.0, n * 7_919))
    assert waiting.ripe(7.5, 1_100.0)
    assert (waiting.runs, waiting.over) == ([], False)
    assert waiting.ripe(7.5, 1_110.0) == []
    assert (waiting.lots, waiting.over) == (LOTS, True)
