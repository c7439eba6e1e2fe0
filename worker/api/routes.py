"""Every endpoint of the API in one table."""

from functools import cache, partial
from typing import Final

from aiohttp import web

from config.values import Role
from worker.api.auth.principal import Visibility
from worker.api.batch_endpoints import BATCH_ENDPOINTS
from worker.api.callback_endpoints import CALLBACK_ENDPOINTS
from worker.api.caller_endpoint import caller_endpoint
from worker.api.cap_endpoints import CAP_ENDPOINTS
from worker.api.credit_endpoints import CREDIT_ENDPOINTS
from worker.api.endpoints import BODY_PROBLEMS, Endpoint, Handler, Operation
from worker.api.handlers import (
    accounts,
    audit,
    breakers,
    bulk,
    events,
    health,
    holds,
    job_actions,
    jobs,
    metrics,
    sessions,
    webhooks,
    workers,
)
from worker.api.models import query_parameters, requests
from worker.api.models.audit import AuditPageResponse
from worker.api.models.breakers import BreakerPageResponse, BreakerResponse
from worker.api.models.bulk import BulkActionResponse
from worker.api.models.enqueue import (
    BulkEnqueueResponse,
    EnqueuedJobResponse,
    RunPreviewResponse,
)
from worker.api.models.events import TransitionResponse
from worker.api.models.health import (
    DocumentResponse,
    IndexResponse,
    LivenessResponse,
    ReadinessResponse,
    ReceiptResponse,
)
from worker.api.models.holds import (
    GroupPageResponse,
    HoldPageResponse,
    HoldResponse,
    ReleasedHoldResponse,
)
from worker.api.models.job_edits import EditBody
from worker.api.models.jobs import JobPageResponse, JobResponse, WhyResponse
from worker.api.models.response import encode_response
from worker.api.models.sessions import SessionPageResponse, SessionResponse
from worker.api.models.stats import (
    HistoryResponse,
    ReconcileOnResponse,
    StatsResponse,
    WorkerResponse,
)
from worker.api.openapi import build_document
from worker.api.prefix import PREFIX
from worker.api.prometheus import CONTENT_TYPE
from worker.api.schedule_endpoints import SCHEDULE_ENDPOINTS
from worker.app.action_table import (
    ACTION_TABLE,
    BreakerAction,
    EditAction,
    HoldAction,
    JobAction,
    PayloadAction,
    WorkerAction,
)
from worker.app.bulk_request import BulkAction
from worker.app.job_request_parser import JobRequestBody

_JOB_RESPONSES: Final = {200: JobResponse}
_IDEMPOTENCY_HEADER: Final = {
    jobs.IDEMPOTENCY_KEY: "the same as `id`; quotes around it are dropped"
}


def _job_endpoint(
    name: str,
    handler: Handler,
    body: type[requests.ActionBody],
    named: Operation | None = None,
    *,
    is_body_required: bool = False,
) -> Endpoint:
    return Endpoint(
        "POST",
        f"/v1/jobs/{{id}}/{name}",
        handler,
        Role.OPERATE,
        _JOB_RESPONSES,
        body,
        is_body_required,
        problem_statuses=(404, 409, *BODY_PROBLEMS),
        visibility=Visibility.TENANT,
        named=named,
    )


def _job_action(action: JobAction) -> Endpoint:
    """An action that takes nothing but a note."""
    named = Operation(
        f"{action}_job", f"{action.capitalize()} a job.", f"{ACTION_TABLE[action].effect}."
    )
    handler = partial(job_actions.run_action, action)
    return _job_endpoint(action, handler, requests.ActionBody, named)


def _breaker_action(name: str, handler: Handler, action: BreakerAction) -> Endpoint:
    return Endpoint(
        "POST",
        f"/v1/breakers/{{id}}/{name}",
        handler,
        ACTION_TABLE[action].role,
        {200: BreakerResponse},
        requests.ActionBody,
        problem_statuses=(404, 409, *BODY_PROBLEMS),
        named=Operation(
            action, f"{name.capitalize()} a breaker.", f"{ACTION_TABLE[action].effect}."
        ),
    )


def _bulk_action(action: BulkAction) -> Endpoint:
    row = ACTION_TABLE[JobAction(action)]
    is_requeue = action is BulkAction.REQUEUE
    return Endpoint(
        "POST",
        f"/v1/bulk/{action}",
        partial(bulk.run_bulk_action, action),
        row.role,
        {200: BulkActionResponse},
        requests.BulkRequeueBody if is_requeue else requests.BulkActionBody,
        is_body_required=True,
        problem_statuses=BODY_PROBLEMS,
        visibility=Visibility.TENANT,
        named=Operation(
            f"{action}_jobs",
            f"{action.capitalize()} every job that matches a filter.",
            f"Of each job: {row.effect[0].lower()}{row.effect[1:]}.",
        ),
    )


_ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        "POST",
        "/v1/jobs",
        jobs.enqueue_job,
        Role.ENQUEUE,
        {202: JobResponse, 200: JobResponse},
        JobRequestBody,
        is_body_required=True,
        headers=_IDEMPOTENCY_HEADER,
        problem_statuses=(409, 429, *BODY_PROBLEMS),
        visibility=Visibility.TENANT,
        brief={200: EnqueuedJobResponse},
    ),
    Endpoint(
        "POST",
        "/v1/jobs/bulk",
        jobs.enqueue_jobs,
        Role.ENQUEUE,
        {200: BulkEnqueueResponse},
        requests.BulkEnqueueBody,
        is_body_required=True,
        problem_statuses=(429, *BODY_PROBLEMS),
        visibility=Visibility.TENANT,
    ),
    Endpoint(
        "POST",
        "/v1/jobs/dry-run",
        jobs.preview_job,
        Role.ENQUEUE,
        {200: RunPreviewResponse},
        JobRequestBody,
        is_body_required=True,
        problem_statuses=(429, *BODY_PROBLEMS),
        visibility=Visibility.TENANT,
    ),
    Endpoint(
        "GET",
        "/v1/jobs",
        jobs.list_jobs,
        Role.WATCH,
        {200: JobPageResponse},
        query=query_parameters.JobsQuery,
        visibility=Visibility.OWN,
    ),
    Endpoint(
        "GET",
        "/v1/jobs/{id}",
        jobs.get_job,
        Role.WATCH,
        _JOB_RESPONSES,
        problem_statuses=(404,),
        visibility=Visibility.OWN,
    ),
    Endpoint(
        "GET",
        "/v1/jobs/{id}/why",
        jobs.explain_job,
        Role.WATCH,
        {200: WhyResponse},
        problem_statuses=(404,),
        visibility=Visibility.TENANT,
    ),
    Endpoint(
        "GET",
        "/v1/jobs/{id}/wait",
        jobs.wait_for_job,
        Role.WATCH,
        _JOB_RESPONSES,
        query=query_parameters.WaitQuery,
        problem_statuses=(404, 429),
        visibility=Visibility.OWN,
        is_long=True,
    ),
    _job_action(JobAction.CANCEL),
    _job_action(JobAction.PARK),
    _job_endpoint("release", job_actions.release_job, requests.ReleaseBody),
    _job_endpoint("requeue", job_actions.requeue_job, requests.RequeueBody),
    _job_action(JobAction.DISCARD),
    _job_endpoint("resolve", job_actions.resolve_job, requests.ResolveBody, is_body_required=True),
    Endpoint(
        "PATCH",
        "/v1/jobs/{id}",
        job_actions.edit_job,
        ACTION_TABLE[EditAction.EDIT].role,
        _JOB_RESPONSES,
        EditBody,
        is_body_required=True,
        problem_statuses=(404, 409, *BODY_PROBLEMS),
        visibility=Visibility.TENANT,
    ),
    Endpoint(
        "DELETE",
        "/v1/jobs/{id}/payloads",
        job_actions.erase_job_payloads,
        ACTION_TABLE[PayloadAction.ERASE].role,
        _JOB_RESPONSES,
        requests.ErasureBody,
        problem_statuses=(404, 409, *BODY_PROBLEMS),
        visibility=Visibility.TENANT,
    ),
    *map(_bulk_action, BulkAction),
    Endpoint(
        "GET",
        "/v1/groups",
        holds.list_groups,
        Role.WATCH,
        {200: GroupPageResponse},
        query=query_parameters.GroupsQuery,
    ),
    Endpoint("GET", "/v1/holds", holds.list_holds, Role.WATCH, {200: HoldPageResponse}),
    Endpoint(
        "POST",
        "/v1/holds",
        holds.set_hold,
        ACTION_TABLE[HoldAction.SET_HOLD].role,
        {201: HoldResponse, 200: HoldResponse},
        requests.HoldBody,
        is_body_required=True,
        problem_statuses=(409, *BODY_PROBLEMS),
    ),
    Endpoint(
        "POST",
        "/v1/holds/{id}/release",
        holds.release_hold,
        ACTION_TABLE[HoldAction.RELEASE_HOLD].role,
        {200: ReleasedHoldResponse},
        requests.ActionBody,
        problem_statuses=(404, 409, *BODY_PROBLEMS),
    ),
    Endpoint("GET", "/v1/breakers", breakers.list_breakers, Role.WATCH, {200: BreakerPageResponse}),
    _breaker_action("probe", breakers.probe, BreakerAction.PROBE_BREAKER),
    _breaker_action("reset", breakers.reset, BreakerAction.RESET_BREAKER),
    *(
        Endpoint(
            method,
            "/v1/workers/{id}/drain",
            handler,
            ACTION_TABLE[action].role,
            {200: WorkerResponse},
            requests.ActionBody,
            problem_statuses=(404, *BODY_PROBLEMS),
        )
        for method, handler, action in (
            ("POST", workers.drain_worker, WorkerAction.DRAIN),
            ("DELETE", workers.undo_worker_drain, WorkerAction.UNDO_DRAIN),
        )
    ),
    Endpoint(
        "POST",
        "/v1/accounts/{account}/reconcile-on",
        accounts.turn_on_reconcile,
        Role.OPERATE,
        {200: ReconcileOnResponse},
        requests.ActionBody,
        problem_statuses=BODY_PROBLEMS,
    ),
    Endpoint("GET", "/v1/stats", holds.get_stats, Role.WATCH, {200: StatsResponse}),
    Endpoint(
        "GET",
        "/v1/stats/history",
        metrics.get_history,
        Role.WATCH,
        {200: HistoryResponse},
        query=query_parameters.HistoryQuery,
    ),
    Endpoint(
        "GET",
        "/metrics",
        metrics.get_metrics,
        Role.WATCH,
        {200: None},
        content_type=CONTENT_TYPE,
    ),
    Endpoint(
        "GET",
        "/v1/events",
        events.stream_events,
        Role.WATCH,
        {200: TransitionResponse},
        query=query_parameters.EventsQuery,
        headers={"Last-Event-ID": "the id of the last event received: later events are sent"},
        problem_statuses=(429,),
        content_type=events.CONTENT_TYPE,
        visibility=Visibility.OWN,
        is_long=True,
    ),
    Endpoint(
        "GET",
        "/v1/audit",
        audit.list_audit_entries,
        Role.READ,
        {200: AuditPageResponse},
        query=query_parameters.AuditQuery,
    ),
    *CREDIT_ENDPOINTS,
    *CAP_ENDPOINTS,
    *SCHEDULE_ENDPOINTS,
    *CALLBACK_ENDPOINTS,
    *BATCH_ENDPOINTS,
    Endpoint(
        "GET", "/v1/sessions", sessions.list_sessions, Role.OPERATE, {200: SessionPageResponse}
    ),
    Endpoint(
        "POST",
        "/v1/sessions/{id}/revoke",
        sessions.revoke_session,
        Role.OPERATE,
        {200: SessionResponse},
        requests.ActionBody,
        problem_statuses=(404, *BODY_PROBLEMS),
    ),
    Endpoint("GET", "/livez", health.check_liveness, None, {200: LivenessResponse}),
    Endpoint("GET", "/readyz", health.check_readiness, None, {200: ReadinessResponse}),
    Endpoint("GET", "/", health.get_index, None, {200: IndexResponse}),
)


def webhook_endpoint(provider: str, header: str, header_format: str) -> Endpoint:
    """The endpoint that receives the webhooks of a provider, signed in `header`."""
    return Endpoint(
        "POST",
        f"/webhooks/{provider}",
        webhooks.receive_webhook,
        None,
        {200: ReceiptResponse},
        headers={header: f"`{header_format}`, HMAC-SHA256 of `<t>.` and the raw body"},
        problem_statuses=(400, 401, 404, 408, 413, 415, 429),
        is_signed=True,
    )


def build_endpoints(webhook: Endpoint) -> tuple[Endpoint, ...]:
    """Every endpoint of the API, with the one for the provider's webhooks."""

    @cache
    def document(prefix: str) -> bytes:
        return encode_response(DocumentResponse(**build_document(endpoints, prefix)))

    async def get_openapi(request: web.Request) -> web.Response:
        """This document."""
        return web.Response(body=document(request.app[PREFIX]), content_type="application/json")

    described = Endpoint("GET", "/openapi.json", get_openapi, None, {200: DocumentResponse})
    endpoints = (*_ENDPOINTS, caller_endpoint(_ENDPOINTS), webhook, described)
    return endpoints
