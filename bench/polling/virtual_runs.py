"""Runs in virtual time, polled by the worker's own schedules, learned from its own polls alone."""

import random
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final

from bench.polling.baselines import PolicyPoint
from bench.polling.duration_cases import DurationCase
from jobs.polling.estimator import estimate_durations, is_worth_estimating
from jobs.polling.samples import (
    Distribution,
    DurationSample,
    PendingSamples,
    completion_horizon_s,
    merge_samples,
    sample_between,
)
from jobs.polling.schedules import PlannedSchedule, PollSchedule, planned_schedule

RUNS: Final = 2_000
TO_LEARN: Final = 200

WIDE: Final = (0.05, 120.0)
"""Bounds that limit no plan."""

DEFAULT: Final = (0.5, 30.0)
"""`KNOUDS_POLL_MIN_S` and `KNOUDS_POLL_MAX_S` as they are set by default."""


TICK_S: Final = 3.0
"""How often a worker learns."""


@dataclass(frozen=True, slots=True)
class PolledRun:
    """One run."""

    polls: int
    delay_s: float


@dataclass(slots=True)
class SimulatedPoller:
    """What a worker does: polls, notes between which polls a run ended, learns now and then."""

    polls_per_run: float
    bounds: tuple[float, float] = WIDE
    sketch: list[DurationSample] = field(default_factory=list[DurationSample])
    waiting: PendingSamples = field(default_factory=PendingSamples)
    believed: Distribution | None = None
    schedule: PollSchedule = field(default_factory=PollSchedule)
    fresh: int = 0
    now: float = 0.0

    def poll_to_end(self, duration_s: float, dice: random.Random) -> PolledRun:
        """Poll a run until its end is observed. It begins when the one before it has ended."""
        age, running, polls = 0.0, None, 0
        while True:
            age, polls = age + self.schedule.next_delay_s(age, dice.random()), polls + 1
            if age >= duration_s:
                break
            running = age
        self.note(self.now, running, age, dice)
        self.now += age
        self.count()
        return PolledRun(polls, age - duration_s)

    def note(
        self, started: float, running: float | None, found: float, dice: random.Random
    ) -> None:
        """A run that started then was found ended at an age."""
        self.waiting.add(sample_between(started, running, found, dice.randrange(1000)))

    def count(self) -> None:
        """Count the runs that count by now, and learn if that is worth it."""
        ripe = self.waiting.pop_complete(
            completion_horizon_s(self.believed, self.waiting.samples), self.now
        )
        self.sketch = merge_samples(self.sketch, ripe)
        self.fresh += len(ripe)
        if is_worth_estimating(len(self.sketch), self.fresh):
            self._learn()

    def _learn(self) -> None:
        self.believed = believed = estimate_durations(self.sketch)
        if believed is None:
            return
        near = self.schedule.plan.price_s if isinstance(self.schedule, PlannedSchedule) else 0.1
        low, high = self.bounds
        self.schedule = planned_schedule(
            believed, polls_per_run=self.polls_per_run, min_s=low, max_s=high, start_price_s=near
        )
        self.fresh = 0


def point(runs: list[PolledRun]) -> PolicyPoint:
    """What runs came to on average."""
    delays = sorted(run.delay_s for run in runs)
    count = len(runs)
    return PolicyPoint(
        sum(run.polls for run in runs) / count, sum(delays) / count, delays[int(0.99 * count)]
    )


def learned_at(
    case: DurationCase,
    polls_per_run: float,
    seed: int,
    bounds: tuple[float, float] = WIDE,
    runs: int = RUNS,
) -> PolicyPoint:
    """Learn from 200 runs, and measure the next."""
    dice, watcher = random.Random(seed), SimulatedPoller(polls_per_run, bounds)  # noqa: S311 - dice of a bench
    for _ in range(TO_LEARN):
        watcher.poll_to_end(case.draw(dice), dice)
    return point([watcher.poll_to_end(case.draw(dice), dice) for _ in range(runs)])


def bursts(
    case: DurationCase, polls_per_run: float, seed: int, runs: int = 600
) -> list[PolicyPoint]:
    """Bursts of runs that all begin at once: the first one knows nothing, the others learned.

    As in a worker, what was learned is applied every 3 s, while the runs go on.
    """
    dice, watcher = random.Random(seed), SimulatedPoller(polls_per_run, DEFAULT)  # noqa: S311 - dice of a bench
    return [point(_burst(case, watcher, dice, runs)) for _ in range(3)]


def _burst(
    case: DurationCase, watcher: SimulatedPoller, dice: random.Random, runs: int
) -> list[PolledRun]:
    started, played = watcher.now, list[PolledRun]()
    waiting: list[tuple[float, float, float | None, int]] = []
    for _ in range(runs):
        first = watcher.schedule.next_delay_s(0.0, dice.random())
        heappush(waiting, (first, case.draw(dice), None, 1))
    tick = 0.0
    while waiting:
        age, duration, running, polls = heappop(waiting)
        while age >= tick:
            watcher.now = started + tick
            watcher.count()
            tick += TICK_S
        if age >= duration:
            watcher.note(started, running, age, dice)
            played.append(PolledRun(polls, age - duration))
        else:
            later = age + watcher.schedule.next_delay_s(age, dice.random())
            heappush(waiting, (later, duration, age, polls + 1))
    watcher.now += 3 * case.span()[1]
    watcher.count()
    return played


def shifted(
    case: DurationCase, polls_per_run: float, seed: int
) -> tuple[PolicyPoint, PolicyPoint, PolicyPoint]:
    """Runs take twice as long from one to the next: the first 20, up to the 100th, the next 200."""
    dice, watcher = random.Random(seed), SimulatedPoller(polls_per_run)  # noqa: S311 - dice of a bench
    for _ in range(2 * TO_LEARN):
        watcher.poll_to_end(case.draw(dice), dice)
    slower = case.doubled()
    first, soon, then = (
        point([watcher.poll_to_end(slower.draw(dice), dice) for _ in range(runs)])
        for runs in (20, 80, 200)
    )
    return first, soon, then
