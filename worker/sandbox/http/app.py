"""The sandbox as an aiohttp application, and as a server for the length of a `with` block."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from worker.sandbox.admin import routes as admin_routes
from worker.sandbox.clock import SandboxClock, SandboxSystemClock
from worker.sandbox.config import SandboxConfig
from worker.sandbox.http import routes as provider_routes
from worker.sandbox.http.server import SandboxServer

_MAX_BODY_BYTES = 64 * 1024 * 1024
_SHUTDOWN_S = 0.1


def create_app(config: SandboxConfig, *, clock: SandboxClock | None = None) -> web.Application:
    """Return the application; it starts when it is served."""
    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    server = SandboxServer(config, clock or SandboxSystemClock())
    app[provider_routes.SERVER] = server

    async def serve(_app: web.Application) -> AsyncIterator[None]:
        await server.start()
        yield

    async def stop(_app: web.Application) -> None:
        await server.stop()

    app.cleanup_ctx.append(serve)
    app.on_shutdown.append(stop)
    provider_routes.add_routes(app)
    admin_routes.add_routes(app)
    provider_routes.add_fallback(app)
    return app


@asynccontextmanager
async def running(
    config: SandboxConfig, *, clock: SandboxClock | None = None
) -> AsyncGenerator[str]:
    """Serve a sandbox and yield its base URL, `http://host:port`.

    A request that never ends is cancelled when its caller disconnects.
    """
    runner = web.AppRunner(
        create_app(config, clock=clock),
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=_SHUTDOWN_S,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, config.host, config.port, backlog=1024)
        await site.start()
        port: int = runner.addresses[0][1]
        yield f"http://{config.host}:{port}"
    finally:
        await runner.cleanup()
