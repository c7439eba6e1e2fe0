"""The endpoints of schedules; `worker.api.routes` has them in the table of all."""

from typing import Final

from config.values import Role
from worker.api.auth.principal import Visibility
from worker.api.endpoints import BODY_PROBLEMS, Endpoint, Handler
from worker.api.handlers import schedules
from worker.api.handlers.jobs import IDEMPOTENCY_KEY
from worker.api.models.jobs import JobResponse
from worker.api.models.requests import ActionBody
from worker.api.models.schedules import ScheduleBody, SchedulePageResponse, ScheduleResponse
from worker.app.action_table import ACTION_TABLE, ScheduleAction

_PATH: Final = "/v1/schedules/{name}"


def _switch(name: str, handler: Handler, action: ScheduleAction) -> Endpoint:
    return Endpoint(
        "POST",
        f"{_PATH}/{name}",
        handler,
        ACTION_TABLE[action].role,
        {200: ScheduleResponse},
        ActionBody,
        problem_statuses=(404, 409, *BODY_PROBLEMS),
        visibility=Visibility.TENANT,
    )


SCHEDULE_ENDPOINTS: Final = (
    Endpoint(
        "GET",
        "/v1/schedules",
        schedules.list_schedules,
        Role.READ,
        {200: SchedulePageResponse},
        visibility=Visibility.TENANT,
    ),
    Endpoint(
        "GET",
        _PATH,
        schedules.get_schedule,
        Role.READ,
        {200: ScheduleResponse},
        problem_statuses=(404,),
        visibility=Visibility.TENANT,
    ),
    Endpoint(
        "PUT",
        _PATH,
        schedules.set_schedule,
        ACTION_TABLE[ScheduleAction.SET_SCHEDULE].role,
        {200: ScheduleResponse},
        ScheduleBody,
        is_body_required=True,
        problem_statuses=(409, *BODY_PROBLEMS),
        visibility=Visibility.TENANT,
    ),
    Endpoint(
        "DELETE",
        _PATH,
        schedules.remove_schedule,
        ACTION_TABLE[ScheduleAction.REMOVE_SCHEDULE].role,
        {200: ScheduleResponse},
        ActionBody,
        problem_statuses=(404, 409, *BODY_PROBLEMS),
        visibility=Visibility.TENANT,
    ),
    _switch("enable", schedules.enable_schedule, ScheduleAction.ENABLE_SCHEDULE),
    _switch("disable", schedules.disable_schedule, ScheduleAction.DISABLE_SCHEDULE),
    Endpoint(
        "POST",
        f"{_PATH}/run",
        schedules.run_schedule,
        ACTION_TABLE[ScheduleAction.RUN_SCHEDULE].role,
        {200: JobResponse, 202: JobResponse},
        ActionBody,
        headers={IDEMPOTENCY_KEY: "one job for each key; without it each call enqueues one"},
        problem_statuses=(404, 409, *BODY_PROBLEMS),
        visibility=Visibility.TENANT,
    ),
)
