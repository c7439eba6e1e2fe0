"""Probes of a breaker, and what operators do to it: pure functions of its record.

All times are Unix seconds.
"""

import msgspec

from jobs.breakers.changes import apply_probe_begin, close, enter, has_come, next_epoch
from jobs.breakers.postponed import postponed_until, with_all_due
from jobs.breakers.record import Breaker, BreakerError
from jobs.breakers.rules import (
    FIRST_CALL_PAUSE_S,
    MAX_CALL_PAUSE_S,
    PROBE_LEASE_S,
    BreakerCause,
    BreakerEvent,
    BreakerState,
)
from jobs.breakers.unreachable import reached

# Probes.


def is_probe_due(breaker: Breaker, now: float) -> bool:
    """Whether an open breaker is to be probed, and no worker does so."""
    if breaker.state is not BreakerState.OPEN or breaker.next_probe_at is None:
        return False
    if breaker.prober_until is not None and now < breaker.prober_until <= now + PROBE_LEASE_S:
        return False
    return has_come(breaker.next_probe_at, now)


def is_last_probe_due(breaker: Breaker, now: float, limit_s: float) -> bool:
    """Whether a target's last probe before the limit of outages is due, whatever its pause."""
    limit_at = (breaker.opened_at or now) + limit_s
    is_open = breaker.cause is BreakerCause.TARGET_FAILURE and breaker.state is BreakerState.OPEN
    return is_open and breaker.changed_at < limit_at <= now


def is_canary_due(breaker: Breaker, now: float) -> bool:
    """Whether a canary of an open breaker may go: its pause is over."""
    return breaker.state is BreakerState.OPEN and has_come(breaker.canary_at, now)


def apply_probe_claim(breaker: Breaker, worker: str, now: float) -> Breaker:
    """The breaker while a worker makes the probe call; unchanged if it may not."""
    if not is_probe_due(breaker, now):
        return breaker
    return msgspec.structs.replace(breaker, prober=worker, prober_until=now + PROBE_LEASE_S)


def apply_probe_result(
    breaker: Breaker, worker: str, now: float, error: BreakerError | None
) -> Breaker:
    """The breaker after the probe call of a worker; unchanged if another took over.

    `error`: why the call was not answered; None if it was.
    """
    if breaker.state is not BreakerState.OPEN or breaker.prober != worker:
        return breaker
    if breaker.prober_until is None:
        return breaker
    breaker = msgspec.structs.replace(breaker, prober_until=None, call_error=error)
    if error is not None:
        calls = breaker.failed_calls + 1
        pause_s = min(MAX_CALL_PAUSE_S, FIRST_CALL_PAUSE_S * 2.0 ** min(calls - 1, 30))
        return enter(
            breaker, BreakerEvent.FAIL, now, failed_calls=calls, next_probe_at=now + pause_s
        )
    if breaker.cause is BreakerCause.UNREACHABLE:
        return reached(breaker, worker, now)
    if breaker.failed_calls or has_come(breaker.canary_at, now):
        return apply_probe_begin(breaker, now)
    return msgspec.structs.replace(breaker, next_probe_at=breaker.canary_at)


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
    closed = with_all_due(close(breaker, BreakerEvent.RESET, now))
    return msgspec.structs.replace(closed, epoch=next_epoch(breaker, now), pauses=0)


def may_forget(breaker: Breaker, now: float, quiet_s: float) -> bool:
    """Whether a record can be removed: not open, without anything postponed, for so long."""
    touched_at = max(breaker.changed_at, breaker.failed_at or 0.0, postponed_until(breaker))
    return breaker.state is not BreakerState.OPEN and touched_at <= now - quiet_s
