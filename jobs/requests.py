"""An order: what an app asks for, checked, and the job that comes of it."""

import hashlib
from dataclasses import dataclass, field

import msgspec

from jobs.job import Event, Job
from jobs.lanes import JobId
from jobs.states import Kind, OnUncertain, State


@dataclass(frozen=True, slots=True)
class Order:
    """A validated request to run something. Times in Unix seconds, durations in seconds."""

    kind: Kind
    target: str
    inputs: bytes = field(repr=False)
    """A JSON object as text, keys sorted, so that equal payloads have equal fingerprints."""
    account: str = "default"
    priority: int = 0
    tags: tuple[str, ...] = ()
    batch: str | None = None
    run_at: float | None = None
    delay_s: float | None = None
    max_attempts: int | None = None
    deadline_s: float | None = None
    on_uncertain: OnUncertain = OnUncertain.PARK

    @property
    def fingerprint(self) -> str:
        """Digest of everything asked for: the same id with another digest is a conflict."""
        facts = (
            self.kind,
            self.target,
            self.account,
            self.priority,
            self.tags,
            self.batch,
            self.run_at,
            self.delay_s,
            self.max_attempts,
            self.deadline_s,
            self.on_uncertain,
        )
        digest = hashlib.blake2s(self.inputs, digest_size=12)
        digest.update(msgspec.json.encode(facts))
        return digest.hexdigest()


def new_job(
    order: Order,
    job_id: JobId,
    now: float,
    *,
    max_attempts: int,
    deadline_s: float,
    by: str = "",
) -> Job:
    """The job of an order: `scheduled` where its time is to come, else `queued`."""
    due_at = order.run_at if order.delay_s is None else now + order.delay_s
    later = due_at is not None and due_at > now
    return Job(
        id=job_id,
        kind=order.kind,
        target=order.target,
        account=order.account,
        state=State.SCHEDULED if later else State.QUEUED,
        since=now,
        created_at=now,
        updated_at=now,
        fingerprint=order.fingerprint,
        max_attempts=order.max_attempts or max_attempts,
        deadline_s=order.deadline_s or deadline_s,
        priority=order.priority,
        tags=order.tags,
        batch=order.batch,
        on_uncertain=order.on_uncertain,
        scheduled_for=due_at,
        due_at=due_at if later else None,
        queued_at=None if later else now,
        events=(Event(at=now, name=ENQUEUED, by=by),),
    )


ENQUEUED = "enqueue"
"""Name of a job's first event."""
