"""What the outcome of a submit does to a job."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import transitions
from jobs.backoff import Backoff
from jobs.decide import (
    decide_submit,
)
from jobs.effects import Decision, HoldOpened, PlaceHold, RememberSyncOnly, StartCoolDown
from jobs.error_table import ACTION_ATTEMPTS_SPENT, ACTION_UNCERTAIN
from jobs.holds import CoolDown, HoldPhase, hold_id
from jobs.inconclusive_polls import RATE_LIMITED_COOL_DOWN_S, RATE_LIMITED_MIN_S
from jobs.job import Job, JobEvent, JobOutage
from jobs.lanes import JobId, Scope
from jobs.lifecycle import IllegalTransition
from jobs.outcomes import Accepted, Finished, Lost, NotSent, ProviderError, Refused, SubmitOutcome
from jobs.states import Mode, OnUncertain, State
from tests.unit.core.job_builders import (
    ACCEPTED,
    DEADLINE_S,
    FAILED,
    FINISHED,
    NO_CREDITS,
    NOW,
    a_context,
    awaiting_finding,
    changed,
    running,
    submitted,
    sync_run,
    uncertain,
)


def refused(status: int, code: str | None = None, *, retry_after_s: float | None = None) -> Refused:
    return Refused(ProviderError(code, "as documented", status, retry_after_s=retry_after_s))


NOT_SENT = NotSent("connection refused")
LOST = Lost("connection lost")
WAIT = refused(429, "RATE_LIMIT_EXCEEDED", retry_after_s=7.0)
PARK = Refused(NO_CREDITS)
DIE = refused(400, "INVALID_INPUTS")
RETRY = Refused(FAILED)
COOL = refused(503)
UNCERTAIN = refused(502)
GO_SYNC = refused(400, "ASYNC_NOT_SUPPORTED")

ANSWERS: dict[str, SubmitOutcome] = {
    "accepted": ACCEPTED,
    "finished": FINISHED,
    "not_sent": NOT_SENT,
    "lost": LOST,
    "wait": WAIT,
    "park": PARK,
    "die": DIE,
    "retry": RETRY,
    "cool": COOL,
    "uncertain": UNCERTAIN,
    "go_sync": GO_SYNC,
    "redirect": Refused(ProviderError(None, "", 301, location="https://new.example")),
    "page": Refused(ProviderError(None, "", 404, is_readable=False, is_page=True)),
}


def decided(job: Job, answer: SubmitOutcome, now: float = NOW + 1, jitter: float = 0.5) -> Decision:
    return decide_submit(job, answer, a_context(now, jitter))


# Accepted or finished.


def test_an_accepted_run_is_on_record_with_its_execution_and_its_deadline() -> None:
    job = decided(submitted(), Accepted("ex-7", "req-7", expects_webhook=True)).job
    assert job.state is State.RUNNING
    assert (job.execution_id, job.request_id, job.expects_webhook) == ("ex-7", "req-7", True)
    assert (job.submitted_at, job.deadline_at) == (NOW + 1, NOW + 1 + DEADLINE_S)
    assert job.next_poll_at is not None
    assert NOW + 1.9 <= job.next_poll_at <= NOW + 2.1
    assert job.open_attempt is not None
    assert (job.open_attempt.execution_id, job.attempt, job.spent) == ("ex-7", 1, 0)
    assert (job.submit_token, job.owner, job.lease_until, job.sent_at) == (None, None, None, None)


@pytest.mark.parametrize("job", [submitted(), sync_run()], ids=["async", "sync"])
def test_a_finished_answer_is_a_result_in_either_mode(job: Job) -> None:
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


def test_an_accepted_job_is_not_accepted_again() -> None:
    with pytest.raises(IllegalTransition, match="accepted before"):
        decided(running(), Accepted("ex-2"))


@pytest.mark.parametrize("answer", [ACCEPTED, FINISHED], ids=["accepted", "finished"])
def test_what_passes_an_opening_gate_opens_it_further(answer: SubmitOutcome) -> None:
    assert decided(submitted(opening_hold_ids=("g1", "g2")), answer).effects == (
        HoldOpened(("g1", "g2"), is_ended=answer is FINISHED),
    )
    assert decided(submitted(), answer).effects == ()


# Waiting spends no attempt.


@pytest.mark.parametrize(
    ("answer", "cool_down"),
    [
        (NOT_SENT, None),
        (WAIT, CoolDown(Scope("default/model"), NOW + 1 + 7.0, "RATE_LIMIT_EXCEEDED")),
        (
            refused(429),
            CoolDown(Scope("default/model"), NOW + 1 + RATE_LIMITED_COOL_DOWN_S, "HTTP_429"),
        ),
        (
            refused(429, retry_after_s=0.0),
            CoolDown(Scope("default/model"), NOW + 1 + RATE_LIMITED_MIN_S, "HTTP_429"),
        ),
    ],
    ids=["not-sent", "429", "429-without-retry-after", "429-retry-at-once"],
)
@pytest.mark.parametrize("build", [submitted, sync_run], ids=["async", "sync"])
def test_a_job_that_has_to_wait_returns_to_the_queue_at_its_old_age_with_nothing_spent(
    build: Callable[..., Job], answer: SubmitOutcome, cool_down: CoolDown | None
) -> None:
    before = build(queued_at=NOW - 500, bypass_hold=True)
    decision = decided(before, answer)
    job = decision.job
    assert decision.effects == ((StartCoolDown(cool_down),) if cool_down else ())
    assert (job.state, job.queued_at) == (State.QUEUED, NOW - 500)
    assert (job.spent, job.submits, job.attempts, job.attempt) == (0, 0, (), 0)
    assert job.bypass_hold, "the bypass that an operator gave is not used up"
    assert (job.submit_token, job.sent_at, job.lease_until, job.opening_hold_ids) == (
        None,
        None,
        None,
        (),
    )


@pytest.mark.parametrize(
    ("answer", "spent"),
    [
        ("accepted", 0),
        ("finished", 0),
        ("not_sent", 0),
        ("wait", 0),
        ("park", 0),
        ("lost", 0),
        ("uncertain", 0),
        ("go_sync", 0),
        ("retry", 1),
        ("cool", 0),
        ("die", 1),
    ],
)
def test_an_attempt_is_spent_only_where_the_provider_failed_or_refused_for_good(
    answer: str, spent: int
) -> None:
    assert decided(submitted(spent=2), ANSWERS[answer]).job.spent == 2 + spent


# Answers of something else than the provider's API.


@pytest.mark.parametrize(
    ("job_id", "first", "owner"),
    [
        ("j1", JobEvent(NOW, "enqueue", "app"), "app"),
        ("shop~j1", JobEvent(NOW, "enqueue", "app"), "shop~"),
        ("j1", JobEvent(NOW, "release", "ann"), ""),
    ],
)
def test_a_hold_counts_in_the_share_of_the_tenant_or_else_the_token_of_its_job(
    job_id: str, first: JobEvent, owner: str
) -> None:
    job = changed(submitted(), id=JobId(job_id), events=(first,))
    (effect,) = decided(job, refused(403, "MODEL_TIER_REQUIRED")).effects
    assert isinstance(effect, PlaceHold)
    assert (effect.hold.scope, effect.hold.placed_for) == ("default/model/suno", owner)


MOVED, PAGE = ANSWERS["redirect"], ANSWERS["page"]


def test_a_redirect_parks_the_job_and_holds_the_account_with_the_setting_to_change() -> None:
    decision = decided(submitted(), MOVED)
    (effect,) = decision.effects
    assert isinstance(effect, PlaceHold)
    assert (effect.hold.scope, effect.hold.code) == ("default", "redirected")
    assert effect.hold.action.startswith("Set KNOUDS_BASE_URL to https://new.example,")
    reason = decision.job.reason
    assert reason is not None
    assert (decision.job.parked_as, reason.hold_id) == ("redirected", effect.hold.id)
    assert reason.http_status == 301
    assert decision.job.spent == 0


def test_a_redirect_within_the_base_url_does_not_advise_the_same_address() -> None:
    within = Refused(ProviderError(None, "", 302, location="https://knouds.ai"))
    (effect,) = decided(submitted(), within).effects
    assert isinstance(effect, PlaceHold)
    assert "https://knouds.ai" not in effect.hold.action


@pytest.mark.parametrize("build", [submitted, sync_run])
def test_a_page_returns_the_job_to_the_queue_and_holds_the_account(
    build: Callable[[], Job],
) -> None:
    decision = decided(build(), PAGE)
    (effect,) = decision.effects
    assert isinstance(effect, PlaceHold)
    assert (effect.hold.scope, effect.hold.code) == ("default", "not_the_api")
    assert "KNOUDS_BASE_URL" in effect.hold.action
    assert (decision.job.state, decision.job.spent) == (State.QUEUED, 0)
    assert decision.job.attempts == ()


def test_a_408_before_the_request_was_written_is_as_not_sent() -> None:
    early = Refused(ProviderError(None, "", 408, body_sent=False))
    waiting = decided(submitted(), early).job
    assert (waiting.state, waiting.spent) == (State.RETRYING, 0)
    cancelled = decided(submitted(cancel_requested=True), early).job
    assert cancelled.state is State.CANCELLED
    late = Refused(ProviderError(None, "", 408))
    assert decided(submitted(), late).job.parked_as == "uncertain"


def test_a_refusal_in_a_2xx_counts_by_its_code() -> None:
    decision = decided(submitted(), refused(200, "INSUFFICIENT_CREDITS"))
    assert decision.job.parked_as == "INSUFFICIENT_CREDITS"
    assert decided(submitted(), refused(200, "NEW_CODE")).job.parked_as == "uncertain"


# Retries.


def test_a_retryable_error_waits_out_its_backoff() -> None:
    job = decided(submitted(spent=1), RETRY).job
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
    job = decided(submitted(spent=spent), answer, NOW, jitter).job
    assert job.due_at == NOW + Backoff().wait_s(spent + 1, jitter, retry_after_s)
    assert (job.due_at or 0.0) >= NOW + (retry_after_s or 0.0)


def test_a_503_spends_no_attempt_and_waits_at_least_its_retry_after() -> None:
    decision = decided(submitted(spent=4), refused(503, retry_after_s=60.0))
    job = decision.job
    assert (job.state, job.spent, job.due_at) == (State.RETRYING, 4, NOW + 61)
    assert decision.effects == ()


def test_a_503_is_borne_as_long_as_an_outage_may_last() -> None:
    job = submitted(outage=JobOutage(since=NOW - 86_400))
    dead = decided(job, COOL).job
    assert dead.reason is not None
    assert (dead.state, dead.reason.code) == (State.DEAD, "outage")
    assert "Requeue once the target works again" in dead.reason.action
    assert decided(submitted(outage=JobOutage(since=NOW - 80_000)), COOL).job.state is (
        State.RETRYING
    )


def test_the_last_attempt_dies_with_the_providers_own_code() -> None:
    answer = RETRY
    job = decided(submitted(spent=4), answer).job
    assert (job.state, job.spent, job.finished_at) == (State.DEAD, 5, NOW + 1)
    assert job.reason is not None
    assert job.reason.code == answer.error.display_code
    assert job.reason.action == ACTION_ATTEMPTS_SPENT
    assert job.reason.message == f"{answer.error.message} (attempt 5 of 5)"


@pytest.mark.parametrize(("attempts", "state"), [(1, State.DEAD), (2, State.RETRYING)])
def test_a_job_has_the_attempts_it_was_given(attempts: int, state: State) -> None:
    assert decided(submitted(max_attempts=attempts), RETRY).job.state is state


# Refused for good.


def test_a_refusal_that_no_retry_fixes_is_a_dead_letter() -> None:
    decision = decided(submitted(), DIE)
    job = decision.job
    assert (job.state, decision.effects) == (State.DEAD, ())
    assert job.reason is not None
    assert (job.reason.code, job.reason.http_status) == ("INVALID_INPUTS", 400)
    assert job.reason.action == "Fix the inputs, requeue"


# Parked by a hold.


def test_a_402_parks_the_job_and_places_a_hold_on_the_account() -> None:
    decision = decided(submitted(), PARK)
    (effect,) = decision.effects
    assert isinstance(effect, PlaceHold)
    hold, reason = effect.hold, decision.job.reason
    assert decision.job.state is State.PARKED
    assert reason is not None
    assert (hold.scope, hold.code, hold.phase) == (
        "default",
        "INSUFFICIENT_CREDITS",
        HoldPhase.CLOSED,
    )
    assert hold.id == reason.hold_id == hold_id(hold.scope, hold.code)
    assert (hold.action, hold.action_url) == (reason.action, reason.action_url)
    assert reason.action_url == "https://knouds.ai/settings/billing"
    assert decision.job.attempts[-1].outcome == "refused"


def test_a_hold_without_a_page_has_no_link() -> None:
    decision = decided(submitted(), refused(403, "NEW_CODE"))
    assert decision.job.reason is not None
    assert decision.job.reason.action_url is None


# The sync fallback.


def test_a_target_without_async_mode_is_submitted_sync_at_once() -> None:
    before = submitted()
    decision = decided(before, GO_SYNC)
    assert decision.job is before
    assert decision.submit_sync
    assert decision.effects == (RememberSyncOnly(before.lane, NOW + 1 + 86_400),)


def test_the_sync_submit_is_the_same_attempt() -> None:
    before = decided(submitted(), GO_SYNC).job
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
        (UNCERTAIN, 502, "HTTP_502: as documented"),
        (refused(504), 504, "HTTP_504: as documented"),
        (Refused(ProviderError(None, "", 520)), 520, "HTTP_520: a response outside the contract"),
        (
            Refused(ProviderError("EXECUTION_FAILED", "", 500, is_readable=False)),
            500,
            "EXECUTION_FAILED: a response outside the contract",
        ),
    ],
    ids=["lost", "unreadable-2xx", "502", "504", "520", "unreadable-500"],
)
@pytest.mark.parametrize("build", [submitted, sync_run], ids=["async", "sync"])
def test_an_unknown_outcome_parks_and_is_never_sent_again(
    build: Callable[..., Job], answer: SubmitOutcome, status: int | None, words: str
) -> None:
    job = decided(build(), answer).job
    assert job.parked_as == "uncertain"
    assert job.reason is not None
    assert job.reason.message.startswith(words)
    assert (job.reason.http_status, job.reason.action) == (status, ACTION_UNCERTAIN)
    assert (job.spent, job.attempts[-1].outcome) == (0, "uncertain")
    assert job.reason.hold_id is None


@pytest.mark.parametrize("answer", [LOST, UNCERTAIN], ids=["lost", "502"])
def test_a_job_that_opted_in_retries_an_unknown_outcome(answer: SubmitOutcome) -> None:
    job = decided(submitted(on_uncertain=OnUncertain.RETRY), answer).job
    assert (job.state, job.spent) == (State.RETRYING, 1)
    assert job.reason is not None
    assert job.reason.code == "uncertain"


def test_opting_in_does_not_make_unknown_outcomes_endless() -> None:
    job = decided(submitted(on_uncertain=OnUncertain.RETRY, spent=4), LOST).job
    assert job.state is State.DEAD


# An operator requested a cancel meanwhile.


def with_cancel_request(build: Callable[..., Job], **facts: object) -> Job:
    return transitions.request_cancel(build(**facts), NOW + 0.5, by="ann")


@pytest.mark.parametrize("build", [submitted, sync_run], ids=["async", "sync"])
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
        ("uncertain", State.PARKED),
        ("go_sync", State.CANCELLED),
    ],
)
def test_a_cancel_request_is_honoured_whatever_the_answer(
    build: Callable[..., Job], answer: str, state: State
) -> None:
    decision = decided(with_cancel_request(build), ANSWERS[answer])
    assert decision.job.state is state
    assert not decision.submit_sync
    assert decision.job.spent == 0


@pytest.mark.parametrize("answer", ["not_sent", "wait", "park", "cool", "go_sync"])
def test_a_cancelled_job_keeps_the_effects_of_its_answer(answer: str) -> None:
    usual = decided(submitted(), ANSWERS[answer])
    cancelled = decided(with_cancel_request(submitted), ANSWERS[answer])
    assert cancelled.effects == usual.effects
    assert cancelled.reports == usual.reports
    assert usual.effects or usual.reports


def test_an_accepted_run_with_a_cancel_request_is_polled_at_once_to_cancel_it() -> None:
    job = decided(with_cancel_request(submitted), ACCEPTED).job
    assert (job.next_poll_at, job.execution_id, job.cancel_sent) == (NOW + 1, "ex-1", False)


# The late answer to an uncertain submit.


def test_a_late_acceptance_returns_an_uncertain_job_to_running() -> None:
    job = decided(uncertain(), ACCEPTED).job
    assert (job.state, job.execution_id, job.reason) == (State.RUNNING, "ex-1", None)
    assert job.open_attempt is not None
    assert (job.open_attempt.number, job.submits, job.attempt) == (1, 1, 1)
    assert job.open_attempt.code is None


def test_a_late_result_settles_an_uncertain_job() -> None:
    decision = decided(uncertain(), Finished(b"{}", 1.0))
    assert (decision.job.state, decision.result) == (State.SUCCEEDED, b"{}")
    assert [attempt.outcome for attempt in decision.job.attempts] == ["succeeded"]


def test_a_late_acceptance_after_a_cancel_request_cancels_the_run() -> None:
    parked = decided(with_cancel_request(submitted), LOST).job
    assert parked.parked_as == "uncertain"
    assert decided(parked, ACCEPTED).job.state is State.CANCELLING


def test_a_decision_never_shows_its_result_when_printed() -> None:
    assert "images" not in repr(decided(submitted(), FINISHED))


def test_a_second_mark_before_the_first_answer_is_refused() -> None:
    with pytest.raises(IllegalTransition, match="may be under way"):
        transitions.send(submitted(), NOW + 1, owner="w2", lease_until=NOW + 31)


def test_under_reconcile_a_lost_submit_waits_for_its_finding_and_spends_nothing() -> None:
    job = submitted(on_uncertain=OnUncertain.RECONCILE)
    waiting = decided(job, Lost("gone", 502)).job
    assert (waiting.state, waiting.spent) == (State.RETRYING, job.spent)
    assert waiting.awaits_finding
    with pytest.raises(IllegalTransition, match="finding"):
        transitions.promote(waiting, NOW + 1e6)
    with pytest.raises(IllegalTransition, match="not not_started"):
        transitions.resubmit_not_started(waiting, NOW)
    assert transitions.park_awaiting(waiting, NOW).parked_as == "uncertain"


def test_under_reconcile_a_run_that_surely_exists_parks() -> None:
    """A requested cancel, or an execution id on record: nothing is sent again by itself."""
    asked = transitions.request_cancel(submitted(on_uncertain=OnUncertain.RECONCILE), NOW, by="ann")
    assert decided(asked, LOST).job.parked_as == "uncertain"


def test_an_operator_who_parks_a_waiting_job_has_to_resolve_it() -> None:
    parked = transitions.park_manual(awaiting_finding(), NOW, by="ann")
    assert parked.parked_as == "uncertain"
    with pytest.raises(IllegalTransition, match="resolve it"):
        transitions.release(parked, NOW, by="ann")
