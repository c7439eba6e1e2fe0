"""What the outcome of a poll or a webhook does to a job."""

from collections.abc import Callable

import pytest

from jobs import transitions
from jobs.decide import decide_poll
from jobs.effects import Decision, PlaceHold, PollHistory, PollLater, StartCoolDown
from jobs.error_table import ACTION_STUCK, Disposition, ErrorTable
from jobs.holds import Canary, CoolDown
from jobs.inconclusive_polls import (
    EMPTY_POLLS,
    EMPTY_S,
    PAGE_POLL_S,
    RATE_LIMITED_COOL_DOWN_S,
    REFUSED_POLL_S,
)
from jobs.job import Job
from jobs.lanes import Scope
from jobs.lifecycle import IllegalTransition
from jobs.outcomes import (
    Accepted,
    CallFailure,
    Finished,
    Lost,
    PollOutcome,
    ProviderError,
    RunCancelled,
    RunFailed,
    RunMissing,
    StillRunning,
)
from jobs.polling.schedules import STUCK_POLL_INTERVAL_S
from jobs.states import OnUncertain, State
from tests.unit.core.job_builders import (
    ACCEPTED,
    DEADLINE_S,
    FINISHED,
    NOW,
    a_context,
    cancelling,
    lost_run,
    running,
    stuck,
)

BUSY = StillRunning("processing")
GONE = RunMissing(ProviderError("EXECUTION_NOT_FOUND", "no such", 404))


def failed(code: str | None, message: str = "it broke") -> RunFailed:
    return RunFailed(ProviderError(code, message))


def decide_after(
    job: Job, answer: PollOutcome, history: PollHistory | None = None, now: float = NOW + 10
) -> Decision | PollLater:
    return decide_poll(job, answer, history or PollHistory(), a_context(now))


def decided(
    job: Job, answer: PollOutcome, history: PollHistory | None = None, now: float = NOW + 10
) -> Decision:
    outcome = decide_after(job, answer, history, now)
    assert isinstance(outcome, Decision)
    return outcome


def polled_later(
    job: Job, answer: PollOutcome, history: PollHistory | None = None, now: float = NOW + 10
) -> PollLater:
    outcome = decide_after(job, answer, history, now)
    assert isinstance(outcome, PollLater)
    return outcome


WATCHED: dict[str, Callable[..., Job]] = {
    "running": running,
    "cancelling": cancelling,
    "stuck": stuck,
}
watched = pytest.mark.parametrize("build", WATCHED.values(), ids=WATCHED.keys())


# The end of a run.


@watched
def test_a_result_settles_the_job(build: Callable[..., Job]) -> None:
    decision = decided(build(), FINISHED, PollHistory(polls=3))
    job = decision.job
    assert (job.state, decision.result, job.cost) == (State.SUCCEEDED, FINISHED.result, 2.5)
    assert (job.attempts[-1].polls, job.attempts[-1].outcome) == (4, "succeeded")
    assert (job.reason, job.next_poll_at) == (None, None)


@watched
def test_a_run_cancelled_at_the_provider_is_cancelled(build: Callable[..., Job]) -> None:
    decision = decided(build(), RunCancelled())
    assert (decision.job.state, decision.job.finished_at) == (State.CANCELLED, NOW + 10)
    assert decision.job.attempts[-1].outcome == "cancelled"


@watched
def test_a_cancelled_run_that_had_finished_first_is_a_success(build: Callable[..., Job]) -> None:
    decision = decided(build(), RunCancelled(b'{"text": "x"}', cost=1.5))
    assert (decision.job.state, decision.job.cost) == (State.SUCCEEDED, 1.5)
    assert decision.result == b'{"text": "x"}'


EMPTY = Lost("completed without a usable result", 200)


@watched
def test_an_end_without_a_result_is_polled_again_before_it_is_left_to_an_operator(
    build: Callable[..., Job],
) -> None:
    job, history, now = build(on_uncertain=OnUncertain.RETRY), PollHistory(), NOW + 10
    for _ in range(EMPTY_POLLS + 1):
        later = polled_later(job, EMPTY, history, now)
        history, now = later.history, now + EMPTY_S / 10
    parked = decided(job, EMPTY, history, NOW + 10 + EMPTY_S).job
    assert parked.parked_as == "uncertain", "the run is paid for: it is not submitted again"
    assert parked.execution_id == "ex-1"
    assert parked.next_poll_at is not None, "a later poll may bring the result"


def test_an_end_without_a_result_needs_several_polls_however_long_they_take() -> None:
    history = PollHistory(1, empty_in_row=EMPTY_POLLS - 2, empty_since=NOW - 1e6)
    later = polled_later(running(), EMPTY, history)
    assert later.history.empty_in_row == EMPTY_POLLS - 1
    assert isinstance(decide_after(running(), EMPTY, later.history), Decision)


def test_a_poll_that_finds_the_run_running_resets_the_count_of_empty_ends() -> None:
    history = PollHistory(1, empty_in_row=EMPTY_POLLS, empty_since=NOW - 1e6)
    assert polled_later(running(), BUSY, history).history.empty_in_row == 0
    assert polled_later(running(), CallFailure("no way"), history).history.empty_in_row == 0


# A run of an uncertain job that is polled on.


@pytest.mark.parametrize(
    "answer", [GONE, EMPTY, CallFailure("no way"), CallFailure("no", 403)], ids=repr
)
def test_an_uncertain_job_with_a_run_is_polled_slowly(answer: PollOutcome) -> None:
    job = decided(running(), GONE, PollHistory(4, missing_in_row=4)).job
    assert job.next_poll_at == NOW + 10 + STUCK_POLL_INTERVAL_S
    later = polled_later(job, answer, now=NOW + 1e6)
    assert later.at == NOW + 1e6 + STUCK_POLL_INTERVAL_S
    assert isinstance(decide_after(job, answer, later.history), PollLater), "it stays uncertain"


def test_a_run_that_is_found_again_brings_its_job_back() -> None:
    job = decided(lost_run(), BUSY, now=NOW + 1e6).job
    assert (job.state, job.execution_id, job.reason) == (State.RUNNING, "ex-1", None)
    assert job.deadline_at == NOW + 1e6 + DEADLINE_S
    assert job.open_attempt is not None
    assert job.spent == 0
    assert decided(job, FINISHED, now=NOW + 1e6).job.attempts[-1].outcome == "succeeded"


def test_a_run_that_is_found_again_is_cancelled_if_that_was_requested() -> None:
    history = PollHistory(4, missing_in_row=4)
    job = decided(cancelling(), GONE, history).job
    assert decided(job, BUSY).job.state is State.CANCELLING


@pytest.mark.parametrize(
    ("answer", "state", "outcome"),
    [
        (FINISHED, State.SUCCEEDED, "succeeded"),
        (RunCancelled(), State.CANCELLED, "cancelled"),
        (RunCancelled(b'{"a": 1}'), State.SUCCEEDED, "succeeded"),
        (failed("EXECUTION_FAILED"), State.PARKED, "failed"),
    ],
)
def test_the_end_of_a_run_decides_about_an_uncertain_job(
    answer: PollOutcome, state: State, outcome: str
) -> None:
    job = decided(lost_run(), answer).job
    assert (job.state, job.attempts[-1].outcome) == (state, outcome)
    assert job.parked_as == ("EXECUTION_FAILED" if state is State.PARKED else None)
    assert job.next_poll_at is None


# An answer that names another run.


@watched
@pytest.mark.parametrize(
    "answer",
    [
        Finished(b'{"a": 1}', execution_id="ex-2"),
        Finished(b'{"a": 1}', request_id="req-2"),
        StillRunning("processing", execution_id="ex-2"),
        RunFailed(ProviderError("EXECUTION_FAILED"), execution_id="ex-2"),
        RunCancelled(execution_id="ex-2"),
        RunCancelled(b'{"a": 1}', execution_id="ex-2"),
        Lost("no result", execution_id="ex-2"),
    ],
    ids=repr,
)
def test_an_answer_that_names_another_run_says_nothing_about_this_one(
    build: Callable[..., Job], answer: PollOutcome
) -> None:
    job = build()
    noted = decided(job, answer).job
    assert (noted.state, noted.execution_id) == (job.state, "ex-1")
    assert noted.attempts == job.attempts
    assert noted.events[-1].name == "other_run"
    assert "ex-2" in noted.events[-1].note or "req-2" in noted.events[-1].note
    again = polled_later(noted, answer)
    assert again.history.failures_in_row == 1
    assert "another run" in again.history.failure, "it is on record once, and then only counted"


@watched
def test_an_answer_that_names_this_run_counts_whatever_its_request_id(
    build: Callable[..., Job],
) -> None:
    ours = Finished(b'{"a": 1}', execution_id="EX-1", request_id="req-2")
    job = decided(build(), ours).job
    assert job.state is State.SUCCEEDED
    assert (job.execution_id, job.attempts[-1].execution_id) == ("ex-1", "ex-1")
    assert job.attempts[-1].request_id == "req-1", "what is on record stays"


def test_answers_about_another_run_until_the_deadline_make_the_job_stuck() -> None:
    other = StillRunning("processing", execution_id="ex-2")
    job = decided(running(), other, now=NOW + DEADLINE_S).job
    assert job.reason is not None
    assert (job.parked_as, job.execution_id) == ("stuck", "ex-1")
    assert "execution ex-2" in job.reason.message


def test_no_transition_overwrites_an_execution_on_record() -> None:
    for build in (running, cancelling, stuck, lost_run):
        with pytest.raises(IllegalTransition, match="its execution is ex-1"):
            transitions.succeed(build(), NOW, Finished(b"{}", execution_id="ex-2"))
    with pytest.raises(IllegalTransition, match="its execution is ex-1"):
        transitions.accept(lost_run(), NOW, Accepted("ex-2"), next_poll_at=NOW)
    assert transitions.accept(lost_run(), NOW, ACCEPTED, next_poll_at=NOW).state is State.RUNNING


# A status that we do not know.


def test_an_unknown_status_is_on_record_once() -> None:
    job = decided(running(), StillRunning("warming_up")).job
    assert (job.state, job.attempts[-1].provider_status) == (State.RUNNING, "warming_up")
    assert job.next_poll_at is not None
    assert job.next_poll_at > NOW + 10
    assert isinstance(decide_after(job, StillRunning("warming_up")), PollLater)
    assert decided(job, BUSY).job.attempts[-1].provider_status is None


def test_a_stuck_job_names_a_status_that_is_unknown() -> None:
    job = decided(running(), StillRunning("warming_up"), now=NOW + DEADLINE_S).job
    assert job.reason is not None
    assert job.parked_as == "stuck"
    assert "'warming_up'" in job.reason.message
    assert "processing" not in job.reason.message


def test_costs_of_several_runs_add_up() -> None:
    assert decided(running(cost=4.0), Finished(b"{}", 1.5)).job.cost == 5.5
    assert decided(running(cost=4.0), Finished(b"{}", None)).job.cost == 4.0


# A failed run.


@pytest.mark.parametrize(
    ("code", "state", "spent"),
    [
        ("EXECUTION_FAILED", State.RETRYING, 1),
        ("PROVIDER_RESPONSE_INCOMPLETE", State.RETRYING, 1),
        ("RATE_LIMIT_EXCEEDED", State.RETRYING, 1),
        ("ASYNC_NOT_SUPPORTED", State.RETRYING, 1),
        ("NEW_CODE", State.RETRYING, 1),
        (None, State.RETRYING, 1),
        ("INVALID_INPUTS", State.DEAD, 1),
        ("INSUFFICIENT_CREDITS", State.PARKED, 0),
    ],
)
def test_a_failed_run_is_handled_by_its_code(code: str | None, state: State, spent: int) -> None:
    job = decided(running(), failed(code), PollHistory(polls=2)).job
    assert (job.state, job.spent) == (state, spent)
    assert job.reason is not None
    assert job.reason.code == (code or "UNKNOWN")
    assert (job.attempts[-1].polls, job.attempts[-1].code) == (3, code or "UNKNOWN")


def test_a_failed_run_that_parks_places_its_hold() -> None:
    (effect,) = decided(running(), failed("grant_exhausted")).effects
    assert isinstance(effect, PlaceHold)
    assert effect.hold.scope == "default/model/suno"


def test_a_failed_run_of_the_last_attempt_is_a_dead_letter() -> None:
    job = decided(running(spent=4), failed("EXECUTION_FAILED")).job
    assert (job.state, job.spent) == (State.DEAD, 5)


def test_a_run_that_fails_while_it_is_cancelled_is_cancelled() -> None:
    job = decided(cancelling(), failed("INVALID_INPUTS")).job
    assert (job.state, job.spent) == (State.CANCELLED, 0)


@pytest.mark.parametrize("code", ["EXECUTION_FAILED", "INVALID_INPUTS", "INSUFFICIENT_CREDITS"])
def test_a_stuck_run_that_fails_still_waits_for_an_operator(code: str) -> None:
    decision = decided(stuck(), failed(code))
    job = decision.job
    assert (job.parked_as, decision.effects) == (code, ())
    assert (job.spent, job.attempts[-1].outcome) == (1, "failed")
    assert (job.execution_id, job.next_poll_at) == (None, None), "it is not polled any more"
    assert transitions.release(job, NOW + 20, by="ann").state is State.QUEUED


def test_a_code_overridden_to_uncertain_parks_a_failed_run() -> None:
    context = a_context(
        NOW, error_table=ErrorTable(overrides={"EXECUTION_FAILED": Disposition.UNCERTAIN})
    )
    outcome = decide_poll(running(), failed("EXECUTION_FAILED"), PollHistory(), context)
    assert isinstance(outcome, Decision)
    assert outcome.job.parked_as == "uncertain"


# Still running.


@pytest.mark.parametrize("status", ["processing", "cancel_requested"])
def test_a_run_under_way_is_polled_less_often_the_older_it_is(status: str) -> None:
    young = polled_later(running(), StillRunning(status), now=NOW + 4)
    old = polled_later(running(), StillRunning(status), now=NOW + 80)
    assert young.at == NOW + 4 + 1.0
    assert old.at == NOW + 80 + 20.0


def test_a_successful_poll_resets_the_count_of_failures() -> None:
    history = polled_later(
        running(), BUSY, PollHistory(7, failures_in_row=3, missing_in_row=2), now=NOW + 3
    ).history
    assert history == PollHistory(8, 0, 0, last_running_at=NOW + 3)


@pytest.mark.parametrize("answer", [GONE, CallFailure("no way")], ids=["missing", "failed"])
def test_a_poll_that_says_nothing_leaves_when_the_run_was_last_running(
    answer: PollOutcome,
) -> None:
    assert (
        polled_later(
            running(), answer, PollHistory(4, last_running_at=NOW - 7)
        ).history.last_running_at
        == NOW - 7
    )


def test_the_last_poll_before_the_deadline_comes_at_the_deadline() -> None:
    assert polled_later(running(), BUSY, now=NOW + DEADLINE_S - 5).at == NOW + DEADLINE_S
    late = polled_later(running(), BUSY, now=NOW + DEADLINE_S - 0.25)
    assert late.at == NOW + DEADLINE_S - 0.25 + 0.5, "but never sooner than the shortest interval"


@pytest.mark.parametrize("build", [running, cancelling], ids=["running", "cancelling"])
def test_a_run_past_its_deadline_parks_as_stuck_and_stays_watched(
    build: Callable[..., Job],
) -> None:
    assert isinstance(decide_after(build(), BUSY, now=NOW + DEADLINE_S - 0.001), PollLater)
    job = decided(build(), BUSY, now=NOW + DEADLINE_S).job
    assert job.parked_as == "stuck"
    assert job.reason is not None
    assert job.reason.action == ACTION_STUCK
    assert (job.execution_id, job.next_poll_at) == (
        "ex-1",
        NOW + DEADLINE_S + STUCK_POLL_INTERVAL_S,
    )
    assert job.open_attempt is not None, "the run may still end"
    assert job.spent == 0


def test_a_stuck_run_is_polled_now_and_then() -> None:
    later = polled_later(stuck(), BUSY, PollHistory(9, failures_in_row=1), now=NOW + 2 * DEADLINE_S)
    assert later.at == NOW + 2 * DEADLINE_S + STUCK_POLL_INTERVAL_S
    assert later.history == PollHistory(10, last_running_at=NOW + 2 * DEADLINE_S)


# Not found.


@watched
def test_a_run_that_is_not_found_is_polled_again_for_a_while(build: Callable[..., Job]) -> None:
    job, history = build(), PollHistory()
    for times in range(1, 5):
        later = polled_later(job, GONE, history)
        assert later.history == PollHistory(times, 0, times)
        assert later.at >= NOW + 10 + min(30.0, 2.0**times) * 0.5
        history = later.history
    parked = decided(job, GONE, history).job
    assert parked.parked_as == "uncertain"
    assert parked.reason is not None
    assert parked.reason.http_status == 404
    assert parked.attempts[-1].polls == 5


def test_a_run_that_is_found_again_starts_the_count_anew() -> None:
    history = polled_later(running(), BUSY, PollHistory(4, missing_in_row=4)).history
    assert isinstance(decide_after(running(), GONE, history), PollLater)


# A failed poll says nothing about the run.


@watched
@pytest.mark.parametrize("status", [None, 400, 429, 500, 502, 503])
def test_a_paid_run_keeps_running_however_many_polls_fail(
    build: Callable[..., Job], status: int | None
) -> None:
    job, history = build(), PollHistory()
    for failures in range(1, 40):
        later = polled_later(job, CallFailure("no way", status), history)
        assert later.history == PollHistory(failures, failures, 0, failure="no way")
        rarely_s = STUCK_POLL_INTERVAL_S if job.state is State.PARKED else 30
        assert NOW + 10 < later.at <= NOW + 10 + rarely_s
        history = later.history


def no_access(status: int, *, is_page: bool = False) -> CallFailure:
    error = ProviderError("CODE", "no", status, is_page=is_page)
    return CallFailure("CODE: no", status, error=error)


NO_ACCESS = {
    "401": no_access(401),
    "403": no_access(403),
    "302": no_access(302),
    "404 page": no_access(404, is_page=True),
    "200 page": no_access(200, is_page=True),
}
without_access = pytest.mark.parametrize("failure", NO_ACCESS.values(), ids=NO_ACCESS.keys())


@without_access
@pytest.mark.parametrize("build", [running, cancelling])
def test_a_paid_run_that_nobody_can_poll_is_polled_rarely_and_never_stuck(
    build: Callable[..., Job], failure: CallFailure
) -> None:
    job, history, now = build(), PollHistory(), NOW + 10
    first_s = REFUSED_POLL_S if failure.http_status in (401, 403) else PAGE_POLL_S
    for _ in range(30):
        later = polled_later(job, failure, history, now)
        assert 0.8 * first_s <= later.at - now <= STUCK_POLL_INTERVAL_S
        history, now = later.history, later.at
    assert now > NOW + DEADLINE_S
    assert history.failure == "CODE: no"


@without_access
def test_only_a_refused_key_holds_the_submits_of_the_account(failure: CallFailure) -> None:
    holds = [e.hold for e in polled_later(running(), failure).effects if isinstance(e, PlaceHold)]
    if failure.http_status not in (401, 403):
        assert not holds
        return
    (hold,) = holds
    assert (hold.scope, hold.code, hold.canary) == ("default", "CODE", Canary.POLL)


def test_the_hold_of_a_key_that_cannot_poll_says_so_and_what_to_choose() -> None:
    error = ProviderError("CAPABILITY_DENIED", "no", 403, required_capability="execution:read")
    failure = CallFailure("CAPABILITY_DENIED: no", 403, error=error)
    (effect,) = polled_later(running(), failure).effects
    assert isinstance(effect, PlaceHold)
    assert "this key can pay for runs but not fetch them" in effect.hold.message
    assert "execution:read" in effect.hold.action
    assert "preset Custom" in effect.hold.action


def test_no_hold_is_placed_where_the_announced_webhooks_arrive() -> None:
    context = a_context(NOW + 10, webhooks_arrive=True)
    later = decide_poll(running(), no_access(403), PollHistory(), context)
    assert isinstance(later, PollLater)
    assert later.effects == ()


@pytest.mark.parametrize("build", [running, cancelling], ids=["running", "cancelling"])
def test_a_run_whose_polls_fail_until_its_deadline_is_stuck(
    build: Callable[..., Job],
) -> None:
    poll_failed = CallFailure("no way", 503)
    assert isinstance(decide_after(build(), poll_failed, now=NOW + DEADLINE_S - 0.001), PollLater)
    job = decided(build(), poll_failed, now=NOW + DEADLINE_S).job
    assert (job.parked_as, job.spent) == ("stuck", 0)
    assert job.reason is not None
    assert job.reason.message == "no end known after 60 min (no way)"
    assert (job.execution_id, job.next_poll_at) == (
        "ex-1",
        NOW + DEADLINE_S + STUCK_POLL_INTERVAL_S,
    )


def test_a_stuck_run_whose_polls_fail_stays_stuck() -> None:
    later = polled_later(stuck(), CallFailure("no way", 503), now=NOW + 2 * DEADLINE_S)
    assert later.history == PollHistory(1, 1, 0, failure="no way")


def test_a_failed_poll_waits_as_long_as_the_provider_asks() -> None:
    assert (
        polled_later(running(), CallFailure("busy", 503, retry_after_s=120.0)).at
        == NOW + 10 + 120.0
    )


@pytest.mark.parametrize(
    ("asked_s", "wait_s"), [(None, RATE_LIMITED_COOL_DOWN_S), (45.0, 45.0), (0.0, 1.0)]
)
def test_a_429_makes_every_poll_of_the_account_wait(asked_s: float | None, wait_s: float) -> None:
    later = polled_later(running(), CallFailure("slow down", 429, asked_s))
    polls = Scope("default/executions")
    assert later.effects == (StartCoolDown(CoolDown(polls, NOW + 10 + wait_s, "429")),)


def test_no_other_failure_makes_anybody_else_wait() -> None:
    assert polled_later(running(), CallFailure("unreachable", 503, 60.0)).effects == ()


@pytest.mark.parametrize("answer", [CallFailure("no way"), BUSY, EMPTY], ids=repr)
def test_only_polls_in_a_row_make_a_run_missing(answer: PollOutcome) -> None:
    assert polled_later(running(), answer, PollHistory(4, 0, 4)).history.missing_in_row == 0
