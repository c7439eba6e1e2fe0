"""How many runs are paid for before a poll of their account is answered."""

from contextlib import AbstractContextManager

from hypothesis import given
from hypothesis import strategies as st

from jobs.admission import Pick
from jobs.lanes import JobId, Lane
from jobs.outcomes import CallFailure, PollOutcome, ProviderError, RunMissing, StillRunning
from jobs.states import Kind
from tests.unit.core.job_builders import running
from worker.engine.poll_proof import PollProof, is_answer
from worker.engine.wakeups import Wakeup

LIMIT = 12
REFUSED = CallFailure("no", 403)
ANSWER = StillRunning("processing")


def a_proof() -> PollProof:
    return PollProof(LIMIT, Wakeup())


def accept(proof: PollProof, account: str, count: int) -> None:
    for _ in range(count):
        proof.record_accepted(running(account=account))


def test_answers_that_show_that_runs_can_be_polled() -> None:
    assert [
        is_answer(outcome)
        for outcome in (
            ANSWER,
            RunMissing(ProviderError(None, "none", 404)),
            CallFailure("wait", 429),
            REFUSED,
        )
    ] == [True, True, True, False]
    assert not any(is_answer(CallFailure("down", status)) for status in (None, 301, 401, 500, 502))


def test_runs_are_counted_by_account_until_a_poll_is_answered() -> None:
    proof = a_proof()
    accept(proof, "a", LIMIT)
    assert (proof.left("a"), proof.left("b")) == (0, LIMIT)
    assert proof.blocked == ("a",)
    proof.record_poll("a", REFUSED)
    proof.record_poll("b", ANSWER)
    assert proof.left("a") == 0
    proof.record_poll("a", ANSWER)
    assert proof.left("a") == LIMIT
    assert not proof.blocked
    assert not proof.runs_to_poll()


def test_a_delivery_counts_as_an_answer() -> None:
    proof = a_proof()
    accept(proof, "a", LIMIT)
    proof.record_delivery("a")
    assert proof.left("a") == LIMIT


def test_the_newest_run_is_polled_well_before_submits_wait() -> None:
    proof = a_proof()
    accept(proof, "a", LIMIT // 4 - 1)
    assert not proof.runs_to_poll()
    newest = running(account="a", id="newest")
    proof.record_accepted(newest)
    assert proof.runs_to_poll() == [newest]
    assert proof.left("a") > LIMIT // 2


def test_picks_beyond_what_is_left_are_dropped_but_not_those_of_sync_lanes() -> None:
    proof = a_proof()
    accept(proof, "a", LIMIT - 2)
    lane, sync = Lane("a", Kind.MODEL, "m"), Lane("a", Kind.MODEL, "s")
    other = Lane("b", Kind.MODEL, "m")
    picks = [Pick(one, JobId(f"j{n}"), 0) for n, one in enumerate((lane, lane, sync, lane, other))]
    assert [pick.job_id for pick in proof.within(picks, {sync})] == ["j0", "j1", "j2", "j4"]


@given(st.lists(st.sampled_from(["submit", "accepted", "other", "refused", "answered"])))
def test_no_more_runs_than_the_limit_are_unproved(steps: list[str]) -> None:
    proof, unproved = a_proof(), 0
    under_way: list[AbstractContextManager[None]] = []
    outcomes: dict[str, PollOutcome] = {"refused": REFUSED, "answered": ANSWER}
    for step in steps * 10:
        if step == "submit" and proof.left("a"):
            submit = proof.submit_under_way("a")
            submit.__enter__()
            under_way.append(submit)
        elif step == "accepted" and under_way:
            proof.record_accepted(running(account="a"))
            under_way.pop().__exit__(None, None, None)
            unproved += 1
        elif step == "other" and under_way:
            under_way.pop().__exit__(None, None, None)
        elif step in outcomes:
            proof.record_poll("a", outcomes[step])
            unproved = 0 if step == "answered" else unproved
        assert unproved <= LIMIT
        assert proof.left("a") == LIMIT - unproved - len(under_way)
