"""Cron lines: wrong ones are refused by name, and ticks are right over both clock changes."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from jobs.schedules.cron import cron_problem, last_ticks, next_tick, next_ticks

BERLIN = "Europe/Berlin"
SPRING = "2025-03-30"
"""At 02:00 it is 03:00 in Berlin."""
AUTUMN = "2025-10-26"
"""At 03:00 it is 02:00 again in Berlin."""


def at(text: str, zone: str = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def in_utc(ticks: list[int]) -> list[str]:
    return [datetime.fromtimestamp(tick, UTC).strftime("%d %H:%M") for tick in ticks]


@pytest.mark.parametrize(
    ("cron", "problem"),
    [
        ("0 3 * * *", ""),
        ("*/15 8-18 * * MON-FRI", ""),
        ("0 0 29 2 *", ""),
        ("0 0 L * *", ""),
        ("0 0 31 2 1#1", ""),  # either of the two days, as in Debian
        ("0 0 30 2 *", "never comes: the day of month 30 is in none of the months 2"),
        ("0 0 31 4,6 *", "never comes: the day of month 31 is in none of the months 4,6"),
        ("0 0 31 FEB *", "never comes: the day of month 31 is in none of the months FEB"),
        ("60 * * * *", "has a wrong minute '60': it must be 0 to 59, as */15 or 0,30"),
        ("0 24 * * *", "has a wrong hour '24': it must be 0 to 23, as 3 or 8-18"),
        ("0 0 32 * *", "has a wrong day of month '32': it must be 1 to 31, or L for the last day"),
        ("0 0 0 * *", "has a wrong day of month '0': it must be 1 to 31, or L for the last day"),
        ("0 0 * 13 *", "has a wrong month '13': it must be 1 to 12, or JAN to DEC"),
        (
            "0 0 * * 8",
            "has a wrong day of week '8': it must be 0 to 7 (0 and 7 are Sunday), or SUN to SAT",
        ),
        ("*/0 * * * *", "has a wrong minute '*/0': it must be 0 to 59, as */15 or 0,30"),
        ("5-3 * * * *", "has a wrong minute '5-3': it must be 0 to 59, as */15 or 0,30"),
        ("", "has 0 fields and must have 5: minute, hour, day of month, month, day of week,"),
        ("@daily", "has 1 field and must have 5: minute, hour, day of month, month, day of week,"),
        ("0 0 3 * * *", "has 6 fields and must have 5: minute, hour, day of month, month, day of"),
        ("0," * 150 + "0 * * * *", "is longer than 200 characters"),
    ],
)
def test_a_wrong_cron_line_is_refused_with_its_field_and_the_fix(cron: str, problem: str) -> None:
    found = cron_problem(cron)
    assert found.startswith(problem)
    assert bool(found) is bool(problem)


def test_a_line_whose_dates_never_match_is_refused() -> None:
    assert cron_problem("0 0 */31 2 *") == ""  # the first of February
    assert cron_problem("0 0 31 2 */7").startswith("never comes: ")
    assert cron_problem("0 0 L 2 *") == ""


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("30 2 * * *", ["30 01:00", "31 00:30"]),  # at the end of what is left out
        ("0 2 * * *", ["30 01:00", "31 00:00"]),
        ("0,30 2 * * *", ["30 01:00", "31 00:00", "31 00:30"]),  # once, though both are left out
        ("0 3 * * *", ["30 01:00", "31 01:00"]),
        ("0 * * * *", ["30 00:00", "30 01:00", "30 02:00"]),  # 01:00, 03:00, 04:00 there
        ("0 */2 * * *", ["30 02:00", "30 04:00"]),  # follows the hours that there are
    ],
)
def test_the_hour_that_is_left_out_in_spring_loses_no_fixed_tick(
    cron: str, expected: list[str]
) -> None:
    found = next_ticks(cron, BERLIN, at(f"{SPRING} 00:30"), len(expected))
    assert in_utc(found) == expected


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("30 2 * * *", ["26 00:30", "27 01:30"]),  # the first time only
        ("0 3 * * *", ["26 02:00", "27 02:00"]),
        ("*/30 * * * *", ["26 00:00", "26 00:30", "26 01:00", "26 01:30", "26 02:00"]),
        ("0 * * * *", ["26 00:00", "26 01:00", "26 02:00"]),  # both hours that are called 2
    ],
)
def test_the_hour_that_comes_twice_in_autumn_ticks_once_at_a_fixed_time(
    cron: str, expected: list[str]
) -> None:
    found = next_ticks(cron, BERLIN, at(f"{AUTUMN} 01:30"), len(expected))
    assert in_utc(found) == expected


def test_no_tick_is_before_its_start_in_the_second_of_two_equal_hours() -> None:
    start = at(f"{AUTUMN} 02:10", fold=1)
    assert in_utc(next_ticks("30 2 * * *", BERLIN, start, 1)) == ["27 01:30"]
    assert last_ticks("30 2 * * *", BERLIN, start, start + 7_200, 5) == []


def test_a_day_that_begins_at_one_o_clock_has_its_midnight_tick() -> None:
    zone = "America/Santiago"  # 2025-09-07: at 00:00 it is 01:00
    found = next_ticks("0 0 * * *", zone, at("2025-09-06 12:00", zone), 2)
    assert in_utc(found) == ["07 04:00", "08 03:00"]


def test_a_start_on_a_tick_or_within_a_second_is_after_it() -> None:
    tick = at("2025-06-01 03:00")
    assert next_tick("0 3 * * *", BERLIN, tick) == tick + 86_400
    assert next_tick("0 3 * * *", BERLIN, tick - 0.5) == tick
    assert next_tick("0 3 * * *", BERLIN, tick + 0.5) == tick + 86_400


@pytest.mark.parametrize(
    "cron", ["*/5 * * * *", "30 2 * * *", "0 */2 * * *", "15 1-3 * * *", "* 3 * 3 *"]
)
@pytest.mark.parametrize("day", [SPRING, AUTUMN])
def test_the_last_ticks_are_those_that_were_next(cron: str, day: str) -> None:
    start, end = at(f"{day} 00:00") - 5 * 86_400, at(f"{day} 23:00")
    following = [tick for tick in next_ticks(cron, BERLIN, start, 5_000) if tick <= end]
    for count in (1, 7, 5_000):
        assert last_ticks(cron, BERLIN, start, end, count) == following[-count:]


def test_the_last_ticks_of_many_years_cost_what_they_return() -> None:
    found = last_ticks("* * * * *", BERLIN, 0, at("2025-06-01 00:00"), 3)
    assert in_utc(found) == ["31 21:58", "31 21:59", "31 22:00"]


def test_a_fixed_time_ticks_once_on_each_day_of_a_year() -> None:
    found = next_ticks("30 2 * * *", BERLIN, at("2025-01-01 00:00"), 365)
    zone = ZoneInfo(BERLIN)
    days = [datetime.fromtimestamp(tick, zone).date().isoformat() for tick in found]
    assert len(set(days)) == 365
    assert (days[0], days[-1]) == ("2025-01-01", "2025-12-31")
