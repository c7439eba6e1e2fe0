"""What a breaker says to operators: its cause, its last error, its next probe, and what to do."""

from typing import Final, assert_never

from jobs.breakers.record import Breaker
from jobs.breakers.rules import BreakerCause, BreakerState
from jobs.newer import ACTION_NEWER, is_newer_gate
from jobs.texts import pluralize

CAUSE_TEXTS: Final = {
    BreakerCause.UNKNOWN_OUTCOME: "submits end with an unknown outcome",
    BreakerCause.TARGET_FAILURE: "runs fail",
    BreakerCause.UNREACHABLE: "the provider cannot be reached",
}

_WAITS: Final = "Nothing: it is probed by itself, and goes on when a probe succeeds."

ACTION_TEXTS: Final = {
    BreakerCause.UNKNOWN_OUTCOME: f"{_WAITS} Jobs whose own outcome is unknown are among the parked"
    " ones. If it lasts, look at the provider's status, and at a proxy in between",
    BreakerCause.TARGET_FAILURE: f"{_WAITS} No other job spends an attempt meanwhile. If it lasts,"
    " look at the target at the provider",
    BreakerCause.UNREACHABLE: "Nothing, where the provider or the network is down: it is tried"
    " again by itself. Else fix what the error names; `knouds-worker doctor` tries the connection",
}


_RELAPSING_CAUSE: Final = "the provider answers calls, but no submit gets through"
_RELAPSING_ADVICE: Final = (
    "Submits fail on a way that calls do not take. Fix what the error names: a limit for large"
    " requests in between, or a KNOUDS_BASE_URL or proxy that speaks another protocol. One submit"
    " is tried after each pause"
)


def cause_text(breaker: Breaker, now: float) -> str:
    """What is wrong, in some words."""
    return _RELAPSING_CAUSE if breaker.is_relapsing(now) else CAUSE_TEXTS[breaker.cause]


def advice_text(breaker: Breaker, now: float) -> str:
    """What an operator can do."""
    if is_newer_gate(breaker):
        return ACTION_NEWER
    return _RELAPSING_ADVICE if breaker.is_relapsing(now) else ACTION_TEXTS[breaker.cause]


def error_text(breaker: Breaker) -> str:
    """The last error: its code or status, and its message; empty without one."""
    error = breaker.error
    if error is None:
        return ""
    if error.http_status is not None and str(error.http_status) not in error.code + error.message:
        head = f"{error.code} (HTTP {error.http_status})"
    else:
        head = error.code
    if breaker.cause is not BreakerCause.TARGET_FAILURE and error.message:
        return error.message  # the code is ours, and the cause says the same
    return f"{head}: {error.message}" if error.message else head


def state_text(breaker: Breaker, now: float) -> str:
    """What it lets through at `now` (Unix seconds), and when it is probed."""
    match breaker.state:
        case BreakerState.OPEN if is_newer_gate(breaker):
            return "nothing is sent, and only workers of that version probe it"
        case BreakerState.OPEN if breaker.is_shared:
            return f"nothing is sent; {_probes_text(breaker, now)}"
        case BreakerState.OPEN:
            workers = pluralize(len(breaker.workers), "worker")
            return f"{workers} of several send nothing; {_probes_text(breaker, now)}"
        case BreakerState.PROBING:
            return f"probing, {pluralize(breaker.step, 'submit')} at a time"
        case BreakerState.CLOSED if breaker.is_suspect(now):
            return "slowed down to one submit at a time"
        case BreakerState.CLOSED if breaker.is_relapsing(now):
            return f"stopped {breaker.pauses} times in a row, and tried again now"
        case BreakerState.CLOSED:
            return "closed"
        case _:
            assert_never(breaker.state)


def next_probe_text(breaker: Breaker, now: float) -> str:
    """When an open breaker is probed next."""
    if breaker.prober_until is not None and now < breaker.prober_until:
        return "a probe is under way"
    wait_s = (breaker.next_probe_at or now) - now
    return f"next probe in {wait_s:.0f} s" if wait_s >= 1 else "next probe due now"


def _probes_text(breaker: Breaker, now: float) -> str:
    """When it is probed next, and why the last call failed, where that is another error."""
    text, failed = next_probe_text(breaker, now), breaker.call_error
    if failed is None or failed.message == error_text(breaker):
        return text
    return f"{text} (the last call failed: {failed.message or failed.code})"


def breaker_text(breaker: Breaker, now: float) -> str:
    """The whole of it in one line: scope, cause, last error, state."""
    error = error_text(breaker)
    cause = cause_text(breaker, now) + (f" – {error}" if error else "")
    return f"{breaker.scope}: {cause}; {state_text(breaker, now)}"


def limits_submits(breaker: Breaker, now: float) -> bool:
    """Whether it stops or slows submits down: operators want to see it."""
    is_slowed = breaker.is_suspect(now) or breaker.is_relapsing(now)
    return breaker.state is not BreakerState.CLOSED or is_slowed
