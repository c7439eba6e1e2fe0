"""Estimates the distribution of a target's run durations from its samples.

The end of most runs is known only to lie between two polls. The estimate is the smoothed EM of
Silverman, Jones, Wilson and Nychka (1990): in each round the weight of each interval is spread over
it in proportion to the current estimate, and the sum is smoothed. The first estimate is uniform,
not an earlier result.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from jobs.polling.samples import (
    BINS,
    Distribution,
    DurationSample,
    bin_edge_s,
    distribution_from_bins,
)

MIN_SAMPLES: Final = 20
"""Samples of a target from which on polls are planned; with fewer, intervals are geometric."""

HALF_LIFE_RUNS: Final = 80
"""A run has half the weight of one that came this many runs later."""

EM_ROUNDS: Final = 8
"""Rounds of EM. Further rounds change less than the next runs do."""

PILOT_REACH_BINS: Final = 2
"""Bins on either side over which the rough estimate is smoothed."""

BANDWIDTH: Final = 0.4
"""Standard deviation of the kernel, in units of the narrowest range with `CORE_SHARE` of the runs.

That range, not the spread of all runs, shows how fine the features of the distribution are: two
narrow modes far apart stay narrow. Chosen with `bench.polling`, for σ from 0.1 to 0.5 and two
modes.
"""

CORE_SHARE: Final = 0.25

WIDE_REACH_BINS: Final = 16
WIDE_SHARE: Final = 0.03
"""This share is smoothed over `WIDE_REACH_BINS`: 200 runs do not show every duration."""

MARGIN_BINS: Final = 24
"""Bins kept on either side of the samples: a factor of 1.6."""

BLOCK_RUNS: Final = 12
"""Runs between two possible change points."""

CHANGE_THRESHOLD: Final = 2.0
"""The two-sample Kolmogorov-Smirnov statistic `D·√(nm/(n+m))` from which on two samples differ.

By chance it exceeds this about once in 1,500 comparisons.
"""


class _Span(NamedTuple):
    """A sample on the grid of the estimate: it ended in one of the bins `first` to `last`."""

    first: int
    last: int
    weight: float


def is_worth_estimating(samples: int, new_samples: int) -> bool:
    """Whether there are enough samples, and enough new ones since the last estimate."""
    return samples >= MIN_SAMPLES and new_samples >= min(MIN_SAMPLES, 4 + samples / 10)


def estimate_durations(samples: Sequence[DurationSample]) -> Distribution | None:
    """The estimated distribution; None without samples. The newest sample comes last.

    If newer runs differ from older ones, the older ones are left out.
    """
    if not samples:
        return None
    lowest, bins = _bin_range(samples)
    spans = _weighted_spans(samples, lowest)
    rough = _estimate(spans, PILOT_REACH_BINS, bins)
    if cut := _change_point(spans, rough):
        spans = spans[cut:]
        rough = _estimate(spans, PILOT_REACH_BINS, bins)
    smooth = _estimate(spans, _reach(BANDWIDTH * _core_bins(rough)), bins)
    observed = _normalised(_spread(spans, smooth))
    return distribution_from_bins(
        lowest, _with_wide_share(smooth), 0.5 / (_effective_size(spans) + 1), observed
    )


def _bin_range(samples: Sequence[DurationSample]) -> tuple[int, int]:
    """The first bin of the estimate, and the number of its bins."""
    lowest = min(run.running_bin or max(0, run.ended_bin - MARGIN_BINS) for run in samples)
    first = max(0, lowest - MARGIN_BINS)
    return first, min(BINS, max(run.ended_bin for run in samples) + MARGIN_BINS) - first + 1


def _weighted_spans(samples: Sequence[DurationSample], lowest: int) -> list[_Span]:
    newest = len(samples) - 1
    return [
        _Span(
            max(run.running_bin - lowest, 0),
            run.ended_bin - lowest,
            2.0 ** ((n - newest) / HALF_LIFE_RUNS),
        )
        for n, run in enumerate(samples)
    ]


def _effective_size(spans: Sequence[_Span]) -> float:
    """The number of equally weighted runs with the same information (Kish)."""
    total = sum(span.weight for span in spans)
    return total * total / sum(span.weight * span.weight for span in spans)


def _estimate(spans: Sequence[_Span], reach: int, bins: int) -> list[float]:
    """The share of each bin, by EM with smoothing in every round."""
    shares = _normalised([bin_edge_s(n + 1) - bin_edge_s(n) for n in range(bins)])
    for _ in range(EM_ROUNDS):
        shares = _normalised(_smooth(_spread(spans, shares), reach))
    return shares


def _spread(spans: Sequence[_Span], shares: Sequence[float]) -> list[float]:
    """The weight of each span, spread over its bins in proportion to their shares."""
    before = list(accumulate(shares, initial=0.0))
    steps = [0.0] * (len(shares) + 1)
    for first, last, weight in spans:
        span_share = before[last + 1] - before[first]
        if span_share > 0:
            steps[first] += weight / span_share
            steps[last + 1] -= weight / span_share
    return [
        share * max(level, 0.0) for share, level in zip(shares, accumulate(steps), strict=False)
    ]


def _smooth(shares: Sequence[float], reach: int) -> list[float]:
    """Two running means over `reach` bins on either side: a triangular kernel."""
    bins, found = len(shares), list(shares)
    for _ in range(2):
        before = list(accumulate(found, initial=0.0))
        found = [before[min(bins, n + reach + 1)] - before[max(0, n - reach)] for n in range(bins)]
    return found


def _normalised(shares: Sequence[float]) -> list[float]:
    total = sum(shares)
    return [share / total for share in shares]


def _core_bins(shares: Sequence[float]) -> int:
    """The fewest neighbouring bins with `CORE_SHARE` of the runs."""
    before = list(accumulate(shares, initial=0.0))
    fewest, last = len(shares), 0
    for first in range(len(shares)):
        while last < len(shares) and before[last] - before[first] < CORE_SHARE:
            last += 1
        if before[last] - before[first] < CORE_SHARE:
            break
        fewest = min(fewest, last - first)
    return fewest


def _reach(deviation: float) -> int:
    """The reach in bins of two running means that have this standard deviation together."""
    return max(1, round((math.sqrt(6 * deviation * deviation + 1) - 1) / 2))


def _with_wide_share(shares: Sequence[float]) -> list[float]:
    wide = _normalised(_smooth(shares, WIDE_REACH_BINS))
    return [
        (1 - WIDE_SHARE) * near + WIDE_SHARE * far for near, far in zip(shares, wide, strict=True)
    ]


def _change_point(spans: Sequence[_Span], shares: Sequence[float]) -> int:
    """The first of the newest runs, if they differ from those before them; else 0."""
    starts = range(len(spans) % BLOCK_RUNS, len(spans) - BLOCK_RUNS + 1, BLOCK_RUNS)
    blocks = [
        list(
            accumulate(_spread([s._replace(weight=1.0) for s in spans[n : n + BLOCK_RUNS]], shares))
        )
        for n in starts
    ]
    total = [sum(column) for column in zip(*blocks, strict=True)]
    old, most, cut = [0.0] * len(total), CHANGE_THRESHOLD, 0
    for block, start in zip(blocks[:-1], starts, strict=False):
        old = [a + b for a, b in zip(old, block, strict=True)]
        older, newer = old[-1], total[-1] - old[-1]
        if older <= 0 or newer <= 0:
            continue
        distance = max(abs(a / older - (b - a) / newer) for a, b in zip(old, total, strict=True))
        statistic = distance * math.sqrt(older * newer / (older + newer))
        if statistic > most:
            most, cut = statistic, start + BLOCK_RUNS
    return cut
