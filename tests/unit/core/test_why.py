"""Why a job is not running, in the order in which an operator should check."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from jobs import transitions
from jobs.effects import PollHistory
from jobs.holds import Canary, CoolDown, Gates, Hold, apply_release
from jobs.job import Job, JobOutage
from jobs.lanes import Scope
from jobs.why import Blocker, WhyContext, why_not_running
from tests.unit.core import job_builders
from tests.unit.core.job_builders import NOW

HOLD = Hold(
    id="hold-1",
    scope=Scope("default"),
    code="INSUFFICIENT_CREDITS",
    created_at=NOW,
    message="balance too low",
    action="Top up",
)
CLEAR = Gates()


def kinds(job: Job, gates: Gates = CLEAR, **others: Any) -> list[str]:
    facts: dict[str, Any] = {"workers": 1} | others
    context = WhyContext(gates, **facts)
    return [blocker.kind for blocker in why_not_running(job, context, NOW)]


@pytest.mark.parametrize(
    "build",
    [
        job_builders.admitted,
        job_builders.running,
        job_builders.cancelling,
        job_builders.succeeded,
        job_builders.cancelled,
    ],
)
def test_nothing_keeps_a_job_that_runs_or_is_done(build: Callable[[], Job]) -> None:
    assert kinds(build(), Gates(holds=(HOLD,))) == []


@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (job_builders.scheduled, "schedule"),
        (job_builders.retrying, "backoff"),
        (job_builders.held, "person"),
        (job_builders.uncertain, "person"),
        (job_builders.stuck, "person"),
        (job_builders.manual, "person"),
        (job_builders.dead, "person"),
    ],
)
def test_what_a_job_waits_for_by_its_state_comes_first(build: Callable[[], Job], kind: str) -> None:
    assert kinds(build()) == [kind]
    closed = kinds(build(), Gates(holds=(HOLD,)))
    assert closed == ([kind] if build is job_builders.dead else [kind, "hold"])


def test_a_queued_job_waits_for_gates_a_worker_its_lane_and_its_turn() -> None:
    gates = Gates((HOLD,), (CoolDown(Scope("default/model"), NOW + 5, "429"),))
    found = kinds(job_builders.queued(), gates, workers=0, cap=2, active=2, ahead_in_lane=3)
    assert found == ["hold", "cool_down", "no_worker", "cap", "line"]
    assert kinds(job_builders.queued(), cap=2, active=1) == []
    assert kinds(job_builders.queued(), ahead_in_lane=0) == ["line"]


def test_a_problem_of_every_worker_keeps_whatever_is_due_or_not_sent_yet() -> None:
    stopped = Blocker("worker", "its clock is wrong")
    due = replace(job_builders.scheduled(), due_at=NOW)
    assert kinds(due, stopped_workers=stopped) == ["schedule", "worker"]
    assert kinds(job_builders.scheduled(), stopped_workers=stopped) == ["schedule"]
    assert kinds(job_builders.queued(), stopped_workers=stopped, ahead_in_lane=0) == [
        "worker",
        "line",
    ]
    assert kinds(job_builders.admitted(), stopped_workers=stopped) == ["worker"]
    assert kinds(job_builders.running(), stopped_workers=stopped) == []


def test_a_hold_bypass_does_not_wait_for_the_closed_gate() -> None:
    assert kinds(job_builders.queued(bypass_hold=True), Gates(holds=(HOLD,))) == []


def test_a_closed_hold_is_shown_with_its_action_an_opening_one_with_its_step() -> None:
    context = WhyContext(Gates(holds=(HOLD,)), workers=1)
    (closed,) = why_not_running(job_builders.queued(), context, NOW)
    assert (closed.action, closed.hold_id) == ("Top up", "hold-1")
    assert closed.text == "hold on default: INSUFFICIENT_CREDITS – balance too low"
    context = WhyContext(Gates(holds=(apply_release(HOLD, NOW, by="ann"),)), workers=1)
    (opening,) = why_not_running(job_builders.queued(), context, NOW)
    assert opening.text == "hold on default (INSUFFICIENT_CREDITS) is opening, 1 at a time"


def test_a_wait_that_ends_by_itself_says_when() -> None:
    context = WhyContext(Gates(cool_downs=(CoolDown(Scope("default"), NOW + 5, "429"),)), workers=1)
    (cooling,) = why_not_running(job_builders.queued(), context, NOW)
    assert cooling.until == NOW + 5
    backoff = why_not_running(job_builders.retrying(), WhyContext(CLEAR), NOW)[0]
    assert (backoff.until, backoff.text) == (
        NOW + 2,
        "attempt 1 of 5 failed with EXECUTION_FAILED, backoff running",
    )
    assert why_not_running(job_builders.scheduled(), WhyContext(CLEAR), NOW)[0].until == NOW + 60


def test_a_retry_that_waits_for_a_success_says_why_so_long() -> None:
    outage = JobOutage(since=NOW - 3_600, failures=12, given_back=12, is_postponed=True)
    job = replace(job_builders.retrying(), spent=0, outage=outage, due_at=NOW + 600)
    backoff = why_not_running(job, WhyContext(CLEAR), NOW)[0]
    assert backoff.until == NOW + 600
    assert backoff.text == (
        "failed 12 times, last with EXECUTION_FAILED, 0 of 5 attempts spent; nothing else of this"
        " lane has succeeded since its first failure 1.0 h ago, so the next try waits for 10 min"
    )


def test_a_parked_job_says_what_an_operator_must_do() -> None:
    (blocker,) = why_not_running(job_builders.uncertain(), WhyContext(CLEAR), NOW)
    assert blocker.text == "parked: uncertain – connection lost"
    assert "attach its execution id" in blocker.action
    (dead,) = why_not_running(job_builders.dead(), WhyContext(CLEAR), NOW)
    assert dead.text == "a dead letter: INVALID_INPUTS"


def test_a_job_parked_by_a_hold_names_it() -> None:
    reason = why_not_running(job_builders.held(), WhyContext(CLEAR), NOW)[0]
    assert (reason.hold_id, reason.action) == ("hold-1", "Top up")
    bare = transitions.park_manual(job_builders.queued(), NOW, by="ann")
    assert why_not_running(bare, WhyContext(CLEAR), NOW)[0].text == "parked: manual"


def test_a_run_whose_polls_say_nothing_says_why_and_what_to_do() -> None:
    hold = replace(HOLD, canary=Canary.POLL, action="Use another key")
    context = WhyContext(
        Gates(holds=(hold,)), poll_history=PollHistory(3, 3, failure="CAPABILITY_DENIED: no")
    )
    poll, closed = why_not_running(job_builders.running(), context, NOW)
    assert (poll.kind, closed.kind) == ("polls", "hold")
    assert "CAPABILITY_DENIED" in poll.text
    assert closed.action == "Use another key"
    assert why_not_running(job_builders.running(), WhyContext(CLEAR), NOW) == ()


def test_a_released_hold_that_waits_for_a_poll_says_so() -> None:
    hold = replace(HOLD, canary=Canary.POLL)
    released = apply_release(hold, NOW, by="ann", is_polled=True)
    assert kinds(job_builders.queued(), Gates(holds=(released,))) == ["hold"]
    (blocker,) = why_not_running(
        job_builders.queued(), WhyContext(Gates((released,)), workers=1), NOW
    )
    assert "a paid run is polled first" in blocker.text


def test_a_status_that_is_unknown_is_named() -> None:
    noted = transitions.record_status(job_builders.running(), NOW, "warming_up", next_poll_at=NOW)
    (blocker,) = why_not_running(noted, WhyContext(CLEAR), NOW)
    assert "'warming_up'" in blocker.text
