"""What to do about the ticks of a schedule that are due: one step for each, in their order."""

from typing import Final, NamedTuple, assert_never

from jobs.schedules.cron import last_ticks
from jobs.schedules.record import CatchUp, Schedule, SkipCause

ON_TIME_S: Final = 60
"""A tick is missed when it is older: cron lines have minutes, and a worker that restarts is back
within that."""

MAX_CATCH_UP: Final = 100
"""Missed ticks that `catch_up: all` makes jobs of; older ones are left out."""

MAX_COUNTED: Final = 1_000
"""Ticks that are counted where they are left out."""


class RunTick(NamedTuple):
    """Enqueue the job of a tick (Unix seconds)."""

    tick: int


class SkipTicks(NamedTuple):
    """Leave out all ticks up to one (Unix seconds)."""

    tick: int
    ticks: int
    """How many; at least so many, where it is `MAX_COUNTED`."""
    cause: SkipCause = SkipCause.MISSED


Step = RunTick | SkipTicks


def due_steps(schedule: Schedule, after: float, now: float) -> list[Step]:
    """The steps for the ticks after a time and up to `now`, both Unix seconds.

    Raises `zoneinfo.ZoneInfoNotFoundError` where the machine does not know the time zone.
    """
    ticks = last_ticks(schedule.cron, schedule.time_zone, after, now, MAX_COUNTED)
    kept = _kept(schedule.catch_up, ticks, now)
    missed = ticks[: len(ticks) - len(kept)]
    steps: list[Step] = [SkipTicks(missed[-1], len(missed))] if missed else []
    return steps + [RunTick(tick) for tick in kept]


def _kept(catch_up: CatchUp, ticks: list[int], now: float) -> list[int]:
    """The ticks that make jobs."""
    match catch_up:
        case CatchUp.NONE:
            return [tick for tick in ticks if now - tick <= ON_TIME_S][-1:]
        case CatchUp.LAST:
            return ticks[-1:]
        case CatchUp.ALL:
            return ticks[-MAX_CATCH_UP:]
        case _:
            assert_never(catch_up)
