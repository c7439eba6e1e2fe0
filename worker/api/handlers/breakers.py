"""Breakers over HTTP. Stopping a scope by hand is a hold."""

from aiohttp import web

from jobs.breakers import Breaker
from worker.api.context import ApiContext, context_of, current_actor
from worker.api.models.breakers import BreakerPageResponse, breaker_response
from worker.api.models.requests import ActionBody
from worker.api.models.response import json_response
from worker.api.parsing import read_body
from worker.app.extras import extra_or


async def list_breakers(request: web.Request) -> web.Response:
    """Every breaker that is open or probing, or that counts failures."""
    context = context_of(request)
    now = context.clock.now()
    summaries = await context.use_cases.queries.breakers()
    items = [breaker_response(one.breaker, one.queued_jobs, now) for one in summaries]
    return json_response(BreakerPageResponse(items=items, next_cursor=None))


async def probe(request: web.Request) -> web.Response:
    """Make the next probe now, and the jobs due whose next try waits for a success."""
    context = context_of(request)
    body = await read_body(request, ActionBody)
    breaker = await context.use_cases.breakers.probe(
        request.match_info["id"], current_actor(body.note)
    )
    return await _acted_on(context, breaker)


async def reset(request: web.Request) -> web.Response:
    """Close a breaker: submits go again at once, and its pauses start over."""
    context = context_of(request)
    body = await read_body(request, ActionBody)
    breaker = await context.use_cases.breakers.reset(
        request.match_info["id"], current_actor(body.note)
    )
    return await _acted_on(context, breaker)


async def _acted_on(context: ApiContext, breaker: Breaker) -> web.Response:
    """A breaker after an action, which has succeeded whatever Redis says now."""
    summary = await extra_or(None, context.use_cases.queries.breaker_summary(breaker))
    queued = None if summary is None else summary.queued_jobs
    return json_response(breaker_response(breaker, queued, context.clock.now()))
