"""Listening for HTTP requests."""

import contextlib
import logging
import os
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from typing import Final, cast

from aiohttp import web

from config.settings import SettingsError
from worker.api.edge.acceptor import Acceptor, open_listeners
from worker.api.edge.client_address import TRUSTED_PROXIES
from worker.api.edge.connection import ApiConnection
from worker.api.edge.connection_table import ConnectionLimits, ConnectionTable
from worker.api.edge.repeated_lines import REPEATED_LINES, RepeatedLines, RepeatedRecords

SHUTDOWN_TIMEOUT_S: Final = 10.0
"""How long responses in progress may take after the stop; long polls and streams end at once."""

_LIMITED_LOGGERS: Final = ("asyncio", "aiohttp.server", "aiohttp.internal")
"""Loggers of libraries to which a client can make the server write."""


@asynccontextmanager
async def listening(app: web.Application, host: str, port: int) -> AsyncGenerator[str]:
    """Serve an application, and yield its base URL, with the chosen port where `port` is 0.

    Raises SettingsError where the address cannot be used.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
    await runner.setup()
    server = cast("web.Server", runner.server)  # it is there after the setup
    table, lines = ConnectionTable(ConnectionLimits.of_this_process()), app[REPEATED_LINES]
    acceptor = Acceptor(
        table,
        app[TRUSTED_PROXIES],
        lines,
        lambda network: ApiConnection(server, table, lines, network),
    )
    with _limited_loggers(lines), contextlib.ExitStack() as sockets:
        try:
            for listener in (listeners := await _listen(host, port)):
                sockets.enter_context(listener)
            acceptor.start(listeners)
            bound_port: int = listeners[0].getsockname()[1]
            yield f"http://[{host}]:{bound_port}" if ":" in host else f"http://{host}:{bound_port}"
        finally:
            await acceptor.stop()
            sockets.close()
            await runner.cleanup()


async def _listen(host: str, port: int) -> list[socket.socket]:
    try:
        return await open_listeners(host, port)
    except OSError as error:
        is_of_system = not isinstance(error, socket.gaierror) and error.errno is not None
        reason = os.strerror(error.errno or 0) if is_of_system else error.strerror
        raise SettingsError(
            f"KNOUDS_HTTP_PORT: cannot listen on {host}:{port} ({reason}); stop what"
            " listens there, or choose another port"
        ) from None


@contextlib.contextmanager
def _limited_loggers(lines: RepeatedLines) -> Generator[None]:
    """Let the loggers of libraries repeat no line at will, and quote no request."""
    filters = (_strip_request_text, RepeatedRecords(lines))
    loggers = [logging.getLogger(name) for name in _LIMITED_LOGGERS]
    for logger in loggers:
        for one in filters:
            logger.addFilter(one)
    try:
        yield
    finally:
        for logger in loggers:
            for one in filters:
                logger.removeFilter(one)


def _strip_request_text(record: logging.LogRecord) -> bool:
    """Log the class of an HTTP parser's error without its text, which quotes the request."""
    if record.name.startswith("aiohttp") and record.exc_info and record.exc_info[0] is not None:
        record.msg = f"{record.msg} ({record.exc_info[0].__name__})"
        record.exc_info = None
    return True
