"""The API and the dashboard as one application, and the process that serves it."""

import asyncio
import gc
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import structlog
from aiohttp import web

from config.settings import Settings
from worker.api.app import new_application
from worker.api.auth.access import Access
from worker.api.auth.login import Logins
from worker.api.auth.sessions import Sessions
from worker.api.auth.sign_on import SignOn
from worker.api.auth.token_guard import TokenGuard
from worker.api.auth.tokens import ApiTokens
from worker.api.context import GATES_MAX_AGE_S, ApiContext
from worker.api.endpoints import add_endpoint
from worker.api.problems import ProblemPage
from worker.api.routes import build_endpoints, webhook_endpoint
from worker.api.server import listening
from worker.api.streams.broadcaster import EventBroadcaster
from worker.api.streams.long_poll import LongPolls
from worker.api.webhook_receiver import WebhookReceiver
from worker.clock import Clock, RedisClock
from worker.compose.app import build_use_cases, open_configured_store
from worker.compose.provider import (
    WEBHOOKS,
    build_webhook_reader,
)
from worker.dashboard import add_pages, problem_page
from worker.doctor.startup import (
    CHECK_TIMEOUT_S,
    UnusableRedis,
    check_redis_at_start,
    require_usable,
)
from worker.engine.gate_cache import GateCache
from worker.redis.connect import connect
from worker.redis.primary import Primary
from worker.redis.primary_watch import PrimaryWatch
from worker.store import Store
from worker.store.refusals import error_word
from worker.tasks import cancel_and_wait

CHECK_BEFORE_SERVING_S: Final = 2.0
"""How long the start waits for the check of Redis: what makes it unusable is known before the first
request, and a Redis that is away does not keep the API from answering."""

RECHECK_S: Final = 2.0

log: Final = structlog.get_logger(__name__)

ENDPOINTS: Final = build_endpoints(webhook_endpoint(*WEBHOOKS))
"""Every endpoint of the API."""


def build_api_context(settings: Settings, store: Store, clock: Clock) -> ApiContext:
    """What the handlers of the API and of the pages work with."""
    tokens = ApiTokens(settings.api_tokens, clock, settings.api_tokens_file)
    access = Access(
        TokenGuard(tokens, store, clock),
        Sessions(store.sessions, tokens, clock),
        SignOn(settings.auth_header, settings.auth_groups),
    )
    webhooks = build_webhook_reader(settings)
    return ApiContext(
        settings=settings,
        store=store,
        clock=clock,
        access=access,
        use_cases=build_use_cases(settings, store, clock),
        gate_cache=GateCache(store.holds, clock, GATES_MAX_AGE_S),
        long_polls=LongPolls(store),
        broadcaster=EventBroadcaster(store.events, store.payloads),
        webhook_receiver=WebhookReceiver(store, clock, webhooks),
    )


def create_app(settings: Settings, store: Store, *, clock: Clock | None = None) -> web.Application:
    """The API with the dashboard. It connects to Redis when it is served."""
    context = build_api_context(settings, store, clock or RedisClock())
    app = new_application(context, ProblemPage(problem_page))
    Logins(context.access, store.audit, context.clock).add_routes(app)
    add_pages(app, context, ENDPOINTS)
    for endpoint in ENDPOINTS:
        add_endpoint(app, endpoint)
    return app


@asynccontextmanager
async def running(settings: Settings, store: Store) -> AsyncGenerator[str]:
    """Serve, and yield the base URL. Raises SettingsError when it may not or cannot listen."""
    settings.require_tokens()
    app = create_app(settings, store)
    async with listening(app, settings.http_host, settings.http_port) as url:
        yield url


def _has_failed(check: asyncio.Task[None]) -> bool:
    return check.done() and not check.cancelled() and check.exception() is not None


async def _check_until_done(store: Store, address: str | None) -> None:
    """Check Redis; one that does not answer yet, until it does. Raises UnusableRedis."""
    if await check_redis_at_start(store, address):
        return
    while True:
        await asyncio.sleep(RECHECK_S)
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                if not await require_usable(store):
                    await store.payloads.report_key()
                    return
        except UnusableRedis:
            raise
        except Exception as error:  # noqa: BLE001 - a check that fails must not end the API
            log.debug("redis.unchecked", error=error_word(error))


async def serve(settings: Settings, redis_url: str | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Raises SettingsError when it may not or cannot listen.

    `redis_url` overrides the settings, for an embedded server. Redis need not be there yet; where
    it turns out to be a cluster or a Sentinel, UnusableRedis is raised.
    """
    settings.require_tokens()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopped.set)
    primary = Primary()
    redis = connect(settings, redis_url, primary=primary, fail_fast=True)
    store = open_configured_store(settings, redis)
    watch = PrimaryWatch(primary)
    watch.start()
    try:
        address = redis_url or settings.plain_redis_url
        check = asyncio.create_task(_check_until_done(store, address), name="start check")
        await asyncio.wait([check], timeout=CHECK_BEFORE_SERVING_S)
        if _has_failed(check):
            await check
        async with running(settings, store) as url:
            check.add_done_callback(lambda done: stopped.set() if _has_failed(done) else None)
            gc.collect()
            gc.freeze()  # what lasts is not looked at again: a look at all of it stops everything
            log.info("api.started", url=url)
            await stopped.wait()
            if _has_failed(check):
                await check
            await cancel_and_wait(check)
    finally:
        await watch.stop()
        await redis.aclose(close_connection_pool=True)
