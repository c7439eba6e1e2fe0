"""Causes, states and rules of breakers, and the table of their transitions."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

FULLY_OPEN_STEP: Final = 64
"""The step at which a probing breaker closes."""

PAUSE_RESET_ACCEPTED: Final = 64
"""Accepted submits after which the pauses begin at their first length again."""

SUSPECT_S: Final = 30.0
"""Longest time for which a first unknown outcome slows its route down to one submit at a time."""

FIRST_CALL_PAUSE_S: Final = 1.0
MAX_CALL_PAUSE_S: Final = 30.0
"""First and longest pause between the free calls that probe; they cost nothing."""

MAX_PAUSE_S: Final = 900.0
"""The longest pause of any breaker; a probe later than this is due now."""

PROBE_LEASE_S: Final = 60.0
"""How long one worker may take for a probe call, until another takes over."""

ROTATION_S: Final = 2.0
"""How much later than the others the worker probes that made the last probe."""

PAUSE_PER_LOSS_S: Final = 1.0
MAX_LOSS_PAUSE_S: Final = 30.0
"""How much each further loss of those in flight puts off the first canary, and at most: a short
outage is over before a canary is hurt, and two single losses cost little time."""

LOSSES_OUTLASTED: Final = 2.0
MIN_OPEN_S: Final = 1.0
"""A sync submit counts as accepted once it is open for so many times as long as the slowest loss
took, and for this: its answer comes with the end of its run, which may take minutes."""

HEEDED_AFTER_S: Final = 1.0
"""Time after which every worker's admission heeds a first loss."""

LOSSES_OF_ONE_BURST: Final = 4
"""How many losses in a row trip, although all were under way when the first was counted. Answers
that are lost often come back sooner than others, so two single losses are seen side by side."""

MAX_IN_FLIGHT_COUNTED: Final = 100
"""A lane trips only if its failures are at least as many as what is in flight in it, or as this:
where three in ten fail, these may all come before the first success."""

TRIPS_CLOSED_BY_CALL: Final = 1
"""Trips in a row, without a submit that was answered, after which a call that is answered closes
the breaker of an account. After more of them one submit has to be answered."""

LANE_GROWTH: Final = 4
"""How many times more canaries each step of a lane that lost answers allows at once; a route has
more traffic, and more to lose."""

ROUTE_LANES: Final = 2
"""A route trips only by losses of at least so many of its lanes: those of one lane stop that."""

MAX_LOSSES_PER_LANE: Final = 2
"""How many of a lane's losses count among the last outcomes of its route."""

FAILURES_KEPT: Final = 16
PROBED_KEPT: Final = 32
WORKERS_KEPT: Final = 8


class BreakerCause(StrEnum):
    """What trips a breaker."""

    UNKNOWN_OUTCOME = "unknown_outcome"
    """Submits of a lane, or of several lanes of a route, whose outcome is unknown: lost answers,
    502, 504, unreadable 2xx."""
    TARGET_FAILURE = "target_failure"
    """Retryable failures of a lane: failed runs, 500, 503."""
    UNREACHABLE = "unreachable"
    """Connections of an account that cannot be made: DNS, refused, TLS."""


class BreakerState(StrEnum):
    """What a breaker lets through: everything, nothing, or `step` submits at once."""

    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"


class BreakerEvent(StrEnum):
    """What can happen to a breaker."""

    TRIP = "trip"
    PROBE = "probe"
    STEP = "step"
    FAIL = "fail"
    CLOSE = "close"
    RESET = "reset"


class BreakerRow(NamedTuple):
    """One row of the table: in `state`, `event` leads to `next_state`."""

    state: BreakerState
    event: BreakerEvent
    next_state: BreakerState


_CLOSED, _OPEN, _PROBING = BreakerState

BREAKER_ROWS: Final = (
    BreakerRow(_CLOSED, BreakerEvent.TRIP, _OPEN),
    # The pause is over and, where a free call tells something, the call was answered.
    BreakerRow(_OPEN, BreakerEvent.PROBE, _PROBING),
    # The free call failed.
    BreakerRow(_OPEN, BreakerEvent.FAIL, _OPEN),
    # Enough canaries of a step were accepted, or a single one failed.
    BreakerRow(_PROBING, BreakerEvent.STEP, _PROBING),
    # The first canary failed, or two canaries without an accepted one between them.
    BreakerRow(_PROBING, BreakerEvent.FAIL, _OPEN),
    BreakerRow(_PROBING, BreakerEvent.CLOSE, _CLOSED),
    # The account can be reached again: connecting costs nothing, so mostly no canary is needed.
    BreakerRow(_OPEN, BreakerEvent.CLOSE, _CLOSED),
    # An operator.
    BreakerRow(_OPEN, BreakerEvent.RESET, _CLOSED),
    BreakerRow(_PROBING, BreakerEvent.RESET, _CLOSED),
    BreakerRow(_CLOSED, BreakerEvent.RESET, _CLOSED),
)

BREAKER_TABLE: Final = {(row.state, row.event): row.next_state for row in BREAKER_ROWS}
"""The state that each row leads to."""


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """When breakers of one cause trip, and how they are probed."""

    in_row: int
    """Failures in a row that trip."""
    window: int
    """How many of the last outcomes are kept."""
    most_failures: int
    """More failures than this among them trip."""
    distinct: int
    """Different jobs, with different inputs, that must have failed."""
    first_pause_s: float
    max_pause_s: float
    """Pause after the first and after many failed canaries; it doubles."""
    growth: int
    """How many times more canaries each step allows at once."""
    probes_by_call: bool
    """Whether a free call is made before a canary."""


BREAKER_RULES: Final[dict[BreakerCause, BreakerRule]] = {
    BreakerCause.UNKNOWN_OUTCOME: BreakerRule(2, 100, 5, 1, 2.0, MAX_PAUSE_S, 2, True),
    BreakerCause.TARGET_FAILURE: BreakerRule(10, 50, 30, 3, 1.0, 300.0, FULLY_OPEN_STEP, False),
    BreakerCause.UNREACHABLE: BreakerRule(3, 3, 3, 1, 1.0, 300.0, 1, True),
}
"""The rules by cause. Of failures that come singly and at random, ten in a row come once in 11
billion outcomes where 10 % fail, and once in 240,000 where 30 % do; more than 30 of the last 50
have failed with a probability of 4e-19 and 3e-6 (tests/unit/core/test_breaker_rules.py)."""
