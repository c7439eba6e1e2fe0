"""The application: routes, the checks around them, and what runs beside them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web
from redis.exceptions import RedisError

from config.settings import Settings
from worker.api.context import OFFICE, Office, open_office
from worker.api.endpoints import add_endpoint
from worker.api.headers import add_headers
from worker.api.problems import problems
from worker.api.routes import ENDPOINTS
from worker.clock import Clock, SystemClock
from worker.dashboard import add_pages
from worker.store import Store
from worker.store.metrics.counters import FLUSH_S
from worker.tasks import end


def create_app(settings: Settings, store: Store, *, clock: Clock | None = None) -> web.Application:
    """Return the application; it begins to listen to Redis when it is served."""
    app = web.Application(client_max_size=settings.max_body_bytes, middlewares=[problems])
    office = open_office(settings, store, clock or SystemClock())
    app[OFFICE] = office
    office.access.install(app)
    office.logins.install(app)
    app.on_response_prepare.append(add_headers)
    app.cleanup_ctx.append(_listening)
    app.on_shutdown.append(_let_go)
    add_pages(app, ENDPOINTS)
    for endpoint in ENDPOINTS:
        add_endpoint(app, endpoint)
    return app


async def _listening(app: web.Application) -> AsyncIterator[None]:
    office = app[OFFICE]
    works = (office.waiters.listen(), office.feed.read(), _bring_counts(office))
    tasks = [asyncio.create_task(work) for work in works]
    yield
    await end(*tasks)
    with contextlib.suppress(RedisError, OSError):
        await office.store.counters.flush(office.clock.now())


async def _bring_counts(office: Office) -> None:
    """Bring what this process counted to Redis, for ever; while it is away, counting goes on."""
    while True:
        await asyncio.sleep(FLUSH_S)
        with contextlib.suppress(RedisError, OSError):
            await office.store.counters.flush(office.clock.now())


async def _let_go(app: web.Application) -> None:
    app[OFFICE].waiters.close()
    app[OFFICE].feed.close()
