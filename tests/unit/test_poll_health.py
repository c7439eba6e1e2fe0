"""When a worker reports that its polls get no answer."""

from jobs.outcomes import CallFailure, StillRunning
from worker.engine.poll_health import FORGET_AFTER_S, MIN_FAILURES, PollHealth

REFUSED = CallFailure("knouds.ai:443 refused")


def failing(count: int = MIN_FAILURES) -> PollHealth:
    health = PollHealth()
    for n in range(count):
        health.record(REFUSED, 100.0 + n)
    return health


def test_a_single_failure_is_none_of_an_outage() -> None:
    health = failing(MIN_FAILURES - 1)
    assert health.failing_since(105.0) is None
    assert health.failure(105.0) == ""


def test_several_in_a_row_name_the_cause_and_since_when() -> None:
    health = failing()
    assert health.failing_since(105.0) == 100.0
    assert health.failure(105.0) == "knouds.ai:443 refused"


def test_any_answer_of_the_provider_ends_it() -> None:
    for answer in (StillRunning("processing"), CallFailure("not yours", http_status=403)):
        health = failing()
        health.record(answer, 110.0)
        assert health.failing_since(110.0) is None


def test_server_errors_are_no_answers() -> None:
    health = PollHealth()
    for n in range(MIN_FAILURES):
        health.record(CallFailure("HTTP 503", http_status=503), 100.0 + n)
    assert health.failure(105.0) == "HTTP 503"


def test_it_is_forgotten_once_nothing_is_polled() -> None:
    assert failing().failing_since(200.0 + FORGET_AFTER_S) is None
