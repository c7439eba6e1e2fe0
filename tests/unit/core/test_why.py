"""Why a job is not running, in the order a person should look."""

from collections.abc import Callable
from typing import Any

import pytest

from jobs import transitions
from jobs.holds import CoolDown, Gates, Hold, released
from jobs.job import Job
from jobs.lanes import Scope
from jobs.why import Surroundings, why_not_running
from tests.unit.core import make
from tests.unit.core.make import NOW

HOLD = Hold(
    id="hold-1",
    scope=Scope("default"),
    code="INSUFFICIENT_CREDITS",
    created_at=NOW,
    message="balance too low",
    action="Top up",
)
CLEAR = Gates()


def kinds(job: Job, gates: Gates = CLEAR, **around: Any) -> list[str]:
    told: dict[str, Any] = {"workers": 1} | around
    surroundings = Surroundings(gates, **told)
    return [blocker.kind for blocker in why_not_running(job, surroundings, NOW)]


@pytest.mark.parametrize(
    "made", [make.admitted, make.running, make.cancelling, make.succeeded, make.cancelled]
)
def test_nothing_keeps_a_job_that_runs_or_is_done(made: Callable[[], Job]) -> None:
    assert kinds(made(), Gates(holds=(HOLD,))) == []


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (make.scheduled, "schedule"),
        (make.retrying, "backoff"),
        (make.held, "person"),
        (make.uncertain, "person"),
        (make.stuck, "person"),
        (make.manual, "person"),
        (make.dead, "person"),
    ],
)
def test_what_a_job_waits_for_by_its_state_comes_first(made: Callable[[], Job], kind: str) -> None:
    assert kinds(made()) == [kind]
    closed = kinds(made(), Gates(holds=(HOLD,)))
    assert closed == ([kind] if made is make.dead else [kind, "hold"])


def test_a_queued_job_waits_for_gates_a_worker_its_lane_and_its_turn() -> None:
    gates = Gates((HOLD,), (CoolDown(Scope("default/model"), NOW + 5, "429"),))
    found = kinds(make.queued(), gates, workers=0, cap=2, active=2, position=3)
    assert found == ["hold", "cool_down", "no_worker", "cap", "line"]
    assert kinds(make.queued(), cap=2, active=1) == []
    assert kinds(make.queued(), position=0) == ["line"]


def test_a_free_pass_does_not_wait_for_the_closed_gate() -> None:
    assert kinds(make.queued(free_pass=True), Gates(holds=(HOLD,))) == []


def test_a_closed_hold_is_told_with_its_action_an_opening_one_with_its_step() -> None:
    surroundings = Surroundings(Gates(holds=(HOLD,)), workers=1)
    (closed,) = why_not_running(make.queued(), surroundings, NOW)
    assert (closed.action, closed.hold_id) == ("Top up", "hold-1")
    assert closed.text == "hold on default: INSUFFICIENT_CREDITS – balance too low"
    surroundings = Surroundings(Gates(holds=(released(HOLD, NOW, by="ann"),)), workers=1)
    (opening,) = why_not_running(make.queued(), surroundings, NOW)
    assert opening.text == "hold on default (INSUFFICIENT_CREDITS) is opening, 1 at once"


def test_a_wait_that_ends_by_itself_says_when() -> None:
    surroundings = Surroundings(
        Gates(cool_downs=(CoolDown(Scope("default"), NOW + 5, "429"),)), workers=1
    )
    (cooling,) = why_not_running(make.queued(), surroundings, NOW)
    assert cooling.until == NOW + 5
    backoff = why_not_running(make.retrying(), Surroundings(CLEAR), NOW)[0]
    assert (backoff.until, backoff.text) == (
        NOW + 2,
        "attempt 1 of 5 failed with EXECUTION_FAILED, backoff running",
    )
    assert why_not_running(make.scheduled(), Surroundings(CLEAR), NOW)[0].until == NOW + 60


def test_a_parked_job_says_what_its_person_must_do() -> None:
    (person,) = why_not_running(make.uncertain(), Surroundings(CLEAR), NOW)
    assert person.text == "parked: uncertain – connection lost"
    assert "attach its execution id" in person.action
    (dead,) = why_not_running(make.dead(), Surroundings(CLEAR), NOW)
    assert dead.text == "a dead letter: INVALID_INPUTS"


def test_a_job_parked_by_a_hold_names_it() -> None:
    reason = why_not_running(make.held(), Surroundings(CLEAR), NOW)[0]
    assert (reason.hold_id, reason.action) == ("hold-1", "Top up")
    bare = transitions.park(make.queued(), NOW, by="ann")
    assert why_not_running(bare, Surroundings(CLEAR), NOW)[0].text == "parked: manual"
