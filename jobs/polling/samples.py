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

KEPT: Final = 240
"""Runs that are kept of a target."""

SHORTEST_S: Final = 0.05
STEP: Final = 0.02
"""The grid: the edge of bin n is `SHORTEST_S · e^(STEP·n)` seconds, so a bin is 2 % wide."""

BINS: Final = 719
"""Up to a day."""

RIPE: Final = 0.95
"""Runs are believed to be over when so many of those that began with them have ended."""

QUIET: Final = 1.5
"""A run counts once half as much time again has passed: after 95 % are believed to have ended, or,
while nothing is believed, after the longest run. Where more runs end than are kept, a run that is
not over when its like count never counts. Without the pause each belief would cut off the longest
twentieth of the one before it."""

WAITING_MOST: Final = 2_000
"""Runs of a target that wait until they count; of more, some are let go."""

LOTS: Final = 1_000


class Seen(NamedTuple):
    """One run that ended."""

    began: int
    """Unix microseconds, those below a millisecond by lot: the order of runs that began together
    must not tell which of them was long."""
    after: int
    """The bin of the age at which it was last known to be running; 0 where that is not known."""
    by: int
    """The bin of the age at which it was found ended; never before `after`."""

    def __str__(self) -> str:
        """As it lies in Redis."""
        return f"{self.began}:{self.after}:{self.by}"

    @classmethod
    def parse(cls, text: bytes) -> "Seen | None":
        """Read what `str` wrote; None where it is something else."""
        try:
            began, after, by = (int(part) for part in text.split(b":"))
        except ValueError:
            return None
        return cls(began, after, by) if 0 <= after <= by < BINS else None


def bin_of(age_s: float) -> int:
    """The bin that an age falls into; those off the grid go to its ends."""
    if age_s <= SHORTEST_S:
        return 0
    return min(BINS - 1, int(math.log(age_s / SHORTEST_S) / STEP))


def edge(number: int) -> float:
    """Where a bin begins, in seconds."""
    return SHORTEST_S * math.exp(STEP * number)


def seen_between(began_at: float, running_s: float | None, found_s: float, lot: int = 0) -> Seen:
    """A run that polls watched: running at the one age (None: not looked), ended by the other."""
    by = bin_of(found_s)
    return Seen(_began(began_at, lot), 0 if running_s is None else min(by, bin_of(running_s)), by)


def seen_at(began_at: float, age_s: float, lot: int = 0) -> Seen:
    """A run whose end was told at once."""
    number = bin_of(age_s)
    return Seen(_began(began_at, lot), number, number)


def _began(moment: float, lot: int) -> int:
    return round(moment * 1000) * 1000 + lot % LOTS


def merged(*sketches: Iterable[Seen]) -> list[Seen]:
    """The newest runs of all, by when they began, the oldest of them first."""
    return sorted(seen for sketch in sketches for seen in sketch)[-KEPT:]


def horizon(believed: "Distribution | None", held: Iterable[Seen]) -> float:
    """How long after its beginning a run counts, in seconds: by then nearly all like it have ended.

    Of runs that begin together the short ones end first. If each counted when it ended, a burst
    would look at first as if all runs were short, and the end of one as if all were long.
    """
    if believed is not None:
        return QUIET * (believed.remaining(0.0, RIPE) or believed.edges[-1])
    return QUIET * max((edge(run.by + 1) for run in held), default=0.0)


def ripened(held: Iterable[Seen], horizon_s: float, now: float) -> tuple[list[Seen], list[Seen]]:
    """The runs that count by now, in the order in which they began, and those that do not yet."""
    latest = _began(now - horizon_s, LOTS - 1)
    runs = sorted(held)
    return [r for r in runs if r.began <= latest], [r for r in runs if r.began > latest]


@dataclass(slots=True)
class Waiting:
    """Runs of a target that ended and do not count yet.

    Where there are too many, only those with a low lot are followed, whenever they end: to let go
    of runs that have waited would let go of the short ones.
    """

    runs: list[Seen] = field(default_factory=list[Seen])
    lots: int = LOTS
    """Runs with a lower lot are followed."""
    fewer: int = LOTS
    """The same for those that began before `since`: their short ones were let go."""
    since: int = 0

    def add(self, run: Seen) -> None:
        """Have a run wait, if runs of its lot are followed."""
        if run.began % LOTS >= (self.lots if run.began >= self.since else self.fewer):
            return
        self.runs.append(run)
        if len(self.runs) > WAITING_MOST:
            self.lots = self.fewer = max(1, self.lots // 2)
            self.runs = [run for run in self.runs if run.began % LOTS < self.lots]

    @property
    def over(self) -> bool:
        """None waits, and all are followed again: nothing needs to be remembered."""
        return not self.runs and self.lots == LOTS

    def ripe(self, horizon_s: float, now: float) -> list[Seen]:
        """Let go of the runs that count by now, in the order in which they began."""
        ripe, self.runs = ripened(self.runs, horizon_s, now)
        few = len(self.runs) < WAITING_MOST // 4 and self.lots < LOTS
        if few and self.since <= _began(now - horizon_s, 0):
            self.fewer, self.lots = self.lots, min(LOTS, 2 * self.lots)
            self.since = _began(now, 0)
        return ripe


@dataclass(frozen=True, slots=True)
class Distribution:
    """What is believed of a run's duration: the share ended by each edge, evenly in between.

    The share after the last edge is the tail, of which nothing is known.
    """

    edges: Sequence[float]
    """Ages in seconds, ascending; the first is 0."""
    ended: Sequence[float]
    """The share of runs that have ended by each edge, from 0 to at most 1."""
    counted: Sequence[float] = ()
    """The same of the runs that were seen, as they are and not smoothed: for counts of looks. What
    is believed is smoothed and so wider than the truth, which would take fewer looks than it says.
    Empty where the two are the same."""

    @property
    def mean_s(self) -> float:
        """The mean duration in seconds, of those in the tail as if they ended where it begins."""
        areas = (
            (1 - (self.ended[n] + self.ended[n + 1]) / 2) * (self.edges[n + 1] - self.edges[n])
            for n in range(len(self.edges) - 1)
        )
        return sum(areas)

    def ended_by(self, age_s: float) -> float:
        """The share of runs that have ended at an age."""
        n = bisect_right(self.edges, age_s) - 1
        if n >= len(self.edges) - 1:
            return self.ended[-1]
        share = (age_s - self.edges[n]) / (self.edges[n + 1] - self.edges[n])
        return self.ended[n] + share * (self.ended[n + 1] - self.ended[n])

    def remaining(self, age_s: float, share: float) -> float | None:
        """Seconds within which this share of the runs that reached an age end.

        None where that lies in the tail.
        """
        now = self.ended_by(age_s)
        wanted = now + share * (1 - now)
        if wanted >= self.ended[-1]:
            return None
        n = bisect_right(self.ended, wanted) - 1
        within = (wanted - self.ended[n]) / (self.ended[n + 1] - self.ended[n])
        moment = self.edges[n] + within * (self.edges[n + 1] - self.edges[n])
        return max(0.0, moment - age_s)


def distribution(
    first: int, shares: Sequence[float], tail: float, counted: Sequence[float] = ()
) -> Distribution:
    """From the share of each bin from `first` on (sum 1), of which `tail` is moved behind them."""
    edges = (0.0, *(edge(first + n) for n in range(len(shares) + 1)))
    return Distribution(edges, _ended(shares, tail), _ended(counted, tail) if counted else ())


def _ended(shares: Sequence[float], tail: float) -> Sequence[float]:
    return (0.0, *accumulate((share * (1 - tail) for share in shares), initial=0.0))
