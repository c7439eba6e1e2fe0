"""The periods of budgets: days and months in a time zone, whatever length these have there.

A day begins at the first moment of its date: where clocks go forward at midnight, that is one
o'clock, and where they go back over midnight, it is the first of both.
"""

import math
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple, assert_never
from zoneinfo import ZoneInfo, available_timezones

from jobs.budgets.record import BudgetPeriod

TOTAL_KEY: Final = "total"
MACHINE_ZONES: Final = frozenset({"localtime", "Factory"})
"""Names that mean another time zone on each machine, or none."""


class Window(NamedTuple):
    """One period of a budget."""

    key: str
    """`2026-11-27`, `2026-11` or `total`: part of a Redis key."""
    start: float
    """Unix seconds; minus infinity for a total."""
    end: float
    """Unix seconds, when the next period begins; infinity for a total."""


def window_at(period: BudgetPeriod, time_zone: str, at: float) -> Window:
    """The period that a time (Unix seconds) belongs to. Raises `zoneinfo.ZoneInfoNotFoundError`."""
    if period is BudgetPeriod.TOTAL:
        return Window(TOTAL_KEY, -math.inf, math.inf)
    found = _window(
        period, time_zone, datetime.fromtimestamp(math.floor(at), ZoneInfo(time_zone)).date()
    )
    if found.start <= at < found.end:
        return found
    # Clocks that go back over midnight repeat an hour of the day before: it belongs to the new day.
    following = datetime.fromtimestamp(found.end, ZoneInfo(time_zone)).date()
    return _window(period, time_zone, following)


def is_time_zone(name: str) -> bool:
    """Whether it is the name of a time zone."""
    return name in _zone_names() and name not in MACHINE_ZONES


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    return frozenset(available_timezones())


@lru_cache(maxsize=1_000)
def _window(period: BudgetPeriod, time_zone: str, day: date) -> Window:
    match period:
        case BudgetPeriod.DAY:
            first, following = day, day + timedelta(days=1)
            key = first.isoformat()
        case BudgetPeriod.MONTH:
            first = day.replace(day=1)
            following = (first + timedelta(days=31)).replace(day=1)
            key = first.isoformat()[:7]
        case BudgetPeriod.TOTAL:
            raise ValueError("a total has no days")
        case _:
            assert_never(period)
    return Window(key, _first_moment(first, time_zone), _first_moment(following, time_zone))


def _first_moment(day: date, time_zone: str) -> float:
    """When a date begins, Unix seconds."""
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(time_zone)).timestamp()
