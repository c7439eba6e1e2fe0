"""The endpoints of batches; `worker.api.routes` has them in the table of all."""

from typing import Final

from config.values import Role
from worker.api.auth.principal import Visibility
from worker.api.endpoints import BODY_PROBLEMS, JSON_LINES, Endpoint, Handler
from worker.api.handlers import batches
from worker.api.models import batch_requests, requests
from worker.api.models.batches import (
    BatchActionResponse,
    BatchCreatedResponse,
    BatchPageResponse,
    BatchResponse,
    BatchResultResponse,
)
from worker.app.action_table import ACTION_TABLE, BatchAction


def _action(name: str, handler: Handler, action: BatchAction) -> Endpoint:
    return Endpoint(
        "POST",
        f"/v1/batches/{{name}}/{name}",
        handler,
        ACTION_TABLE[action].role,
        {200: BatchActionResponse},
        requests.ActionBody,
        problem_statuses=(404, *BODY_PROBLEMS),
        visibility=Visibility.TENANT,
    )


BATCH_ENDPOINTS: Final = (
    Endpoint(
        "POST",
        "/v1/batches",
        batches.create_batch,
        ACTION_TABLE[BatchAction.CREATE].role,
        {200: BatchResponse, 201: BatchResponse},
        batch_requests.BatchBody,
        is_body_required=True,
        problem_statuses=(409, *BODY_PROBLEMS),
        visibility=Visibility.OWN,
        brief={200: BatchCreatedResponse, 201: BatchCreatedResponse},
    ),
    Endpoint(
        "GET",
        "/v1/batches",
        batches.list_batches,
        Role.WATCH,
        {200: BatchPageResponse},
        query=batch_requests.BatchesQuery,
        visibility=Visibility.OWN,
    ),
    Endpoint(
        "GET",
        "/v1/batches/{name}",
        batches.get_batch,
        Role.WATCH,
        {200: BatchResponse},
        problem_statuses=(404,),
        visibility=Visibility.OWN,
    ),
    Endpoint(
        "GET",
        "/v1/batches/{name}/results",
        batches.list_batch_results,
        Role.WATCH,
        {200: BatchResultResponse},
        query=batch_requests.BatchResultsQuery,
        problem_statuses=(404, 429),
        content_type=JSON_LINES,
        visibility=Visibility.OWN,
    ),
    Endpoint(
        "POST",
        "/v1/batches/{name}/seal",
        batches.seal_batch,
        ACTION_TABLE[BatchAction.SEAL].role,
        {200: BatchResponse},
        requests.ActionBody,
        problem_statuses=(404, *BODY_PROBLEMS),
        visibility=Visibility.OWN,
        brief={200: BatchCreatedResponse},
    ),
    _action("cancel", batches.cancel_batch, BatchAction.CANCEL),
    _action("requeue-failed", batches.requeue_failed_jobs, BatchAction.REQUEUE_FAILED),
)
