"""The response to a bulk action."""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from jobs.workflows import WarningCode
from worker.api.models.response import ResponseModel
from worker.app.bulk_request import SENDING_ACTIONS, BulkAction, BulkCounts, BulkRequest
from worker.app.shown_ids import shown_job_id


class BulkErrorResponse(ResponseModel):
    """A job that the action failed for."""

    id: str
    detail: str


class BulkWarningResponse(ResponseModel):
    """What is not as the provider lists it, of the patched inputs of some jobs."""

    code: WarningCode
    message: str
    field: str
    jobs: int


class BulkActionResponse(ResponseModel):
    """What became of the jobs. `matched` = `done` + `skipped` + `failed`."""

    matched: Annotated[int, Meta(description="jobs found; with a limit, until it was reached")]
    done: Annotated[int, Meta(description="in a dry run: would have been done")]
    skipped: Annotated[int, Meta(description="left as they are, see skipped_why")]
    skipped_why: Annotated[dict[str, int], Meta(description="reason and number of jobs")]
    failed: int
    errors: Annotated[list[BulkErrorResponse], Meta(description="the first 20 that failed")]
    est_cost: Annotated[
        float | None,
        Meta(
            description="credits that runs of the jobs done cost, without those the provider has"
            " already; null where that is unknown of a target"
        ),
    ]
    dry_run: bool
    holds_released: Annotated[
        int | UnsetType,
        Meta(description="present for a release only; each lets one canary through"),
    ] = UNSET
    deadlines_extended: Annotated[
        int | UnsetType,
        Meta(
            description="present for a release only: of those done, stuck runs that are polled for"
            " another deadline; nothing is sent for them"
        ),
    ] = UNSET
    inputs_lost: Annotated[
        int | UnsetType,
        Meta(
            description="present for a dry run of an action that sends: of those done, jobs whose"
            " inputs Redis lost; they would park as inputs_lost and are not sent"
        ),
    ] = UNSET
    ids: Annotated[
        list[str] | UnsetType,
        Meta(
            description="present for a dry run with `list_ids`: the first 1,000 jobs that would be"
            " done"
        ),
    ] = UNSET
    warnings: Annotated[
        list[BulkWarningResponse] | UnsetType,
        Meta(
            description="about patched inputs of jobs done, the first 20 different ones; absent if"
            " nothing is known to be wrong"
        ),
    ] = UNSET


def bulk_action_response(request: BulkRequest, counts: BulkCounts) -> BulkActionResponse:
    """What became of the jobs of a bulk action."""
    is_release = request.action is BulkAction.RELEASE
    return BulkActionResponse(
        matched=counts.matched,
        done=counts.done,
        skipped=counts.skipped.total(),
        skipped_why=counts.skipped,
        failed=counts.failed,
        errors=[
            BulkErrorResponse(id=shown_job_id(job_id), detail=detail)
            for job_id, detail in counts.errors
        ],
        est_cost=counts.est_cost,
        dry_run=request.dry_run,
        holds_released=counts.holds_released if is_release else UNSET,
        deadlines_extended=counts.deadlines_extended if is_release else UNSET,
        inputs_lost=counts.inputs_lost
        if request.dry_run and request.action in SENDING_ACTIONS
        else UNSET,
        ids=[shown_job_id(one) for one in counts.ids] if request.lists_ids else UNSET,
        warnings=[
            BulkWarningResponse(
                code=one.code, message=f"{one.field} {one.message}", field=one.field, jobs=jobs
            )
            for one, jobs in counts.warnings.items()
        ]
        or UNSET,
    )
