"""A reverse proxy on loopback that serves everything under a path, and strips it or not."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

_HOP_BY_HOP = {"transfer-encoding", "content-length", "connection", "content-encoding"}


@asynccontextmanager
async def proxy_under(prefix: str, upstream: str, *, strips: bool) -> AsyncGenerator[str]:
    """The URL that the upstream is reached at, with the prefix."""
    async with aiohttp.ClientSession(auto_decompress=False) as http:

        async def forward(request: web.Request) -> web.StreamResponse:
            path = request.raw_path
            if not path.startswith(prefix):
                return web.Response(status=404, text="another site")
            path = path.removeprefix(prefix) if strips else path
            headers = {
                name: value
                for name, value in request.headers.items()
                if name.lower() not in _HOP_BY_HOP
            }
            async with http.request(
                request.method,
                upstream + (path or "/"),
                headers=headers,
                data=await request.read() or None,
                allow_redirects=False,
            ) as answer:
                response = web.StreamResponse(status=answer.status)
                for name, value in answer.headers.items():
                    if name.lower() not in _HOP_BY_HOP:
                        response.headers.add(name, value)
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                return response

        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", forward)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            port: int = runner.addresses[0][1]
            yield f"http://127.0.0.1:{port}{prefix}"
        finally:
            await runner.cleanup()
