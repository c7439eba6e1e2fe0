"""How long runs take in the bench: mixtures of lognormal durations, cut off at a cap."""

import math
import random
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class DurationCase:
    """A distribution of durations. A part is its share, its median in seconds and its sigma."""

    name: str
    parts: tuple[tuple[float, float, float], ...]
    cap_s: float = math.inf

    def ended_by(self, age_s: float) -> float:
        """The share of runs that have ended at an age."""
        if age_s <= 0:
            return 0.0
        if age_s >= self.cap_s:
            return 1.0
        return sum(
            share * 0.5 * math.erfc(-math.log(age_s / median) / sigma / math.sqrt(2))
            for share, median, sigma in self.parts
        )

    def draw(self, dice: random.Random) -> float:
        """The duration of one run, in seconds."""
        at = dice.random()
        for share, median, sigma in self.parts:
            at -= share
            if at < 0:
                return min(self.cap_s, median * math.exp(sigma * dice.gauss(0, 1)))
        raise AssertionError("the shares add up to 1")

    def span(self, sigmas: float = 4.5) -> tuple[float, float]:
        """The ages between which nearly all runs end."""
        first = min(median * math.exp(-sigmas * sigma) for _, median, sigma in self.parts)
        last = max(median * math.exp(sigmas * sigma) for _, median, sigma in self.parts)
        return first, min(last, self.cap_s)

    def doubled(self) -> "DurationCase":
        """The same runs, each taking twice as long."""
        parts = tuple((share, 2 * median, sigma) for share, median, sigma in self.parts)
        return DurationCase(self.name, parts, 2 * self.cap_s)


CASES: Final = (
    DurationCase("σ 0.1", ((1.0, 20.0, 0.1),)),
    DurationCase("σ 0.3", ((1.0, 20.0, 0.3),)),
    DurationCase("σ 0.5", ((1.0, 20.0, 0.5),)),
    DurationCase("8 s or 60 s", ((0.5, 8.0, 0.15), (0.5, 60.0, 0.15))),
)

SHORT: Final = DurationCase("3 s, at most 10 s", ((1.0, 3.0, 0.5),), cap_s=10.0)
"""The runs of `bench.load`."""
