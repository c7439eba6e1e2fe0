"""Runs in virtual time, polled by the worker's own schedules, learned from its own polls alone."""

import random
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final

from bench.polling.cases import Case
from bench.polling.rivals import Point
from jobs.polling.estimator import learn, worth_learning
from jobs.polling.samples import Distribution, Seen, Waiting, horizon, merged, seen_between
from jobs.polling.schedules import Learned, PollSchedule, learned

RUNS: Final = 2_000
TO_LEARN: Final = 200

WIDE: Final = (0.05, 120.0)
"""Bounds that stand in nobody's way."""

DEFAULT: Final = (0.5, 30.0)
"""`KNOUDS_POLL_MIN_S` and `KNOUDS_POLL_MAX_S` as they are set by default."""


TICK_S: Final = 3.0
"""How often a worker learns."""


@dataclass(frozen=True, slots=True)
class Played:
    """One run."""

    polls: int
    delay_s: float


@dataclass(slots=True)
class Watcher:
    """What a worker does: polls, notes between which polls a run ended, learns now and then."""

    looks: float
    bounds: tuple[float, float] = WIDE
    sketch: list[Seen] = field(default_factory=list[Seen])
    waiting: Waiting = field(default_factory=Waiting)
    believed: Distribution | None = None
    schedule: PollSchedule = field(default_factory=PollSchedule)
    fresh: int = 0
    now: float = 0.0

    def watch(self, duration_s: float, dice: random.Random) -> Played:
        """Poll a run until its end is seen. It begins when the one before it has ended."""
        age, running, polls = 0.0, None, 0
        while True:
            age, polls = age + self.schedule.after(age, dice.random()), polls + 1
            if age >= duration_s:
                break
            running = age
        self.note(self.now, running, age, dice)
        self.now += age
        self.count()
        return Played(polls, age - duration_s)

    def note(self, began: float, running: float | None, found: float, dice: random.Random) -> None:
        """A run that began then was found ended at an age."""
        self.waiting.add(seen_between(began, running, found, dice.randrange(1000)))

    def count(self) -> None:
        """Count the runs that count by now, and learn if that is worth it."""
        ripe = self.waiting.ripe(horizon(self.believed, self.waiting.runs), self.now)
        self.sketch = merged(self.sketch, ripe)
        self.fresh += len(ripe)
        if worth_learning(len(self.sketch), self.fresh):
            self._learn()

    def _learn(self) -> None:
        self.believed = believed = learn(self.sketch)
        if believed is None:
            return
        near = self.schedule.plan.price_s if isinstance(self.schedule, Learned) else 0.1
        low, high = self.bounds
        self.schedule = learned(believed, looks=self.looks, min_s=low, max_s=high, near_s=near)
        self.fresh = 0


def point(played: list[Played]) -> Point:
    """What runs came to on average."""
    delays = sorted(run.delay_s for run in played)
    count = len(played)
    return Point(
        sum(run.polls for run in played) / count, sum(delays) / count, delays[int(0.99 * count)]
    )


def learned_at(
    case: Case, looks: float, seed: int, bounds: tuple[float, float] = WIDE, runs: int = RUNS
) -> Point:
    """Learn from 200 runs, and measure the next."""
    dice, watcher = random.Random(seed), Watcher(looks, bounds)  # noqa: S311 - dice of a bench
    for _ in range(TO_LEARN):
        watcher.watch(case.draw(dice), dice)
    return point([watcher.watch(case.draw(dice), dice) for _ in range(runs)])


def bursts(case: Case, looks: float, seed: int, runs: int = 600) -> list[Point]:
    """Bursts of runs that all begin at once: the first one knows nothing, the others learned.

    As in a worker, what was learned is looked at every 3 s, while the runs go on.
    """
    dice, watcher = random.Random(seed), Watcher(looks, DEFAULT)  # noqa: S311 - dice of a bench
    return [point(_burst(case, watcher, dice, runs)) for _ in range(3)]


def _burst(case: Case, watcher: Watcher, dice: random.Random, runs: int) -> list[Played]:
    began, played = watcher.now, list[Played]()
    waiting: list[tuple[float, float, float | None, int]] = []
    for _ in range(runs):
        first = watcher.schedule.after(0.0, dice.random())
        heappush(waiting, (first, case.draw(dice), None, 1))
    tick = 0.0
    while waiting:
        age, duration, running, polls = heappop(waiting)
        while age >= tick:
            watcher.now = began + tick
            watcher.count()
            tick += TICK_S
        if age >= duration:
            watcher.note(began, running, age, dice)
            played.append(Played(polls, age - duration))
        else:
            later = age + watcher.schedule.after(age, dice.random())
            heappush(waiting, (later, duration, age, polls + 1))
    watcher.now += 3 * case.span()[1]
    watcher.count()
    return played


def shifted(case: Case, looks: float, seed: int) -> tuple[Point, Point, Point]:
    """Runs take twice as long from one to the next: the first 20, up to the 100th, the next 200."""
    dice, watcher = random.Random(seed), Watcher(looks)  # noqa: S311 - dice of a bench
    for _ in range(2 * TO_LEARN):
        watcher.watch(case.draw(dice), dice)
    slower = case.twice()
    first, soon, then = (
        point([watcher.watch(slower.draw(dice), dice) for _ in range(runs)])
        for runs in (20, 80, 200)
    )
    return first, soon, then
