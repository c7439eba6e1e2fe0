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
from worker.api.openapi import build
from worker.api.prometheus import CONTENT_TYPE
from worker.api.webhook_receiver import HEADER
from worker.app.job_request_parser import OrderRequest

_JOB: Final = {200: answers.Job}
_KEY: Final = {jobs.IDEMPOTENCY_KEY: "the same as `id`; quotes around it are dropped"}


def _act(name: str, handler: Handler, body: type[BaseModel] = requests.ActRequest) -> Endpoint:
    path = f"/v1/jobs/{{id}}/{name}"
    required = body is requests.ResolveRequest
    problems = (400, 404, 409, 413, 415, 422)
    return Endpoint("POST", path, handler, Role.OPERATE, _JOB, body, required, problems=problems)


def _bulk(name: str, handler: Handler, body: type[BaseModel] = requests.BulkActRequest) -> Endpoint:
    return Endpoint(
        "POST",
        f"/v1/bulk/{name}",
        handler,
        Role.OPERATE,
        {200: answers.BulkActAnswer},
        body,
        body_required=True,
        problems=(400, 413, 415, 422),
    )


async def openapi(request: web.Request) -> web.Response:
    """This document."""
    del request
    return web.Response(body=_document(), content_type="application/json")


@cache
def _document() -> bytes:
    return msgspec.json.encode(build(ENDPOINTS))


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        "POST",
        "/v1/jobs",
        jobs.enqueue,
        Role.ENQUEUE,
        {202: answers.Job, 200: answers.Job},
        OrderRequest,
        body_required=True,
        headers=_KEY,
        problems=(400, 409, 413, 415, 422),
    ),
    Endpoint(
        "POST",
        "/v1/jobs/bulk",
        jobs.enqueue_bulk,
        Role.ENQUEUE,
        {200: answers.BulkAnswer},
        requests.BulkRequest,
        body_required=True,
        problems=(400, 413, 415, 422),
    ),
    Endpoint(
        "GET",
        "/v1/jobs",
        jobs.list_jobs,
        Role.WATCH,
        {200: answers.JobPage},
        query=requests.JobsQuery,
    ),
    Endpoint("GET", "/v1/jobs/{id}", jobs.one_job, Role.WATCH, _JOB, problems=(404,)),
    Endpoint(
        "GET",
        "/v1/jobs/{id}/why",
        jobs.why_not_running,
        Role.WATCH,
        {200: answers.Why},
        problems=(404,),
    ),
    Endpoint(
        "GET",
        "/v1/jobs/{id}/wait",
        jobs.wait,
        Role.WATCH,
        _JOB,
        query=requests.WaitQuery,
        problems=(404,),
    ),
    _act("cancel", job_actions.cancel),
    _act("park", job_actions.park),
    _act("release", job_actions.release),
    _act("requeue", job_actions.requeue, requests.RequeueRequest),
    _act("discard", job_actions.discard),
    _act("resolve", job_actions.resolve, requests.ResolveRequest),
    _bulk("release", bulk.bulk_release),
    _bulk("requeue", bulk.bulk_requeue, requests.BulkRequeueRequest),
    _bulk("discard", bulk.bulk_discard),
    _bulk("cancel", bulk.bulk_cancel),
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
        requests.HoldRequest,
        body_required=True,
        problems=(400, 413, 415, 422),
    ),
    Endpoint(
        "POST",
        "/v1/holds/{id}/release",
        holds.release_hold,
        Role.OPERATE,
        {200: answers.Released},
        requests.ActRequest,
        problems=(400, 404, 413, 415, 422),
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
        text=CONTENT_TYPE,
    ),
    Endpoint(
        "GET",
        "/v1/events",
        events.events,
        Role.WATCH,
        {200: answers.Moved},
        query=requests.EventsQuery,
        headers={"Last-Event-ID": "the id of the last event seen: what came after it is sent"},
        text=events.CONTENT_TYPE,
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
        headers={HEADER: "`t=<unix>,v1=<hex>`, HMAC-SHA256 of `<t>.` and the raw body"},
        problems=(401, 404, 413),
        signed=True,
    ),
    Endpoint("GET", "/livez", health.livez, None, {200: answers.Live}),
    Endpoint("GET", "/readyz", health.readyz, None, {200: answers.Ready}),
    Endpoint("GET", "/openapi.json", openapi, None, {200: answers.Document}),
    Endpoint("GET", "/", health.index, None, {200: answers.Index}),
)
