"""Which failures belong to an outage, and the jobs whose next try waits while their lane is quiet.

The breaker of a lane remembers when the newest run began that succeeded (`proved_at`). A job that
has been failing for longer than that cannot be told from one in an outage (`jobs.quiet_lane`).
"""

from enum import StrEnum
from typing import Final

import msgspec

from jobs.breakers.record import Breaker, BreakerFailure, BreakerSuccess, PostponedRetry
from jobs.breakers.rules import BreakerCause, BreakerState

POSTPONED_KEPT: Final = 64
"""Most jobs of a lane that a success makes due at once; others wait for their own time."""


class FailureCase(StrEnum):
    """What a failure of a lane says about its job."""

    USUAL = "usual"
    """Others succeed, so it may be the job's own."""
    IN_OUTAGE = "in_outage"
    """It belongs to an outage for which the breaker of its lane tripped."""
    IN_QUIET_LANE = "in_quiet_lane"
    """Nothing tells an outage from the job's own inputs."""


def failure_case(breaker: Breaker, failure: BreakerFailure) -> FailureCase:
    """What a failure says, by the breaker of its lane once it was counted."""
    if gives_attempt_back(breaker, failure.epoch):
        return FailureCase.IN_OUTAGE
    if breaker.proved_at > failure.failing_since:
        return FailureCase.USUAL
    return FailureCase.IN_QUIET_LANE


def gives_attempt_back(breaker: Breaker, epoch: int) -> bool:
    """Whether a failure belongs to an outage of its lane: it tripped it, or came during it."""
    is_during = breaker.state is not BreakerState.CLOSED and epoch > breaker.tripped_epoch
    return epoch == breaker.tripped_epoch or is_during


def with_postponed(breaker: Breaker, failure: BreakerFailure) -> Breaker:
    """The breaker, which remembers the job of a failure if its next try is postponed."""
    if breaker.cause is not BreakerCause.TARGET_FAILURE:
        return breaker
    job_id = failure.submit.job_id
    others = tuple(one for one in breaker.postponed if one.job_id != job_id)
    is_usual = failure_case(breaker, failure) is FailureCase.USUAL
    if failure.postponed_until is not None and not is_usual:
        retry = PostponedRetry(job_id, failure.failing_since, failure.postponed_until)
        others = (*others, retry)[-POSTPONED_KEPT:]
    if others == breaker.postponed:
        return breaker
    return msgspec.structs.replace(breaker, postponed=others)


def with_proof(breaker: Breaker, success: BreakerSuccess) -> Breaker:
    """The breaker, which remembers when the newest run began that succeeded."""
    is_proof = success.is_run and breaker.cause is BreakerCause.TARGET_FAILURE
    if not is_proof or success.began_at <= breaker.proved_at:
        return breaker
    return msgspec.structs.replace(breaker, proved_at=success.began_at)


def due_at_once(breaker: Breaker) -> tuple[PostponedRetry, ...]:
    """The postponed jobs that are due now, since a run of the lane has succeeded meanwhile."""
    return tuple(one for one in breaker.postponed if breaker.proved_at > one.failing_since)


def without_postponed(breaker: Breaker, done: tuple[PostponedRetry, ...]) -> Breaker:
    """The breaker without these; what was postponed anew since stays."""
    left = tuple(one for one in breaker.postponed if one not in done)
    return msgspec.structs.replace(breaker, postponed=left)


def with_all_due(breaker: Breaker) -> Breaker:
    """The breaker with every postponed job due at once: an operator wants them tried."""
    due = tuple(msgspec.structs.replace(one, failing_since=-1.0) for one in breaker.postponed)
    return msgspec.structs.replace(breaker, postponed=due) if due else breaker


def postponed_until(breaker: Breaker) -> float:
    """When the last of the postponed jobs is due by itself; 0 without any."""
    return max((one.until for one in breaker.postponed), default=0.0)
