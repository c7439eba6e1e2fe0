"""What a worker has noted of a breaker, and not written yet, already counts for its admission."""

from typing import Any, cast

from jobs.breakers import BreakerCause, BreakerSuccess, apply_success, new_breaker
from jobs.breakers.record import Breaker
from jobs.holds import Gates
from jobs.lanes import Scope
from tests.simulation.manual_clock import ManualClock
from tests.unit.core.test_breakers import probing
from worker.engine.breaker_reporter import BreakerReporter
from worker.engine.services.heartbeat import LiveWorkers
from worker.engine.wakeups import Wakeup

UNKNOWN, TARGET, _ = BreakerCause
CLOSED = new_breaker(Scope("default/model/kling"), TARGET)


def reporter_of(clock: ManualClock, *breakers: Breaker) -> BreakerReporter:
    """A reporter that has just read these breakers; it writes nothing here."""
    reporter = BreakerReporter(
        cast("Any", None),
        cast("Any", None),
        clock,
        worker_id="w1",
        live_workers=LiveWorkers(),
        admission_wakeup=Wakeup(),
    )
    reporter.observe(breakers)
    return reporter


def accepted(breaker: Breaker) -> BreakerSuccess:
    """A canary of the breaker was accepted."""
    return BreakerSuccess(
        scope=breaker.scope, cause=breaker.cause, epoch=breaker.epoch, is_canary=True
    )


def test_a_noted_success_lets_more_submits_through_before_it_is_written() -> None:
    clock, limiting = ManualClock(), probing(UNKNOWN)
    reporter = reporter_of(clock, limiting, CLOSED)
    success = accepted(limiting)
    reporter.add_success(success)
    gates = Gates(breakers=(limiting, CLOSED))
    found = reporter.with_noted(gates, clock.now())
    assert found.breakers == (apply_success(limiting, success, clock.now()), CLOSED)
    assert found.breakers[0].submits_allowed(clock.now()) == 4
    assert limiting.submits_allowed(clock.now()) == 1
    again = reporter.with_noted(gates, clock.now())
    assert again == found, "it stays noted until it is written"


def test_where_no_breaker_limits_the_gates_stay_as_they_are() -> None:
    """Also if something is noted: it cannot let more through."""
    clock = ManualClock()
    reporter = reporter_of(clock, CLOSED)
    reporter.add_success(accepted(CLOSED))
    gates = Gates(breakers=(CLOSED,))
    assert reporter.with_noted(gates, clock.now()) is gates
