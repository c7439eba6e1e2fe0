"""What outcomes make of a breaker: pure functions of its record and a failure or a success.

All times are Unix seconds. `docs/breakers.md` describes them for operators.
"""

import msgspec

from jobs.breakers.changes import NO_FAILURES, canary_failed, close, enter, trip
from jobs.breakers.postponed import with_postponed, with_proof
from jobs.breakers.record import Breaker, BreakerFailure, BreakerSuccess
from jobs.breakers.rules import (
    FAILURES_KEPT,
    FULLY_OPEN_STEP,
    HEEDED_AFTER_S,
    MAX_LOSS_PAUSE_S,
    MAX_LOSSES_PER_LANE,
    PAUSE_PER_LOSS_S,
    PAUSE_RESET_ACCEPTED,
    BreakerCause,
    BreakerEvent,
    BreakerState,
)
from jobs.breakers.trip_rules import must_trip
from jobs.breakers.unreachable import not_reached, submit_answered


def apply_failure(breaker: Breaker, failure: BreakerFailure, now: float) -> Breaker:
    """The breaker after a failure. One that was counted before, or is late, changes no state."""
    return with_postponed(_counted(breaker, failure, now), failure)


def _counted(breaker: Breaker, failure: BreakerFailure, now: float) -> Breaker:
    if breaker.cause is BreakerCause.UNREACHABLE:
        return not_reached(breaker, failure, now)
    if failure.submit in breaker.failed:
        return breaker
    if failure.epoch == breaker.tripped_epoch and breaker.state is BreakerState.OPEN:
        return _put_off(breaker, failure, now)
    if failure.epoch != breaker.epoch:
        return breaker
    if failure.is_of_slowed_lane and breaker.state is BreakerState.CLOSED and breaker.is_of_route:
        return breaker
    is_later = failure.is_canary or failure.began_at > (breaker.failed_at or now) + HEEDED_AFTER_S
    breaker = _with_failure(breaker, failure, now)
    match breaker.state:
        case BreakerState.CLOSED:
            must = must_trip(breaker, failure, is_later=is_later)
            return trip(breaker, failure, now) if must else breaker
        case BreakerState.PROBING if breaker.step > 1 and breaker.failures_in_row < 2:  # noqa: PLR2004
            return enter(breaker, BreakerEvent.STEP, now, step=breaker.step // 2, accepted=0)
        case BreakerState.PROBING:
            return canary_failed(breaker, failure, now)
        case BreakerState.OPEN:
            return breaker


def _with_failure(breaker: Breaker, failure: BreakerFailure, now: float) -> Breaker:
    breaker = msgspec.structs.replace(
        breaker,
        error=failure.error,
        failed_at=now,
        failures=breaker.failures + 1,
        lost_since=breaker.lost_since if breaker.failures_in_row else now,
        loss_s=max(breaker.loss_s, now - failure.began_at if failure.began_at else 0.0),
        failed=(*breaker.failed, failure.submit)[-FAILURES_KEPT:],
    )
    size = breaker.rule.window
    if failure.is_run:
        return msgspec.structs.replace(
            breaker,
            run_failures_in_row=breaker.run_failures_in_row + 1,
            run_window=(breaker.run_window + "1")[-size:],
        )
    return msgspec.structs.replace(
        breaker,
        failures_in_row=breaker.failures_in_row + 1,
        window=(breaker.window + "1")[-size:],
    )


def _put_off(breaker: Breaker, failure: BreakerFailure, now: float) -> Breaker:
    """One more loss of those that were in flight when the breaker tripped."""
    if breaker.cause is not BreakerCause.UNKNOWN_OUTCOME or breaker.pauses > 1:
        return breaker
    lane = failure.submit.lane
    same_lane = sum(one.lane == lane for one in breaker.failed)
    if breaker.is_of_route and same_lane >= MAX_LOSSES_PER_LANE:
        return breaker  # they say something of that lane, whose own breaker counts them
    latest_at = (breaker.opened_at or now) + MAX_LOSS_PAUSE_S
    canary_at = max(breaker.canary_at, min(latest_at, breaker.canary_at + PAUSE_PER_LOSS_S))
    waits_for_canary = breaker.next_probe_at == breaker.canary_at
    return msgspec.structs.replace(
        breaker,
        canary_at=canary_at,
        next_probe_at=canary_at if waits_for_canary else breaker.next_probe_at,
        failed=(*breaker.failed, failure.submit)[-FAILURES_KEPT:],
    )


def apply_success(breaker: Breaker, success: BreakerSuccess, now: float) -> Breaker:
    """The breaker after an accepted submit or a succeeded run. A lane is proved by runs alone."""
    is_proof = success.is_run or breaker.cause is not BreakerCause.TARGET_FAILURE
    if breaker.cause is BreakerCause.UNREACHABLE:
        return submit_answered(breaker, success, now)
    breaker = with_proof(breaker, success)
    match breaker.state:
        case BreakerState.OPEN:
            return _sooner(breaker, success, now)
        case BreakerState.CLOSED if success.epoch == breaker.epoch:
            return _with_success(breaker, is_run=success.is_run)
        case BreakerState.PROBING if success.epoch == breaker.epoch and is_proof:
            return _canary_accepted(breaker, now)
        case BreakerState.CLOSED | BreakerState.PROBING:
            return breaker


def _with_success(breaker: Breaker, *, is_run: bool) -> Breaker:
    size, accepted = breaker.rule.window, min(PAUSE_RESET_ACCEPTED, breaker.accepted + 1)
    changes: dict[str, object] = {"accepted": accepted}
    if breaker.failures and is_run:
        window, other = (breaker.run_window + "0")[-size:], breaker.window
        changes |= {"run_failures_in_row": 0, "run_window": window}
    elif breaker.failures:
        window, other = (breaker.window + "0")[-size:], breaker.run_window
        changes |= {"failures_in_row": 0, "window": window}
    else:
        window = other = ""
    if "1" not in window + other:
        changes |= NO_FAILURES
    if accepted >= PAUSE_RESET_ACCEPTED:
        changes["pauses"] = 0
    return msgspec.structs.replace(breaker, **changes)


def _sooner(breaker: Breaker, success: BreakerSuccess, now: float) -> Breaker:
    """Submits of the epoch that tripped were accepted after that: two single losses, probably.

    That closes nothing, but the first canary need not wait.
    """
    if (
        breaker.cause is not BreakerCause.UNKNOWN_OUTCOME
        or success.epoch != breaker.tripped_epoch
        or breaker.pauses > 1
        or breaker.canary_at <= now
    ):
        return breaker
    due = now if breaker.failed_calls == 0 else breaker.next_probe_at
    return msgspec.structs.replace(breaker, canary_at=now, next_probe_at=due)


def _canary_accepted(breaker: Breaker, now: float) -> Breaker:
    accepted = breaker.accepted + 1
    breaker = msgspec.structs.replace(breaker, failures_in_row=0)
    if accepted < breaker.step:
        return msgspec.structs.replace(breaker, accepted=accepted)
    step = breaker.step * breaker.growth
    if step >= FULLY_OPEN_STEP:
        closed = close(breaker, BreakerEvent.CLOSE, now, accepted=accepted)
        # Where inputs were at fault, the next jobs with other inputs do not wait for long.
        return msgspec.structs.replace(closed, pauses=0) if breaker.suspect_inputs else closed
    return enter(breaker, BreakerEvent.STEP, now, step=step, accepted=0)
