"""Responses to an enqueue: whether it is on record, what it is likely to cost, what looks wrong."""

from collections.abc import Sequence
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from jobs.requests import JobRequest
from jobs.states import Kind, State
from jobs.workflows import EnqueueWarning, WarningCode
from worker.api.models.problems import ProblemResponse
from worker.api.models.response import ResponseModel, Time, rfc3339
from worker.app.enqueue import EnqueueResult, RunPreview
from worker.app.shown_ids import shown_job_id
from worker.store.client import Durability

DurabilityField = Annotated[
    Durability | UnsetType,
    Meta(
        description="of an enqueue, where KNOUDS_REDIS_WAIT_REPLICAS is set: unconfirmed where too"
        " few replicas have it in time, so that a failover may lose it; send it again with the"
        " same id to ask anew"
    ),
]


class EnqueueWarningResponse(ResponseModel):
    """Why a run is likely to fail, by the provider's list of workflows and what they take."""

    code: WarningCode
    message: str
    field: Annotated[str, Meta(description="the field at fault, as target or inputs.prompt")]


EstCostField = Annotated[
    float | UnsetType | None,
    Meta(description="of an enqueue: the credits that its run is likely to cost; null if unknown"),
]
WarningsField = Annotated[
    list[EnqueueWarningResponse] | UnsetType,
    Meta(
        description="of an enqueue, and of a requeue with inputs: what is not as the provider lists"
        " it; absent if nothing is known to be wrong (KNOUDS_ENQUEUE_CHECKS)"
    ),
]


class EnqueuedJobResponse(ResponseModel):
    """What a token of the role `enqueue` is told of a job that exists already."""

    id: str
    state: State
    created_at: Time
    durability: DurabilityField = UNSET
    est_cost: EstCostField = UNSET
    warnings: WarningsField = UNSET


class BulkResultResponse(ResponseModel):
    """What became of one request: `status` is what a call of its own would have returned."""

    id: str | None
    status: int
    error: Annotated[
        ProblemResponse | UnsetType, Meta(description="present for refused requests only")
    ] = UNSET
    durability: DurabilityField = UNSET
    est_cost: EstCostField = UNSET
    warnings: WarningsField = UNSET


class RunPreviewResponse(ResponseModel):
    """What an enqueue would answer; nothing was enqueued."""

    kind: Kind
    target: str
    account: str
    est_cost: Annotated[
        float | None,
        Meta(description="the credits that the run is likely to cost; null if unknown"),
    ]
    warnings: Annotated[
        list[EnqueueWarningResponse],
        Meta(description="what is not as the provider lists it; empty if nothing is known"),
    ]


class BulkEnqueueResponse(ResponseModel):
    """One result for each request, in the same order."""

    results: list[BulkResultResponse]


def enqueued_job_response(enqueued: EnqueueResult) -> EnqueuedJobResponse:
    """That a job was enqueued, without anything that others wrote into it since."""
    return EnqueuedJobResponse(
        id=shown_job_id(enqueued.job.id),
        state=enqueued.job.state,
        created_at=rfc3339(enqueued.job.created_at),
        durability=enqueued.durability or UNSET,
        est_cost=est_cost_of(enqueued),
        warnings=warnings_of(enqueued),
    )


def bulk_result_response(enqueued: EnqueueResult) -> BulkResultResponse:
    """What became of a request that was taken."""
    return BulkResultResponse(
        id=shown_job_id(enqueued.job.id),
        status=202 if enqueued.created else 200,
        durability=enqueued.durability or UNSET,
        est_cost=est_cost_of(enqueued),
        warnings=warnings_of(enqueued),
    )


def run_preview_response(request: JobRequest, preview: RunPreview) -> RunPreviewResponse:
    """What an enqueue of a request would answer."""
    return RunPreviewResponse(
        kind=request.kind,
        target=request.target,
        account=request.account,
        est_cost=preview.est_cost,
        warnings=warning_responses(preview.warnings),
    )


def est_cost_of(enqueued: EnqueueResult | None) -> float | UnsetType | None:
    """The estimate in the answer to an enqueue."""
    return enqueued.preview.est_cost if enqueued and enqueued.preview else UNSET


def warnings_of(enqueued: EnqueueResult | None) -> list[EnqueueWarningResponse] | UnsetType:
    """The warnings in the answer to an enqueue."""
    found = enqueued.preview.warnings if enqueued and enqueued.preview else ()
    return warning_responses(found) or UNSET


def warning_responses(warnings: Sequence[EnqueueWarning]) -> list[EnqueueWarningResponse]:
    """Warnings, each with a sentence that names the field."""
    return [
        EnqueueWarningResponse(code=one.code, message=f"{one.field} {one.message}", field=one.field)
        for one in warnings
    ]
