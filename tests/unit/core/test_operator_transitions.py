"""What operators do to jobs: park, release, resolve, requeue, discard, cancel."""

from collections.abc import Callable

import pytest

from jobs import transitions
from jobs.decide import decide_poll, decide_submit
from jobs.effects import Decision, PollHistory
from jobs.error_table import ACTION_MANUAL
from jobs.job import ATTEMPTS_KEPT, EVENTS_KEPT, Job
from jobs.lifecycle import IllegalTransition
from jobs.outcomes import Accepted, Lost, RunFailed
from jobs.states import Mode, State
from jobs.transitions import mark_cancel_sent
from tests.unit.core import job_builders
from tests.unit.core.job_builders import (
    ACCEPTED,
    DEADLINE_S,
    FAILED,
    FINISHED,
    NOW,
    a_context,
    changed,
    dead,
    held,
    manual,
    queued,
    retrying,
    running,
    scheduled,
    stuck,
    submitted,
    sync_run,
    uncertain,
)

LATER = NOW + 100


def submitted_again(job: Job) -> Job:
    """The same job, admitted and submitted once more."""
    admitted = transitions.admit(
        job, LATER, submit_token="h9", lease_until=LATER + 30, opening_hold_ids=()
    )
    return transitions.send(admitted, LATER, owner="w2", lease_until=LATER + 30)


def test_every_operator_action_is_in_the_history() -> None:
    event = transitions.release(held(), LATER, by="ann", note="topped up").events[-1]
    assert (event.at, event.name, event.by, event.note) == (LATER, "release", "ann", "topped up")


# Park and release.


@pytest.mark.parametrize("build", [scheduled, queued, retrying])
def test_an_operator_parks_what_is_not_with_the_provider(build: Callable[..., Job]) -> None:
    job = transitions.park_manual(build(), LATER, by="ann", note="wait for the new model")
    assert (job.parked_as, job.due_at) == ("manual", None)
    assert job.reason is not None
    assert (job.reason.message, job.reason.action) == ("wait for the new model", ACTION_MANUAL)


def test_a_released_job_has_its_old_position_in_the_queue() -> None:
    job = transitions.release(held(queued_at=NOW - 50), LATER, by="ann")
    assert (job.state, job.queued_at, job.bypass_hold) == (State.QUEUED, NOW - 50, False)
    assert (job.reason, job.spent) == (None, 0)


def test_a_parked_job_that_was_scheduled_queues_from_its_release_on() -> None:
    job = transitions.release(transitions.park_manual(scheduled(), NOW, by="ann"), LATER, by="ann")
    assert (job.state, job.queued_at) == (State.QUEUED, LATER)


def test_a_hold_bypass_lasts_until_the_provider_answered() -> None:
    job = transitions.release(held(), LATER, by="ann", bypass_hold=True)
    assert job.bypass_hold
    assert submitted_again(job).bypass_hold
    for answer in (ACCEPTED, FINISHED, Lost("gone")):
        assert not decide_submit(submitted_again(job), answer, a_context(LATER)).job.bypass_hold


def test_an_uncertain_job_is_resolved_and_never_just_released() -> None:
    with pytest.raises(IllegalTransition, match="attach an execution id, resubmit, or discard"):
        transitions.release(uncertain(), LATER, by="ann")


def test_a_released_stuck_run_gets_another_deadline_and_is_not_sent_again() -> None:
    job = transitions.release(stuck(), LATER, by="ann")
    assert (job.state, job.execution_id) == (State.RUNNING, "ex-1")
    assert (job.deadline_at, job.next_poll_at) == (LATER + DEADLINE_S, LATER)
    assert job.submits == 1


# Resolve.


def test_an_attached_execution_is_polled_as_the_same_attempt() -> None:
    job = transitions.attach(uncertain(), LATER, "ex-5", by="ann")
    assert (job.state, job.mode, job.execution_id) == (State.RUNNING, Mode.ASYNC, "ex-5")
    assert (job.next_poll_at, job.deadline_at) == (LATER, LATER + DEADLINE_S)
    (attempt,) = job.attempts
    assert (attempt.number, attempt.execution_id, attempt.outcome) == (1, "ex-5", None)
    assert (attempt.ended_at, attempt.code, job.attempt, job.submits) == (None, None, 1, 1)


def test_a_cut_sync_run_that_was_found_is_polled() -> None:
    cut = decide_submit(sync_run(), Lost("cut"), a_context()).job
    job = transitions.attach(cut, LATER, "ex-5", by="ann")
    assert (job.mode, job.attempts[-1].mode) == (Mode.ASYNC, Mode.ASYNC)


@pytest.mark.parametrize("build", [uncertain, stuck])
def test_a_resubmit_is_another_attempt_and_forgets_the_old_run(build: Callable[..., Job]) -> None:
    job = transitions.resubmit(build(), LATER, by="ann")
    assert (job.state, job.execution_id, job.deadline_at) == (State.QUEUED, None, None)
    assert job.attempts[-1].outcome in ("uncertain", "stuck")
    assert [attempt.number for attempt in submitted_again(job).attempts] == [1, 2]


@pytest.mark.parametrize("build", [held, manual])
def test_where_the_outcome_is_known_there_is_nothing_to_resolve(build: Callable[..., Job]) -> None:
    with pytest.raises(IllegalTransition, match=r"its outcome is known .* release it"):
        transitions.attach(build(), LATER, "ex-5", by="ann")
    with pytest.raises(IllegalTransition, match=r"its outcome is known .* release it"):
        transitions.resubmit(build(), LATER, by="ann")


# Requeue and discard.


def test_a_requeued_dead_letter_has_all_its_attempts_and_its_whole_history() -> None:
    before = changed(dead(), spent=5)
    job = transitions.requeue(before, LATER, by="ann")
    assert (job.state, job.spent, job.queued_at) == (State.QUEUED, 0, LATER)
    assert (job.finished_at, job.reason, job.execution_id) == (None, None, None)
    assert job.attempts == before.attempts
    assert job.events[: len(before.events)] == before.events
    assert [attempt.number for attempt in submitted_again(job).attempts] == [1, 2]


@pytest.mark.parametrize("build", [held, manual, uncertain, stuck, dead])
def test_a_discarded_job_keeps_its_reason_on_record(build: Callable[..., Job]) -> None:
    before = build()
    job = transitions.discard(before, LATER, by="ann")
    assert (job.state, job.finished_at, job.reason) == (State.CANCELLED, LATER, before.reason)
    assert job.open_attempt is None
    assert job.next_poll_at is None


# Cancel.


@pytest.mark.parametrize("build", [running, stuck])
def test_a_cancel_of_what_the_provider_has_is_passed_on_at_once(build: Callable[..., Job]) -> None:
    job = transitions.request_cancel(build(), LATER, by="ann")
    assert (job.state, job.next_poll_at) == (State.CANCELLING, LATER)
    assert (job.cancel_requested, job.cancel_sent, job.reason) == (True, False, None)


@pytest.mark.parametrize("build", [held, manual, uncertain])
def test_nobody_is_asked_to_cancel_what_the_provider_may_not_have(
    build: Callable[..., Job],
) -> None:
    with pytest.raises(IllegalTransition):
        transitions.request_cancel(build(), LATER, by="ann")
    assert transitions.cancel(build(), LATER, by="ann").state is State.CANCELLED


def test_a_cancel_that_was_passed_on_is_noted_once() -> None:
    job = mark_cancel_sent(transitions.request_cancel(running(), NOW), LATER)
    assert (job.state, job.cancel_sent, job.updated_at) == (State.CANCELLING, True, LATER)
    assert job.events[-1].name == "cancel_sent"


def _cancel_requested_and(job: Job) -> Job:
    return changed(job, cancel_requested=True, cancel_sent=True)


@pytest.mark.parametrize(
    "sent_on",
    [
        transitions.release(_cancel_requested_and(held()), LATER, by="ann"),
        transitions.release(_cancel_requested_and(stuck()), LATER, by="ann"),
        transitions.resubmit(_cancel_requested_and(uncertain()), LATER, by="ann"),
        transitions.attach(_cancel_requested_and(uncertain()), LATER, "ex-5", by="ann"),
        transitions.requeue(_cancel_requested_and(dead()), LATER, by="ann"),
    ],
    ids=["release", "keep-watching", "resubmit", "attach", "requeue"],
)
def test_sending_a_job_on_withdraws_an_old_cancel_request(sent_on: Job) -> None:
    assert not sent_on.cancel_requested
    assert not sent_on.cancel_sent


def test_a_resubmitted_run_is_not_cancelled_by_an_earlier_request() -> None:
    cancel_requested = transitions.request_cancel(submitted(), NOW, by="ann")
    parked = decide_submit(cancel_requested, Lost("gone"), a_context()).job
    job = submitted_again(transitions.resubmit(parked, LATER, by="ann"))
    assert decide_submit(job, Accepted("ex-2"), a_context(LATER)).job.state is State.RUNNING


def test_a_second_cancel_request_is_passed_on_too() -> None:
    parked = transitions.park_stuck(
        mark_cancel_sent(job_builders.cancelling(), NOW), NOW, next_poll_at=NOW + 300
    )
    assert not transitions.request_cancel(parked, LATER, by="ann").cancel_sent


def test_a_failed_stuck_run_that_nobody_wanted_is_sent_when_an_operator_releases_it() -> None:
    parked = transitions.park_stuck(job_builders.cancelling(), NOW, next_poll_at=NOW + 300)
    outcome = decide_poll(parked, RunFailed(FAILED), PollHistory(), a_context(LATER))
    assert isinstance(outcome, Decision)
    job = submitted_again(transitions.release(outcome.job, LATER, by="ann"))
    assert decide_submit(job, ACCEPTED, a_context(LATER)).job.state is State.RUNNING


# What a record keeps is bounded.


def test_the_oldest_events_go_first_and_are_counted() -> None:
    job = queued()
    for number in range(EVENTS_KEPT):
        job = transitions.park_manual(job, NOW + number, by="ann")
        job = transitions.release(job, NOW + number, by="bob")
    assert (len(job.events), job.events_dropped) == (EVENTS_KEPT, EVENTS_KEPT)
    assert job.events[0].at == NOW + EVENTS_KEPT / 2
    noted = mark_cancel_sent(job, NOW)
    assert (len(noted.events), noted.events_dropped) == (EVENTS_KEPT, EVENTS_KEPT + 1)


def test_the_oldest_attempts_go_first_and_the_numbers_go_on() -> None:
    job = queued(max_attempts=10_000)
    for _ in range(ATTEMPTS_KEPT + 5):
        job = transitions.retry(submitted_again(job), LATER, FAILED, due_at=LATER)
        job = transitions.promote(job, LATER)
    numbers = [attempt.number for attempt in submitted_again(job).attempts]
    assert numbers == list(range(7, ATTEMPTS_KEPT + 7))
    assert job.spent == ATTEMPTS_KEPT + 5


def test_a_submit_is_in_the_history_with_the_worker_that_made_it() -> None:
    assert [event.by for event in submitted().events] == ["", "w1"]
    assert sync_run().events[-1].by == "w1"
