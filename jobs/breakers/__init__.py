"""Breakers: gates that close by themselves when a scope fails, and open when it works again.

Every transition of a breaker is in one table, and these laws hold of it:
- A breaker is never in need of an operator, and a priority or a hold bypass does not pass it.
- Outcomes carry the epoch of their send mark. One of another epoch changes no state: a success
  sent before an outage closes nothing, an old failure reopens nothing.
- Losses at one moment are one event: the pause grows once for each probe that failed.
- Without a record a breaker is closed. A probe later than the longest pause is due now.

Three causes, each with its scope. *Unknown outcomes* (a lost answer, 502, 504) may cost a run each.
The first lets one more submit of its lane through at a time, the second without an accepted submit
of the lane between them trips the lane; losses of two lanes without an accepted submit of the route
between them trip the route. *Target failures* (failed runs, 500, 503) close the lane. *Unreachable*
(DNS, refused, TLS) stops the worker that cannot connect, and the account once a second worker
confirms it or if no other is alive.

An open breaker is probed. Where a free call tells something (unknown outcomes, unreachable), the
call goes first. Then canary submits follow, `step` at once, until enough were accepted; of a lane,
only a succeeded run counts. Times are Unix seconds.
"""

from jobs.breakers.changes import apply_probe_begin
from jobs.breakers.postponed import (
    FailureCase,
    due_at_once,
    failure_case,
    gives_attempt_back,
    without_postponed,
)
from jobs.breakers.probes import (
    apply_evidence,
    apply_probe_claim,
    apply_probe_now,
    apply_probe_result,
    apply_reset,
    is_canary_due,
    is_last_probe_due,
    is_probe_due,
    may_forget,
)
from jobs.breakers.record import (
    NO_BREAKERS,
    NO_EPOCHS,
    Breaker,
    BreakerEpochs,
    BreakerError,
    BreakerFailure,
    BreakerReport,
    BreakerSuccess,
    FailedSubmit,
    PassedBreakers,
    PostponedRetry,
    breaker_id,
    breaker_key,
    breaker_keys,
    new_breaker,
)
from jobs.breakers.rules import (
    BREAKER_ROWS,
    BREAKER_RULES,
    BREAKER_TABLE,
    MAX_PAUSE_S,
    PROBED_KEPT,
    ROTATION_S,
    BreakerCause,
    BreakerEvent,
    BreakerRule,
    BreakerState,
)
from jobs.breakers.transitions import apply_failure, apply_success

__all__ = [
    "BREAKER_ROWS",
    "BREAKER_RULES",
    "BREAKER_TABLE",
    "MAX_PAUSE_S",
    "NO_BREAKERS",
    "NO_EPOCHS",
    "PROBED_KEPT",
    "ROTATION_S",
    "Breaker",
    "BreakerCause",
    "BreakerEpochs",
    "BreakerError",
    "BreakerEvent",
    "BreakerFailure",
    "BreakerReport",
    "BreakerRule",
    "BreakerState",
    "BreakerSuccess",
    "FailedSubmit",
    "FailureCase",
    "PassedBreakers",
    "PostponedRetry",
    "apply_evidence",
    "apply_failure",
    "apply_probe_begin",
    "apply_probe_claim",
    "apply_probe_now",
    "apply_probe_result",
    "apply_reset",
    "apply_success",
    "breaker_id",
    "breaker_key",
    "breaker_keys",
    "due_at_once",
    "failure_case",
    "gives_attempt_back",
    "is_canary_due",
    "is_last_probe_due",
    "is_probe_due",
    "may_forget",
    "new_breaker",
    "without_postponed",
]
