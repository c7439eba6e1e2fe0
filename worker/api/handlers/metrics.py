"""`GET /metrics` for Prometheus, and `GET /v1/stats/history` for charts."""

from aiohttp import web
from redis.exceptions import RedisError

from worker.api.context import office_of
from worker.api.metrics_snapshot import read_all
from worker.api.models.requests import HistoryQuery
from worker.api.models.views import View, json_response, moment
from worker.api.parsing import read_query
from worker.api.prometheus import CONTENT_TYPE, expose
from worker.store.metrics.series import Point


async def metrics(request: web.Request) -> web.Response:
    """Numbers of all processes for Prometheus. Without Redis only that it is away."""
    office = office_of(request)
    try:
        readings = await read_all(office.store, office.review, office.clock.now())
    except (RedisError, OSError):
        readings = None
    return web.Response(body=expose(readings), headers={"Content-Type": CONTENT_TYPE})


async def history(request: web.Request) -> web.Response:
    """What happened over time, in steps of 10 s, 1 min or 5 min."""
    office = office_of(request)
    query = read_query(request, HistoryQuery)
    points = await office.store.series.read(query.window, office.clock.now())
    return json_response({"window": query.window, "points": [point_view(p) for p in points]})


def point_view(point: Point) -> View:
    """One stretch of time."""
    return {
        "at": moment(point.at),
        "step_s": point.step_s,
        **point.counts,
        "delay_p50_s": point.delay_p50_s,
        "delay_p95_s": point.delay_p95_s,
    }
