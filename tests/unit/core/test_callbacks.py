"""Which events there are, and what becomes of a callback, in virtual time."""

import pytest

from jobs.callback_breaker import (
    LONGEST_PAUSE_S,
    TRIPS_AFTER,
    CallbackBreaker,
    after_host_failure,
)
from jobs.callbacks import (
    GIVE_UP_AFTER_S,
    Callback,
    CallbackFailure,
    CallbackState,
    CallbackType,
    after_delivery,
    after_failure,
    event_of,
    job_callback,
    sent_again,
)
from jobs.job import Reason
from jobs.requests import JobRequest
from jobs.states import Kind, State
from tests.unit.core.job_builders import NOW, a_job, changed

URL = "https://hooks.example.com/x"
EVENTS = {
    State.SUCCEEDED: CallbackType.JOB_SUCCEEDED,
    State.DEAD: CallbackType.JOB_DEAD,
    State.CANCELLED: CallbackType.JOB_CANCELLED,
    State.PARKED: CallbackType.JOB_PARKED,
}


def a_callback() -> Callback:
    job = a_job(callback_url=URL, state=State.DEAD)
    return job_callback(
        job, CallbackType.JOB_DEAD, sequence=7, host="https://hooks.example.com:443"
    )


@pytest.mark.parametrize("state", State)
def test_a_job_that_settles_or_parks_is_an_event(state: State) -> None:
    before = a_job(callback_url=URL, state=State.RUNNING)
    after = changed(before, state=state)
    assert event_of(before, after) is (None if state is State.RUNNING else EVENTS.get(state))
    assert event_of(None, after) is EVENTS.get(state)
    assert event_of(before, changed(after, callback_url=None)) is None


def test_parked_for_another_reason_is_an_event_and_the_same_again_is_none() -> None:
    stuck = a_job(callback_url=URL, state=State.PARKED, reason=Reason(code="stuck"))
    assert event_of(stuck, changed(stuck, updated_at=NOW + 1)) is None
    failed = changed(stuck, reason=Reason(code="EXECUTION_FAILED"))
    assert event_of(stuck, failed) is CallbackType.JOB_PARKED
    dead = changed(stuck, state=State.DEAD)
    assert event_of(dead, changed(dead, reason=Reason(code="other"))) is None


def test_an_event_has_one_id_and_another_event_another() -> None:
    job = a_job(callback_url=URL, state=State.PARKED)
    ids = {
        job_callback(one, CallbackType.JOB_PARKED, sequence=number, host="h").id
        for number, one in enumerate(
            [job, job, changed(job, since=NOW + 1), changed(job, submits=2)]
        )
    }
    assert len(ids) == 3, "a repeated write of one event is a duplicate, with its id"


def test_it_is_tried_for_three_days_with_growing_pauses() -> None:
    callback, now, pauses = a_callback(), NOW, list[float]()
    while callback.state is CallbackState.PENDING:
        callback = after_failure(callback, now, 0.999, CallbackFailure("answered 500", 500))
        if callback.next_at is not None:
            pauses.append(callback.next_at - now)
            now = callback.next_at
    assert pauses == sorted(pauses)
    assert pauses[0] < 5.1
    assert pauses[-1] == pytest.approx(3_600, rel=0.01)
    assert callback.state is CallbackState.FAILED
    assert now <= NOW + GIVE_UP_AFTER_S < now + 3_600
    assert callback.tries == len(pauses) + 1


def test_retry_after_is_a_floor_and_gone_is_final() -> None:
    asked = after_failure(a_callback(), NOW, 0.5, CallbackFailure("429", 429, 120.0))
    assert asked.next_at == NOW + 120
    too_long = after_failure(a_callback(), NOW, 0.5, CallbackFailure("429", 429, 10**9))
    assert too_long.next_at == NOW + 86_400
    gone = after_failure(a_callback(), NOW, 0.5, CallbackFailure("410", 410, is_final=True))
    assert (gone.state, gone.next_at) == (CallbackState.FAILED, None)


def test_a_callback_that_is_sent_again_keeps_id_body_and_sequence() -> None:
    callback = a_callback()
    failed = after_failure(callback, NOW + 1, 0.5, CallbackFailure("410", 410, is_final=True))
    again = sent_again(failed, NOW + 9)
    assert (again.id, again.sequence, again.record) == (
        callback.id,
        callback.sequence,
        callback.record,
    )
    assert (again.state, again.next_at) == (CallbackState.PENDING, NOW + 9)
    done = after_delivery(again, NOW + 10, 200)
    assert (done.state, done.tries, done.error) == (CallbackState.DELIVERED, 2, "")


def test_a_host_trips_after_some_failures_and_is_probed_more_and_more_rarely() -> None:
    assert after_host_failure(None, TRIPS_AFTER - 1, NOW, "down") is None
    breaker = after_host_failure(None, TRIPS_AFTER, NOW, "down")
    pauses: list[float] = []
    now = NOW
    while len(pauses) < 12:
        assert isinstance(breaker, CallbackBreaker)
        pauses.append(breaker.until - now)
        now = breaker.until
        breaker = after_host_failure(breaker, TRIPS_AFTER + len(pauses), now, "down")
    assert pauses[:3] == [2.0, 4.0, 8.0]
    assert pauses[-1] == LONGEST_PAUSE_S


def test_a_request_without_callback_has_the_fingerprint_it_always_had() -> None:
    """Else every repeated enqueue of before an update would be a conflict."""
    plain = JobRequest(kind=Kind.MODEL, target="suno", inputs=b"{}")
    assert plain.fingerprint == "0e0f7a37349fd9e394234dc0"
    with_url = JobRequest(kind=Kind.MODEL, target="suno", inputs=b"{}", callback_url=URL)
    assert with_url.fingerprint != plain.fingerprint
