"""Durations of runs: samples of each target, and the distribution that is estimated from them.

A sketch is the newest `MAX_SAMPLES` samples of a target. A sample is an interval on a logarithmic
grid: a polled run ended between the last poll that found it running and the poll that found it
ended. Intervals are never replaced by estimates, so a schedule made from them cannot confirm
itself. Sketches merge by keeping the newest of all their samples: the order does not matter.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, NamedTuple

MAX_SAMPLES: Final = 240
"""Samples that are kept of a target."""

GRID_START_S: Final = 0.05
LOG_STEP: Final = 0.02
"""The grid: bin n begins at `GRID_START_S · e^(LOG_STEP·n)` seconds, so a bin is 2 % wide."""

BINS: Final = 719
"""Bins of the grid, which ends at one day."""

COMPLETE_SHARE: Final = 0.95
"""The share of runs that have ended before those that began with them are counted."""

HORIZON_FACTOR: Final = 1.5
"""Runs are counted at this many times the age by which `COMPLETE_SHARE` of them have ended, by the
estimate. While there is no estimate: at this many times the longest run. A run that ends later may
never be counted. Without the extra time, each estimate would cut off the longest 5 % of the one
before it."""

MAX_PENDING: Final = 2_000
"""Ended runs of a target that wait to be counted. Of more, only a share is followed."""

SAMPLING_KEYS: Final = 1_000
"""Number of sampling keys: each run has a random one, by which a share of the runs is chosen."""


class DurationSample(NamedTuple):
    """One run that ended."""

    began_us: int
    """Unix microseconds. The part below a millisecond is the sampling key: the order of runs that
    began together must not depend on their durations."""
    running_bin: int
    """The bin of the age at which it was last known to be running; 0 if that is unknown."""
    ended_bin: int
    """The bin of the age at which it was found to have ended; never before `running_bin`."""

    def __str__(self) -> str:
        """The text that Redis stores, `began_us:running_bin:ended_bin`."""
        return f"{self.began_us}:{self.running_bin}:{self.ended_bin}"

    @classmethod
    def parse(cls, text: bytes) -> "DurationSample | None":
        """Read what `str` wrote; None for any other text."""
        try:
            began_us, running_bin, ended_bin = (int(part) for part in text.split(b":"))
        except ValueError:
            return None
        is_valid = 0 <= running_bin <= ended_bin < BINS
        return cls(began_us, running_bin, ended_bin) if is_valid else None


def bin_of(age_s: float) -> int:
    """The bin of an age; ages off the grid are in its first or last bin."""
    if age_s <= GRID_START_S:
        return 0
    return min(BINS - 1, int(math.log(age_s / GRID_START_S) / LOG_STEP))


def bin_edge_s(number: int) -> float:
    """The age at which a bin begins, in seconds."""
    return GRID_START_S * math.exp(LOG_STEP * number)


def sample_between(
    began_at: float, last_running_s: float | None, found_ended_s: float, sampling_key: int = 0
) -> DurationSample:
    """The sample of a polled run: found running at one age (None: never), ended by the other."""
    ended_bin = bin_of(found_ended_s)
    return DurationSample(
        _began_us(began_at, sampling_key),
        0 if last_running_s is None else min(ended_bin, bin_of(last_running_s)),
        ended_bin,
    )


def sample_at(began_at: float, age_s: float, sampling_key: int = 0) -> DurationSample:
    """The sample of a run whose end was reported at once, by a webhook or a sync answer."""
    number = bin_of(age_s)
    return DurationSample(_began_us(began_at, sampling_key), number, number)


def _began_us(at: float, sampling_key: int) -> int:
    return round(at * 1000) * 1000 + sampling_key % SAMPLING_KEYS


def merge_samples(*sketches: Iterable[DurationSample]) -> list[DurationSample]:
    """The newest samples of all sketches, by when the runs began, the oldest first."""
    return sorted(sample for sketch in sketches for sample in sketch)[-MAX_SAMPLES:]


def completion_horizon_s(
    estimate: "Distribution | None", pending: Iterable[DurationSample]
) -> float:
    """Seconds after its beginning from which on a run is counted: by then nearly all have ended.

    Of runs that begin together the short ones end first. If each were counted when it ended, runs
    would seem short at the start of a burst and long at its end.
    """
    if estimate is not None:
        return HORIZON_FACTOR * (estimate.remaining_s(0.0, COMPLETE_SHARE) or estimate.edges_s[-1])
    return HORIZON_FACTOR * max((bin_edge_s(run.ended_bin + 1) for run in pending), default=0.0)


def split_complete(
    pending: Iterable[DurationSample], horizon_s: float, now: float
) -> tuple[list[DurationSample], list[DurationSample]]:
    """The samples that are counted by `now`, ordered by when the runs began, and the others."""
    latest = _began_us(now - horizon_s, SAMPLING_KEYS - 1)
    runs = sorted(pending)
    return [r for r in runs if r.began_us <= latest], [r for r in runs if r.began_us > latest]


@dataclass(slots=True)
class PendingSamples:
    """Ended runs of a target that are not counted yet.

    If there are too many, only runs with a low sampling key are followed, whenever they end:
    dropping the ones that have waited longest would drop the short runs.
    """

    samples: list[DurationSample] = field(default_factory=list[DurationSample])
    key_limit: int = SAMPLING_KEYS
    """Runs with a lower sampling key are followed."""
    older_key_limit: int = SAMPLING_KEYS
    """The same for runs that began before `limit_since_us`, whose short ones were dropped."""
    limit_since_us: int = 0

    def add(self, sample: DurationSample) -> None:
        """Add a run if its sampling key is followed."""
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
        """Whether no run waits and all are followed again: the object can be dropped."""
        return not self.samples and self.key_limit == SAMPLING_KEYS

    def pop_complete(self, horizon_s: float, now: float) -> list[DurationSample]:
        """Remove and return the samples counted by `now`, ordered by when the runs began."""
        complete, self.samples = split_complete(self.samples, horizon_s, now)
        has_room = len(self.samples) < MAX_PENDING // 4 and self.key_limit < SAMPLING_KEYS
        if has_room and self.limit_since_us <= _began_us(now - horizon_s, 0):
            self.older_key_limit, self.key_limit = (
                self.key_limit,
                min(SAMPLING_KEYS, 2 * self.key_limit),
            )
            self.limit_since_us = _began_us(now, 0)
        return complete


@dataclass(frozen=True, slots=True)
class Distribution:
    """The distribution of a run's duration: the share ended by each edge, linear in between.

    The share after the last edge is the tail, about which nothing is known.
    """

    edges_s: Sequence[float]
    """Ages in seconds, ascending; the first is 0."""
    ended_shares: Sequence[float]
    """The share of runs that have ended by each edge, from 0 to at most 1."""
    observed_shares: Sequence[float] = ()
    """The same without smoothing, to count polls with. The smoothed distribution is wider than the
    true one, so that counts made from it are too high. Empty where the two are the same."""

    @property
    def mean_s(self) -> float:
        """The mean duration in seconds, as if runs in the tail ended at its beginning."""
        areas = (
            (1 - (self.ended_shares[n] + self.ended_shares[n + 1]) / 2)
            * (self.edges_s[n + 1] - self.edges_s[n])
            for n in range(len(self.edges_s) - 1)
        )
        return sum(areas)

    def ended_by(self, age_s: float) -> float:
        """The share of runs that have ended by an age."""
        n = bisect_right(self.edges_s, age_s) - 1
        if n >= len(self.edges_s) - 1:
            return self.ended_shares[-1]
        share = (age_s - self.edges_s[n]) / (self.edges_s[n + 1] - self.edges_s[n])
        return self.ended_shares[n] + share * (self.ended_shares[n + 1] - self.ended_shares[n])

    def remaining_s(self, age_s: float, share: float) -> float | None:
        """Seconds within which this share of the runs that reach `age_s` end; None in the tail."""
        now = self.ended_by(age_s)
        wanted = now + share * (1 - now)
        if wanted >= self.ended_shares[-1]:
            return None
        n = bisect_right(self.ended_shares, wanted) - 1
        within = (wanted - self.ended_shares[n]) / (self.ended_shares[n + 1] - self.ended_shares[n])
        ended_s = self.edges_s[n] + within * (self.edges_s[n + 1] - self.edges_s[n])
        return max(0.0, ended_s - age_s)


def distribution_from_bins(
    first_bin: int, shares: Sequence[float], tail_share: float, observed: Sequence[float] = ()
) -> Distribution:
    """The distribution with these shares (sum 1) of the bins from `first_bin` on.

    `tail_share` of it is moved into the tail. `observed` are the shares without smoothing.
    """
    edges = (0.0, *(bin_edge_s(first_bin + n) for n in range(len(shares) + 1)))
    return Distribution(
        edges,
        _cumulative(shares, tail_share),
        _cumulative(observed, tail_share) if observed else (),
    )


def _cumulative(shares: Sequence[float], tail_share: float) -> Sequence[float]:
    return (0.0, *accumulate((share * (1 - tail_share) for share in shares), initial=0.0))
