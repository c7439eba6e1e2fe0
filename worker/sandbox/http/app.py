"""The sandbox as a server for the length of a `with` block."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import web

from worker.sandbox.admin import routes as admin_routes
from worker.sandbox.clock import SandboxClock, SandboxSystemClock
from worker.sandbox.config import SandboxConfig
from worker.sandbox.http import routes as provider_routes
from worker.sandbox.http.server import SandboxServer

_MAX_BODY_BYTES = 64 * 1024 * 1024
_SHUTDOWN_S = 0.1


@asynccontextmanager
async def running(
    config: SandboxConfig, *, clock: SandboxClock | None = None
) -> AsyncGenerator[str]:
    """Serve a sandbox and yield its base URL, `http://host:port`.

    A request that never ends is cancelled when its caller disconnects.
    """
    server = SandboxServer(config, clock or SandboxSystemClock())
    app = web.Application(
        client_max_size=_MAX_BODY_BYTES, middlewares=[provider_routes.refuse_encoded_body]
    )
    app[provider_routes.SERVER] = server
    provider_routes.add_routes(app)
    admin_routes.add_routes(app)
    provider_routes.add_fallback(app)

    async def stop(_app: web.Application) -> None:
        await server.stop()

    app.on_shutdown.append(stop)
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=_SHUTDOWN_S,
        auto_decompress=False,
    )
    await runner.setup()
    try:
        server.start()
        site = web.TCPSite(runner, config.host, config.port, backlog=1024)
        await site.start()
        port: int = runner.addresses[0][1]
        yield f"http://{config.host}:{port}"
    finally:
        await runner.cleanup()
