"""`start_by`: until when a job may be sent for the first time. Past it, it is cancelled. Pure.

It applies while no run of the job was started, and none may have been: submits that the provider
refused start nothing, a failed run was started and is retried as without it. It never touches a
parked job or a dead letter; once an operator frees one of these too late, it is cancelled.
"""

from jobs.evidence.records import EvidenceFinding
from jobs.job import Attempt, Job
from jobs.states import UNSENT, Mode


def send_limit(job: Job) -> float | None:
    """Unix seconds from which on it may not be sent; None where it may be sent at any time."""
    if job.start_by is None or any(_may_have_run(job, attempt) for attempt in job.attempts):
        return None
    return job.start_by


def expires_at(job: Job) -> float | None:
    """When it is cancelled unless it is sent before, Unix seconds; None where that never is."""
    return send_limit(job) if job.state in UNSENT else None


def is_expired(job: Job, now: float) -> bool:
    """Whether it is to be cancelled at `now`, Unix seconds."""
    at = expires_at(job)
    return at is not None and at <= now


def _may_have_run(job: Job, attempt: Attempt) -> bool:
    """Whether a submit started a run, or may have."""
    if attempt.is_uncertain:
        return not any(
            submit.number == attempt.number and submit.finding is EvidenceFinding.NOT_STARTED
            for submit in job.uncertain_submits
        )
    if attempt.outcome == "refused":
        return False
    was_refused = attempt.outcome == "failed" and attempt.execution_id is None
    return not (was_refused and attempt.mode is Mode.ASYNC)
