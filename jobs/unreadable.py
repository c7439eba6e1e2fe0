"""What becomes of a record that nobody can read."""

from typing import Final

from jobs.job import Job, JobEvent, Reason
from jobs.lanes import JobId
from jobs.states import Kind, State

UNREADABLE: Final = "UNREADABLE_RECORD"
ACTION_UNREADABLE: Final = (
    "Its record could not be read; the text stands in field `unreadable` of its hash. Look the run "
    "up at the provider, then discard this"
)


def unreadable_job(job_id: str, why: str, now: float) -> Job:
    """The dead letter that takes the place of an unreadable record."""
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
