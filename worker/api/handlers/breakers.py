"""Breakers over HTTP. Stopping a scope by hand is a hold."""

from aiohttp import web

from worker.api.context import context_of, current_actor
from worker.api.models.breakers import BreakerPageResponse, breaker_response
from worker.api.models.requests import ActionBody
from worker.api.models.response import json_response
from worker.api.parsing import read_body


async def breakers(request: web.Request) -> web.Response:
    """Every breaker that is open or probing, or that counts failures."""
    context = context_of(request)
    now = context.clock.now()
    summaries = await context.use_cases.queries.breakers()
    items = [breaker_response(summary, now) for summary in summaries]
    return json_response(BreakerPageResponse(items=items, next_cursor=None))


async def probe(request: web.Request) -> web.Response:
    """Make the next probe now, and the jobs due whose next try waits for a success."""
    context = context_of(request)
    body = await read_body(request, ActionBody)
    breaker = await context.use_cases.breakers.probe(
        request.match_info["id"], current_actor(body.note)
    )
    summary = await context.use_cases.queries.breaker_summary(breaker)
    return json_response(breaker_response(summary, context.clock.now()))


async def reset(request: web.Request) -> web.Response:
    """Close a breaker: submits go again at once, and its pauses start over."""
    context = context_of(request)
    body = await read_body(request, ActionBody)
    breaker = await context.use_cases.breakers.reset(
        request.match_info["id"], current_actor(body.note)
    )
    summary = await context.use_cases.queries.breaker_summary(breaker)
    return json_response(breaker_response(summary, context.clock.now()))
