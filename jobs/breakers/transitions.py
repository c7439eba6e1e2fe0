"""Every change of a breaker: pure functions of its record and an outcome, a probe or an act.

All times are Unix seconds. `docs/breakers.md` describes them for operators.
"""

import math
from typing import Final

import msgspec

from jobs.breakers.postponed import (
    postponed_until,
    with_all_due,
    with_postponed,
    with_proof,
)
from jobs.breakers.record import Breaker, BreakerFailure, BreakerSuccess
from jobs.breakers.rules import (
    BREAKER_TABLE,
    FAILURES_KEPT,
    FIRST_CALL_PAUSE_S,
    FULLY_OPEN_STEP,
    MAX_CALL_PAUSE_S,
    MAX_LOSS_PAUSE_S,
    MAX_LOSSES_PER_LANE,
    MAX_PAUSE_S,
    PAUSE_PER_LOSS_S,
    PAUSE_RESET_ACCEPTED,
    PROBE_LEASE_S,
    PROBED_KEPT,
    WORKERS_KEPT,
    BreakerCause,
    BreakerEvent,
    BreakerState,
)
from jobs.breakers.trip_rules import must_trip

NO_FAILURES: Final[dict[str, object]] = {
    "failures": 0,
    "failures_in_row": 0,
    "window": "",
    "run_failures_in_row": 0,
    "run_window": "",
    "failed": (),
}
"""Resets what a breaker counts while it is closed."""


def _enter(breaker: Breaker, event: BreakerEvent, now: float, **changes: object) -> Breaker:
    state = BREAKER_TABLE[breaker.state, event]
    return msgspec.structs.replace(breaker, state=state, changed_at=now, **changes)


def _next_epoch(breaker: Breaker, now: float) -> int:
    return max(breaker.epoch + 1, math.floor(now * 1_000))


# Outcomes.


def apply_failure(breaker: Breaker, failure: BreakerFailure, now: float) -> Breaker:
    """The breaker after a failure. One that was counted before, or is late, changes no state."""
    return with_postponed(_counted(breaker, failure, now), failure)


def _counted(breaker: Breaker, failure: BreakerFailure, now: float) -> Breaker:
    if breaker.cause is BreakerCause.UNREACHABLE:
        return _not_reached(breaker, failure, now)
    if failure.submit in breaker.failed:
        return breaker
    if failure.epoch == breaker.tripped_epoch and breaker.state is BreakerState.OPEN:
        return _put_off(breaker, failure, now)
    if failure.epoch != breaker.epoch:
        return breaker
    if failure.is_of_slowed_lane and breaker.state is BreakerState.CLOSED and breaker.is_of_route:
        return breaker
    breaker = _with_failure(breaker, failure, now)
    match breaker.state:
        case BreakerState.CLOSED:
            return _trip(breaker, failure, now) if must_trip(breaker, failure) else breaker
        case BreakerState.PROBING if breaker.step > 1 and breaker.failures_in_row < 2:  # noqa: PLR2004
            return _enter(breaker, BreakerEvent.STEP, now, step=breaker.step // 2, accepted=0)
        case BreakerState.PROBING:
            return _canary_failed(breaker, failure, now)
        case BreakerState.OPEN:
            return breaker


def _with_failure(breaker: Breaker, failure: BreakerFailure, now: float) -> Breaker:
    breaker = msgspec.structs.replace(
        breaker,
        error=failure.error,
        failed_at=now,
        failures=breaker.failures + 1,
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


def _trip(breaker: Breaker, failure: BreakerFailure, now: float) -> Breaker:
    pauses = breaker.pauses + 1
    wait_s = max(breaker.rule_pause_s(pauses), min(failure.retry_after_s or 0.0, MAX_PAUSE_S))
    return _enter(
        breaker,
        BreakerEvent.TRIP,
        now,
        epoch=_next_epoch(breaker, now),
        tripped_epoch=breaker.epoch,
        opened_at=now,
        pauses=pauses,
        canary_at=now + wait_s,
        next_probe_at=now if breaker.rule.probes_by_call else now + wait_s,
        failed_calls=0,
        step=0,
        accepted=0,
        trips=breaker.trips + 1,
        probed_jobs=(),
        evidence_of=None,
    )


def _canary_failed(breaker: Breaker, failure: BreakerFailure, now: float) -> Breaker:
    pauses = (breaker.pauses if breaker.pauses > 1 else _pauses_waited(breaker)) + 1
    wait_s = max(breaker.rule_pause_s(pauses), min(failure.retry_after_s or 0.0, MAX_PAUSE_S))
    is_unknown = breaker.cause is BreakerCause.UNKNOWN_OUTCOME
    return _enter(
        breaker,
        BreakerEvent.FAIL,
        now,
        epoch=_next_epoch(breaker, now),
        pauses=pauses,
        canary_at=now + wait_s,
        next_probe_at=now + wait_s,
        failed_calls=0,
        step=0,
        accepted=0,
        probed_jobs=(*breaker.probed_jobs, failure.submit.job_id)[-PROBED_KEPT:],
        evidence_of=failure.submit.job_id if is_unknown else None,
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


def _pauses_waited(breaker: Breaker) -> int:
    """The number of pauses that the first canary's wait was worth, which losses prolonged."""
    waited_s = breaker.canary_at - (breaker.opened_at or breaker.canary_at)
    return 1 + math.ceil(math.log2(max(1.0, waited_s / breaker.rule.first_pause_s)))


def apply_success(breaker: Breaker, success: BreakerSuccess, now: float) -> Breaker:
    """The breaker after an accepted submit or a succeeded run. A lane is proved by runs alone."""
    is_proof = success.is_run or breaker.cause is not BreakerCause.TARGET_FAILURE
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
        return _close(breaker, BreakerEvent.CLOSE, now, accepted=accepted)
    return _enter(breaker, BreakerEvent.STEP, now, step=step, accepted=0)


def _close(breaker: Breaker, event: BreakerEvent, now: float, *, accepted: int = 0) -> Breaker:
    return _enter(
        breaker,
        event,
        now,
        opened_at=None,
        next_probe_at=None,
        canary_at=0.0,
        failed_calls=0,
        step=0,
        accepted=accepted,
        **NO_FAILURES,
        probed_jobs=(),
        workers=(),
        is_shared=True,
        prober_until=None,
        evidence_of=None,
    )


def _not_reached(breaker: Breaker, failure: BreakerFailure, now: float) -> Breaker:
    """A worker could not connect, as often in a row as the rule says."""
    workers = breaker.workers
    if failure.worker not in workers:
        workers = (*workers, failure.worker)[-WORKERS_KEPT:]
    was_shared = breaker.state is BreakerState.OPEN and breaker.is_shared
    breaker = msgspec.structs.replace(
        breaker,
        error=failure.error,
        failed_at=now,
        failures=breaker.failures + 1,
        workers=workers,
        is_shared=was_shared or len(workers) > 1 or failure.live_workers <= 1,
    )
    return _trip(breaker, failure, now) if breaker.state is BreakerState.CLOSED else breaker


# Probes.


def is_probe_due(breaker: Breaker, now: float) -> bool:
    """Whether an open breaker is to be probed, and no worker does so."""
    if breaker.state is not BreakerState.OPEN or breaker.next_probe_at is None:
        return False
    if breaker.prober_until is not None and now < breaker.prober_until <= now + PROBE_LEASE_S:
        return False
    return _has_come(breaker.next_probe_at, now)


def is_canary_due(breaker: Breaker, now: float) -> bool:
    """Whether a canary of an open breaker may go: its pause is over."""
    return breaker.state is BreakerState.OPEN and _has_come(breaker.canary_at, now)


def _has_come(at: float, now: float) -> bool:
    """Whether a time has come. One later than the longest pause is of a wrong clock."""
    return not now < at <= now + MAX_PAUSE_S


def apply_probe_claim(breaker: Breaker, worker: str, now: float) -> Breaker:
    """The breaker while a worker makes the probe call; unchanged if it may not."""
    if not is_probe_due(breaker, now):
        return breaker
    return msgspec.structs.replace(breaker, prober=worker, prober_until=now + PROBE_LEASE_S)


def apply_probe_result(breaker: Breaker, worker: str, now: float, *, answered: bool) -> Breaker:
    """The breaker after the probe call of a worker; unchanged if another took over."""
    if breaker.state is not BreakerState.OPEN or breaker.prober != worker:
        return breaker
    if breaker.prober_until is None:
        return breaker
    breaker = msgspec.structs.replace(breaker, prober_until=None)
    if not answered:
        calls = breaker.failed_calls + 1
        pause_s = min(MAX_CALL_PAUSE_S, FIRST_CALL_PAUSE_S * 2.0 ** min(calls - 1, 30))
        return _enter(
            breaker, BreakerEvent.FAIL, now, failed_calls=calls, next_probe_at=now + pause_s
        )
    if breaker.cause is BreakerCause.UNREACHABLE:
        return _reached(breaker, worker, now)
    if breaker.failed_calls or _has_come(breaker.canary_at, now):
        return apply_probe_begin(breaker, now)
    return msgspec.structs.replace(breaker, next_probe_at=breaker.canary_at)


def _reached(breaker: Breaker, worker: str, now: float) -> Breaker:
    """A worker can connect. Others that cannot stay stopped, each for itself."""
    others = tuple(one for one in breaker.workers if one != worker)
    if not others or worker not in breaker.workers:
        return _close(breaker, BreakerEvent.CLOSE, now)
    return msgspec.structs.replace(breaker, workers=others, is_shared=False, next_probe_at=now)


def apply_probe_begin(breaker: Breaker, now: float) -> Breaker:
    """The breaker as canaries begin: one at once, in an epoch of their own."""
    return _enter(
        breaker,
        BreakerEvent.PROBE,
        now,
        epoch=_next_epoch(breaker, now),
        next_probe_at=None,
        prober_until=None,
        step=1,
        accepted=0,
        failures_in_row=0,
    )


def apply_evidence(breaker: Breaker, job_id: str, now: float) -> Breaker:
    """The breaker once it is known what became of the canary it waits for: its pause is over."""
    if breaker.state is not BreakerState.OPEN or breaker.evidence_of != job_id:
        return breaker
    return msgspec.structs.replace(breaker, canary_at=now, next_probe_at=now, evidence_of=None)


# Operators.


def apply_probe_now(breaker: Breaker, now: float) -> Breaker:
    """The breaker with its next probe due now, a canary included, and what it postponed too."""
    breaker = with_all_due(breaker)
    if breaker.state is not BreakerState.OPEN:
        return breaker
    return msgspec.structs.replace(breaker, canary_at=now, next_probe_at=now)


def apply_reset(breaker: Breaker, now: float) -> Breaker:
    """The breaker closed, with its pauses at their first length, in an epoch of its own."""
    closed = with_all_due(_close(breaker, BreakerEvent.RESET, now))
    return msgspec.structs.replace(closed, epoch=_next_epoch(breaker, now), pauses=0)


def may_forget(breaker: Breaker, now: float, quiet_s: float) -> bool:
    """Whether a record can be removed: not open, without anything postponed, for so long."""
    touched_at = max(breaker.changed_at, breaker.failed_at or 0.0, postponed_until(breaker))
    return breaker.state is not BreakerState.OPEN and touched_at <= now - quiet_s
