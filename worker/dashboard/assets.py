"""Style sheet, scripts and icon: package data, served under a path that changes with content."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from aiohttp import web

_CONTENT_TYPES: Final = {
    "dashboard.css": "text/css",
    "dashboard.js": "text/javascript",
    "events.js": "text/javascript",
    "theme.js": "text/javascript",
    "patch.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
WORKER_CSP: Final = "default-src 'none'; connect-src 'self'; frame-ancestors 'none'"
"""Of the scripts: a shared worker has the policy of its own response, and opens the stream."""

IMMUTABLE: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """A static file of the pages."""

    content_type: str
    body: bytes
    tag: str


@cache
def _assets() -> dict[str, Asset]:
    folder = resources.files("worker.dashboard") / "static"
    bodies = {name: (folder / name).read_bytes() for name in _CONTENT_TYPES}
    tag = hashlib.sha256(b"".join(bodies.values())).hexdigest()[:12]
    return {name: Asset(_CONTENT_TYPES[name], body, tag) for name, body in bodies.items()}


def asset_url(name: str) -> str:
    """The path of a file. It holds one hash over all files, so a page never mixes two releases."""
    return f"/static/{_assets()[name].tag}/{name}"


async def serve_asset(request: web.Request) -> web.Response:
    """Serve a file; with the hash of another release the current file, not to be cached."""
    asset = _assets().get(request.match_info["name"])
    if asset is None:
        raise web.HTTPNotFound
    is_current = request.match_info["tag"] == asset.tag
    return web.Response(
        body=asset.body,
        content_type=asset.content_type,
        charset="utf-8",
        headers={
            "Cache-Control": IMMUTABLE if is_current else "no-store",
            "Content-Security-Policy": WORKER_CSP,
        },
    )
