"""What a retryable failure costs a job, in an outage of its lane and without one."""

from typing import Any

import msgspec
import pytest

from jobs import transitions
from jobs.breakers import (
    BreakerCause,
    BreakerEpochs,
    BreakerFailure,
    BreakerSuccess,
    FailedSubmit,
    PassedBreakers,
)
from jobs.decide import decide_poll, decide_submit
from jobs.effects import Decision, DecisionRules, PollHistory
from jobs.indexes import Index, entries
from jobs.job import Job, JobOutage
from jobs.outcomes import (
    Accepted,
    Finished,
    Lost,
    LostCause,
    NotSent,
    ProviderError,
    Refused,
    RunFailed,
    SubmitOutcome,
)
from jobs.retries import is_outage_over_limit
from jobs.states import State
from tests.unit.core import job_builders
from tests.unit.core.job_builders import NOW, a_context, a_job, changed, queued

FAILED = ProviderError("EXECUTION_FAILED", "it broke on <the input>", 500)
PROBE: dict[str, Any] = {"probe_of": "breaker-1", "breaker_epochs": (0, 7)}


def submitted(**facts: Any) -> Job:
    return changed(job_builders.submitted(), **facts)


def running(**facts: Any) -> Job:
    return changed(job_builders.running(), **facts)


def refused(job: Job) -> Decision:
    return decide_submit(job, Refused(FAILED), a_context(NOW + 1))


def failed_run(job: Job) -> Decision:
    decision = decide_poll(job, RunFailed(FAILED), PollHistory(), a_context(NOW + 1))
    assert isinstance(decision, Decision)
    return decision


def in_outage(decision: Decision) -> Job:
    assert decision.job_in_outage is not None
    return decision.job_in_outage


def test_a_failure_of_an_outage_gives_the_attempt_back() -> None:
    for decision in (refused(submitted(spent=4)), failed_run(running(spent=4))):
        assert decision.job.state is State.DEAD
        job = in_outage(decision)
        assert (job.state, job.spent) == (State.RETRYING, 4)
        assert job.attempts[-1].outcome == "failed", "the attempt stays on record"


def test_a_probe_that_is_refused_gets_its_attempt_back_and_a_failed_run_spends_it() -> None:
    probe = in_outage(refused(submitted(**PROBE)))
    assert (probe.spent, probe.outage and probe.outage.given_back) == (0, 1)
    run = in_outage(failed_run(running(**PROBE)))
    assert (run.spent, run.outage and run.outage.given_back) == (1, 0)
    assert run.outage
    assert run.due_at == pytest.approx(run.outage.since + 139, abs=1), "its attempts are stretched"
    assert in_outage(failed_run(running(spent=4, **PROBE))).state is State.DEAD


def test_attempts_given_back_to_probes_are_charged_when_it_fails_again_without_an_outage() -> None:
    job = submitted(spent=1, outage=JobOutage(since=NOW - 9, given_back=2))
    again = refused(job).job
    assert (again.spent, again.outage and again.outage.given_back) == (4, 0)
    last = refused(changed(job, spent=2)).job
    assert (last.state, last.spent) == (State.RETRYING, 4), "the last attempt is left"
    assert refused(changed(job, spent=4)).job.state is State.DEAD


def test_a_probe_that_was_charged_before_spends_its_attempts() -> None:
    """Nothing but jobs whose inputs always fail may be left in the lane."""
    first = refused(submitted(outage=JobOutage(since=NOW - 9, failed_epoch=-1), spent=1)).job
    assert first.outage
    assert first.outage.was_charged
    probe = in_outage(refused(submitted(spent=2, outage=first.outage, **PROBE)))
    assert (probe.spent, probe.outage and probe.outage.given_back) == (3, 0)
    again = refused(submitted(outage=JobOutage(since=NOW - 9, failed_epoch=0), spent=1)).job
    assert again.outage
    assert not again.outage.was_charged, "no other job succeeded between"


def test_the_attempt_whose_failure_tripped_the_breaker_is_given_back_once() -> None:
    waiting = transitions.promote(refused(submitted(spent=1, breaker_epochs=(0, 7))).job, NOW + 9)
    assert waiting.spent == 2

    def admitted(job: Job, tripped_epoch: int) -> Job:
        passed = PassedBreakers(BreakerEpochs(0, 8), (), "breaker-1", tripped_epoch)
        return transitions.admit(
            job,
            NOW + 10,
            submit_token="s",
            lease_until=NOW + 40,
            opening_hold_ids=(),
            passed=passed,
        )

    assert admitted(waiting, 7).spent == 1
    assert admitted(waiting, 3).spent == 2
    returned = transitions.return_to_queue(admitted(waiting, 7), NOW + 11, why="its gate closed")
    assert admitted(returned, 7).spent == 1


def test_an_outage_that_lasts_too_long_makes_a_dead_letter() -> None:
    long_ago = JobOutage(since=NOW - 86_400)
    job = in_outage(refused(submitted(outage=long_ago)))
    assert job.reason is not None
    assert (job.state, job.reason.code, job.spent) == (State.DEAD, "outage", 1)
    assert "24.0 h" in job.reason.message


def test_a_job_that_waits_bears_an_outage_from_when_it_came() -> None:
    day = 86_400.0
    job = queued(queued_at=NOW - 100)
    assert not is_outage_over_limit(job, NOW - 2 * day, NOW, day)
    assert is_outage_over_limit(job, NOW - 2 * day, NOW + day, day)
    old = changed(job, queued_at=NOW - 9 * day)
    assert not is_outage_over_limit(old, NOW - 10, NOW, day)
    seen = changed(old, queued_at=NOW, outage=JobOutage(since=NOW - day))
    assert is_outage_over_limit(seen, NOW - 2 * day, NOW, day)


def test_a_requeue_forgets_the_outage() -> None:
    dead = refused(submitted(spent=4, outage=JobOutage(since=NOW, given_back=3))).job
    assert transitions.requeue(dead, NOW + 5, by="ann").outage is None


# Jobs alone in their lane.


def in_quiet_lane(decision: Decision) -> Job:
    assert decision.job_in_quiet_lane is not None
    return decision.job_in_quiet_lane


def test_a_refused_submit_spends_at_the_usual_backoff_until_the_last_attempt_would_be_spent() -> (
    None
):
    job = in_quiet_lane(refused(submitted()))
    assert (job.spent, job.due_at) == (1, refused(submitted()).job.due_at)
    assert job.outage
    assert (job.outage.refused, job.outage.is_postponed) == (1, False)
    spent = JobOutage(since=NOW - 30, failures=4, refused=4)
    job = in_quiet_lane(refused(submitted(spent=4, outage=spent)))
    assert job.outage
    assert (job.state, job.spent, job.outage.given_back) == (State.RETRYING, 0, 5)
    assert job.due_at == NOW + 1 + 32 * 0.75, "the pauses go on doubling"
    assert job.reason
    assert "Nothing: no other job of its lane has succeeded" in job.reason.action
    later = in_quiet_lane(refused(submitted(outage=job.outage)))
    assert later.outage
    assert (later.spent, later.outage.given_back) == (0, 6)


def test_pauses_of_refused_submits_reach_15_min_and_end_at_the_limit() -> None:
    outage = JobOutage(since=NOW - 80_000, failures=30, given_back=30)
    job = in_quiet_lane(refused(submitted(outage=outage)))
    assert job.due_at == NOW + 1 + 900 * 0.75
    outage = JobOutage(since=NOW - 86_000, failures=30, given_back=30)
    job = in_quiet_lane(refused(submitted(outage=outage)))
    assert job.due_at == NOW + 400
    outage = JobOutage(since=NOW - 86_400, failures=30, given_back=30)
    job = in_quiet_lane(refused(submitted(outage=outage)))
    assert (job.state, job.reason and job.reason.code) == (State.DEAD, "outage")


@pytest.mark.parametrize(
    ("spent", "offset_s"), [(0, 0), (1, 140), (2, 10_148), (3, 86_400), (4, None)]
)
def test_a_failed_run_spends_its_attempt_and_the_retries_are_stretched(
    spent: int, offset_s: float | None
) -> None:
    outage = JobOutage(since=NOW - 5, failures=spent) if spent else None
    job = in_quiet_lane(failed_run(running(spent=spent, outage=outage)))
    if offset_s is None:
        assert (job.state, job.spent) == (State.DEAD, 5)
        return
    assert job.outage
    assert (job.state, job.spent) == (State.RETRYING, spent + 1)
    assert job.outage.is_postponed is bool(offset_s), "the first retry is the usual one"
    assert job.due_at == pytest.approx(job.outage.since + 0.99 * offset_s, abs=2)


def test_a_failed_sync_run_may_have_been_paid_for_and_spends_its_attempt() -> None:
    outage = JobOutage(since=NOW - 5, failures=2)
    job = in_quiet_lane(refused(changed(job_builders.sync_run(), spent=2, outage=outage)))
    assert (job.state, job.spent) == (State.RETRYING, 3)
    assert job.outage
    assert (job.outage.refused, job.outage.is_postponed) == (0, True)
    last = in_quiet_lane(refused(changed(job_builders.sync_run(), spent=4, outage=outage)))
    assert last.state is State.DEAD


@pytest.mark.parametrize("rules", [{"max_attempts": 1}, {}], ids=["one attempt", "no limit"])
def test_one_attempt_and_no_limit_mean_that_no_outage_is_borne(rules: dict[str, int]) -> None:
    context = a_context(NOW + 1)
    if not rules:
        context = msgspec.structs.replace(context, rules=DecisionRules(outage_limit_s=0))
    decision = decide_submit(submitted(**rules), Refused(FAILED), context)
    assert (decision.job_in_outage, decision.job_in_quiet_lane) == (None, None)
    assert decision.job.spent == 1
    is_counted = any(isinstance(one, BreakerFailure) for one in decision.reports)
    assert is_counted == bool(rules), "without a limit no lane is closed"
    if not rules:
        unavailable = Refused(ProviderError(None, "", 503))
        waiting = decide_submit(submitted(), unavailable, context).job
        assert (waiting.state, waiting.spent) == (State.RETRYING, 1)


# What outcomes say about account, route and lane.


UNKNOWN, TARGET, UNREACHABLE = BreakerCause


def reports(job: Job, outcome: SubmitOutcome) -> dict[BreakerCause, bool]:
    """Cause → whether the outcome speaks for its scope."""
    decision = decide_submit(job, outcome, a_context(NOW + 1))
    return {one.cause: isinstance(one, BreakerSuccess) for one in decision.reports}


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Accepted("ex-1"), {UNKNOWN: True, TARGET: True}),
        (Finished(b"{}"), {UNKNOWN: True, TARGET: True}),
        (Refused(ProviderError("INVALID_INPUTS", "", 400)), {UNKNOWN: True}),
        (Refused(ProviderError("INSUFFICIENT_CREDITS", "", 402)), {UNKNOWN: True}),
        (Refused(ProviderError("RATE_LIMIT_EXCEEDED", "", 429)), {}),
        (Refused(ProviderError(None, "", 301)), {}),
        (Refused(ProviderError(None, "", 404, is_readable=False, is_page=True)), {}),
        (Refused(FAILED), {TARGET: False}),
        (Refused(ProviderError(None, "", 503)), {TARGET: False}),
        (Refused(ProviderError(None, "", 502)), {UNKNOWN: False}),
        (Refused(ProviderError(None, "", 504)), {UNKNOWN: False}),
        (Lost("closed"), {UNKNOWN: False}),
        (Lost("its worker was lost", cause=LostCause.WORKER), {}),
        (NotSent("connection refused"), {UNREACHABLE: False}),
        (NotSent("Redis", is_ours=True), {}),
    ],
    ids=repr,
)
def test_what_an_outcome_says(outcome: SubmitOutcome, said: dict[BreakerCause, bool]) -> None:
    found = reports(submitted(), outcome)
    if not isinstance(outcome, NotSent):
        is_answer = not isinstance(outcome, Lost) or outcome.http_status is not None
        assert found.pop(UNREACHABLE, False) is is_answer, "any response shows that it is reached"
    assert found == said


def test_an_unknown_outcome_that_is_retried_counts_once_and_against_the_route_alone() -> None:
    assert reports(submitted(on_uncertain="retry"), Lost("closed")) == {UNKNOWN: False}


def test_a_report_carries_epoch_submit_and_no_text_of_the_provider() -> None:
    job = submitted(breaker_epochs=(3, 4))
    failure, _ = refused(job).reports
    assert isinstance(failure, BreakerFailure)
    submit = FailedSubmit("j1:1", job.fingerprint, str(job.lane))
    assert (failure.epoch, failure.submit) == (4, submit)
    assert "input" not in str(failure.error)
    job = submitted(breaker_epochs=(3, 4, 5))
    of_lane, of_route = decide_submit(job, Lost("closed"), a_context(NOW + 1)).reports
    assert (of_lane.scope, of_lane.epoch) == (str(job.lane), 5)
    assert (of_route.scope, of_route.epoch) == (job.lane.route, 3)
    old = submitted(breaker_epochs=(3, 4))
    of_lane, _ = decide_submit(old, Lost("closed"), a_context(NOW + 1)).reports
    assert of_lane.epoch == 0, "a record of an older version has no epoch of the lane"


# Slots of canaries and probes.


def gates(job: Job) -> set[str]:
    return {entry.name for entry in entries(job) if entry.kind is Index.GATE}


def test_a_canary_frees_its_slot_with_its_answer_and_a_probe_with_the_end_of_its_run() -> None:
    job = submitted(canary_of=("breaker-r",), probe_of="breaker-l", breaker_epochs=(1, 2))
    assert gates(job) == {"breaker-r", "breaker-l"}
    accepted = decide_submit(job, Accepted("ex-1"), a_context(NOW + 1)).job
    assert gates(accepted) == {"breaker-l"}
    assert accepted.breaker_epochs == (1, 2)
    ends = [
        failed_run(accepted).job,
        decide_submit(job, Lost("closed"), a_context(NOW + 1)).job,
        transitions.return_to_queue(job, NOW + 1, why="not sent"),
        transitions.park_stuck(accepted, NOW + 1, next_poll_at=NOW + 300),
    ]
    done = decide_poll(accepted, Finished(b"{}"), PollHistory(), a_context(NOW + 1))
    assert isinstance(done, Decision)
    for job_ in (*ends, done.job):
        assert gates(job_) == set()


def test_a_good_run_leaves_nothing_of_breakers_in_its_record() -> None:
    assert (a_job().breaker_epochs, a_job().outage) == ((), None)


def test_a_request_that_was_not_fully_written_backs_off_and_spends_nothing() -> None:
    """One job whose inputs are too large for something in between must not be sent all the time."""
    early = Refused(ProviderError(None, "", 408, is_readable=False, body_sent=False))
    job, waits = submitted(), list[float]()
    for number in range(1, 8):
        decision = decide_submit(job, early, a_context(NOW + 1))
        after = decision.job
        assert (after.state, after.spent) == (State.RETRYING, 0)
        assert {one.cause for one in decision.reports} == {UNREACHABLE}
        assert after.due_at is not None
        waits.append(after.due_at - (NOW + 1))
        job = changed(job, outage=after.outage)
        assert job.outage is not None
        assert job.outage.failures == number
    assert waits == sorted(waits)
    assert waits[-1] > 10 * waits[0]
