"""What the answer to a submit does to a job."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import transitions
from jobs.backoff import Backoff
from jobs.decide import RATE_LIMITED_LEAST_S, RATE_LIMITED_S, UNREACHABLE_S, decide_submit, hold_id
from jobs.effects import Cool, Decision, Opened, PutUp, RememberSync
from jobs.error_table import ACTION_SPENT, ACTION_UNCERTAIN
from jobs.holds import CoolDown, Phase
from jobs.job import Job
from jobs.lanes import Scope
from jobs.lifecycle import IllegalMove
from jobs.outcomes import Accepted, Fault, Finished, Lost, NotSent, Refused, SubmitAnswer
from jobs.states import Mode, OnUncertain, State
from tests.unit.core.make import (
    ACCEPTED,
    BROKE,
    DEADLINE_S,
    FAILED,
    FINISHED,
    NOW,
    a_moment,
    running,
    sent,
    sync_run,
    uncertain,
)


def refused(status: int, code: str | None = None, *, retry_after_s: float | None = None) -> Refused:
    return Refused(Fault(code, "told so", status, retry_after_s=retry_after_s))


NOT_SENT = NotSent("connection refused")
LOST = Lost("connection lost")
WAIT = refused(429, "RATE_LIMIT_EXCEEDED", retry_after_s=7.0)
PARK = Refused(BROKE)
DIE = refused(400, "INVALID_INPUTS")
RETRY = Refused(FAILED)
COOL = refused(503)
DOUBT = refused(502)
GO_SYNC = refused(400, "ASYNC_NOT_SUPPORTED")

ANSWERS: dict[str, SubmitAnswer] = {
    "accepted": ACCEPTED,
    "finished": FINISHED,
    "not_sent": NOT_SENT,
    "lost": LOST,
    "wait": WAIT,
    "park": PARK,
    "die": DIE,
    "retry": RETRY,
    "cool": COOL,
    "doubt": DOUBT,
    "go_sync": GO_SYNC,
}


def decided(job: Job, answer: SubmitAnswer, now: float = NOW + 1, jitter: float = 0.5) -> Decision:
    return decide_submit(job, answer, a_moment(now, jitter))


# Taken.


def test_an_accepted_run_is_on_record_with_its_execution_and_its_deadline() -> None:
    job = decided(sent(), Accepted("ex-7", "req-7", webhook=True)).job
    assert job.state is State.RUNNING
    assert (job.execution_id, job.request_id, job.webhook) == ("ex-7", "req-7", True)
    assert (job.submitted_at, job.deadline_at) == (NOW + 1, NOW + 1 + DEADLINE_S)
    assert job.next_poll_at is not None
    assert NOW + 1.9 <= job.next_poll_at <= NOW + 2.1
    assert job.open_attempt is not None
    assert (job.open_attempt.execution_id, job.attempt, job.spent) == ("ex-7", 1, 0)
    assert (job.hop, job.owner, job.lease_until, job.sent_at) == (None, None, None, None)


@pytest.mark.parametrize("job", [sent(), sync_run()], ids=["async", "sync"])
def test_a_finished_answer_is_a_result_whichever_way_it_was_asked(job: Job) -> None:
    decision = decided(job, FINISHED)
    assert decision.job.state is State.SUCCEEDED
    assert decision.result == FINISHED.result
    assert (decision.job.cost, decision.job.finished_at) == (2.5, NOW + 1)
    last = decision.job.attempts[-1]
    assert (last.outcome, last.cost, last.ended_at) == ("succeeded", 2.5, NOW + 1)


def test_a_sync_run_answered_as_an_async_one_is_polled_from_there_on() -> None:
    job = decided(sync_run(), ACCEPTED).job
    assert (job.state, job.mode, job.execution_id) == (State.RUNNING, Mode.ASYNC, "ex-1")
    assert (job.lease_until, job.next_poll_at is None) == (None, False)


def test_who_was_accepted_once_is_not_accepted_again() -> None:
    with pytest.raises(IllegalMove, match="accepted before"):
        decided(running(), Accepted("ex-2"))


@pytest.mark.parametrize("answer", [ACCEPTED, FINISHED], ids=["accepted", "finished"])
def test_what_passes_an_opening_gate_opens_it_further(answer: SubmitAnswer) -> None:
    assert decided(sent(gates=("g1", "g2")), answer).effects == (Opened(("g1", "g2")),)
    assert decided(sent(), answer).effects == ()


# Waiting burns nothing.


@pytest.mark.parametrize(
    ("answer", "cool_down"),
    [
        (NOT_SENT, CoolDown(Scope("default"), NOW + 1 + UNREACHABLE_S, "unreachable")),
        (WAIT, CoolDown(Scope("default/model"), NOW + 1 + 7.0, "RATE_LIMIT_EXCEEDED")),
        (refused(429), CoolDown(Scope("default/model"), NOW + 1 + RATE_LIMITED_S, "HTTP_429")),
        (
            refused(429, retry_after_s=0.0),
            CoolDown(Scope("default/model"), NOW + 1 + RATE_LIMITED_LEAST_S, "HTTP_429"),
        ),
    ],
    ids=["not-sent", "429", "429-without-retry-after", "429-retry-at-once"],
)
@pytest.mark.parametrize("made", [sent, sync_run], ids=["async", "sync"])
def test_who_has_to_wait_is_back_in_line_at_its_old_age_with_nothing_spent(
    made: Callable[..., Job], answer: SubmitAnswer, cool_down: CoolDown
) -> None:
    before = made(queued_at=NOW - 500, free_pass=True)
    decision = decided(before, answer)
    job = decision.job
    assert decision.effects == (Cool(cool_down),)
    assert (job.state, job.queued_at) == (State.QUEUED, NOW - 500)
    assert (job.spent, job.submits, job.attempts, job.attempt) == (0, 0, (), 0)
    assert job.free_pass, "the way a person opened is not used up"
    assert (job.hop, job.sent_at, job.lease_until, job.gates) == (None, None, None, ())


@pytest.mark.parametrize(
    ("answer", "spent"),
    [
        ("accepted", 0),
        ("finished", 0),
        ("not_sent", 0),
        ("wait", 0),
        ("park", 0),
        ("lost", 0),
        ("doubt", 0),
        ("go_sync", 0),
        ("retry", 1),
        ("cool", 1),
        ("die", 1),
    ],
)
def test_an_attempt_is_spent_only_where_the_provider_failed_or_refused_for_good(
    answer: str, spent: int
) -> None:
    assert decided(sent(spent=2), ANSWERS[answer]).job.spent == 2 + spent


# Retries.


def test_a_retryable_fault_waits_out_its_backoff() -> None:
    job = decided(sent(spent=1), RETRY).job
    assert (job.state, job.spent) == (State.RETRYING, 2)
    assert job.due_at == NOW + 1 + 0.5 * 4.0, "half the jitter of base 2 s doubled once"
    assert job.reason is not None
    assert (job.reason.code, job.reason.http_status) == ("EXECUTION_FAILED", 500)
    assert (job.attempts[-1].outcome, job.attempts[-1].code) == ("failed", "EXECUTION_FAILED")
    assert job.attempts[-1].ended_at == NOW + 1


@settings(max_examples=40, database=None)
@given(st.integers(0, 3), st.floats(0, 1, exclude_max=True), st.none() | st.floats(0, 900))
def test_a_retry_keeps_to_the_backoff_and_to_retry_after(
    spent: int, jitter: float, retry_after_s: float | None
) -> None:
    answer = Refused(replace(FAILED, retry_after_s=retry_after_s))
    job = decided(sent(spent=spent), answer, NOW, jitter).job
    assert job.due_at == NOW + Backoff().wait(spent + 1, jitter, retry_after_s)
    assert (job.due_at or 0.0) >= NOW + (retry_after_s or 0.0)


def test_a_503_cools_its_lane_down_beside_the_retry() -> None:
    decision = decided(sent(), COOL)
    assert decision.job.state is State.RETRYING
    lane = Scope("default/model/suno")
    assert decision.effects == (Cool(CoolDown(lane, NOW + 1 + UNREACHABLE_S, "HTTP_503")),)
    asked = decided(sent(), refused(503, retry_after_s=60.0))
    assert asked.effects == (Cool(CoolDown(lane, NOW + 61, "HTTP_503")),)


@pytest.mark.parametrize("answer", [RETRY, COOL], ids=["retry", "cool"])
def test_the_last_attempt_dies_with_the_providers_own_code(answer: Refused) -> None:
    job = decided(sent(spent=4), answer).job
    assert (job.state, job.spent, job.finished_at) == (State.DEAD, 5, NOW + 1)
    assert job.reason is not None
    assert job.reason.code == answer.fault.name
    assert job.reason.action == ACTION_SPENT
    assert job.reason.message == f"{answer.fault.message} (attempt 5 of 5)"


@pytest.mark.parametrize(("attempts", "state"), [(1, State.DEAD), (2, State.RETRYING)])
def test_a_job_has_the_attempts_it_was_given(attempts: int, state: State) -> None:
    assert decided(sent(max_attempts=attempts), RETRY).job.state is state


# Refused for good.


def test_a_refusal_that_no_retry_mends_is_a_dead_letter() -> None:
    decision = decided(sent(), DIE)
    job = decision.job
    assert (job.state, decision.effects) == (State.DEAD, ())
    assert job.reason is not None
    assert (job.reason.code, job.reason.http_status) == ("INVALID_INPUTS", 400)
    assert job.reason.action == "Fix the inputs, requeue"


# Parked by a hold.


def test_a_402_parks_the_job_and_puts_a_hold_up_over_the_account() -> None:
    decision = decided(sent(), PARK)
    (effect,) = decision.effects
    assert isinstance(effect, PutUp)
    hold, reason = effect.hold, decision.job.reason
    assert decision.job.state is State.PARKED
    assert reason is not None
    assert (hold.scope, hold.code, hold.phase) == ("default", "INSUFFICIENT_CREDITS", Phase.CLOSED)
    assert hold.id == reason.hold_id == hold_id(hold.scope, hold.code)
    assert (hold.action, hold.action_url) == (reason.action, reason.action_url)
    assert reason.action_url == "https://knouds.ai/settings/billing"
    assert decision.job.attempts[-1].outcome == "refused"


def test_a_hold_without_a_page_has_no_link() -> None:
    decision = decided(sent(), refused(403, "NEW_CODE"))
    assert decision.job.reason is not None
    assert decision.job.reason.action_url is None


# The sync fallback.


def test_a_target_without_async_mode_is_submitted_sync_at_once() -> None:
    before = sent()
    decision = decided(before, GO_SYNC)
    assert decision.job is before
    assert decision.submit_sync
    assert decision.effects == (RememberSync(before.lane, NOW + 1 + 86_400),)


def test_the_sync_submit_is_the_same_attempt() -> None:
    before = decided(sent(), GO_SYNC).job
    job = transitions.open_connection(before, NOW + 2, owner="w1", lease_until=NOW + 32)
    assert (job.state, job.mode, job.submits) == (State.RUNNING, Mode.SYNC, 1)
    (attempt,) = job.attempts
    assert (attempt.number, attempt.mode, attempt.started_at) == (1, Mode.SYNC, NOW)


def test_no_async_mode_for_a_sync_submit_does_not_loop() -> None:
    decision = decided(sync_run(), GO_SYNC)
    assert not decision.submit_sync
    assert (decision.job.state, decision.job.spent) == (State.RETRYING, 1)


# Unknown outcomes.


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (LOST, None, "connection lost"),
        (Lost("unreadable", 200), 200, "unreadable"),
        (DOUBT, 502, "HTTP_502: told so"),
        (refused(504), 504, "HTTP_504: told so"),
        (Refused(Fault(None, "", 520)), 520, "HTTP_520: an answer outside the contract"),
        (
            Refused(Fault("EXECUTION_FAILED", "", 500, readable=False)),
            500,
            "EXECUTION_FAILED: an answer outside the contract",
        ),
    ],
    ids=["lost", "unreadable-2xx", "502", "504", "520", "unreadable-500"],
)
@pytest.mark.parametrize("made", [sent, sync_run], ids=["async", "sync"])
def test_an_unknown_outcome_parks_and_is_never_sent_again(
    made: Callable[..., Job], answer: SubmitAnswer, status: int | None, words: str
) -> None:
    job = decided(made(), answer).job
    assert job.parked_as == "uncertain"
    assert job.reason is not None
    assert job.reason.message.startswith(words)
    assert (job.reason.http_status, job.reason.action) == (status, ACTION_UNCERTAIN)
    assert (job.spent, job.attempts[-1].outcome) == (0, "uncertain")
    assert job.reason.hold_id is None


@pytest.mark.parametrize("answer", [LOST, DOUBT], ids=["lost", "502"])
def test_a_job_that_opted_in_retries_an_unknown_outcome(answer: SubmitAnswer) -> None:
    job = decided(sent(on_uncertain=OnUncertain.RETRY), answer).job
    assert (job.state, job.spent) == (State.RETRYING, 1)
    assert job.reason is not None
    assert job.reason.code == "uncertain"


def test_opting_in_does_not_make_unknown_outcomes_endless() -> None:
    job = decided(sent(on_uncertain=OnUncertain.RETRY, spent=4), LOST).job
    assert job.state is State.DEAD


# A person asked to cancel meanwhile.


def wanted_gone(made: Callable[..., Job], **facts: object) -> Job:
    return transitions.ask_cancel(made(**facts), NOW + 0.5, by="ann")


@pytest.mark.parametrize("made", [sent, sync_run], ids=["async", "sync"])
@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ("accepted", State.CANCELLING),
        ("finished", State.SUCCEEDED),
        ("not_sent", State.CANCELLED),
        ("lost", State.PARKED),
        ("wait", State.CANCELLED),
        ("park", State.CANCELLED),
        ("die", State.CANCELLED),
        ("retry", State.CANCELLED),
        ("cool", State.CANCELLED),
        ("doubt", State.PARKED),
        ("go_sync", State.CANCELLED),
    ],
)
def test_a_wish_to_cancel_is_heard_whatever_the_answer(
    made: Callable[..., Job], answer: str, state: State
) -> None:
    decision = decided(wanted_gone(made), ANSWERS[answer])
    assert decision.job.state is state
    assert not decision.submit_sync
    assert decision.job.spent == 0


@pytest.mark.parametrize("answer", ["not_sent", "wait", "park", "cool", "go_sync"])
def test_what_the_answer_says_of_the_others_stays_true_of_a_cancelled_job(answer: str) -> None:
    effects = decided(sent(), ANSWERS[answer]).effects
    assert decided(wanted_gone(sent), ANSWERS[answer]).effects == effects != ()


def test_an_accepted_run_that_nobody_wants_is_looked_at_at_once_to_cancel_it() -> None:
    job = decided(wanted_gone(sent), ACCEPTED).job
    assert (job.next_poll_at, job.execution_id, job.cancel_sent) == (NOW + 1, "ex-1", False)


# The late answer to an uncertain submit.


def test_a_late_yes_takes_an_uncertain_job_back_on_the_road() -> None:
    job = decided(uncertain(), ACCEPTED).job
    assert (job.state, job.execution_id, job.reason) == (State.RUNNING, "ex-1", None)
    assert job.open_attempt is not None
    assert (job.open_attempt.number, job.submits, job.attempt) == (1, 1, 1)
    assert job.open_attempt.code is None


def test_a_late_result_settles_an_uncertain_job() -> None:
    decision = decided(uncertain(), Finished(b"{}", 1.0))
    assert (decision.job.state, decision.result) == (State.SUCCEEDED, b"{}")
    assert [attempt.outcome for attempt in decision.job.attempts] == ["succeeded"]


def test_a_late_yes_to_an_unwanted_job_cancels_the_run() -> None:
    parked = decided(wanted_gone(sent), LOST).job
    assert parked.parked_as == "uncertain"
    assert decided(parked, ACCEPTED).job.state is State.CANCELLING


def test_a_decision_never_shows_its_result_when_printed() -> None:
    assert "images" not in repr(decided(sent(), FINISHED))


def test_a_second_mark_before_the_first_answer_is_refused() -> None:
    with pytest.raises(IllegalMove, match="may be under way"):
        transitions.send(sent(), NOW + 1, owner="w2", lease_until=NOW + 31)
