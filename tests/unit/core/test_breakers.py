"""Breakers: what trips them, how they are probed, and which outcomes they ignore."""

import msgspec
import pytest

from jobs.breakers import (
    BREAKER_RULES,
    MAX_PAUSE_S,
    Breaker,
    BreakerCause,
    BreakerError,
    BreakerFailure,
    BreakerState,
    BreakerSuccess,
    FailedSubmit,
    apply_evidence,
    apply_failure,
    apply_probe_begin,
    apply_probe_claim,
    apply_probe_now,
    apply_probe_result,
    apply_reset,
    apply_success,
    gives_attempt_back,
    is_last_probe_due,
    is_probe_due,
    new_breaker,
)
from jobs.lanes import Scope
from tests.unit.core.job_builders import NOW

ROUTE = Scope("default/model")
LANE = Scope("default/model/suno")
UNKNOWN, TARGET, UNREACHABLE = BreakerCause
SCOPES = {UNKNOWN: LANE, TARGET: LANE, UNREACHABLE: Scope("default")}
LANE_RULE = BREAKER_RULES[TARGET]


def failed(
    breaker: Breaker,
    number: int = 0,
    *,
    at: float = NOW,
    epoch: int | None = None,
    inputs: str | None = None,
    job: str | None = None,
    worker: str = "w1",
    live_workers: int = 2,
    is_run: bool = False,
    in_flight: int = 0,
    retry_after_s: float | None = None,
    began_at: float | None = None,
    lane: str = "suno",
    is_of_slowed_lane: bool = False,
    is_canary: bool = False,
) -> Breaker:
    """The breaker after the failure of job `j<number>`, sent after the failure before it."""
    token = f"{job or f'j{number}'}:{number}"
    failure = BreakerFailure(
        scope=breaker.scope,
        cause=breaker.cause,
        error=BreakerError("HTTP_502", 502),
        epoch=breaker.epoch if epoch is None else epoch,
        submit=FailedSubmit(token, f"inputs {number}" if inputs is None else inputs, lane),
        retry_after_s=retry_after_s,
        began_at=at + 2 if began_at is None else began_at,
        is_run=is_run,
        in_flight=in_flight,
        is_of_slowed_lane=is_of_slowed_lane,
        is_canary=is_canary,
        worker=worker,
        live_workers=live_workers,
    )
    return apply_failure(breaker, failure, at)


def passed(
    breaker: Breaker,
    *,
    at: float = NOW,
    epoch: int | None = None,
    is_run: bool | None = None,
    is_canary: bool = False,
) -> Breaker:
    """The breaker after an accepted submit or a succeeded run."""
    success = BreakerSuccess(
        scope=breaker.scope,
        cause=breaker.cause,
        epoch=breaker.epoch if epoch is None else epoch,
        is_run=breaker.state is BreakerState.PROBING if is_run is None else is_run,
        is_canary=is_canary,
    )
    return apply_success(breaker, success, at)


def closed(cause: BreakerCause) -> Breaker:
    return new_breaker(SCOPES[cause], cause)


def tripped(cause: BreakerCause, at: float = NOW) -> Breaker:
    breaker = closed(cause)
    for number in range(LANE_RULE.in_row):
        breaker = failed(breaker, number, at=at, epoch=0)
    assert breaker.state is BreakerState.OPEN
    return breaker


def called(breaker: Breaker, at: float, *, answered: bool, worker: str = "w1") -> Breaker:
    """The breaker after a probe call."""
    claimed = apply_probe_claim(breaker, worker, at)
    assert claimed.prober == worker
    error = None if answered else BreakerError("no_answer", message="timed out")
    return apply_probe_result(claimed, worker, at, error)


def probing(cause: BreakerCause) -> Breaker:
    return apply_probe_begin(tripped(cause), NOW + 40)


# Unknown outcomes.


def test_the_first_unknown_outcome_lets_one_submit_through_at_a_time() -> None:
    breaker = failed(closed(UNKNOWN))
    assert breaker.state is BreakerState.CLOSED
    assert breaker.submits_allowed(NOW) == 1
    assert passed(breaker).submits_allowed(NOW) is None
    assert breaker.submits_allowed(NOW + 30) is None, "a lost answer does not slow it for ever"


def test_the_second_without_an_accepted_submit_between_them_trips() -> None:
    breaker = failed(failed(closed(UNKNOWN), 1), 2)
    assert (breaker.state, breaker.submits_allowed(NOW)) == (BreakerState.OPEN, 0)
    apart = failed(passed(failed(closed(UNKNOWN), 1)), 2)
    assert apart.state is BreakerState.CLOSED


@pytest.mark.parametrize("scope", [LANE, ROUTE])
def test_losses_of_one_burst_trip_from_the_fourth_on(scope: Scope) -> None:
    """All were under way when the first was counted, and answers that are lost come back first."""
    breaker = new_breaker(scope, UNKNOWN)
    for number in range(1, 5):
        assert breaker.state is BreakerState.CLOSED
        breaker = failed(breaker, number, began_at=NOW - 1, lane="ab"[number % 2])
    assert breaker.state is BreakerState.OPEN


@pytest.mark.parametrize("scope", [LANE, ROUTE])
def test_after_losses_of_one_burst_the_next_one_that_was_sent_later_trips(scope: Scope) -> None:
    breaker = failed(new_breaker(scope, UNKNOWN), 1, began_at=NOW - 1, lane="a")
    breaker = failed(breaker, 2, began_at=NOW - 1, lane="b")
    assert failed(breaker, 3, began_at=NOW - 1, lane="a").state is BreakerState.CLOSED
    assert failed(breaker, 3, began_at=NOW + 2, lane="a").state is BreakerState.OPEN


def test_a_second_loss_trips_at_once_if_the_slowed_lane_let_it_through() -> None:
    breaker = failed(closed(UNKNOWN), 1, began_at=NOW - 1)
    assert failed(breaker, 2, began_at=NOW, is_canary=True).state is BreakerState.OPEN


@pytest.mark.parametrize(
    ("began_s", "open_s", "is_outlasted"),
    [(1, 5.1, True), (1, 5.0, False), (-1, 60, False), (0, 60, False)],
    ids=["longer than two losses and a second", "just not", "sent before", "sent with it"],
)
def test_an_open_sync_submit_counts_as_accepted_once_it_outlasts_the_losses(
    began_s: float, open_s: float, *, is_outlasted: bool
) -> None:
    breaker = failed(closed(UNKNOWN), began_at=NOW - 2)  # it took 2 s
    began_at = NOW + began_s
    assert breaker.is_outlasted(began_at, began_at + open_s) is is_outlasted
    assert not passed(breaker).is_outlasted(began_at, began_at + 60), "nothing waits for it"


def test_an_open_sync_submit_speaks_for_losses_that_came_after_it_but_for_the_first() -> None:
    breaker = failed(closed(UNKNOWN), 1, began_at=NOW - 1)
    breaker = failed(breaker, 2, at=NOW + 3, began_at=NOW - 1)
    assert breaker.is_outlasted(NOW + 2, NOW + 60)
    tripped_ = failed(breaker, 3, at=NOW + 4, is_canary=True)
    assert apply_probe_begin(tripped_, NOW + 40).is_outlasted(NOW + 41, NOW + 60)


def test_more_than_five_lost_of_the_last_hundred_trip() -> None:
    breaker, lost = closed(UNKNOWN), 0
    for number in range(100):
        if number % 15 == 0:
            breaker, lost = failed(breaker, number, epoch=0), lost + 1
        else:
            breaker = passed(breaker, epoch=0)
        assert (breaker.state is BreakerState.OPEN) is (lost > 5)


# Unknown outcomes of a route.


def route() -> Breaker:
    return new_breaker(ROUTE, UNKNOWN)


def test_losses_of_one_lane_do_not_slow_or_stop_its_route() -> None:
    breaker = route()
    for number in range(50):
        breaker = failed(breaker, number, lane="suno")
        assert breaker.submits_allowed(NOW) is None


def test_losses_of_two_lanes_without_an_accepted_submit_between_them_trip_the_route() -> None:
    assert failed(failed(route(), 1, lane="a"), 2, lane="b").state is BreakerState.OPEN
    many = route()
    for number in range(30):
        many = failed(many, number, lane="a")
    assert failed(many, 99, lane="b").state is BreakerState.OPEN
    apart = failed(passed(failed(route(), 1, lane="a")), 2, lane="b")
    assert apart.state is BreakerState.CLOSED


@pytest.mark.parametrize(("lanes", "is_open"), [(1, False), (2, False), (3, True)])
def test_a_share_of_losses_trips_the_route_if_they_are_of_several_lanes(
    lanes: int, *, is_open: bool
) -> None:
    breaker = route()
    for number in range(20):
        breaker = passed(failed(breaker, number, lane=f"{number % lanes}", epoch=0), epoch=0)
    assert (breaker.state is BreakerState.OPEN) is is_open


def test_a_loss_that_a_slowed_lane_let_through_says_nothing_new_of_its_route() -> None:
    one = failed(route(), 1, lane="a")
    assert failed(one, 2, lane="b", is_of_slowed_lane=True) == one
    probing_ = apply_probe_begin(failed(one, 2, lane="b"), NOW + 40)
    assert failed(probing_, 3, lane="b", is_of_slowed_lane=True).state is BreakerState.OPEN


def test_the_canary_of_a_route_waits_for_two_losses_of_each_lane_at_most() -> None:
    breaker = failed(failed(route(), 1, lane="a"), 2, lane="b")
    for number in range(3, 20):
        breaker = failed(breaker, number, lane="a", epoch=0)
    assert breaker.canary_at == NOW + 3
    assert failed(breaker, 50, lane="c", epoch=0).canary_at == NOW + 4


def test_a_lane_behind_its_route_names_it() -> None:
    assert closed(UNKNOWN).route_key == route().key
    assert (route().route_key, closed(TARGET).route_key) == (None, None)


def test_one_submit_is_counted_once() -> None:
    breaker = failed(failed(closed(UNKNOWN), 1), 1)
    assert breaker.failures_in_row == 1


def test_losses_at_one_moment_are_one_event() -> None:
    breaker = tripped(UNKNOWN)
    for number in range(100, 150):
        breaker = failed(breaker, number, epoch=0)
    assert (breaker.state, breaker.pauses, breaker.trips) == (BreakerState.OPEN, 1, 1)


def test_the_first_canary_waits_for_a_second_more_with_each_loss_up_to_half_a_minute() -> None:
    breaker = failed(failed(closed(UNKNOWN), 1), 2)
    assert breaker.canary_at == NOW + 2
    assert failed(breaker, 3, epoch=0).canary_at == NOW + 3
    assert failed(breaker, 2, epoch=0).canary_at == NOW + 2, "each submit is counted once"
    for number in range(3, 60):
        breaker = failed(breaker, number, epoch=0)
    assert breaker.canary_at == NOW + 30


def test_the_free_call_goes_at_once_and_the_canary_after_the_pause() -> None:
    breaker = failed(failed(closed(UNKNOWN), 1), 2)
    assert is_probe_due(breaker, NOW)
    answered = called(breaker, NOW, answered=True)
    assert answered.state is BreakerState.OPEN
    assert answered.next_probe_at == NOW + BREAKER_RULES[UNKNOWN].first_pause_s
    later = failed(answered, 3, epoch=0)
    assert not is_probe_due(later, NOW + 2)
    probing_ = called(later, NOW + 3, answered=True)
    assert (probing_.state, probing_.step) == (BreakerState.PROBING, 1)


def test_a_call_that_is_answered_after_one_that_failed_lets_a_canary_go_at_once() -> None:
    breaker = called(tripped(UNKNOWN), NOW, answered=False)
    assert breaker.next_probe_at == NOW + 1
    breaker = called(breaker, NOW + 1, answered=False)
    assert breaker.next_probe_at == NOW + 3
    assert called(breaker, NOW + 3, answered=True).state is BreakerState.PROBING


def test_the_calls_go_at_least_every_thirty_seconds() -> None:
    breaker, at = tripped(UNKNOWN), NOW
    for _ in range(40):
        breaker = called(breaker, at, answered=False)
        assert breaker.next_probe_at is not None
        assert breaker.next_probe_at - at <= 30
        at = breaker.next_probe_at
    assert breaker.pauses == 1, "calls cost nothing, so canaries do not wait longer"


@pytest.mark.parametrize(
    ("scope", "expected"),
    [(ROUTE, [1, 2, 4, 8, 16, 32]), (LANE, [1, 4, 16])],
    ids=["route", "lane"],
)
def test_canaries_go_in_growing_steps_until_it_closes(scope: Scope, expected: list[int]) -> None:
    breaker, steps = msgspec.structs.replace(probing(UNKNOWN), scope=scope), list[int]()
    while breaker.state is BreakerState.PROBING:
        steps.append(breaker.step)
        for _ in range(breaker.step):
            breaker = passed(breaker)
    assert steps == expected
    assert breaker.submits_allowed(NOW) is None
    assert breaker.opened_at is None


def test_lost_canaries_double_the_pause_up_to_a_quarter_of_an_hour() -> None:
    """In two hours in which the free call is answered, few canaries are hurt."""
    breaker, at, lost = tripped(UNKNOWN), NOW, 0
    while at < NOW + 7_200:
        breaker = called(breaker, at, answered=True)
        if breaker.state is BreakerState.PROBING:
            lost += 1
            breaker = failed(breaker, 100 + lost, at=at)
        assert breaker.next_probe_at is not None
        assert breaker.next_probe_at - at <= MAX_PAUSE_S
        at = breaker.next_probe_at
    assert lost <= 16


def test_what_became_of_a_lost_canary_ends_its_pause() -> None:
    breaker = failed(probing(UNKNOWN), 50, at=NOW + 41)
    assert breaker.evidence_of == "j50"
    assert not is_probe_due(apply_evidence(breaker, "j1", NOW + 43), NOW + 43)
    assert is_probe_due(apply_evidence(breaker, "j50", NOW + 43), NOW + 43)


def test_after_many_losses_the_pauses_go_on_from_the_first_one() -> None:
    breaker = tripped(UNKNOWN)
    for number in range(100, 150):
        breaker = failed(breaker, number, epoch=0)
    breaker = failed(apply_probe_begin(breaker, NOW + 30), 50, at=NOW + 30)
    assert breaker.canary_at == NOW + 30 + 64


def test_a_single_loss_while_probing_halves_the_step_and_the_second_opens() -> None:
    breaker = probing(UNKNOWN)
    for _ in range(5):
        breaker = passed(breaker)
    assert breaker.step == 16
    once = failed(breaker, 50)
    assert (once.state, once.step) == (BreakerState.PROBING, 8)
    assert failed(once, 51).state is BreakerState.OPEN
    assert failed(passed(once), 51).state is BreakerState.PROBING


def test_pauses_start_over_after_sixty_four_accepted_submits() -> None:
    breaker = failed(probing(UNKNOWN), 50)
    breaker = apply_probe_begin(breaker, NOW + 100)
    while breaker.state is BreakerState.PROBING:
        breaker = passed(breaker)
    assert breaker.pauses > 1
    for _ in range(64):
        breaker = passed(breaker)
    assert (breaker.pauses, breaker.is_clean) == (0, True)


def test_submits_accepted_after_a_trip_let_the_canary_go_sooner_but_close_nothing() -> None:
    breaker = passed(called(tripped(UNKNOWN), NOW, answered=True), at=NOW + 1, epoch=0)
    assert breaker.state is BreakerState.OPEN
    assert is_probe_due(breaker, NOW + 1)


# Epochs.


def test_a_success_that_was_sent_before_closes_nothing() -> None:
    for cause in (UNKNOWN, TARGET):
        assert passed(probing(cause), epoch=0) == probing(cause)


def test_an_old_failure_reopens_nothing() -> None:
    breaker = probing(TARGET)
    recovered = passed(breaker)
    assert recovered.state is BreakerState.CLOSED
    assert failed(recovered, 77, epoch=0) == recovered
    for number in range(20):
        recovered = failed(recovered, 100 + number, epoch=recovered.tripped_epoch)
    assert recovered.state is BreakerState.CLOSED


def test_an_epoch_is_never_used_again() -> None:
    """Not even when Redis lost the record."""
    assert tripped(UNKNOWN, at=NOW + 500).epoch > probing(UNKNOWN).epoch > tripped(UNKNOWN).epoch


# Target failures.


def test_a_lane_trips_after_ten_failures_in_a_row() -> None:
    breaker = closed(TARGET)
    for number in range(9):
        breaker = failed(breaker, number)
    assert breaker.state is BreakerState.CLOSED
    assert failed(passed(breaker), 9).state is BreakerState.CLOSED
    assert failed(breaker, 9).state is BreakerState.OPEN


def test_a_lane_trips_when_most_of_the_last_fifty_failed() -> None:
    breaker = closed(TARGET)
    for number in range(60):
        is_good = number % 4 == 0
        breaker = passed(breaker, epoch=0) if is_good else failed(breaker, number, epoch=0)
    assert breaker.state is BreakerState.OPEN


def test_two_jobs_that_always_fail_do_not_trip_their_lane() -> None:
    breaker = closed(TARGET)
    for number in range(60):
        breaker = failed(breaker, number, job=f"j{number % 2}")
    assert breaker.state is BreakerState.CLOSED


def test_one_input_that_always_fails_trips_only_by_ten_jobs_in_a_row() -> None:
    breaker = closed(TARGET)
    for number in range(9):
        breaker = failed(breaker, number, inputs="same")
    assert breaker.state is BreakerState.CLOSED
    assert failed(breaker, 9, inputs="same").state is BreakerState.OPEN
    again = failed(breaker, 9, inputs="same", job="j1")
    assert again.state is BreakerState.CLOSED, "nine jobs, one of them twice"
    mixed = closed(TARGET)
    for number in range(200):
        is_good = number % 5 == 4
        mixed = passed(mixed) if is_good else failed(mixed, number, inputs="same")
    assert mixed.state is BreakerState.CLOSED, "others succeed"


def test_a_lane_passes_by_one_succeeded_run_and_by_no_accepted_submit() -> None:
    assert passed(probing(TARGET), is_run=True).state is BreakerState.CLOSED
    assert passed(probing(TARGET), is_run=False) == probing(TARGET)


def test_failed_runs_trip_although_their_submits_are_accepted() -> None:
    breaker = closed(TARGET)
    for number in range(10):
        breaker = failed(passed(breaker), number, epoch=0, is_run=True)
    assert breaker.state is BreakerState.OPEN


def test_failures_that_come_before_the_successes_trip_only_if_they_are_the_greater_part() -> None:
    """Of 50 that are sent together 3 in 10 fail, sooner than the others succeed."""
    breaker = closed(TARGET)
    for number in range(15):
        breaker = failed(breaker, number, in_flight=49 - number)
    assert breaker.state is BreakerState.CLOSED
    for number in range(15, 25):
        breaker = failed(breaker, number, epoch=0, in_flight=49 - number)
    assert breaker.state is BreakerState.OPEN
    many = closed(TARGET)
    for number in range(100):
        many = failed(many, number, epoch=0, in_flight=5_000)
    assert many.state is BreakerState.OPEN


def test_probes_of_a_lane_wait_twice_as_long_each_time_up_to_five_minutes() -> None:
    breaker, at, pauses = tripped(TARGET), NOW, list[float]()
    for number in range(12):
        assert breaker.next_probe_at is not None
        pauses.append(breaker.next_probe_at - at)
        at = breaker.next_probe_at
        breaker = failed(apply_probe_begin(breaker, at), 50 + number, at=at)
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert breaker.probed_jobs[-1] == "j61"


def test_a_retry_after_puts_the_probe_off_within_the_longest_pause() -> None:
    breaker = closed(TARGET)
    for number in range(10):
        breaker = failed(breaker, number, retry_after_s=90.0)
    assert breaker.next_probe_at == NOW + 90
    for number in range(10):
        breaker = failed(apply_reset(breaker, NOW), number, retry_after_s=9e9)


def test_failures_of_an_outage_give_their_attempts_back() -> None:
    breaker = probing(TARGET)
    assert gives_attempt_back(breaker, 0), "the epoch that tripped it"
    assert gives_attempt_back(breaker, breaker.epoch), "a probe"
    recovered = passed(breaker)
    assert gives_attempt_back(recovered, 0), "a run that ends late"
    assert not gives_attempt_back(recovered, recovered.epoch)
    assert not gives_attempt_back(closed(TARGET), 0)


# Unreachable.


def test_one_worker_that_cannot_connect_stops_itself_alone() -> None:
    breaker = failed(closed(UNREACHABLE), worker="w1")
    assert (breaker.state, breaker.is_shared) == (BreakerState.OPEN, False)
    assert (breaker.stops("w1"), breaker.stops("w2"), breaker.stops("")) == (True, False, False)


def test_a_second_worker_confirms_it_for_all() -> None:
    breaker = failed(failed(closed(UNREACHABLE), worker="w1"), 1, worker="w2")
    assert breaker.stops("w3")


def test_the_only_worker_that_lives_is_enough() -> None:
    assert failed(closed(UNREACHABLE), live_workers=1).stops("w2")


def test_a_worker_that_connects_again_closes_it_and_leaves_one_that_does_not() -> None:
    breaker = failed(failed(closed(UNREACHABLE), worker="w1"), 1, worker="w2")
    rest = called(breaker, NOW, answered=True, worker="w2")
    assert (rest.state, rest.workers, rest.is_shared) == (BreakerState.OPEN, ("w1",), False)
    assert called(rest, NOW, answered=True, worker="w1").state is BreakerState.CLOSED
    other = called(breaker, NOW, answered=True, worker="w9")
    assert other.state is BreakerState.CLOSED, "it is stopped again where it still fails"


def until_next_trip(breaker: Breaker, at: float) -> tuple[Breaker, float]:
    """The breaker once its calls were answered and the submit after them failed; and when."""
    while breaker.state is BreakerState.OPEN:
        assert breaker.next_probe_at is not None
        at = max(at, breaker.next_probe_at)
        breaker = called(breaker, at, answered=True)
    return failed(breaker, at=at, live_workers=1, is_canary=True), at


def test_pauses_grow_while_calls_are_answered_and_no_submit_is() -> None:
    """The cause is on a way that the free call does not take."""
    breaker, at, waits = failed(closed(UNREACHABLE), live_workers=1), NOW, list[float]()
    for _ in range(12):
        after, then = until_next_trip(breaker, at)
        waits.append(then - at)
        breaker, at = after, then
    assert waits == [0, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert breaker.trips == 2, "from then on one submit is sent after each pause"


def test_an_answered_submit_lets_the_pauses_of_an_account_start_over() -> None:
    breaker, at = until_next_trip(failed(closed(UNREACHABLE)), NOW)
    assert breaker.next_probe_at is not None
    breaker = called(called(breaker, at, answered=True), at + 60, answered=True)
    assert (breaker.state, breaker.submits_allowed(NOW)) == (BreakerState.PROBING, 1)
    assert failed(breaker).state is BreakerState.PROBING, "one that was sent before it tripped"
    assert passed(breaker).state is BreakerState.PROBING
    done = passed(breaker, is_canary=True)
    assert (done.state, done.is_clean) == (BreakerState.CLOSED, True)
    twice = called(failed(closed(UNREACHABLE), live_workers=1), NOW, answered=True)
    assert passed(twice).is_clean


def test_a_call_that_fails_says_why_until_one_is_answered() -> None:
    breaker = called(tripped(UNKNOWN), NOW, answered=False)
    assert breaker.call_error is not None
    assert breaker.call_error.message == "timed out"
    assert called(breaker, NOW + 1, answered=True).call_error is None


@pytest.mark.parametrize(("at", "is_due"), [(29, False), (30, True), (31, True)])
def test_the_last_probe_goes_at_the_limit_of_outages(at: float, *, is_due: bool) -> None:
    breaker = failed(apply_probe_begin(tripped(TARGET), NOW + 15), 50, at=NOW + 15)
    assert is_last_probe_due(breaker, NOW + at, 30) is is_due
    assert not is_last_probe_due(apply_probe_begin(breaker, NOW + at), NOW + at, 30)
    failed_again = failed(apply_probe_begin(breaker, NOW + 30), 51, at=NOW + 30)
    assert not is_last_probe_due(failed_again, NOW + 31, 30)


# Probes, clocks and operators.


def test_one_worker_probes_until_its_lease_ends() -> None:
    breaker = apply_probe_claim(tripped(UNKNOWN), "w1", NOW)
    assert apply_probe_claim(breaker, "w2", NOW + 1) == breaker
    taken = apply_probe_claim(breaker, "w2", NOW + 61)
    assert taken.prober == "w2"
    assert apply_probe_result(taken, "w1", NOW + 62, None) == taken


def test_a_probe_later_than_the_longest_pause_is_due_now() -> None:
    breaker = msgspec.structs.replace(tripped(TARGET), next_probe_at=NOW + 10 * MAX_PAUSE_S)
    assert is_probe_due(breaker, NOW)


def test_an_operator_probes_now_or_resets() -> None:
    breaker = called(tripped(UNKNOWN), NOW, answered=True)
    assert not is_probe_due(breaker, NOW + 1)
    now = apply_probe_now(breaker, NOW + 1)
    assert called(now, NOW + 1, answered=True).state is BreakerState.PROBING
    reset = apply_reset(breaker, NOW + 1)
    assert (reset.state, reset.pauses, reset.is_clean) == (BreakerState.CLOSED, 0, True)
    assert reset.epoch > breaker.epoch
    assert apply_probe_now(reset, NOW + 2) == reset
