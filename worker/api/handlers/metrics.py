"""`GET /metrics` for Prometheus, and `GET /v1/stats/history` for charts."""

from aiohttp import web
from redis.exceptions import RedisError

from worker.api.context import context_of
from worker.api.metrics_snapshot import read_snapshot
from worker.api.models.query_parameters import HistoryQuery
from worker.api.models.response import json_response
from worker.api.models.stats import HistoryResponse, history_point_response
from worker.api.parsing import read_query
from worker.api.prometheus import CONTENT_TYPE, render_metrics


async def get_metrics(request: web.Request) -> web.Response:
    """Metrics of all processes for Prometheus. Without Redis: only that it is away."""
    context = context_of(request)
    try:
        snapshot = await read_snapshot(context.store, context.use_cases, context.clock.now())
    except (RedisError, OSError):
        snapshot = None
    return web.Response(body=render_metrics(snapshot), headers={"Content-Type": CONTENT_TYPE})


async def get_history(request: web.Request) -> web.Response:
    """What happened over time, in steps of 10 s, 1 min or 5 min."""
    context = context_of(request)
    query = read_query(request, HistoryQuery)
    points = await context.store.metrics.series.read(query.window, context.clock.now())
    items = [history_point_response(point) for point in points]
    return json_response(HistoryResponse(window=query.window, points=items))
