"""Every path of the API in one table."""

from functools import cache
from typing import Final

import msgspec
from aiohttp import web
from pydantic import BaseModel

from config.settings import Role
from worker.api.endpoints import Endpoint, Handler
from worker.api.handlers import (
    audit,
    bulk,
    events,
    health,
    holds,
    job_actions,
    jobs,
    metrics,
    webhooks,
)
from worker.api.models import answers, requests
from worker.api.openapi import build_document
from worker.api.prometheus import CONTENT_TYPE
from worker.app.job_request_parser import JobRequestBody
from worker.provider.knouds.webhooks import SIGNATURE_HEADER

_JOB_RESPONSE: Final = {200: answers.Job}
_IDEMPOTENCY_HEADER: Final = {
    jobs.IDEMPOTENCY_KEY: "the same as `id`; quotes around it are dropped"
}


def _job_action(
    name: str, handler: Handler, body: type[BaseModel] = requests.ActionBody
) -> Endpoint:
    path = f"/v1/jobs/{{id}}/{name}"
    required = body is requests.ResolveBody
    problems = (400, 404, 409, 413, 415, 422)
    return Endpoint(
        "POST",
        path,
        handler,
        Role.OPERATE,
        _JOB_RESPONSE,
        body,
        required,
        problem_statuses=problems,
    )


def _bulk_action(
    name: str, handler: Handler, body: type[BaseModel] = requests.BulkActionBody
) -> Endpoint:
    return Endpoint(
        "POST",
        f"/v1/bulk/{name}",
        handler,
        Role.OPERATE,
        {200: answers.BulkActAnswer},
        body,
        is_body_required=True,
        problem_statuses=(400, 413, 415, 422),
    )


async def openapi(request: web.Request) -> web.Response:
    """This document."""
    del request
    return web.Response(body=_document(), content_type="application/json")


@cache
def _document() -> bytes:
    return msgspec.json.encode(build_document(ENDPOINTS))


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        "POST",
        "/v1/jobs",
        jobs.enqueue,
        Role.ENQUEUE,
        {202: answers.Job, 200: answers.Job},
        JobRequestBody,
        is_body_required=True,
        headers=_IDEMPOTENCY_HEADER,
        problem_statuses=(400, 409, 413, 415, 422),
    ),
    Endpoint(
        "POST",
        "/v1/jobs/bulk",
        jobs.enqueue_bulk,
        Role.ENQUEUE,
        {200: answers.BulkAnswer},
        requests.BulkEnqueueBody,
        is_body_required=True,
        problem_statuses=(400, 413, 415, 422),
    ),
    Endpoint(
        "GET",
        "/v1/jobs",
        jobs.list_jobs,
        Role.WATCH,
        {200: answers.JobPage},
        query=requests.JobsQuery,
    ),
    Endpoint(
        "GET", "/v1/jobs/{id}", jobs.one_job, Role.WATCH, _JOB_RESPONSE, problem_statuses=(404,)
    ),
    Endpoint(
        "GET",
        "/v1/jobs/{id}/why",
        jobs.why_not_running,
        Role.WATCH,
        {200: answers.Why},
        problem_statuses=(404,),
    ),
    Endpoint(
        "GET",
        "/v1/jobs/{id}/wait",
        jobs.wait,
        Role.WATCH,
        _JOB_RESPONSE,
        query=requests.WaitQuery,
        problem_statuses=(404,),
    ),
    _job_action("cancel", job_actions.cancel),
    _job_action("park", job_actions.park),
    _job_action("release", job_actions.release),
    _job_action("requeue", job_actions.requeue, requests.RequeueBody),
    _job_action("discard", job_actions.discard),
    _job_action("resolve", job_actions.resolve, requests.ResolveBody),
    _bulk_action("release", bulk.bulk_release),
    _bulk_action("requeue", bulk.bulk_requeue, requests.BulkRequeueBody),
    _bulk_action("discard", bulk.bulk_discard),
    _bulk_action("cancel", bulk.bulk_cancel),
    Endpoint(
        "GET",
        "/v1/groups",
        holds.groups,
        Role.WATCH,
        {200: answers.GroupPage},
        query=requests.GroupsQuery,
    ),
    Endpoint("GET", "/v1/holds", holds.holds, Role.WATCH, {200: answers.HoldPage}),
    Endpoint(
        "POST",
        "/v1/holds",
        holds.set_hold,
        Role.OPERATE,
        {201: answers.Hold, 200: answers.Hold},
        requests.HoldBody,
        is_body_required=True,
        problem_statuses=(400, 413, 415, 422),
    ),
    Endpoint(
        "POST",
        "/v1/holds/{id}/release",
        holds.release_hold,
        Role.OPERATE,
        {200: answers.Released},
        requests.ActionBody,
        problem_statuses=(400, 404, 413, 415, 422),
    ),
    Endpoint("GET", "/v1/stats", holds.stats, Role.WATCH, {200: answers.Stats}),
    Endpoint(
        "GET",
        "/v1/stats/history",
        metrics.history,
        Role.WATCH,
        {200: answers.History},
        query=requests.HistoryQuery,
    ),
    Endpoint(
        "GET",
        "/metrics",
        metrics.metrics,
        Role.WATCH,
        {200: answers.Text},
        content_type=CONTENT_TYPE,
    ),
    Endpoint(
        "GET",
        "/v1/events",
        events.events,
        Role.WATCH,
        {200: answers.Moved},
        query=requests.EventsQuery,
        headers={"Last-Event-ID": "the id of the last event seen: what came after it is sent"},
        content_type=events.CONTENT_TYPE,
    ),
    Endpoint(
        "GET",
        "/v1/audit",
        audit.audit,
        Role.READ,
        {200: answers.AuditPage},
        query=requests.AuditQuery,
    ),
    Endpoint(
        "POST",
        "/webhooks/knouds",
        webhooks.receive,
        None,
        {200: answers.Delivered},
        headers={SIGNATURE_HEADER: "`t=<unix>,v1=<hex>`, HMAC-SHA256 of `<t>.` and the raw body"},
        problem_statuses=(401, 404, 413),
        is_signed=True,
    ),
    Endpoint("GET", "/livez", health.livez, None, {200: answers.Live}),
    Endpoint("GET", "/readyz", health.readyz, None, {200: answers.Ready}),
    Endpoint("GET", "/openapi.json", openapi, None, {200: answers.Document}),
    Endpoint("GET", "/", health.index, None, {200: answers.Index}),
)
