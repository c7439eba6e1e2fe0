"""The changes of state that several transitions of a breaker share. Times are Unix seconds."""

import math
from typing import Final

import msgspec

from jobs.breakers.record import Breaker, BreakerFailure
from jobs.breakers.rules import (
    BREAKER_TABLE,
    MAX_PAUSE_S,
    PROBED_KEPT,
    BreakerCause,
    BreakerEvent,
)

NO_FAILURES: Final[dict[str, object]] = {
    "failures": 0,
    "failures_in_row": 0,
    "window": "",
    "run_failures_in_row": 0,
    "run_window": "",
    "lost_since": 0.0,
    "loss_s": 0.0,
    "failed": (),
}
"""Resets what a breaker counts while it is closed."""


def enter(breaker: Breaker, event: BreakerEvent, now: float, **changes: object) -> Breaker:
    """The breaker in the state that the table says; KeyError where it has no such row."""
    state = BREAKER_TABLE[breaker.state, event]
    return msgspec.structs.replace(breaker, state=state, changed_at=now, **changes)


def next_epoch(breaker: Breaker, now: float) -> int:
    """An epoch that was never used."""
    return max(breaker.epoch + 1, math.floor(now * 1_000))


def has_come(at: float, now: float) -> bool:
    """Whether a time has come. One later than the longest pause is of a wrong clock."""
    return not now < at <= now + MAX_PAUSE_S


def trip(breaker: Breaker, failure: BreakerFailure, now: float) -> Breaker:
    """The breaker open: the free call goes at once, a canary after the pause."""
    pauses = breaker.pauses + 1
    wait_s = max(breaker.rule_pause_s(pauses), min(failure.retry_after_s or 0.0, MAX_PAUSE_S))
    return enter(
        breaker,
        BreakerEvent.TRIP,
        now,
        epoch=next_epoch(breaker, now),
        tripped_epoch=breaker.epoch,
        opened_at=now,
        pauses=pauses,
        canary_at=now + wait_s,
        next_probe_at=now if breaker.rule.probes_by_call else now + wait_s,
        failed_calls=0,
        call_error=None,
        step=0,
        accepted=0,
        trips=breaker.trips + 1,
        probed_jobs=(),
        evidence_of=None,
    )


def canary_failed(breaker: Breaker, failure: BreakerFailure, now: float) -> Breaker:
    """The breaker open again: the next canary goes after a pause that is twice as long."""
    pauses = (breaker.pauses if breaker.pauses > 1 else _pauses_waited(breaker)) + 1
    wait_s = max(breaker.rule_pause_s(pauses), min(failure.retry_after_s or 0.0, MAX_PAUSE_S))
    is_unknown = breaker.cause is BreakerCause.UNKNOWN_OUTCOME
    return enter(
        breaker,
        BreakerEvent.FAIL,
        now,
        epoch=next_epoch(breaker, now),
        pauses=pauses,
        canary_at=now + wait_s,
        next_probe_at=now + wait_s,
        failed_calls=0,
        call_error=None,
        step=0,
        accepted=0,
        probed_jobs=(*breaker.probed_jobs, failure.submit.job_id)[-PROBED_KEPT:],
        evidence_of=failure.submit.job_id if is_unknown else None,
    )


def _pauses_waited(breaker: Breaker) -> int:
    """The number of pauses that the first canary's wait was worth, which losses prolonged."""
    waited_s = breaker.canary_at - (breaker.opened_at or breaker.canary_at)
    return 1 + math.ceil(math.log2(max(1.0, waited_s / breaker.rule.first_pause_s)))


def close(breaker: Breaker, event: BreakerEvent, now: float, *, accepted: int = 0) -> Breaker:
    """The breaker closed, without failures; its pauses go on from where they were."""
    return enter(
        breaker,
        event,
        now,
        opened_at=None,
        next_probe_at=None,
        canary_at=0.0,
        failed_calls=0,
        call_error=None,
        step=0,
        accepted=accepted,
        **NO_FAILURES,
        probed_jobs=(),
        workers=(),
        is_shared=True,
        prober_until=None,
        evidence_of=None,
    )


def apply_probe_begin(breaker: Breaker, now: float) -> Breaker:
    """The breaker as canaries begin: one at once, in an epoch of their own."""
    return enter(
        breaker,
        BreakerEvent.PROBE,
        now,
        epoch=next_epoch(breaker, now),
        next_probe_at=None,
        prober_until=None,
        failed_calls=0,
        call_error=None,
        step=1,
        accepted=0,
        failures_in_row=0,
    )
