"""Cron lines: five fields in a time zone, with the rules of Debian's cron for clock changes.

A line with a star in its minute or hour follows the time that passes: `*/30 * * * *` ticks every
half hour, also in an hour that comes twice. A line with a fixed time ticks once a day: in the hour
that comes twice the first time, and what would be in the hour that is left out at its end. See
`docs/adr/0020-cronsim.md` for the library.
"""

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

MAX_CRON_CHARS: Final = 200

FIELD_NAMES: Final = ("minute", "hour", "day of month", "month", "day of week")

_HINTS: Final = {
    "minute": "0 to 59, as */15 or 0,30",
    "hour": "0 to 23, as 3 or 8-18",
    "day-of-month": "1 to 31, or L for the last day",
    "month": "1 to 12, or JAN to DEC",
    "day-of-week": "0 to 7 (0 and 7 are Sunday), or SUN to SAT",
}
"""By the name that the library has for a field."""

_FIRST_SEARCH_S: Final = 3_600
_START: Final = datetime(2024, 1, 1, tzinfo=UTC)
"""Where the search for a first tick begins: a leap year, so that 29 February comes early."""


@lru_cache(maxsize=2_000)
def cron_problem(cron: str) -> str:
    """What is wrong with a cron line, with the field and the fix; empty if nothing is."""
    count = len(cron.split())
    if len(cron) > MAX_CRON_CHARS:
        return f"is longer than {MAX_CRON_CHARS} characters"
    if count != len(FIELD_NAMES):
        return (
            f"has {count} field{'' if count == 1 else 's'} and must have 5:"
            f" {', '.join(FIELD_NAMES)}, as 0 3 * * *"
        )
    try:
        next(CronSim(cron, _START))
    except CronSimError as error:
        return _field_problem(cron, str(error).removeprefix("Bad "))
    except StopIteration:
        return _never("no date within 50 years matches day of month, month and day of week")
    return ""


def _field_problem(cron: str, name: str) -> str:
    given = dict(zip(_HINTS, cron.split(), strict=True)).get(name, "")
    if name == "day-of-month" and _is_known(given):
        months = cron.split()[3]
        return _never(f"the day of month {given} is in none of the months {months}")
    return f"has a wrong {name.replace('-', ' ')} {given!r}: it must be {_HINTS[name]}"


def _is_known(day: str) -> bool:
    """Whether a field is a day of month that some months have."""
    try:
        CronSim(f"0 0 {day} * *", _START)
    except CronSimError:
        return False
    return True


def _never(why: str) -> str:
    return f"never comes: {why}"


def next_ticks(cron: str, time_zone: str, after: float, count: int) -> list[int]:
    """The first `count` ticks after a time, Unix seconds; fewer where 50 years have no more.

    Raises `zoneinfo.ZoneInfoNotFoundError` and `cronsim.CronSimError`.
    """
    found: list[int] = []
    for tick in _ticks(cron, time_zone, after):
        found.append(tick)
        if len(found) == count:
            break
    return found


def next_tick(cron: str, time_zone: str, after: float) -> int | None:
    """The first tick after a time, Unix seconds; None where 50 years have none."""
    return next(iter(next_ticks(cron, time_zone, after, 1)), None)


def last_ticks(cron: str, time_zone: str, after: float, until: float, count: int) -> list[int]:
    """The last `count` ticks after a time and up to another, in their order.

    It costs about as much as twice `count` ticks, however far the two times are apart.
    """
    search_s = _FIRST_SEARCH_S
    while True:
        since = max(after, until - search_s)
        found: deque[int] = deque(maxlen=count)
        for tick in _ticks(cron, time_zone, since):
            if tick > until:
                break
            found.append(tick)
        if len(found) == count or since <= after:
            return list(found)
        search_s *= 2


def _ticks(cron: str, time_zone: str, after: float) -> Iterator[int]:
    """The ticks after a time, each later than the one before."""
    zone = UTC if time_zone == "UTC" else ZoneInfo(time_zone)
    previous = after
    for moment in CronSim(cron, datetime.fromtimestamp(int(after), zone)):
        tick = int(moment.timestamp())
        if tick > previous:  # the library starts in the first of two equal hours
            previous = tick
            yield tick
