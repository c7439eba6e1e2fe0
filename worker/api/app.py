"""The application: routes, the checks around them, and what runs beside them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web
from redis.exceptions import RedisError

from config.settings import Settings
from worker.api.auth.access import ACCESS
from worker.api.context import API_CONTEXT, ApiContext, build_context
from worker.api.endpoints import add_endpoint
from worker.api.headers import add_headers
from worker.api.problems import problem_middleware
from worker.api.routes import ENDPOINTS
from worker.clock import Clock, SystemClock
from worker.dashboard import add_pages
from worker.store import Store
from worker.store.metrics.counters import FLUSH_INTERVAL_S
from worker.tasks import cancel_and_wait


def create_app(settings: Settings, store: Store, *, clock: Clock | None = None) -> web.Application:
    """Return the application; it begins to listen to Redis when it is served."""
    app = web.Application(client_max_size=settings.max_body_bytes, middlewares=[problem_middleware])
    office = build_context(settings, store, clock or SystemClock())
    app[API_CONTEXT] = office
    app[ACCESS] = office.access
    office.logins.add_routes(app)
    app.on_response_prepare.append(add_headers)
    app.cleanup_ctx.append(_run_background_tasks)
    app.on_shutdown.append(_close_streams)
    add_pages(app, ENDPOINTS)
    for endpoint in ENDPOINTS:
        add_endpoint(app, endpoint)
    return app


async def _run_background_tasks(app: web.Application) -> AsyncIterator[None]:
    office = app[API_CONTEXT]
    works = (office.long_polls.run(), office.broadcaster.run(), _flush_counters(office))
    tasks = [asyncio.create_task(work) for work in works]
    yield
    await cancel_and_wait(*tasks)
    with contextlib.suppress(RedisError, OSError):
        await office.store.counters.flush(office.clock.now())


async def _flush_counters(context: ApiContext) -> None:
    """Bring what this process counted to Redis, for ever; while it is away, counting goes on."""
    while True:
        await asyncio.sleep(FLUSH_INTERVAL_S)
        with contextlib.suppress(RedisError, OSError):
            await context.store.counters.flush(context.clock.now())


async def _close_streams(app: web.Application) -> None:
    app[API_CONTEXT].long_polls.close()
    app[API_CONTEXT].broadcaster.close()
