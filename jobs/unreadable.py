"""The dead letter that replaces a record that cannot be decoded."""

from typing import Final

from jobs.job import Job, JobEvent, Reason
from jobs.lanes import JobId
from jobs.states import Kind, State

UNREADABLE: Final = "UNREADABLE_RECORD"
ACTION_UNREADABLE: Final = (
    "Its record could not be read; field `unreadable` of its hash has the text. Look for the run "
    "in the provider's dashboard, then discard this job"
)


def unreadable_job(job_id: str, why: str, now: float) -> Job:
    """A dead letter with the id of the unreadable record, and `why` as its message."""
    return Job(
        id=JobId(job_id),
        kind=Kind.MODEL,
        target="unreadable",
        account="default",
        state=State.DEAD,
        since=now,
        created_at=now,
        updated_at=now,
        finished_at=now,
        fingerprint="",
        max_attempts=1,
        deadline_s=1.0,
        reason=Reason(code=UNREADABLE, message=why, action=ACTION_UNREADABLE),
        events=(JobEvent(at=now, name="dead_letter", note=UNREADABLE),),
    )
