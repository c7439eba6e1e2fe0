"""When to look at a running job again."""

from dataclasses import dataclass
from typing import Final

GROWTH: Final = 0.25
"""The next look comes after a quarter of the run's age: the delay stays in proportion to the wait,
and a run of any length costs O(log age) looks."""

STUCK_EVERY_S: Final = 300.0
"""How often a run past its deadline is looked at."""


SAFETY_FIRST_S: Final = 30.0
"""The least time until a run is looked at whose end a webhook is to tell."""


@dataclass(frozen=True, slots=True)
class PollSchedule:
    """Geometric steps between two bounds, jittered so that jobs never look in step."""

    min_s: float = 1.0
    max_s: float = 30.0

    def __post_init__(self) -> None:
        """Refuse bounds that cannot be meant."""
        if not 0 < self.min_s <= self.max_s:
            raise ValueError(f"min_s {self.min_s} must be above 0 and at most max_s {self.max_s}")

    def after(self, age_s: float, jitter: float) -> float:
        """Seconds until the next look at a run that started `age_s` ago; `jitter` in [0, 1)."""
        step = min(self.max_s, max(self.min_s, age_s * GROWTH))
        return step * (0.9 + 0.2 * jitter)

    def after_trouble(self, troubles: int, jitter: float, floor_s: float | None = None) -> float:
        """Seconds until the next look after `troubles` looks in a row that did not get through."""
        step = min(self.max_s, self.min_s * 2.0 ** min(troubles, 30))
        return max(floor_s or 0.0, step * (0.5 + 0.5 * jitter))


@dataclass(frozen=True, slots=True)
class SafetyNet(PollSchedule):
    """For runs whose end a webhook tells: the first look late, then each at twice the run's age.

    A lost webhook is found out by it, at the cost of O(log age) looks. Trouble is another matter:
    there the steps are the usual ones.
    """

    def after(self, age_s: float, jitter: float) -> float:
        """Seconds until the next look at a run that started `age_s` ago; `jitter` in [0, 1)."""
        first = max(SAFETY_FIRST_S, 4.0 * self.max_s)
        return max(first, age_s) * (0.9 + 0.2 * jitter)
