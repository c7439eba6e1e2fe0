"""What is said of a budget, and that it is said once in each period, generation and limit."""

from typing import Any

import msgspec
import pytest

from jobs.budgets.periods import window_at
from jobs.budgets.record import Budget, BudgetPeriod
from jobs.budgets.room import BudgetStatus
from jobs.budgets.use import BudgetUse
from jobs.budgets.waiting import LaneQueues
from jobs.budgets.warnings import BudgetChange, BudgetMark, advanced
from jobs.credits.charges import MICRO
from jobs.lanes import Lane
from jobs.states import Kind

NOW = 1_795_780_800.0
DAY_S = 86_400.0
SUNO, KLING = Lane("default", Kind.MODEL, "suno"), Lane("default", Kind.MODEL, "kling")
BUDGET = Budget(
    name="b",
    scope="default/model",
    period=BudgetPeriod.DAY,
    limit=100.0,
    generation=5,
    set_at=NOW,
    set_by="ann",
    is_counting=False,
)
WARNING, CLOSED, REOPENED = BudgetChange.WARNING, BudgetChange.CLOSED, BudgetChange.REOPENED


def status(spent: float, reserved: float = 0.0, *, at: float = NOW, **facts: Any) -> BudgetStatus:
    budget = msgspec.structs.replace(BUDGET, **facts)
    window = window_at(budget.period, budget.time_zone, at)
    return BudgetStatus(budget, window, BudgetUse(int(spent * MICRO), int(reserved * MICRO)))


def said(*steps: BudgetStatus, job_waits: bool = False) -> list[tuple[BudgetChange, ...]]:
    """What is said at each step."""
    mark: BudgetMark | None = None
    found: list[tuple[BudgetChange, ...]] = []
    for step in steps:
        mark, changes = advanced(mark, step, NOW, job_waits=job_waits)
        found.append(changes)
    return found


def test_it_is_said_at_80_and_at_100_percent_of_what_is_spent_and_reserved() -> None:
    steps = [status(79.9), status(40, 40), status(80, 19), status(60, 40), status(130)]
    assert said(*steps) == [(), (WARNING,), (), (CLOSED,), ()]


def test_it_is_said_once_however_often_it_falls_and_rises() -> None:
    steps = [status(each) for each in (81, 79, 81, 100, 70, 100, 85)]
    assert said(*steps) == [(WARNING,), (), (), (CLOSED,), (), (), ()]


def test_a_budget_that_jumps_to_its_limit_is_only_said_to_be_closed() -> None:
    assert said(status(0), status(100)) == [(), (CLOSED,)]


def test_a_job_that_does_not_fit_closes_it() -> None:
    assert said(status(67), status(90), job_waits=True) == [(CLOSED,), ()]


@pytest.mark.parametrize(
    "other",
    [
        {"at": NOW + DAY_S},
        {"limit": 90.0},
        {"generation": 6},
    ],
)
def test_it_is_armed_again_by_another_period_limit_or_generation(other: dict[str, float]) -> None:
    assert said(status(85), status(85, **other)) == [(WARNING,), (WARNING,)]
    assert said(status(100), status(85, **other))[1] == (REOPENED, WARNING)
    assert said(status(100), status(0, **other))[1] == (REOPENED,)
    assert said(status(100), status(100, **other))[1] == (CLOSED,)


def test_setting_the_same_limit_again_says_nothing() -> None:
    again = status(85, set_at=NOW + 60, set_by="bob", note="again")
    assert said(status(85), again) == [(WARNING,), ()]


@pytest.mark.parametrize("earlier", [{"at": NOW - DAY_S}, {"generation": 4}])
def test_an_outdated_reading_says_nothing(earlier: dict[str, float]) -> None:
    steps = [status(85), status(100, **earlier), status(86)]
    assert said(*steps) == [(WARNING,), (), ()]
    steps = [status(100), status(0, at=NOW + DAY_S), status(100), status(1, at=NOW + DAY_S)]
    assert said(*steps) == [(CLOSED,), (REOPENED,), (), ()]


def test_nothing_is_said_before_what_is_in_flight_is_counted() -> None:
    assert said(status(100, is_counting=True), status(100)) == [(), (CLOSED,)]


def test_one_that_cannot_be_read_is_closed() -> None:
    assert said(status(0, is_counting=True, error="unreadable: damaged")) == [(CLOSED,)]


def test_jobs_of_its_lanes_wait_that_cost_more_than_is_left() -> None:
    queues = LaneQueues({SUNO: 3, KLING: 2}, {SUNO: 10.0, KLING: 40.0})
    assert queues.waiting(status(55)) == 0
    assert queues.waiting(status(65)) == 2
    assert queues.waiting(status(95)) == 5
    assert queues.without_room([status(55)]) == set()
    assert queues.without_room([status(65)]) == {"b"}


def test_a_job_that_can_never_fit_does_not_close_the_budget() -> None:
    queues = LaneQueues({KLING: 2}, {KLING: 400.0})
    assert queues.waiting(status(10)) == 2
    assert queues.without_room([status(10)]) == set()


def test_a_run_of_unknown_cost_waits_only_where_nothing_is_left() -> None:
    queues = LaneQueues({SUNO: 1}, {SUNO: None})
    assert queues.without_room([status(99)]) == set()
    assert queues.without_room([status(100)]) == {"b"}
    assert LaneQueues({SUNO: 1}, {}).waiting(status(100, scope="tag:a")) == 0
