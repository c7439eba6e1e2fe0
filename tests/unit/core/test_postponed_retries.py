"""Which failures belong to an outage, and which jobs a success of their lane makes due at once."""

from collections.abc import Callable

import msgspec
import pytest

from jobs.breakers import (
    Breaker,
    BreakerCause,
    BreakerError,
    BreakerFailure,
    BreakerSuccess,
    FailedSubmit,
    FailureCase,
    PostponedRetry,
    apply_failure,
    apply_probe_now,
    apply_reset,
    apply_success,
    due_at_once,
    failure_case,
    may_forget,
    new_breaker,
    without_postponed,
)
from jobs.breakers.postponed import POSTPONED_KEPT
from jobs.lanes import Scope

NOW = 1_000_000.0
LANE = Scope("default/model/suno")
TARGET = BreakerCause.TARGET_FAILURE


def failure_of(job_id: str = "j1", **facts: object) -> BreakerFailure:
    failure = BreakerFailure(
        scope=LANE,
        cause=TARGET,
        error=BreakerError("EXECUTION_FAILED", 500),
        submit=FailedSubmit(f"{job_id}:1", "f"),
        failing_since=NOW,
        postponed_until=NOW + 9_000,
    )
    return msgspec.structs.replace(failure, **facts)


def a_success(began_at: float, *, is_run: bool = True) -> BreakerSuccess:
    return BreakerSuccess(scope=LANE, cause=TARGET, is_run=is_run, began_at=began_at)


def failed(*failures: BreakerFailure) -> Breaker:
    breaker = new_breaker(LANE, TARGET)
    for failure in failures:
        breaker = apply_failure(breaker, failure, NOW)
    return breaker


def test_only_a_run_that_began_after_the_first_failure_tells_an_outage_from_inputs() -> None:
    breaker = failed(failure_of())
    assert failure_case(breaker, failure_of()) is FailureCase.IN_QUIET_LANE
    for no_proof in (a_success(NOW - 1), a_success(NOW + 1, is_run=False)):
        quiet = apply_success(breaker, no_proof, NOW + 50)
        assert failure_case(quiet, failure_of()) is FailureCase.IN_QUIET_LANE
        assert due_at_once(quiet) == ()
    proved = apply_success(breaker, a_success(NOW + 1), NOW + 50)
    assert failure_case(proved, failure_of()) is FailureCase.USUAL
    assert apply_failure(proved, failure_of("j2"), NOW + 60).postponed == breaker.postponed
    assert failure_case(proved, failure_of(failing_since=NOW + 2)) is FailureCase.IN_QUIET_LANE


def test_a_success_makes_every_postponed_job_due_and_only_these_are_removed() -> None:
    breaker = failed(failure_of("j1"), failure_of("j2"), failure_of("j3", postponed_until=None))
    proved = apply_success(breaker, a_success(NOW + 1), NOW + 50)
    due = due_at_once(proved)
    assert [one.job_id for one in due] == ["j1", "j2"]
    again = apply_failure(proved, failure_of("j2", failing_since=NOW + 9), NOW + 60)
    assert without_postponed(again, due).postponed == (PostponedRetry("j2", NOW + 9, NOW + 9_000),)


def test_a_job_is_postponed_once_and_the_number_is_bounded() -> None:
    many = [failure_of(f"j{number}") for number in range(POSTPONED_KEPT + 5)]
    assert len(failed(*many).postponed) == POSTPONED_KEPT
    assert len(failed(failure_of(), failure_of(postponed_until=NOW + 9_999)).postponed) == 1
    assert failed(failure_of(), failure_of(postponed_until=None)).postponed == ()


def test_the_record_is_kept_and_counts_successes_while_a_job_is_postponed() -> None:
    breaker = failed(failure_of())
    for _ in range(80):
        breaker = apply_success(breaker, a_success(NOW - 1, is_run=False), NOW + 1)
    assert (breaker.failures, breaker.is_clean) == (0, False)
    assert not may_forget(breaker, NOW + 9_100, 3_600)
    assert may_forget(breaker, NOW + 9_000 + 3_600, 3_600)


@pytest.mark.parametrize("act", [apply_probe_now, apply_reset])
def test_an_operator_makes_them_due(act: Callable[[Breaker, float], Breaker]) -> None:
    assert len(due_at_once(act(failed(failure_of()), NOW + 5))) == 1
