"""Batches over HTTP: create, seal, list, their results, and actions on all jobs of one."""

import re
from functools import partial
from typing import Final
from urllib.parse import quote, urlencode

from aiohttp import web

from jobs.batches import batch_address
from jobs.lanes import JobId
from jobs.tenants import TENANT, TENANT_MARK, tenant_of
from worker.api.auth.principal import current_principal, log_payload_read, sees_payloads
from worker.api.context import context_of, current_actor
from worker.api.edge.responses import expect_payloads
from worker.api.endpoints import JSON_LINES
from worker.api.models.batch_requests import BatchBody, BatchesQuery, BatchResultsQuery
from worker.api.models.batches import (
    BatchActionResponse,
    BatchCreatedResponse,
    BatchPageResponse,
    batch_response,
    batch_result_response,
)
from worker.api.models.bulk import bulk_action_response
from worker.api.models.requests import ActionBody
from worker.api.models.response import ResponseModel, encode_response, json_response
from worker.api.parsing import read_body, read_query
from worker.api.problems import bad_field
from worker.app.batches import BatchActionResult, BatchRequest, NoSuchBatch
from worker.app.job_request_parser import MAX_BATCH_CHARS, TAG_CHAR
from worker.app.shown_ids import shown_job_id
from worker.store.batch import Batch

_NAME: Final = re.compile(f"{TAG_CHAR}{{1,{MAX_BATCH_CHARS}}}")
_STORED_NAME: Final = re.compile(f"(?:{TENANT.pattern}{TENANT_MARK})?{_NAME.pattern}")


async def create_batch(request: web.Request) -> web.Response:
    """Create a batch. Jobs join it by `batch`, and stay on record until all have settled."""
    body = await read_body(request, BatchBody)
    caller = current_principal()
    if body.budget is not None and (caller.grants.tenant or not caller.may_operate):
        raise bad_field(
            "budget", "needs a token of role operate, without a tenant, as PUT /v1/budgets", 403
        )
    wanted = BatchRequest(body.name, body.metadata, body.budget, body.callback_url)
    batch, is_new = await context_of(request).use_cases.batches.create(
        caller.grants.tenant, wanted, current_actor(body.note)
    )
    location = {"Location": f"/v1/batches/{quote(shown_job_id(batch.address), safe='')}"}
    status = 201 if is_new else 200
    return json_response(_shown(batch), status, location)


async def list_batches(request: web.Request) -> web.Response:
    """A page of batches, the most recently used first; also those that only jobs name."""
    query = read_query(request, BatchesQuery)
    found, following = await context_of(request).use_cases.batches.page(
        current_principal().grants.tenant, int(query.cursor or 0), query.limit
    )
    items = [batch_response(one, payloads_hidden=not sees_payloads()) for one in found]
    cursor = None if following is None else str(following)
    return json_response(BatchPageResponse(items=items, next_cursor=cursor))


async def get_batch(request: web.Request) -> web.Response:
    """A batch: how many of its jobs are in which state, what they cost, why some failed."""
    address, batches = _address(request), context_of(request).use_cases.batches
    batch, failures = await batches.find(address), await batches.failures(address)
    return json_response(batch_response(batch, failures, payloads_hidden=not sees_payloads()))


async def seal_batch(request: web.Request) -> web.Response:
    """Let no more jobs join a batch. It is complete once all of them have settled."""
    body = await read_body(request, ActionBody)
    address, caller = _address(request), current_principal()
    if tenant_of(address) != caller.grants.tenant and not caller.may_operate:
        raise NoSuchBatch(address)
    batch = await context_of(request).use_cases.batches.seal(
        address, current_actor(body.note), is_operator=caller.may_operate
    )
    return json_response(_shown(batch))


async def cancel_batch(request: web.Request) -> web.Response:
    """Let no more jobs join a batch, and cancel those that have not settled; parked ones stay."""
    body = await read_body(request, ActionBody)
    found = await context_of(request).use_cases.batches.cancel(
        _address(request), current_actor(body.note)
    )
    return _acted(found)


async def requeue_failed_jobs(request: web.Request) -> web.Response:
    """Requeue every dead letter of a batch, with the inputs it has."""
    body = await read_body(request, ActionBody)
    found = await context_of(request).use_cases.batches.requeue_failed(
        _address(request), current_actor(body.note)
    )
    return _acted(found)


async def list_batch_results(request: web.Request) -> web.Response:
    """Jobs of a batch that have settled, one JSON object a line, in the order they settled.

    Go on behind the `cursor` of the last line: a job that settles later comes later, and one that
    is requeued comes again when it settles again. `Link` names the next page if there is one now.
    """
    query, context = read_query(request, BatchResultsQuery), context_of(request)
    address = _address(request)
    await context.use_cases.batches.find(address)
    found, following = await context.use_cases.batches.results(
        address, query.cursor, query.limit, partial(expect_payloads, request)
    )
    hidden = not sees_payloads()
    if not hidden:
        for one in found:
            log_payload_read(JobId(one.job.id))
    lines = [encode_response(batch_result_response(one, payloads_hidden=hidden)) for one in found]
    headers: dict[str, str] = {}
    if following is not None:
        more = urlencode({"limit": query.limit, "cursor": following})
        headers["Link"] = f'<{request.path}?{more}>; rel="next"'
    body = b"".join(line + b"\n" for line in lines)
    return web.Response(body=body, content_type=JSON_LINES, charset="utf-8", headers=headers)


def _address(request: web.Request) -> str:
    """The stored name of the batch in the path; raises `NoSuchBatch` where none can have it."""
    given, tenant = request.match_info["name"], current_principal().grants.tenant
    if (_NAME if tenant else _STORED_NAME).fullmatch(given) is None:
        raise NoSuchBatch(given[:MAX_BATCH_CHARS])
    return batch_address(tenant, given)


def _shown(batch: Batch) -> ResponseModel:
    """A batch, as far as the caller may see it."""
    if current_principal().sees_jobs:
        return batch_response(batch, payloads_hidden=not sees_payloads())
    return BatchCreatedResponse(name=shown_job_id(batch.address), state=batch.state)


def _acted(found: BatchActionResult) -> web.Response:
    jobs = bulk_action_response(found.request, found.counts)
    return json_response(BatchActionResponse(batch=batch_response(found.batch), jobs=jobs))
