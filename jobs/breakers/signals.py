"""What the outcome of a job's submit or run says about its account, route and lane."""

from typing import Final

import msgspec

from jobs.breakers.record import (
    NO_EPOCHS,
    BreakerEpochs,
    BreakerError,
    BreakerFailure,
    BreakerSuccess,
    FailedSubmit,
    breaker_id,
)
from jobs.breakers.rules import BreakerCause
from jobs.error_table import Disposition, ErrorRule
from jobs.job import UNCERTAIN, Job
from jobs.lanes import Scope
from jobs.outcomes import Lost, ProviderError

UNREACHABLE: Final = "unreachable"
"""Code of the error of a breaker whose account cannot be reached."""

TOO_MANY_REQUESTS: Final = 429
SERVER_ERROR: Final = 500
REDIRECT: Final = 300


def account_unreachable(job: Job, why: str) -> BreakerFailure:
    """No connection could be made."""
    error = BreakerError(UNREACHABLE, message=why)
    return _failure(job, Scope(job.account), BreakerCause.UNREACHABLE, error)


def account_answered(job: Job) -> BreakerSuccess:
    """The provider answered a submit, whatever it said: submits reach it."""
    return _answered(job, Scope(job.account), BreakerCause.UNREACHABLE)


def outcome_unknown(job: Job, outcome: Lost) -> tuple[BreakerFailure, BreakerFailure]:
    """The outcome of a submit is unknown: its lane may fail, or with others the whole route."""
    error = BreakerError(UNCERTAIN, outcome.http_status, outcome.why)
    lane = Scope(str(job.lane))
    of_lane = _failure(job, lane, BreakerCause.UNKNOWN_OUTCOME, error)
    is_slowed = of_lane.is_canary
    of_route = _failure(job, job.lane.route, BreakerCause.UNKNOWN_OUTCOME, error)
    return of_lane, msgspec.structs.replace(of_route, is_of_slowed_lane=is_slowed)


def lane_failed(job: Job, error: ProviderError, *, is_run: bool) -> BreakerFailure:
    """A submit or a run failed in a way that a retry may mend.

    The provider's message is omitted, since it may repeat inputs.
    """
    seen = BreakerError(error.display_code, error.http_status)
    scope = Scope(str(job.lane))
    failure = _failure(job, scope, BreakerCause.TARGET_FAILURE, seen, error.retry_after_s)
    return msgspec.structs.replace(failure, is_run=is_run)


def with_next_try(failure: BreakerFailure, job: Job | None, now: float) -> BreakerFailure:
    """The failure, with when its job began to fail, and when it is tried again in a quiet lane.

    `job` is its version for a quiet lane; None: it makes no difference.
    """
    if job is None or job.outage is None:
        return msgspec.structs.replace(failure, failing_since=now)
    return msgspec.structs.replace(
        failure,
        failing_since=job.outage.since,
        postponed_until=job.due_at if job.outage.is_postponed else None,
    )


def outcome_known(job: Job) -> tuple[BreakerSuccess, BreakerSuccess, BreakerSuccess]:
    """The provider's API answered a submit: its lane, its route and its account work."""
    epochs, lane = _epochs(job), Scope(str(job.lane))
    return (
        _answered(job, lane, BreakerCause.UNKNOWN_OUTCOME, epochs.lane),
        _answered(job, job.lane.route, BreakerCause.UNKNOWN_OUTCOME, epochs.route),
        account_answered(job),
    )


def _answered(job: Job, scope: Scope, cause: BreakerCause, epoch: int = 0) -> BreakerSuccess:
    is_canary = _is_canary(job, scope, cause)
    return BreakerSuccess(scope=scope, cause=cause, epoch=epoch, is_canary=is_canary)


def lane_accepted(job: Job) -> BreakerSuccess:
    """A submit was accepted, which does not prove that its target works."""
    return msgspec.structs.replace(lane_passed(job), is_run=False, is_canary=False)


def lane_passed(job: Job) -> BreakerSuccess:
    """A run succeeded: its lane works."""
    return BreakerSuccess(
        scope=Scope(str(job.lane)),
        cause=BreakerCause.TARGET_FAILURE,
        epoch=_epochs(job).target,
        is_run=True,
        is_canary=job.probe_of is not None,
        began_at=_began_at(job),
    )


def passes_route(error: ProviderError, rule: ErrorRule) -> bool:
    """Whether a refusal shows that its route works: a readable answer of the provider itself.

    A 429 says nothing, and neither do a server error, a redirect or a page.
    """
    status = error.http_status
    if status is None or not error.is_readable or status == TOO_MANY_REQUESTS:
        return False
    if rule.disposition in (Disposition.UNCERTAIN, Disposition.NOT_SENT, Disposition.HOLD):
        return False
    return status < SERVER_ERROR and not REDIRECT <= status < REDIRECT + 100


def _is_canary(job: Job, scope: Scope, cause: BreakerCause) -> bool:
    return bool(job.canary_of) and breaker_id(scope, cause) in job.canary_of


def _began_at(job: Job) -> float:
    return job.attempts[-1].started_at if job.attempts else 0.0


def _epochs(job: Job) -> BreakerEpochs:
    """The epochs of the breakers that it passed when it was admitted."""
    return BreakerEpochs(*job.breaker_epochs[: len(NO_EPOCHS)])


def _failure(
    job: Job,
    scope: Scope,
    cause: BreakerCause,
    error: BreakerError,
    retry_after_s: float | None = None,
) -> BreakerFailure:
    epochs = _epochs(job)
    epoch = epochs.route if scope == job.lane.route else epochs.lane
    return BreakerFailure(
        scope=scope,
        cause=cause,
        error=error,
        epoch=epochs.target if cause is BreakerCause.TARGET_FAILURE else epoch,
        submit=FailedSubmit(f"{job.id}:{job.submits}", job.fingerprint, str(job.lane)),
        began_at=_began_at(job),
        is_canary=_is_canary(job, scope, cause),
        retry_after_s=retry_after_s,
    )
