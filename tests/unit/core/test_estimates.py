"""What a run is likely to cost: the most of price, recent runs and default."""

import pytest

from jobs.credits.estimates import estimate, recent_cost, total_estimate


@pytest.mark.parametrize(
    ("price", "recent", "default", "expected"),
    [
        (None, None, None, None),
        (None, None, 5.0, 5.0),
        (16.0, None, None, 16.0),
        (16.0, 12.0, None, 16.0),
        (16.0, 20.0, None, 20.0),
        (16.0, 20.0, 25.0, 25.0),
        (0.0, None, None, 0.0),
        (0.0, None, 0.0, 0.0),
    ],
)
def test_an_estimate_is_the_most_of_what_is_known(
    price: float | None, recent: float | None, default: float | None, expected: float | None
) -> None:
    assert estimate(price, recent, default) == expected


def test_recent_runs_count_by_their_95th_percentile() -> None:
    assert recent_cost([]) is None
    assert recent_cost([3.0]) == 3.0
    assert recent_cost([float(n) for n in range(100, 0, -1)]) == 95.0
    assert recent_cost([8.0] * 95 + [900.0] * 5) == 8.0, "a few outliers raise nothing"
    assert recent_cost([8.0] * 94 + [900.0] * 6) == 900.0
    assert recent_cost([0.0, 0.0]) == 0.0, "free is not unknown"


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    assert total_estimate([]) == 0.0
    assert total_estimate([(2.5, 2), (8.0, 1)]) == 13.0
    assert total_estimate([(2.5, 2), (None, 1)]) is None
    assert total_estimate([(2.5, 2), (None, 0)]) == 5.0
