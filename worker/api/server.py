"""Listening for HTTP requests."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from config.settings import SettingsError

BACKLOG: Final = 1_024
SHUTDOWN_TIMEOUT_S: Final = 10.0
"""How long responses in progress may take after the stop; long polls and streams end at once."""


@asynccontextmanager
async def listening(app: web.Application, host: str, port: int) -> AsyncGenerator[str]:
    """Serve an application, and yield its base URL, with the chosen port where `port` is 0.

    Raises SettingsError where the address cannot be used.
    """
    logging.getLogger("aiohttp.server").addFilter(_strip_request_text)
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=SHUTDOWN_TIMEOUT_S,
        auto_decompress=False,  # see body_encoding
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
        except OSError as error:
            raise SettingsError(
                f"KNOUDS_HTTP_PORT: cannot listen on {host}:{port} ({error.strerror}); stop what"
                " listens there, or choose another port"
            ) from None
        bound_port: int = runner.addresses[0][1]
        yield f"http://[{host}]:{bound_port}" if ":" in host else f"http://{host}:{bound_port}"
    finally:
        await runner.cleanup()


def _strip_request_text(record: logging.LogRecord) -> bool:
    """Log the class of an HTTP parser's error without its text, which quotes the request."""
    if record.exc_info and record.exc_info[0] is not None:
        record.msg = f"{record.msg} ({record.exc_info[0].__name__})"
        record.exc_info = None
    return True
