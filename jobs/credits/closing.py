"""The cost of attempts that ended without one: an estimate, until the provider's list tells more.

The answer to a sync run and a poll name the cost; a webhook, a cancelled run and a failed one do
not. Such an attempt is booked with the job's estimate, and the list of runs corrects it once. A
submit whose outcome is unknown is not booked while the job waits for an operator or a finding.
"""

from typing import Final

import msgspec

from jobs.credits.charges import micro_credits
from jobs.credits.sources import CostSource
from jobs.evidence.records import EvidenceFinding
from jobs.job import UNCERTAIN, Attempt, Job
from jobs.states import Mode

FREE_CODES: Final = frozenset({"PROVIDER_RESPONSE_INCOMPLETE", "PROVIDER_SUBMIT_FAILED"})
"""Codes of failed runs that cost nothing: the first by the provider's documentation, the other
because nothing was started."""

FIRST_CHECK_S: Final = 30.0
"""From the end of an attempt until its cost is looked for: its row has ended by then."""

SERVER_ERROR: Final = 500


def with_costs(job: Job, now: float) -> Job:
    """The job, each ended attempt without a known cost booked with an estimate; it may be unknown.

    `now` is Unix seconds.
    """
    if not any(_lacks_cost(job, attempt) for attempt in job.attempts):
        return job
    attempts = tuple(_booked(job, a) if _lacks_cost(job, a) else a for a in job.attempts)
    known = sum(a.cost or 0.0 for a in attempts if a.cost_source is CostSource.USAGE) - sum(
        a.cost or 0.0 for a in job.attempts if a.cost_source is CostSource.USAGE
    )
    return msgspec.structs.replace(
        job,
        attempts=attempts,
        cost=(job.cost or 0.0) + known if known else job.cost,
        cost_check_at=job.cost_check_at or _first_check_at(attempts, now),
    )


def awaits_cost(attempt: Attempt) -> bool:
    """Whether only the provider's list of runs can tell what an attempt cost."""
    return attempt.cost_source is CostSource.ESTIMATE


def _first_check_at(attempts: tuple[Attempt, ...], now: float) -> float | None:
    return now + FIRST_CHECK_S if any(awaits_cost(attempt) for attempt in attempts) else None


def _lacks_cost(job: Job, attempt: Attempt) -> bool:
    """Whether an attempt has ended, may have cost something, and is not booked yet."""
    if attempt.ended_at is None or attempt.cost_source is not None:
        return False
    if micro_credits(attempt.cost) is not None or not _may_have_cost(attempt):
        return False
    return not (attempt.is_uncertain and waits_for_outcome(job, attempt))


def _may_have_cost(attempt: Attempt) -> bool:
    if attempt.code in FREE_CODES:
        return False
    if attempt.execution_id is not None or attempt.request_id is not None:
        return True
    if attempt.outcome == "succeeded" or attempt.is_uncertain:
        return True
    is_failed_sync_run = attempt.mode is Mode.SYNC and attempt.outcome in ("failed", "refused")
    return is_failed_sync_run and (attempt.http_status or 0) >= SERVER_ERROR


def waits_for_outcome(job: Job, attempt: Attempt) -> bool:
    """Whether it is still to be found out, or decided, what became of an uncertain attempt."""
    is_last = attempt.number == job.submits
    return is_last and (job.parked_as == UNCERTAIN or job.awaits_finding)


def _booked(job: Job, attempt: Attempt) -> Attempt:
    """The attempt with its estimate, or with what is known of an uncertain one."""
    submit = next((one for one in job.uncertain_submits if one.number == attempt.number), None)
    if submit is not None and submit.finding is EvidenceFinding.NOT_STARTED:
        return msgspec.structs.replace(attempt, cost=0.0, cost_source=CostSource.USAGE)
    return msgspec.structs.replace(attempt, cost=job.estimate, cost_source=CostSource.ESTIMATE)


__all__ = ["FIRST_CHECK_S", "FREE_CODES", "awaits_cost", "waits_for_outcome", "with_costs"]
