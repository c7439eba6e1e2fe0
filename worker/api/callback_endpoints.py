"""The endpoints of callbacks; `worker.api.routes` has them in the table of all."""

from typing import Final

from config.values import Role
from worker.api.auth.principal import Visibility
from worker.api.endpoints import BODY_PROBLEMS, Endpoint
from worker.api.handlers import callbacks
from worker.api.models import requests
from worker.api.models.callback_query import CallbacksQuery
from worker.api.models.callbacks import CallbackPageResponse, CallbackResponse
from worker.app.action_table import ACTION_TABLE, CallbackAction

CALLBACK_ENDPOINTS: Final = (
    Endpoint(
        "GET",
        "/v1/callbacks",
        callbacks.list_callbacks,
        Role.WATCH,
        {200: CallbackPageResponse},
        query=CallbacksQuery,
        visibility=Visibility.OWN,
    ),
    Endpoint(
        "GET",
        "/v1/callbacks/{id}",
        callbacks.get_callback,
        Role.WATCH,
        {200: CallbackResponse},
        problem_statuses=(404,),
        visibility=Visibility.OWN,
    ),
    Endpoint(
        "POST",
        "/v1/callbacks/{id}/resend",
        callbacks.resend_callback,
        ACTION_TABLE[CallbackAction.RESEND].role,
        {200: CallbackResponse},
        requests.ActionBody,
        problem_statuses=(404, *BODY_PROBLEMS),
        visibility=Visibility.TENANT,
    ),
)
