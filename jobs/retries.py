"""What a retryable failure costs a job: an attempt, or none in an outage of its lane.

A failure of a lane whose breaker closed it says nothing about the job. Its attempt is given back if
it is of the epoch that tripped the breaker. Probes of a lane that were refused at submit get theirs
back too, but these are charged if the job fails again after another job has succeeded: then its
inputs may be the cause, and from there on its probes spend their attempts. A failed run of a probe
spends its attempt. A 503 never spends one.

What no attempt bounds is bounded by time: an outage is borne for `DecisionRules.outage_limit_s`.
"""

import msgspec

from jobs import transitions
from jobs.effects import DecisionContext
from jobs.error_table import ACTION_ATTEMPTS_SPENT, ACTION_OUTAGE
from jobs.job import OUTAGE, Job, JobOutage, Reason
from jobs.outcomes import ProviderError
from jobs.why import format_duration


def retried(
    job: Job,
    error: ProviderError,
    context: DecisionContext,
    *,
    is_run: bool = False,
    waits: bool = False,
    polls: int = 0,
) -> tuple[Job, Job | None]:
    """The job after a failure; and instead of it, where the failure belongs to an outage.

    `is_run`: a run failed, not its submit. `waits`: no attempt is spent in any case.
    """
    outage = _with_failure(job, context.now)
    if waits:
        return _next_try(job, error, context, outage, spends=0, polls=polls), None
    epoch = job.breaker_epochs[1] if job.breaker_epochs else 0
    charged = msgspec.structs.replace(
        outage,
        given_back=0,
        failed_epoch=epoch,
        was_charged=outage.was_charged or _failed_in_another_epoch(job, epoch),
    )
    usual = _next_try(job, error, context, charged, spends=1 + outage.given_back, polls=polls)
    spends = job.probe_of is not None and (is_run or outage.was_charged)
    if job.probe_of is not None and not spends:
        outage = msgspec.structs.replace(outage, given_back=outage.given_back + 1)
    in_outage = _next_try(job, error, context, outage, spends=int(spends), polls=polls)
    return usual, in_outage


def _failed_in_another_epoch(job: Job, epoch: int) -> bool:
    """Whether it failed before the lane's breaker last tripped, and so before it closed again."""
    return job.outage is not None and job.outage.failed_epoch != epoch


def _with_failure(job: Job, now: float) -> JobOutage:
    if job.outage is None:
        return JobOutage(since=now)
    return msgspec.structs.replace(job.outage, failures=job.outage.failures + 1, failed_epoch=-1)


def _next_try(
    job: Job,
    error: ProviderError,
    context: DecisionContext,
    outage: JobOutage,
    *,
    spends: int,
    polls: int,
) -> Job:
    """The job after its backoff; a dead letter if its attempts, or its time, are spent."""
    spent, limit_s = job.spent + spends, context.rules.outage_limit_s
    if spends and spent >= job.max_attempts:
        reason = Reason(
            code=error.display_code,
            http_status=error.http_status,
            message=f"{error.message or error.display_code} "
            f"(attempt {min(spent, job.max_attempts)} of {job.max_attempts})",
            action=ACTION_ATTEMPTS_SPENT,
        )
        return transitions.dead_letter(job, context.now, error, reason, polls=polls)
    if not spends and context.now - outage.since >= limit_s:
        return transitions.dead_letter(
            job, context.now, error, outage_reason(limit_s, error), polls=polls
        )
    attempt = spent if spends else outage.failures
    wait_s = context.rules.backoff.wait_s(max(1, attempt), context.jitter, error.retry_after_s)
    return transitions.retry(
        job,
        context.now,
        error,
        due_at=context.now + wait_s,
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
