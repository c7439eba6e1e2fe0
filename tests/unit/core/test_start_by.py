"""`start_by`: what is not sent in time is cancelled; what may have run, or is parked, never is."""

from collections.abc import Callable

import msgspec
import pytest

from jobs import transitions
from jobs.credits.charges import Measure, changed_sums
from jobs.evidence.records import EvidenceFinding
from jobs.holds import Gates
from jobs.indexes import Index, entries
from jobs.job import EXPIRED, Job
from jobs.lifecycle import IllegalTransition
from jobs.start_by import expires_at, is_expired, send_limit
from jobs.states import State
from jobs.why import WhyContext, why_not_running
from tests.unit.core import job_builders
from tests.unit.core.job_builders import NO_CREDITS, NOW, changed

AT = NOW + 100.0


def test_a_job_is_watched_until_its_start_by_and_cancelled_then() -> None:
    job = job_builders.queued(start_by=AT)
    assert [e.score for e in entries(job) if e.kind is Index.START_BY] == [AT]
    assert not is_expired(job, AT - 0.001)
    with pytest.raises(IllegalTransition, match="has not passed"):
        transitions.expire(job, AT - 0.001)
    gone = transitions.expire(job, AT)
    assert (gone.state, gone.finished_at, gone.spent, gone.submits) == (State.CANCELLED, AT, 0, 0)
    assert gone.reason is not None
    assert gone.reason.code == EXPIRED
    assert gone.events[-1].name == "expire"
    assert not [e for e in entries(gone) if e.kind is Index.START_BY]


@pytest.mark.parametrize("build", [job_builders.scheduled, job_builders.queued])
def test_it_applies_wherever_a_job_waits(build: Callable[..., Job]) -> None:
    assert expires_at(build(start_by=AT)) == AT
    assert expires_at(build(start_by=AT, waits_for_budget="b")) == AT
    assert expires_at(build()) is None


def test_a_refused_submit_is_no_start() -> None:
    """A 503 or a failed submit: it is in its backoff, and too late for another try."""
    retrying = job_builders.retrying(start_by=AT)
    assert retrying.attempts[-1].execution_id is None
    assert expires_at(retrying) == AT
    assert transitions.expire(retrying, AT).due_at is None


def test_a_failed_run_is_retried_however_late_it_is() -> None:
    run = job_builders.running(start_by=AT)
    retrying = transitions.retry(run, NOW, job_builders.FAILED, due_at=NOW + 2)
    assert expires_at(retrying) is None
    assert send_limit(retrying) is None


def test_a_failed_sync_run_may_have_been_one() -> None:
    run = job_builders.sync_run(start_by=AT)
    retrying = transitions.retry(run, NOW, job_builders.FAILED, due_at=NOW + 2)
    assert expires_at(retrying) is None


@pytest.mark.parametrize(
    "build",
    [
        job_builders.held,
        job_builders.manual,
        job_builders.uncertain,
        job_builders.stuck,
        job_builders.dead,
        job_builders.admitted,
        job_builders.submitted,
        job_builders.running,
        job_builders.cancelling,
        job_builders.succeeded,
    ],
)
def test_nothing_else_expires(build: Callable[..., Job]) -> None:
    job = build(start_by=AT)
    assert not is_expired(job, AT + 1_000)
    assert not [e for e in entries(job) if e.kind is Index.START_BY]
    with pytest.raises(IllegalTransition):
        transitions.expire(job, AT + 1_000)


@pytest.mark.parametrize("build", [job_builders.held, job_builders.manual])
def test_a_parked_job_that_is_released_too_late_is_cancelled(build: Callable[..., Job]) -> None:
    released = transitions.release(build(start_by=AT), AT + 5, by="ann")
    assert expires_at(released) == AT
    assert transitions.expire(released, AT + 5).state is State.CANCELLED


def test_what_may_have_started_is_sent_again_by_its_operator_alone() -> None:
    again = transitions.resubmit(job_builders.uncertain(start_by=AT), AT + 5, by="ann")
    assert expires_at(again) is None


def test_what_surely_did_not_start_expires() -> None:
    job = transitions.resubmit_not_started(job_builders.did_not_start(start_by=AT), AT + 5)
    assert job.uncertain_submits[-1].finding is EvidenceFinding.NOT_STARTED
    assert is_expired(job, AT + 5)


def test_while_its_finding_is_awaited_it_does_not_expire() -> None:
    assert expires_at(job_builders.awaiting_finding(start_by=AT)) is None


def test_a_refusal_by_402_and_a_release_leave_it_watched() -> None:
    held = job_builders.held(start_by=AT)
    assert held.attempts[-1].code == NO_CREDITS.display_code
    assert expires_at(transitions.release(held, NOW, by="ann")) == AT


def test_why_says_until_when_it_may_wait() -> None:
    job, context = job_builders.queued(start_by=AT), WhyContext(Gates(), workers=1)
    (last,) = [one for one in why_not_running(job, context, NOW) if one.kind == "start_by"]
    assert last.until == AT
    (late,) = [one for one in why_not_running(job, context, AT) if one.kind == "start_by"]
    assert "has passed" in late.text
    (gone,) = why_not_running(transitions.expire(job, AT), context, AT)
    assert gone.text == "cancelled: it was not sent by its start_by"
    plain = msgspec.structs.replace(transitions.expire(job, AT), reason=None)
    assert why_not_running(plain, context, AT) == ()
    assert changed(job, start_by=None).start_by is None


def test_what_it_cost_is_not_that_of_a_discarded_job() -> None:
    """A submit whose charge was booked, and that surely did not start."""
    queued = transitions.resubmit_not_started(job_builders.did_not_start(start_by=AT), NOW)
    attempts = (msgspec.structs.replace(queued.attempts[-1], cost=1.0),)
    job = changed(queued, attempts=attempts)
    gone = transitions.expire(job, AT)
    assert Measure.DEAD not in {one.measure for one in changed_sums(job, gone)}
