"""The bodies of callbacks: `{type, timestamp, sequence, data}`, where `data` is the job as JSON.

`CallbackJob` has the fields of a job of the API, in their order; a test holds the two together. A
worker does not load the API, so it has its own.
"""

from typing import Any, Final

import msgspec

from jobs.batches import BatchSummary
from jobs.callbacks import Callback, CallbackSubject, CallbackType
from jobs.job import Attempt, Job, JobEvent, Reason
from jobs.payloads import MissingPayload
from jobs.tenants import app_job_id, tenant_of
from worker.app.rfc3339 import optional_rfc3339, rfc3339
from worker.store.codec import decode_job
from worker.store.payloads import PayloadStore

_encoder: Final = msgspec.json.Encoder()


class CallbackJob(msgspec.Struct, kw_only=True):
    """A job in a callback: as in a response of the API, without inputs and live facts."""

    id: str
    """As the app of its tenant knows it."""
    tenant: str
    kind: str
    target: str
    account: str
    state: str
    reason: dict[str, Any] | None
    held_by: None = None
    waits_for_budget: None = None
    priority: int
    tags: tuple[str, ...]
    batch: str | None
    fair_key: str | None
    schedule: str | None
    callback_url: str | None
    metadata: msgspec.Raw | None
    after: tuple[str, ...]
    inputs: None = None
    result: msgspec.Raw | None
    cost: float | None
    estimate: float | None
    mode: str | None
    attempt: int
    max_attempts: int
    execution_id: str | None
    request_id: str | None
    created_at: str
    scheduled_for: str | None
    start_by: str | None
    submitted_at: str | None
    eta: None = None
    eta_late: None = None
    finished_at: str | None
    updated_at: str
    attempts: list[dict[str, Any]]
    events: list[dict[str, Any]]
    finding: str | None
    payloads_hidden: bool = False
    payload_problem: str | None


class CallbackBatch(msgspec.Struct, kw_only=True):
    """A batch as a body has it: its counts at the moment of the event."""

    name: str
    """As its app knows it."""
    tenant: str
    state: str
    completions: int
    total: int
    states: dict[str, int]
    cost: float
    created_at: str
    sealed_at: str | None
    cancelled_at: str | None
    metadata: msgspec.Raw | None


class CallbackBody(msgspec.Struct):
    """What a receiver gets."""

    type: str
    timestamp: str
    """When it happened."""
    sequence: int
    """Larger is newer, among the events of one job."""
    data: msgspec.Raw


class StoredCallbackBodies:
    """Writes bodies from the record that a callback has kept, and the result of its job."""

    def __init__(self, payloads: PayloadStore) -> None:
        self._payloads = payloads

    async def body(self, callback: Callback) -> bytes:
        """The body of a callback, as JSON."""
        if callback.subject is CallbackSubject.BATCH:
            return _written(callback, _batch_data(callback))
        job = decode_job(bytes(callback.record))
        result: bytes | None = None
        problem: MissingPayload | None = None
        metadata: bytes | None = None
        if callback.type is CallbackType.JOB_SUCCEEDED:
            stored = await self._payloads.read(job.id)
            result, problem, metadata = stored.result, stored.result_problem, stored.metadata
        elif job.has_metadata:
            metadata = (await self._payloads.metadata([job.id])).get(job.id)
        return _written(callback, callback_job(job, result, problem, metadata))


def _written(callback: Callback, data: CallbackJob | CallbackBatch) -> bytes:
    return _encoder.encode(
        CallbackBody(
            type=callback.type.value,
            timestamp=rfc3339(callback.created_at),
            sequence=callback.sequence,
            data=msgspec.Raw(_encoder.encode(data)),
        )
    )


def _batch_data(callback: Callback) -> CallbackBatch:
    found = msgspec.json.decode(bytes(callback.record), type=BatchSummary)
    return CallbackBatch(
        name=app_job_id(found.address),
        tenant=tenant_of(found.address),
        state=found.state.value,
        completions=found.completions,
        total=found.total,
        states={state.value: count for state, count in found.states.items()},
        cost=found.cost,
        created_at=rfc3339(found.created_at),
        sealed_at=optional_rfc3339(found.sealed_at),
        cancelled_at=optional_rfc3339(found.cancelled_at),
        metadata=msgspec.Raw(found.metadata.encode()) if found.metadata else None,
    )


def callback_job(
    job: Job,
    result: bytes | None,
    problem: MissingPayload | None,
    metadata: bytes | None = None,
) -> CallbackJob:
    """The job of a body. `problem`: why it has no result."""
    return CallbackJob(
        id=app_job_id(job.id),
        tenant=tenant_of(job.id),
        kind=job.kind.value,
        target=job.target,
        account=job.account,
        state=job.state.value,
        reason=None if job.reason is None else _reason(job.reason),
        priority=job.priority,
        tags=job.tags,
        batch=job.batch,
        fair_key=job.fair_key,
        schedule=app_job_id(job.schedule) or None,
        callback_url=job.callback_url,
        metadata=None if metadata is None else msgspec.Raw(metadata),
        after=tuple(map(app_job_id, job.after)),
        result=None if result is None else msgspec.Raw(result),
        cost=job.cost,
        estimate=job.estimate,
        mode=None if job.mode is None else job.mode.value,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        execution_id=job.execution_id,
        request_id=job.request_id,
        created_at=rfc3339(job.created_at),
        scheduled_for=optional_rfc3339(job.scheduled_for),
        start_by=optional_rfc3339(job.start_by),
        submitted_at=optional_rfc3339(job.submitted_at),
        finished_at=optional_rfc3339(job.finished_at),
        updated_at=rfc3339(job.updated_at),
        attempts=[_attempt(one) for one in job.attempts],
        events=[_event(one) for one in job.events],
        finding=None if job.finding is None else job.finding.value,
        payload_problem=_problem_name(problem),
    )


def _problem_name(problem: MissingPayload | None) -> str | None:
    if problem is None:
        return None
    return "payload_unreadable" if problem is MissingPayload.KEY_LOST else "payloads_erased"


def _reason(reason: Reason) -> dict[str, Any]:
    names = ("code", "http_status", "message", "action", "action_url", "hold_id")
    return {name: getattr(reason, name) for name in names}


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "mode": attempt.mode,
        "started_at": rfc3339(attempt.started_at),
        "ended_at": optional_rfc3339(attempt.ended_at),
        "outcome": attempt.outcome,
        "http_status": attempt.http_status,
        "code": attempt.code,
        "message": attempt.message,
        "provider_status": attempt.provider_status,
        "execution_id": attempt.execution_id,
        "request_id": attempt.request_id,
        "polls": attempt.polls,
        "cost": attempt.cost,
        "cost_source": attempt.cost_source,
    }


def _event(event: JobEvent) -> dict[str, Any]:
    return {"at": rfc3339(event.at), "event": event.name, "by": event.by, "note": event.note}
