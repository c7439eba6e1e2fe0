"""The application: routes, the checks around them, and what runs beside them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from config.settings import Settings
from worker.clock import Clock, SystemClock
from worker.store import Store
from worker.web.endpoints import add_endpoint
from worker.web.office import OFFICE, open_office
from worker.web.problems import problems
from worker.web.routes import ENDPOINTS

CANCEL_AGAIN_S: Final = 0.1


def create_app(settings: Settings, store: Store, *, clock: Clock | None = None) -> web.Application:
    """Return the application; it begins to listen to Redis when it is served."""
    app = web.Application(client_max_size=settings.max_body_bytes, middlewares=[problems])
    office = open_office(settings, store, clock or SystemClock())
    app[OFFICE] = office
    app.on_response_prepare.append(_add_headers)
    app.cleanup_ctx.append(_listening)
    app.on_shutdown.append(_let_go)
    for endpoint in ENDPOINTS:
        add_endpoint(app, endpoint)
    return app


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Answers are data of the moment: not to be kept, and not to be taken for anything else."""
    del request
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Cache-Control", "no-store")


async def _listening(app: web.Application) -> AsyncIterator[None]:
    task = asyncio.create_task(app[OFFICE].waiters.listen())
    yield
    while not task.done():
        # Once is not enough: in Python 3.11 the `wait_for` under redis-py's writes can lose it.
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_AGAIN_S)


async def _let_go(app: web.Application) -> None:
    app[OFFICE].waiters.close()
