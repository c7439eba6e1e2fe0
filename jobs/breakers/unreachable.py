"""Breakers of accounts whose provider cannot be reached.

A call that is answered closes such a breaker. Where no submit is answered all the same, the call
goes another way than submits do (their size, their route, a port that speaks another protocol):
from the second trip in a row on, a call is followed by one submit, after pauses that double.
"""

import msgspec

from jobs.breakers.changes import apply_probe_begin, canary_failed, close, has_come, trip
from jobs.breakers.record import Breaker, BreakerFailure, BreakerSuccess
from jobs.breakers.rules import (
    TRIPS_CLOSED_BY_CALL,
    WORKERS_KEPT,
    BreakerEvent,
    BreakerState,
)


def not_reached(breaker: Breaker, failure: BreakerFailure, now: float) -> Breaker:
    """The breaker after a worker could not connect, as often in a row as the rule says."""
    workers = breaker.workers
    if failure.worker not in workers:
        workers = (*workers, failure.worker)[-WORKERS_KEPT:]
    was_shared = breaker.state is not BreakerState.CLOSED and breaker.is_shared
    breaker = msgspec.structs.replace(
        breaker,
        error=failure.error,
        failed_at=now,
        failures=breaker.failures + 1,
        workers=workers,
        is_shared=was_shared or len(workers) > 1 or failure.live_workers <= 1,
    )
    match breaker.state:
        case BreakerState.CLOSED:
            return trip(breaker, failure, now)
        case BreakerState.PROBING if failure.is_canary:
            return canary_failed(breaker, failure, now)
        case BreakerState.PROBING | BreakerState.OPEN:
            return breaker


def reached(breaker: Breaker, worker: str, now: float) -> Breaker:
    """The breaker after a call of a worker was answered. Others that fail stay stopped."""
    had_failed = breaker.failed_calls > 0
    if breaker.pauses > 1 and not had_failed and not has_come(breaker.canary_at, now):
        return msgspec.structs.replace(breaker, next_probe_at=breaker.canary_at)
    if breaker.pauses > TRIPS_CLOSED_BY_CALL:
        return apply_probe_begin(breaker, now)
    others = tuple(one for one in breaker.workers if one != worker)
    if not others or worker not in breaker.workers:
        return close(breaker, BreakerEvent.CLOSE, now)
    return msgspec.structs.replace(breaker, workers=others, is_shared=False, next_probe_at=now)


def submit_answered(breaker: Breaker, success: BreakerSuccess, now: float) -> Breaker:
    """The breaker after a submit was answered: its pauses start over."""
    match breaker.state:
        case BreakerState.CLOSED:
            return msgspec.structs.replace(breaker, pauses=0, failures=0)
        case BreakerState.PROBING if success.is_canary:
            closed = close(breaker, BreakerEvent.CLOSE, now)
            return msgspec.structs.replace(closed, pauses=0)
        case BreakerState.PROBING | BreakerState.OPEN:
            return breaker
