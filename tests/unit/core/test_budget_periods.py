"""The periods of budgets: months of 28 to 31 days, clocks that change, and names of time zones."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.budgets.periods import is_time_zone, window_at
from jobs.budgets.record import BudgetPeriod

DAY, MONTH, TOTAL = BudgetPeriod.DAY, BudgetPeriod.MONTH, BudgetPeriod.TOTAL

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",  # clocks go forward at midnight: the day begins at one o'clock
    "America/St_Johns",  # until 2011 clocks went back a minute after midnight
    "Australia/Lord_Howe",  # by half an hour
    "Pacific/Apia",  # had no 30 December 2011
    "Asia/Kathmandu",
)


def at(zone: str, *when: int, fold: int = 0) -> float:
    year, month, day, hour, minute, second = (*when, 0, 0, 0)[:6]
    moment = datetime(year, month, day, hour, minute, second, tzinfo=ZoneInfo(zone), fold=fold)
    return moment.timestamp()


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", (2026, 3, 29), 23),
        ("Europe/Berlin", (2026, 10, 25), 25),
        ("Europe/Berlin", (2026, 11, 27), 24),
        ("America/Havana", (2026, 3, 8), 23),
        ("America/Havana", (2026, 11, 1), 25),
        ("Australia/Lord_Howe", (2026, 4, 5), 24.5),
        ("UTC", (2026, 3, 29), 24),
    ],
)
def test_a_day_is_as_long_as_it_is_there(
    zone: str, day: tuple[int, int, int], hours: float
) -> None:
    found = window_at(DAY, zone, at(zone, *day, 12))
    assert found.key == "-".join(f"{part:02d}" for part in day)
    assert found.end - found.start == hours * 3_600
    assert window_at(DAY, zone, found.start) == found
    assert window_at(DAY, zone, found.end - 0.001) == found
    assert window_at(DAY, zone, found.end) != found
    assert window_at(DAY, zone, found.start - 0.001) != found


@pytest.mark.parametrize(
    ("month", "days"),
    [((2026, 2), 28), ((2028, 2), 29), ((2026, 4), 30), ((2026, 12), 31), ((2027, 1), 31)],
)
def test_a_month_has_28_to_31_days(month: tuple[int, int], days: int) -> None:
    found = window_at(MONTH, "UTC", at("UTC", *month, days, 23, 59, 59))
    assert (found.key, found.end - found.start) == (f"{month[0]}-{month[1]:02d}", days * 86_400)
    assert window_at(MONTH, "UTC", found.end).key != found.key


def test_a_month_begins_at_midnight_of_its_zone() -> None:
    found = window_at(MONTH, "Europe/Berlin", at("UTC", 2026, 10, 31, 23, 30))
    assert found.key == "2026-11"
    assert found.start == at("UTC", 2026, 10, 31, 23)
    march = window_at(MONTH, "Europe/Berlin", at("UTC", 2026, 3, 15))
    assert march.end - march.start == 31 * 86_400 - 3_600


def test_a_minute_that_comes_twice_belongs_to_the_day_that_has_begun() -> None:
    """In 2010 clocks of St John's went from 0:01 of 7 November back to 23:01 of the sixth."""
    zone = "America/St_Johns"
    again = at(zone, 2010, 11, 6, 23, 30, fold=1)
    found = window_at(DAY, zone, again)
    assert found.key == "2010-11-07"
    assert found.start < again < found.end


def test_a_total_never_ends() -> None:
    found = window_at(TOTAL, "UTC", at("UTC", 2026, 11, 27))
    assert found == window_at(TOTAL, "Europe/Berlin", at("UTC", 2126, 11, 27))
    assert found.start < 0 < 10**12 < found.end


@given(
    st.sampled_from(ZONES),
    st.sampled_from((DAY, MONTH)),
    st.floats(at("UTC", 2005, 1, 1), at("UTC", 2037, 12, 31)),
)
def test_each_moment_is_in_one_period_and_periods_have_no_gaps(
    zone: str, period: BudgetPeriod, now: float
) -> None:
    found = window_at(period, zone, now)
    assert found.start <= now < found.end
    following = window_at(period, zone, found.end)
    before = window_at(period, zone, found.start - 1)
    assert following.start == found.end
    assert before.end == found.start
    assert before.key < found.key < following.key
    assert found.end - found.start <= timedelta(days=32).total_seconds()


@pytest.mark.parametrize("name", ["Europe/Berlin", "UTC", "America/Argentina/Buenos_Aires"])
def test_names_of_time_zones(name: str) -> None:
    assert is_time_zone(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Mars/Olympus",
        "europe/berlin ",
        "../UTC",
        "/etc/localtime",
        "localtime",
        "Factory",
        "+2",
    ],
)
def test_what_is_no_time_zone(name: str) -> None:
    assert not is_time_zone(name)
