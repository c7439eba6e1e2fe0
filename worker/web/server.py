"""Serving the API: a process of its own, until SIGTERM or Ctrl-C."""

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import structlog
from aiohttp import web

from config.settings import Settings, SettingsError
from worker.connection import connect
from worker.store import Store, open_store
from worker.web.app import create_app

log: Final = structlog.get_logger(__name__)

BACKLOG: Final = 1_024
FINISH_WITHIN_S: Final = 10.0
"""How long answers under way may take after the stop; those who wait are let go at once."""


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
    try:
        async with running(settings, open_store(redis, settings.namespace)) as url:
            log.info("api.listening", url=url)
            await stopped.wait()
    finally:
        await redis.aclose()


@asynccontextmanager
async def running(settings: Settings, store: Store) -> AsyncGenerator[str]:
    """Serve and yield the base URL, with the port that was found where the setting is 0."""
    settings.require_tokens()
    runner = web.AppRunner(
        create_app(settings, store), access_log=None, shutdown_timeout=FINISH_WITHIN_S
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
