"""When failures trip a breaker."""

from collections import Counter

from jobs.breakers.record import Breaker, BreakerFailure
from jobs.breakers.rules import (
    LOSSES_OF_ONE_BURST,
    MAX_IN_FLIGHT_COUNTED,
    MAX_LOSSES_PER_LANE,
    ROUTE_LANES,
    BreakerCause,
)


def must_trip(breaker: Breaker, failure: BreakerFailure, *, is_later: bool) -> bool:
    """Whether a closed breaker trips, once it has counted this failure.

    `is_later`: its submit passed when the failure before it was counted.
    """
    if breaker.cause is BreakerCause.TARGET_FAILURE:
        return _target_must_trip(breaker, failure)
    rule, in_row = breaker.rule, breaker.failures_in_row
    is_in_row = in_row >= (rule.in_row if is_later else LOSSES_OF_ONE_BURST)
    if not breaker.is_of_route:
        return is_in_row or breaker.window.count("1") > rule.most_failures
    # Losses of one lane stop that lane alone.
    lanes_in_row = {one.lane for one in breaker.failed[-in_row:]}
    return (is_in_row and len(lanes_in_row) >= ROUTE_LANES) or _lost_of_lanes(breaker) > (
        rule.most_failures
    )


def _lost_of_lanes(breaker: Breaker) -> int:
    """How many of a route's last outcomes are losses, each lane counting for some at most."""
    lost = breaker.window.count("1")
    per_lane = Counter(one.lane for one in breaker.failed[-lost:]) if lost else Counter[str]()
    return sum(min(count, MAX_LOSSES_PER_LANE) for count in per_lane.values())


def _target_must_trip(breaker: Breaker, failure: BreakerFailure) -> bool:
    rule = breaker.rule
    in_row = breaker.run_failures_in_row if failure.is_run else breaker.failures_in_row
    failed = (breaker.run_window if failure.is_run else breaker.window).count("1")
    if in_row < rule.in_row and failed <= rule.most_failures:
        return False
    if max(in_row, failed) < min(failure.in_flight, MAX_IN_FLIGHT_COUNTED):
        return False
    jobs = {one.job_id for one in breaker.failed}
    inputs = {one.fingerprint for one in breaker.failed}
    if min(len(jobs), len(inputs)) >= rule.distinct:
        return True
    # All of one input: it may be at fault, but then as many jobs fail as an outage would fail.
    return in_row >= rule.in_row and len(jobs) >= rule.in_row
