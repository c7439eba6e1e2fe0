"""Serving the API: a process of its own, until SIGTERM or Ctrl-C."""

import asyncio
import logging
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import structlog
from aiohttp import web
from arq import ArqRedis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from config.settings import Settings, SettingsError
from worker.api.app import create_app
from worker.doctor.startup import warn_if_unsafe
from worker.provider.knouds.error_rows import ERROR_CODES
from worker.redis.connect import connect
from worker.store import Store, open_store
from worker.tasks import cancel_and_wait

log: Final = structlog.get_logger(__name__)

BACKLOG: Final = 1_024
SHUTDOWN_TIMEOUT_S: Final = 10.0
"""How long answers under way may take after the stop; those who wait are let go at once."""

REDIS_RETRIES: Final = 1
"""One more try on a fresh connection, then the caller is told: it can wait better than we can."""


async def serve(settings: Settings, redis_url: str | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Raises SettingsError when it may not or cannot listen.

    `redis_url` is the embedded server's; without it the settings tell. Redis need not be there yet.
    """
    settings.require_tokens()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopped.set)
    redis = connect(settings, redis_url)
    _fail_fast(redis)
    store = open_store(redis, settings.namespace, ERROR_CODES)
    try:
        async with running(settings, store) as url:
            check = asyncio.create_task(warn_if_unsafe(store.client), name="start check")
            log.info("api.started", url=url)
            await stopped.wait()
            await cancel_and_wait(check)
    finally:
        await redis.aclose()


def _fail_fast(redis: ArqRedis) -> None:
    """Give up on a Redis that hangs after two socket timeouts, so that the API can say 503.

    A worker waits as long as it takes; who called us does not. redis-py's own health check has to
    go: on a server that accepts and is silent, it connects from within connecting, without end.
    """
    options: dict[str, Any] = cast("Any", redis).connection_pool.connection_kwargs
    options["retry"] = Retry(ExponentialBackoff(cap=0.5, base=0.02), REDIS_RETRIES)
    options["health_check_interval"] = 0


def _strip_request_text(record: logging.LogRecord) -> bool:
    """Of a request that is no HTTP, say what kind of error it was: the error's text quotes it."""
    if record.exc_info and record.exc_info[0] is not None:
        record.msg = f"{record.msg} ({record.exc_info[0].__name__})"
        record.exc_info = None
    return True


@asynccontextmanager
async def running(settings: Settings, store: Store) -> AsyncGenerator[str]:
    """Serve and yield the base URL, with the port that was found where the setting is 0."""
    settings.require_tokens()
    logging.getLogger("aiohttp.server").addFilter(_strip_request_text)
    runner = web.AppRunner(
        create_app(settings, store), access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S
    )
    await runner.setup()
    try:
        host, port = settings.http_host, settings.http_port
        try:
            await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
        except OSError as error:
            raise SettingsError(
                f"KNOUDS_HTTP_PORT: cannot listen on {host}:{port} ({error.strerror}); stop what"
                " listens there, or choose another port"
            ) from None
        found: int = runner.addresses[0][1]
        yield f"http://[{host}]:{found}" if ":" in host else f"http://{host}:{found}"
    finally:
        await runner.cleanup()
