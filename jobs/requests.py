"""A job request, and the job that it becomes."""

import hashlib
from dataclasses import dataclass, field

import msgspec

from jobs.dependencies.references import references_in
from jobs.job import Job, JobEvent
from jobs.lanes import JobId
from jobs.states import Kind, OnUncertain, State
from jobs.tenants import tenant_job_id, tenant_of


@dataclass(frozen=True, slots=True)
class JobRequest:
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
    on_uncertain: OnUncertain | None = None
    callback_url: str | None = None
    start_by: float | None = None
    """It is cancelled unless it is sent by then."""
    metadata: bytes | None = field(default=None, repr=False)
    """A JSON object as text, keys sorted; see `worker.app.job_metadata`."""
    fair_key: str | None = None
    after: tuple[str, ...] = ()
    """The jobs that have to succeed first, by the ids that the app knows."""

    @property
    def fingerprint(self) -> str:
        """Digest of the request. The same job id with another digest is a conflict."""
        facts: tuple[object, ...] = (
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
            self.on_uncertain or OnUncertain.PARK,
        )
        if self.callback_url is not None:  # those of older requests stay the same
            facts += (("callback_url", self.callback_url),)
        if self.start_by is not None:
            facts += (("start_by", self.start_by),)
        if self.metadata is not None:
            facts += (("metadata", self.metadata.decode()),)
        if self.fair_key is not None:
            facts += (("fair_key", self.fair_key),)
        if self.after:
            facts += (("after", self.after),)
        digest = hashlib.blake2s(self.inputs, digest_size=12)
        digest.update(msgspec.json.encode(facts))
        return digest.hexdigest()


def new_job(
    request: JobRequest,
    job_id: JobId,
    now: float,
    *,
    max_attempts: int,
    deadline_s: float,
    on_uncertain: OnUncertain = OnUncertain.PARK,
    callback_url: str | None = None,
    by: str = "",
    counted_for: str = "",
    schedule: str = "",
    parents_check_at: float | None = None,
) -> Job:
    """The job for a request: `waiting` for others, `scheduled` for later, else `queued`.

    `max_attempts`, `deadline_s`, `on_uncertain` and `callback_url` are defaults for what the
    request leaves open; `counted_for` is the token whose limit of open jobs counts it, `schedule`
    what it is a run of, `parents_check_at` when to look at those others.
    """
    due_at = request.run_at if request.delay_s is None else now + request.delay_s
    later = due_at is not None and due_at > now
    state = State.WAITING if request.after else State.SCHEDULED if later else State.QUEUED
    return Job(
        id=job_id,
        kind=request.kind,
        target=request.target,
        account=request.account,
        state=state,
        since=now,
        created_at=now,
        updated_at=now,
        fingerprint=request.fingerprint,
        max_attempts=request.max_attempts or max_attempts,
        deadline_s=request.deadline_s or deadline_s,
        priority=request.priority,
        tags=request.tags,
        batch=request.batch,
        fair_key=request.fair_key,
        on_uncertain=request.on_uncertain or on_uncertain,
        scheduled_for=due_at,
        due_at=due_at if state is State.SCHEDULED else None,
        queued_at=now if state is State.QUEUED else None,
        after=tuple(tenant_job_id(tenant_of(job_id), one) for one in request.after),
        takes_results=bool(request.after) and bool(references_in(request.inputs)),
        parents_check_at=parents_check_at if request.after else None,
        callback_url=request.callback_url or callback_url,
        start_by=request.start_by,
        has_metadata=request.metadata is not None,
        counted_for=counted_for,
        schedule=schedule,
        input_bytes=len(request.inputs) if counted_for else 0,
        events=(JobEvent(at=now, name="enqueue", by=by),),
    )
