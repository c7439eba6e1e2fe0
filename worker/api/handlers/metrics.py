"""`GET /metrics` for Prometheus, and `GET /v1/stats/history` for charts."""

from aiohttp import web
from redis.exceptions import RedisError

from worker.api.context import context_of
from worker.api.metrics_snapshot import read_snapshot
from worker.api.models.requests import HistoryQuery
from worker.api.models.views import View, json_response, rfc3339
from worker.api.parsing import read_query
from worker.api.prometheus import CONTENT_TYPE, render_metrics
from worker.store.metrics.series import SeriesPoint


async def metrics(request: web.Request) -> web.Response:
    """Numbers of all processes for Prometheus. Without Redis only that it is away."""
    office = context_of(request)
    try:
        readings = await read_snapshot(office.store, office.queries, office.clock.now())
    except (RedisError, OSError):
        readings = None
    return web.Response(body=render_metrics(readings), headers={"Content-Type": CONTENT_TYPE})


async def history(request: web.Request) -> web.Response:
    """What happened over time, in steps of 10 s, 1 min or 5 min."""
    office = context_of(request)
    query = read_query(request, HistoryQuery)
    points = await office.store.series.read(query.window, office.clock.now())
    return json_response({"window": query.window, "points": [point_view(p) for p in points]})


def point_view(point: SeriesPoint) -> View:
    """One stretch of time."""
    return {
        "at": rfc3339(point.at),
        "step_s": point.step_s,
        **point.counts,
        "delay_p50_s": point.delay_p50_s,
        "delay_p95_s": point.delay_p95_s,
    }
