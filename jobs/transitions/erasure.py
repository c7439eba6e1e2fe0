"""A job after its payloads were erased; no transition, its state stays."""

import msgspec

from jobs.job import PAYLOADS_ERASED, Job, JobEvent
from jobs.transitions.builders import history_with


def erase_payloads(job: Job, now: float, *, by: str = "", note: str = "") -> Job:
    """The job without the texts of the provider, which may quote its inputs or its result."""
    attempts = tuple(
        msgspec.structs.replace(one, message=None, provider_status=None) for one in job.attempts
    )
    reason = None if job.reason is None else msgspec.structs.replace(job.reason, message="")
    event = JobEvent(at=now, name=PAYLOADS_ERASED, by=by, note=note)
    return msgspec.structs.replace(
        job, updated_at=now, attempts=attempts, reason=reason, **history_with(job, event)
    )
