"""A job after its payloads were erased; no transition, its state stays."""

import msgspec

from jobs.job import PAYLOADS_ERASED, Job, JobEvent
from jobs.lifecycle import Transition
from jobs.transitions.builders import history_with


def has_erased_run(job: Job) -> bool:
    """Whether payloads were erased since its last run was sent: what this run makes is not kept."""
    for event in reversed(job.events):
        if event.name == PAYLOADS_ERASED:
            return True
        if event.name in (Transition.SEND.value, Transition.OPEN.value):
            return False
    return False


def without_texts(job: Job) -> Job:
    """The job without the texts of the provider, which may quote its inputs or its result."""
    attempts = tuple(
        msgspec.structs.replace(one, message=None, provider_status=None) for one in job.attempts
    )
    reason = None if job.reason is None else msgspec.structs.replace(job.reason, message="")
    return msgspec.structs.replace(job, attempts=attempts, reason=reason)


def erase_payloads(job: Job, now: float, *, by: str = "", note: str = "") -> Job:
    """The job without the texts of the provider, and with the event."""
    event = JobEvent(at=now, name=PAYLOADS_ERASED, by=by, note=note)
    return msgspec.structs.replace(without_texts(job), updated_at=now, **history_with(job, event))
