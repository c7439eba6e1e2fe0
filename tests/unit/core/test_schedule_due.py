"""What becomes of ticks that are due: by policy, bounded, each once."""

from typing import Any

import pytest

from jobs.schedules import due
from jobs.schedules.due import ON_TIME_S, RunTick, SkipTicks, due_steps
from jobs.schedules.record import (
    CatchUp,
    Overlap,
    Schedule,
    run_job_id,
    starts_anew,
    tick_job_id,
)

HOUR = 3_600
START = 1_750_000_000 - 1_750_000_000 % HOUR
"""A full hour, Unix seconds."""


def a_schedule(**facts: Any) -> Schedule:
    usual: dict[str, Any] = {
        "name": "nightly",
        "cron": "0 * * * *",
        "time_zone": "UTC",
        "job": {"kind": "model", "target": "suno"},
        "overlap": Overlap.ENQUEUE,
        "catch_up": CatchUp.LAST,
        "enabled": True,
        "since": float(START),
        "set_at": float(START),
        "set_by": "ann",
    }
    return Schedule(**(usual | facts))


THREE_HOURS = [START + hour * HOUR for hour in (1, 2, 3)]


@pytest.mark.parametrize(
    ("catch_up", "late_s", "steps"),
    [
        (CatchUp.NONE, 61, [SkipTicks(THREE_HOURS[2], 3)]),
        (CatchUp.NONE, 60, [SkipTicks(THREE_HOURS[1], 2), RunTick(THREE_HOURS[2])]),
        (CatchUp.LAST, 61, [SkipTicks(THREE_HOURS[1], 2), RunTick(THREE_HOURS[2])]),
        (CatchUp.LAST, 0, [SkipTicks(THREE_HOURS[1], 2), RunTick(THREE_HOURS[2])]),
        (CatchUp.ALL, 61, [RunTick(tick) for tick in THREE_HOURS]),
    ],
)
def test_missed_ticks_go_by_policy(
    catch_up: CatchUp, late_s: int, steps: list[RunTick | SkipTicks]
) -> None:
    now = THREE_HOURS[-1] + late_s
    assert due_steps(a_schedule(catch_up=catch_up), START, now) == steps


@pytest.mark.parametrize("catch_up", list(CatchUp))
def test_a_tick_in_time_runs_and_none_is_due_before(catch_up: CatchUp) -> None:
    schedule = a_schedule(catch_up=catch_up)
    assert due_steps(schedule, START, START + HOUR - 0.1) == []
    assert due_steps(schedule, START, START + HOUR) == [RunTick(START + HOUR)]
    assert due_steps(schedule, START, START + HOUR + ON_TIME_S) == [RunTick(START + HOUR)]
    assert due_steps(schedule, START + HOUR, START + HOUR + 1) == []


def test_what_is_made_up_for_and_what_is_counted_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(due, "MAX_CATCH_UP", 2)
    monkeypatch.setattr(due, "MAX_COUNTED", 5)
    now = START + 1_000 * HOUR
    found = due_steps(a_schedule(catch_up=CatchUp.ALL), START, now)
    assert found == [SkipTicks(now - 2 * HOUR, 3), RunTick(now - HOUR), RunTick(now)]


def test_the_id_of_a_tick_is_its_name_and_time_in_utc() -> None:
    assert tick_job_id("nightly", START) == "schedule:nightly:20250615T150000Z"
    assert tick_job_id("studio~nightly", START) == "schedule:nightly:20250615T150000Z"
    assert run_job_id("studio~nightly", "k") == "schedule:nightly:run:k"


def test_other_ticks_begin_anew_and_another_job_does_not() -> None:
    before = a_schedule()
    assert starts_anew(None, before)
    assert starts_anew(a_schedule(error="unreadable"), before)
    for facts in ({"cron": "5 * * * *"}, {"time_zone": "Europe/Berlin"}, {"enabled": False}):
        assert starts_anew(before, a_schedule(**facts))
    assert not starts_anew(before, a_schedule(overlap=Overlap.SKIP, catch_up=CatchUp.ALL, job={}))
