"""Callbacks over HTTP: list, show, and send one again."""

from aiohttp import web

from jobs.batches import batch_address
from jobs.callbacks import CallbackSubject
from worker.api.auth.principal import current_principal
from worker.api.context import context_of, current_actor
from worker.api.models.callback_query import CallbacksQuery
from worker.api.models.callbacks import callback_page_response, callback_response
from worker.api.models.requests import ActionBody
from worker.api.models.response import json_response
from worker.api.parsing import read_body, read_query
from worker.api.problems import bad_parameter
from worker.store.callback_filter import CallbackFilter


async def list_callbacks(request: web.Request) -> web.Response:
    """Callbacks, newest first: those to be sent, those that receivers took, and failed ones."""
    query = read_query(request, CallbacksQuery)
    caller = current_principal()
    if query.job and query.batch:
        raise bad_parameter("batch", "cannot be given with job: give one of the two")
    tenant = caller.grants.tenant
    of_batch = batch_address(tenant, query.batch) if tenant and query.batch else query.batch
    of_job = (caller.job_id(query.job) or query.job) if query.job else ""
    wanted = CallbackFilter(
        state=query.state,
        host=query.host or "",
        subject=CallbackSubject.BATCH if of_batch else CallbackSubject.JOB,
        subject_id=of_batch or of_job,
        tenant=tenant,
    )
    use_case = context_of(request).use_cases.callbacks
    page = await use_case.page(wanted, query.limit, query.cursor)
    return json_response(callback_page_response(page, await use_case.overview()))


async def get_callback(request: web.Request) -> web.Response:
    """A callback, with what became of its tries."""
    use_case = context_of(request).use_cases.callbacks
    tenant = current_principal().grants.tenant
    return json_response(callback_response(await use_case.find(request.match_info["id"], tenant)))


async def resend_callback(request: web.Request) -> web.Response:
    """Send a callback again, now, with the same id and body; it is tried for three more days."""
    body = await read_body(request, ActionBody)
    found = await context_of(request).use_cases.callbacks.resend(
        request.match_info["id"], current_actor(body.note), current_principal().grants.tenant
    )
    return json_response(callback_response(found))
