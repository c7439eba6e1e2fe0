"""What budgets leave: all that apply count, the tightest decides, and unknown costs go singly."""

import math
from typing import Any

import pytest

from jobs.budgets.periods import window_at
from jobs.budgets.record import Budget, BudgetPeriod, budget_scopes, parse_budget_scope
from jobs.budgets.room import BudgetAnswer, BudgetRoom, BudgetStatus
from jobs.budgets.use import BudgetUse
from jobs.credits.charges import MICRO
from tests.unit.core.job_builders import NOW, a_job

FITS, WAITS, NEVER = BudgetAnswer.FITS, BudgetAnswer.WAITS, BudgetAnswer.NEVER_FITS
JOB = a_job(tags=("a", "b"), batch="x")


def status(scope: str, limit: float, used: float = 0.0, **facts: Any) -> BudgetStatus:
    usual: dict[str, Any] = {
        "name": scope,
        "period": BudgetPeriod.DAY,
        "generation": 1,
        "set_at": NOW,
        "set_by": "ann",
        "is_counting": False,
    }
    budget = Budget(scope=scope, limit=limit, **(usual | facts))
    return BudgetStatus(
        budget, window_at(BudgetPeriod.DAY, "UTC", NOW), BudgetUse(round(used * MICRO), 0)
    )


def test_the_scopes_that_apply_to_a_job() -> None:
    assert list(budget_scopes(JOB)) == [
        *("default", "default/model", "default/model/suno"),
        *("tag:a", "tag:b", "batch:x"),
    ]


@pytest.mark.parametrize("scope", list(budget_scopes(JOB)))
@pytest.mark.parametrize(
    ("limit", "used", "answer"),
    [(30, 20, FITS), (30, 20.000001, WAITS), (30, 45, WAITS), (9.999999, 0, NEVER), (10, 0, FITS)],
)
def test_what_one_budget_says(scope: str, limit: float, used: float, answer: BudgetAnswer) -> None:
    found = BudgetRoom([status(scope, limit, used)]).of_job(JOB, 10.0)
    assert found.answer is answer
    assert len(found.reservations) == (answer is FITS)


def test_budgets_of_others_do_not_apply() -> None:
    others = ("studio", "default/workflow", "default/model/kling", "tag:c", "batch:y", "tag:A")
    room = BudgetRoom([status(scope, 1, 1) for scope in others])
    assert room.of_job(JOB, 10.0).answer is FITS
    assert room.of_job(JOB, 10.0).reservations == ()


def test_of_budgets_that_overlap_the_tightest_decides_and_all_are_reserved() -> None:
    wide, narrow = status("default", 1_000), status("tag:a", 25)
    room = BudgetRoom([wide, narrow])
    for _ in range(2):
        found = room.of_job(JOB, 10.0)
        assert [one.budget for one in found.reservations] == ["default", "tag:a"]
        room.take(found.reservations)
    found = room.of_job(JOB, 10.0)
    assert (found.answer, found.by) == (WAITS, narrow)
    assert room.of_job(a_job(), 10.0).answer is FITS
    room.close(BudgetRoom([wide]).of_job(a_job(), 1.0).reservations)
    assert room.of_job(a_job(), 1.0).answer is WAITS


def test_of_an_unknown_cost_one_goes_while_anything_is_left() -> None:
    room = BudgetRoom([status("default", 10, 9.999999)])
    found = room.of_job(JOB, None)
    assert (found.answer, found.is_cost_unknown) == (FITS, True)
    assert [one.amount for one in found.reservations] == [0]
    assert BudgetRoom([status("default", 10, 10)]).of_job(JOB, None).answer is WAITS
    assert not BudgetRoom(()).of_job(JOB, None).is_cost_unknown


@pytest.mark.parametrize("facts", [{"is_counting": True}, {"error": "broken"}])
def test_a_budget_that_counts_or_cannot_be_read_admits_nothing(facts: dict[str, Any]) -> None:
    assert BudgetRoom([status("default", 1e6, **facts)]).of_job(JOB, 1.0).answer is WAITS


def test_a_lane_is_asked_for_the_budgets_of_its_scopes_alone() -> None:
    room = BudgetRoom([status("tag:a", 1, 1), status("default/model", 100)])
    assert room.of_lane(JOB.lane, 10.0).answer is FITS
    assert room.has_lane_budget(JOB.lane)
    assert not BudgetRoom([status("tag:a", 1)]).has_lane_budget(JOB.lane)


@pytest.mark.parametrize("limit", [math.nan, math.inf, -1.0, 0.0])
def test_a_limit_that_nobody_could_set_admits_nothing(limit: float) -> None:
    found = BudgetRoom([status("default", limit)]).of_job(JOB, 1.0)
    assert found.answer in (NEVER, WAITS)


@pytest.mark.parametrize(
    "text", ["default", "a/model", "a/workflow", "a/model/suno", "tag:x y", "batch:ü"]
)
def test_scopes_of_budgets(text: str) -> None:
    assert parse_budget_scope(text) == text


@pytest.mark.parametrize("text", ["", "tag:", "batch: ", "tags:x", "a/b", "a/model/x/y", "*", "A"])
def test_what_is_no_scope_of_a_budget(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a scope|names no"):
        parse_budget_scope(text)
