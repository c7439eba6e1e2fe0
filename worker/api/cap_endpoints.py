"""The endpoints of concurrency caps; `worker.api.routes` has them in the table of all."""

from typing import Final

from config.values import Role
from worker.api.endpoints import BODY_PROBLEMS, Endpoint
from worker.api.handlers import caps
from worker.api.models.caps import CapBody, CapPageResponse, CapResponse, RemovedCapResponse
from worker.api.models.requests import ActionBody
from worker.app.action_table import ACTION_TABLE, CapAction

CAP_ENDPOINTS: Final = (
    Endpoint("GET", "/v1/caps", caps.list_caps, Role.WATCH, {200: CapPageResponse}),
    Endpoint(
        "GET",
        "/v1/caps/{scope}",
        caps.get_cap,
        Role.WATCH,
        {200: CapResponse},
        problem_statuses=(404,),
    ),
    Endpoint(
        "PUT",
        "/v1/caps/{scope}",
        caps.set_cap,
        ACTION_TABLE[CapAction.SET_CAP].role,
        {200: CapResponse},
        CapBody,
        is_body_required=True,
        problem_statuses=(409, *BODY_PROBLEMS),
    ),
    Endpoint(
        "DELETE",
        "/v1/caps/{scope}",
        caps.remove_cap,
        ACTION_TABLE[CapAction.REMOVE_CAP].role,
        {200: RemovedCapResponse},
        ActionBody,
        problem_statuses=(404, 409, *BODY_PROBLEMS),
    ),
)
