"""Responses that show batches."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from jobs.batches import BatchState
from jobs.states import State
from jobs.tenants import tenant_of
from worker.api.models.bulk import BulkActionResponse
from worker.api.models.jobs import ReasonResponse, reason_response
from worker.api.models.response import (
    RawJson,
    ResponseModel,
    Time,
    optional_rfc3339,
    rfc3339,
)
from worker.app.batches import BatchResult
from worker.app.shown_ids import shown_job_id
from worker.store.batch import Batch
from worker.store.batches import BatchFailures


class BatchFailureResponse(ResponseModel):
    """A cause of failures in a batch."""

    code: str
    jobs: int


class BatchResponse(ResponseModel):
    """A batch and the progress of its jobs. Counts are exact."""

    name: Annotated[
        str,
        Meta(
            description="as the app of its tenant knows it; for a token without a tenant"
            " <tenant>~<name>, where it has one"
        ),
    ]
    tenant: str
    state: Annotated[
        BatchState,
        Meta(
            description="open: more jobs may join; sealed: no more may, and some have not settled;"
            " complete: all have settled, until one of them is requeued"
        ),
    ]
    stalled: Annotated[
        bool, Meta(description="every job that has not settled is parked: it waits for a person")
    ]
    total: Annotated[int, Meta(description="jobs that joined it, pruned ones included")]
    states: Annotated[dict[State, int], Meta(description="jobs in each state")]
    pruned: Annotated[int, Meta(description="of `total`: no longer on record")]
    cost: Annotated[float, Meta(description="credits that its attempts cost so far")]
    eta_s: Annotated[
        float | None,
        Meta(
            description="seconds until all jobs but the parked ones have settled, at the rate of"
            " the last ten minutes; null where nothing succeeded in them"
        ),
    ]
    created_at: Annotated[Time | None, Meta(description="null where jobs name it, and no more")]
    created_by: str
    sealed_at: Time | None
    cancelled_at: Time | None
    completions: Annotated[
        int, Meta(description="how often all its jobs had settled once it was sealed")
    ]
    last_settled_at: Annotated[Time | None, Meta(description="when one of its jobs settled last")]
    metadata: Annotated[
        RawJson | None,
        Meta(
            description="null for a role that may not see payloads",
            extra_json_schema={"type": ["object", "null"]},
        ),
    ]
    note: str
    callback_url: Annotated[
        str | None, Meta(description="null for none, and for a role that may not see payloads")
    ]
    failures: Annotated[
        list[BatchFailureResponse] | UnsetType,
        Meta(
            description="codes of parked jobs and dead letters, of the latest 500 of each, the"
            " most frequent first; absent in lists"
        ),
    ] = UNSET


class BatchPageResponse(ResponseModel):
    """Batches, the most recently used first."""

    items: list[BatchResponse]
    next_cursor: str | None


class BatchActionResponse(ResponseModel):
    """A batch after an action on its jobs, and what became of them."""

    batch: BatchResponse
    jobs: BulkActionResponse


class BatchCreatedResponse(ResponseModel):
    """A batch, for a token that may not see more of it."""

    name: str
    state: BatchState


class BatchResultResponse(ResponseModel):
    """One line of the results of a batch: a job that has settled."""

    cursor: Annotated[str, Meta(description="the position behind it")]
    id: str
    state: State
    metadata: Annotated[
        RawJson | None,
        Meta(
            description="what the app gave the job; null where it gave nothing",
            extra_json_schema={"type": ["object", "null"]},
        ),
    ]
    result: Annotated[
        RawJson | None,
        Meta(description="the provider's result, unchanged; null where there is none"),
    ]
    cost: Annotated[float | None, Meta(description="credits of all its attempts")]
    reason: ReasonResponse | None
    finished_at: Time | None


def batch_response(
    batch: Batch, failures: BatchFailures | None = None, *, payloads_hidden: bool = False
) -> BatchResponse:
    """A batch as JSON; roles that may not see payloads see neither its metadata nor its note."""
    record = batch.record
    shown = "" if record is None or payloads_hidden else record.metadata
    return BatchResponse(
        name=shown_job_id(batch.address),
        tenant=tenant_of(batch.address),
        state=batch.state,
        stalled=batch.is_stalled,
        total=batch.total,
        states=batch.states,
        pruned=batch.pruned,
        cost=batch.cost,
        eta_s=batch.eta_s(),
        failures=UNSET
        if failures is None
        else [BatchFailureResponse(code=code, jobs=jobs) for code, jobs in failures.codes],
        created_at=None if record is None else rfc3339(record.created_at),
        created_by="" if record is None else record.created_by,
        sealed_at=optional_rfc3339(batch.sealed_at),
        cancelled_at=optional_rfc3339(batch.cancelled_at),
        completions=batch.completions,
        last_settled_at=optional_rfc3339(batch.last_settled_at),
        metadata=msgspec.Raw(shown.encode()) if shown else None,
        note="" if record is None or payloads_hidden else record.note,
        callback_url=None if record is None or payloads_hidden else record.callback_url or None,
    )


def batch_result_response(found: BatchResult, *, payloads_hidden: bool) -> BatchResultResponse:
    """A settled job of a batch."""
    job, result, metadata = found.job, found.payloads.result, found.payloads.metadata
    return BatchResultResponse(
        cursor=found.cursor,
        id=shown_job_id(job.id),
        state=job.state,
        metadata=None if payloads_hidden or metadata is None else msgspec.Raw(metadata),
        result=None if payloads_hidden or result is None else msgspec.Raw(result),
        cost=job.cost,
        reason=None if job.reason is None else reason_response(job.reason),
        finished_at=optional_rfc3339(job.finished_at),
    )
