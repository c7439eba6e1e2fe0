"""What a retryable failure costs a job: an attempt, or none in an outage of its lane.

A failure of a lane whose breaker closed it says nothing about the job. Its attempt is given back if
it is of the epoch that tripped the breaker. Probes of a lane that were refused at submit get theirs
back too, but these are charged if the job fails again after another job has succeeded: then its
inputs may be the cause, and from there on its probes spend their attempts. A failed run of a probe
spends its attempt, and waits as in a quiet lane. A 503 never spends one.

Where no other job of the lane has succeeded since the job's first failure, nothing tells an outage
from its own inputs: then `jobs.quiet_lane` says when it is tried again.

What no attempt bounds is bounded by time: an outage is borne for `DecisionRules.outage_limit_s`. If
that is 0, none is borne, and every failure spends an attempt at the usual backoff.
"""

from typing import NamedTuple

import msgspec

from jobs import quiet_lane, transitions
from jobs.effects import DecisionContext
from jobs.error_table import ACTION_ATTEMPTS_SPENT, ACTION_OUTAGE
from jobs.job import OUTAGE, Job, JobOutage, Reason
from jobs.outcomes import ProviderError
from jobs.states import Mode
from jobs.why import format_duration


class NextVersions(NamedTuple):
    """The job after a failure. Which version counts is known once its lane's breaker counted it."""

    usual: Job
    in_outage: Job | None
    """Instead, where the failure belongs to an outage; None: the same."""
    in_quiet_lane: Job | None
    """Instead, where no other job of the lane has succeeded since its first failure."""


def retried(
    job: Job,
    error: ProviderError,
    context: DecisionContext,
    *,
    is_run: bool = False,
    waits: bool = False,
    polls: int = 0,
) -> NextVersions:
    """The job after a failure.

    `is_run`: a run failed, not its submit. `waits`: no attempt is spent, unless outages are not
    borne.
    """
    outage, limit_s = _with_failure(job, context.now), context.rules.outage_limit_s
    if waits and limit_s:
        waiting = _next_try(job, error, context, outage, spends=0, polls=polls)
        return NextVersions(waiting, None, None)
    epoch = _epoch(job)
    charged = msgspec.structs.replace(
        outage,
        given_back=0,
        refused=0,
        failed_epoch=epoch,
        was_charged=outage.was_charged or _failed_in_another_epoch(job, epoch),
    )
    usual = _next_try(job, error, context, charged, spends=_charge(job, outage), polls=polls)
    if job.max_attempts == 1 or not limit_s:
        return NextVersions(usual, None, None)
    quiet = _in_quiet_lane(job, error, context, outage, is_run=is_run, polls=polls)
    spends = job.probe_of is not None and (is_run or outage.was_charged)
    if job.probe_of is not None and not spends:
        outage = msgspec.structs.replace(outage, given_back=outage.given_back + 1)
    not_before = _stretched(job, context, outage) if spends and is_run else 0.0
    in_outage = _next_try(
        job, error, context, outage, spends=int(spends), polls=polls, not_before=not_before
    )
    return NextVersions(usual, in_outage, quiet)


def _charge(job: Job, outage: JobOutage) -> int:
    """The attempts that a failure spends among successes of others: one, and those given back.

    Of these so many that its last attempt is left: after a long outage one bad run kills no job.
    """
    return 1 + min(outage.given_back, max(0, job.max_attempts - job.spent - 2))


def _in_quiet_lane(
    job: Job,
    error: ProviderError,
    context: DecisionContext,
    outage: JobOutage,
    *,
    is_run: bool,
    polls: int,
) -> Job:
    """The job after a failure that nothing tells from an outage; see `jobs.quiet_lane`."""
    epoch, limit_s = _epoch(job), context.rules.outage_limit_s
    if is_run or job.mode is Mode.SYNC:
        outage = msgspec.structs.replace(outage, failed_epoch=epoch)
        not_before = _stretched(job, context, outage)
        return _next_try(job, error, context, outage, spends=1, polls=polls, not_before=not_before)
    refused = outage.refused + 1
    if not outage.given_back and job.spent + 1 < job.max_attempts:
        outage = msgspec.structs.replace(outage, failed_epoch=epoch, refused=refused)
        return _next_try(job, error, context, outage, spends=1, polls=polls)
    outage = msgspec.structs.replace(outage, given_back=outage.given_back + refused, refused=0)
    wait_s = quiet_lane.refused_wait_s(
        context.rules.backoff, outage.failures, context.jitter, error.retry_after_s
    )
    due_at = min(context.now + wait_s, outage.since + limit_s)
    return _next_try(
        job, error, context, outage, spends=1 - refused, polls=polls, not_before=due_at
    )


def _stretched(job: Job, context: DecisionContext, outage: JobOutage) -> float:
    """When a job is tried again whose run failed, so that its attempts last for an outage."""
    rules = context.rules
    return outage.since + quiet_lane.retry_offset_s(
        rules.backoff,
        job.spent + 1,
        job.max_attempts,
        rules.outage_limit_s,
        context.jitter,
        is_probe=job.probe_of is not None,
    )


def _epoch(job: Job) -> int:
    """The epoch of its lane's breaker as it was admitted."""
    return job.breaker_epochs[1] if job.breaker_epochs else 0


def _failed_in_another_epoch(job: Job, epoch: int) -> bool:
    """Whether it failed before the lane's breaker last tripped, and so before it closed again."""
    return job.outage is not None and job.outage.failed_epoch != epoch


def _with_failure(job: Job, now: float) -> JobOutage:
    if job.outage is None:
        return JobOutage(since=now)
    failures = job.outage.failures + 1
    return msgspec.structs.replace(
        job.outage, failures=failures, failed_epoch=-1, is_postponed=False
    )


def _next_try(
    job: Job,
    error: ProviderError,
    context: DecisionContext,
    outage: JobOutage,
    *,
    spends: int,
    polls: int,
    not_before: float = 0.0,
) -> Job:
    """The job after its backoff; a dead letter if its attempts, or its time, are spent.

    `not_before` is a time before which it is not tried again.
    """
    spent, limit_s = job.spent + spends, context.rules.outage_limit_s
    if spends > 0 and spent >= job.max_attempts:
        reason = Reason(
            code=error.display_code,
            http_status=error.http_status,
            message=f"{error.message or error.display_code} "
            f"(attempt {min(spent, job.max_attempts)} of {job.max_attempts})",
            action=ACTION_ATTEMPTS_SPENT,
        )
        return transitions.dead_letter(job, context.now, error, reason, polls=polls)
    if spends <= 0 and context.now - outage.since >= limit_s:
        return transitions.dead_letter(
            job, context.now, error, outage_reason(limit_s, error), polls=polls
        )
    attempt = spent if spends > 0 else outage.failures
    wait_s = context.rules.backoff.wait_s(max(1, attempt), context.jitter, error.retry_after_s)
    due_at = context.now + wait_s
    if not_before > due_at:
        due_at, outage = not_before, msgspec.structs.replace(outage, is_postponed=True)
    return transitions.retry(
        job,
        context.now,
        error,
        due_at=due_at,
        spends=spends,
        outage=outage,
        polls=polls,
    )


def outage_reason(limit_s: float, error: ProviderError | None = None) -> Reason:
    """Why a job is dead whose target failed for longer than the limit."""
    last = f", last with {error.display_code}" if error is not None else ""
    return Reason(
        code=OUTAGE,
        http_status=error.http_status if error is not None else None,
        message=f"its target failed for more than {format_duration(limit_s)}{last}",
        action=ACTION_OUTAGE,
    )


def is_outage_over_limit(job: Job, opened_at: float, now: float, limit_s: float) -> bool:
    """Whether a job that waits behind its lane's open breaker has waited for too long.

    Its outage began with its first failure in it, or when it came to the lane that was closed.
    """
    began_at = job.outage.since if job.outage is not None else (job.queued_at or job.since)
    return now - max(opened_at, began_at) >= limit_s
