"""Serving under a path of a proxy (`KNOUDS_HTTP_PREFIX`), which may strip it from requests or not.

Every route is served with and without the prefix. Inside, all paths are without it: handlers and
templates write `/jobs`. What leaves for a browser gets it here: links of pages, `Location`, and the
path of cookies.
"""

import re
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

PREFIX: Final = web.AppKey("prefix", str)

_LINK: Final = re.compile(r' (href|src|action|formaction|data-events|data-worker)="(?=/)')
"""A quote in a text or a value is escaped, so only attributes of our own templates match."""


def add_route(app: web.Application, method: str, path: str, handler: Handler) -> None:
    """Add a route, with and without the prefix of the application."""
    prefix = app[PREFIX]
    app.router.add_route(method, path, handler)
    if prefix:
        app.router.add_route(method, prefix + path, handler)
        if path == "/":
            app.router.add_route(method, prefix, handler)


def own_path(request: web.Request) -> str:
    """Path and query of a request as they were sent, without the prefix."""
    path, prefix = request.raw_path, request.app[PREFIX]
    rest = path.removeprefix(prefix)
    if rest == path or rest[:1] not in ("", "/", "?"):
        return path
    return rest if rest.startswith("/") else f"/{rest}"


def prefix_middleware(prefix: str) -> Middleware:
    """Adds the prefix to what leaves for a browser."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if (location := response.headers.get("Location", "")).startswith("/"):
            response.headers["Location"] = prefix + location
        for cookie in response.cookies.values():
            cookie["path"] = prefix
        if isinstance(response, web.Response) and response.content_type == "text/html":
            response.text = _LINK.sub(rf' \1="{prefix}', response.text or "")
        return response

    return middleware
