"""How long runs of a target take: what was seen of each, and what is believed of the next.

A sketch is the newest `KEPT` runs of a target, each an interval on a grid in the logarithm of time:
a run that polls watched ended somewhere between the last look that found it running and the look
that found it ended. Intervals are kept as they were seen and are never replaced by a guess, so a
schedule made from them cannot confirm itself. Sketches merge by putting their runs together and
keeping the newest: in any order, with the same end.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, NamedTuple

MAX_SAMPLES: Final = 240
"""Runs that are kept of a target."""

GRID_START_S: Final = 0.05
LOG_STEP: Final = 0.02
"""The grid: the edge of bin n is `SHORTEST_S · e^(STEP·n)` seconds, so a bin is 2 % wide."""

BINS: Final = 719
"""Up to a day."""

COMPLETE_SHARE: Final = 0.95
"""Runs are believed to be over when so many of those that began with them have ended."""

HORIZON_FACTOR: Final = 1.5
"""A run counts once half as much time again has passed: after 95 % are believed to have ended, or,
while nothing is believed, after the longest run. Where more runs end than are kept, a run that is
not over when its like count never counts. Without the pause each belief would cut off the longest
twentieth of the one before it."""

MAX_PENDING: Final = 2_000
"""Runs of a target that wait until they count; of more, some are let go."""

SAMPLING_KEYS: Final = 1_000


class DurationSample(NamedTuple):
    """One run that ended."""

    began_us: int
    """Unix microseconds, those below a millisecond by lot: the order of runs that began together
    must not tell which of them was long."""
    running_bin: int
    """The bin of the age at which it was last known to be running; 0 where that is not known."""
    ended_bin: int
    """The bin of the age at which it was found ended; never before `after`."""

    def __str__(self) -> str:
        """As it lies in Redis."""
        return f"{self.began_us}:{self.running_bin}:{self.ended_bin}"

    @classmethod
    def parse(cls, text: bytes) -> "DurationSample | None":
        """Read what `str` wrote; None where it is something else."""
        try:
            began, after, by = (int(part) for part in text.split(b":"))
        except ValueError:
            return None
        return cls(began, after, by) if 0 <= after <= by < BINS else None


def bin_of(age_s: float) -> int:
    """The bin that an age falls into; those off the grid go to its ends."""
    if age_s <= GRID_START_S:
        return 0
    return min(BINS - 1, int(math.log(age_s / GRID_START_S) / LOG_STEP))


def bin_edge_s(number: int) -> float:
    """Where a bin begins, in seconds."""
    return GRID_START_S * math.exp(LOG_STEP * number)


def sample_between(
    began_at: float, last_running_s: float | None, found_ended_s: float, sampling_key: int = 0
) -> DurationSample:
    """A run that polls watched: running at the one age (None: not looked), ended by the other."""
    by = bin_of(found_ended_s)
    return DurationSample(
        _began_us(began_at, sampling_key),
        0 if last_running_s is None else min(by, bin_of(last_running_s)),
        by,
    )


def sample_at(began_at: float, age_s: float, sampling_key: int = 0) -> DurationSample:
    """A run whose end was told at once."""
    number = bin_of(age_s)
    return DurationSample(_began_us(began_at, sampling_key), number, number)


def _began_us(at: float, sampling_key: int) -> int:
    return round(at * 1000) * 1000 + sampling_key % SAMPLING_KEYS


def merge_samples(*sketches: Iterable[DurationSample]) -> list[DurationSample]:
    """The newest runs of all, by when they began, the oldest of them first."""
    return sorted(seen for sketch in sketches for seen in sketch)[-MAX_SAMPLES:]


def completion_horizon_s(
    estimate: "Distribution | None", pending: Iterable[DurationSample]
) -> float:
    """How long after its beginning a run counts, in seconds: by then nearly all like it have ended.

    Of runs that begin together the short ones end first. If each counted when it ended, a burst
    would look at first as if all runs were short, and the end of one as if all were long.
    """
    if estimate is not None:
        return HORIZON_FACTOR * (estimate.remaining_s(0.0, COMPLETE_SHARE) or estimate.edges_s[-1])
    return HORIZON_FACTOR * max((bin_edge_s(run.ended_bin + 1) for run in pending), default=0.0)


def split_complete(
    pending: Iterable[DurationSample], horizon_s: float, now: float
) -> tuple[list[DurationSample], list[DurationSample]]:
    """The runs that count by now, in the order in which they began, and those that do not yet."""
    latest = _began_us(now - horizon_s, SAMPLING_KEYS - 1)
    runs = sorted(pending)
    return [r for r in runs if r.began_us <= latest], [r for r in runs if r.began_us > latest]


@dataclass(slots=True)
class PendingSamples:
    """Runs of a target that ended and do not count yet.

    Where there are too many, only those with a low lot are followed, whenever they end: to let go
    of runs that have waited would let go of the short ones.
    """

    samples: list[DurationSample] = field(default_factory=list[DurationSample])
    key_limit: int = SAMPLING_KEYS
    """Runs with a lower lot are followed."""
    older_key_limit: int = SAMPLING_KEYS
    """The same for those that began before `since`: their short ones were let go."""
    limit_since_us: int = 0

    def add(self, sample: DurationSample) -> None:
        """Have a run wait, if runs of its lot are followed."""
        if sample.began_us % SAMPLING_KEYS >= (
            self.key_limit if sample.began_us >= self.limit_since_us else self.older_key_limit
        ):
            return
        self.samples.append(sample)
        if len(self.samples) > MAX_PENDING:
            self.key_limit = self.older_key_limit = max(1, self.key_limit // 2)
            self.samples = [
                run for run in self.samples if run.began_us % SAMPLING_KEYS < self.key_limit
            ]

    @property
    def is_idle(self) -> bool:
        """None waits, and all are followed again: nothing needs to be remembered."""
        return not self.samples and self.key_limit == SAMPLING_KEYS

    def pop_complete(self, horizon_s: float, now: float) -> list[DurationSample]:
        """Let go of the runs that count by now, in the order in which they began."""
        ripe, self.samples = split_complete(self.samples, horizon_s, now)
        few = len(self.samples) < MAX_PENDING // 4 and self.key_limit < SAMPLING_KEYS
        if few and self.limit_since_us <= _began_us(now - horizon_s, 0):
            self.older_key_limit, self.key_limit = (
                self.key_limit,
                min(SAMPLING_KEYS, 2 * self.key_limit),
            )
            self.limit_since_us = _began_us(now, 0)
        return ripe


@dataclass(frozen=True, slots=True)
class Distribution:
    """What is believed of a run's duration: the share ended by each edge, evenly in between.

    The share after the last edge is the tail, of which nothing is known.
    """

    edges_s: Sequence[float]
    """Ages in seconds, ascending; the first is 0."""
    ended_shares: Sequence[float]
    """The share of runs that have ended by each edge, from 0 to at most 1."""
    observed_shares: Sequence[float] = ()
    """The same of the runs that were seen, as they are and not smoothed: for counts of looks. What
    is believed is smoothed and so wider than the truth, which would take fewer looks than it says.
    Empty where the two are the same."""

    @property
    def mean_s(self) -> float:
        """The mean duration in seconds, of those in the tail as if they ended where it begins."""
        areas = (
            (1 - (self.ended_shares[n] + self.ended_shares[n + 1]) / 2)
            * (self.edges_s[n + 1] - self.edges_s[n])
            for n in range(len(self.edges_s) - 1)
        )
        return sum(areas)

    def ended_by(self, age_s: float) -> float:
        """The share of runs that have ended at an age."""
        n = bisect_right(self.edges_s, age_s) - 1
        if n >= len(self.edges_s) - 1:
            return self.ended_shares[-1]
        share = (age_s - self.edges_s[n]) / (self.edges_s[n + 1] - self.edges_s[n])
        return self.ended_shares[n] + share * (self.ended_shares[n + 1] - self.ended_shares[n])

    def remaining_s(self, age_s: float, share: float) -> float | None:
        """Seconds within which this share of the runs that reached an age end.

        None where that lies in the tail.
        """
        now = self.ended_by(age_s)
        wanted = now + share * (1 - now)
        if wanted >= self.ended_shares[-1]:
            return None
        n = bisect_right(self.ended_shares, wanted) - 1
        within = (wanted - self.ended_shares[n]) / (self.ended_shares[n + 1] - self.ended_shares[n])
        moment = self.edges_s[n] + within * (self.edges_s[n + 1] - self.edges_s[n])
        return max(0.0, moment - age_s)


def distribution_from_bins(
    first_bin: int, shares: Sequence[float], tail_share: float, observed: Sequence[float] = ()
) -> Distribution:
    """From the share of each bin from `first` on (sum 1), of which `tail` is moved behind them."""
    edges = (0.0, *(bin_edge_s(first_bin + n) for n in range(len(shares) + 1)))
    return Distribution(
        edges,
        _cumulative(shares, tail_share),
        _cumulative(observed, tail_share) if observed else (),
    )


def _cumulative(shares: Sequence[float], tail_share: float) -> Sequence[float]:
    return (0.0, *accumulate((share * (1 - tail_share) for share in shares), initial=0.0))
