"""The application around the endpoints: errors, headers, and the tasks that run beside it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web
from redis.exceptions import RedisError

from worker.api.auth.access import ACCESS
from worker.api.context import API_CONTEXT, ApiContext
from worker.api.edge.bodies import REQUEST_BODIES, RequestBodies, body_middleware
from worker.api.edge.client_address import TRUSTED_PROXIES
from worker.api.edge.connection import connection_middleware
from worker.api.edge.fair_turns import REQUEST_TURNS, FairTurns
from worker.api.edge.repeated_lines import REPEATED_LINES, RepeatedLines
from worker.api.edge.responses import RESPONSES, Responses
from worker.api.headers import PAGE_CSP, add_headers, page_csp
from worker.api.prefix import PREFIX, prefix_middleware
from worker.api.problems import PROBLEM_PAGE, ProblemPage, problem_middleware
from worker.engine.clock_follower import ClockFollower
from worker.engine.services.metrics_flusher import MetricsFlusher
from worker.engine.supervisor import ServiceHealth, Supervisor
from worker.tasks import cancel_and_wait


def new_application(context: ApiContext, problem_page: ProblemPage) -> web.Application:
    """An application without endpoints. Its background tasks run while it is served."""
    prefix = context.settings.http_prefix
    outermost = [connection_middleware, *([prefix_middleware(prefix)] if prefix else [])]
    app = web.Application(
        middlewares=[*outermost, problem_middleware, body_middleware],
    )
    app[PREFIX] = prefix
    app[REPEATED_LINES] = RepeatedLines()
    app[REQUEST_BODIES] = RequestBodies(context.settings)
    app[REQUEST_TURNS] = FairTurns()
    app[RESPONSES] = Responses.of(context.settings)
    app[API_CONTEXT] = context
    app[ACCESS] = context.access
    app[TRUSTED_PROXIES] = context.settings.trusted_proxies
    app[PROBLEM_PAGE] = problem_page
    app[PAGE_CSP] = page_csp(context.media_policy.csp_sources)
    app.on_response_prepare.append(add_headers)
    app.cleanup_ctx.append(_run_background_tasks)
    app.on_shutdown.append(_close_streams)
    return app


async def _run_background_tasks(app: web.Application) -> AsyncIterator[None]:
    context = app[API_CONTEXT]
    health = ServiceHealth()
    follower = ClockFollower(context.store.client, context.clock, health)
    supervisor = Supervisor([follower, MetricsFlusher(context.store)], context.clock, health)
    supervisor.start()
    loops = (context.long_polls.run(), context.broadcaster.run())
    tasks = [asyncio.create_task(loop) for loop in loops]
    yield
    await cancel_and_wait(*tasks)
    await supervisor.stop()
    with contextlib.suppress(RedisError, OSError):
        await context.store.audit.write_pending()
        await context.store.metrics.counters.flush(context.clock.now())


async def _close_streams(app: web.Application) -> None:
    app[API_CONTEXT].long_polls.close()
    app[API_CONTEXT].broadcaster.close()
