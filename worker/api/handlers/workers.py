"""Acts on workers over HTTP."""

from aiohttp import web

from worker.api.context import context_of, current_actor
from worker.api.models.requests import ActionBody
from worker.api.models.response import json_response
from worker.api.models.stats import worker_response
from worker.api.parsing import read_body


async def drain_worker(request: web.Request) -> web.Response:
    """Drain a worker: it takes no new jobs from now on, and finishes what it has.

    It follows at once, and after a third of `KNOUDS_LEASE_S` at the latest.
    """
    body = await read_body(request, ActionBody)
    actions = context_of(request).use_cases.actions
    worker = await actions.drain_worker(request.match_info["id"], current_actor(body.note))
    return json_response(worker_response(worker))


async def undo_worker_drain(request: web.Request) -> web.Response:
    """Undo a drain: the worker takes new jobs again, at once."""
    body = await read_body(request, ActionBody)
    actions = context_of(request).use_cases.actions
    worker = await actions.undo_drain(request.match_info["id"], current_actor(body.note))
    return json_response(worker_response(worker))
