"""Style sheet and script: package data, served under a name that changes with their content."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from aiohttp import web

_CONTENT_TYPES: Final = {
    "dashboard.css": "text/css",
    "dashboard.js": "text/javascript",
    "theme.js": "text/javascript",
    "patch.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
IMMUTABLE: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that a page needs."""

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
    """Where a file is, with the tag of what all of them hold: a new release is never half old."""
    return f"/static/{_assets()[name].tag}/{name}"


async def serve_asset(request: web.Request) -> web.Response:
    """A file of ours; the tag of another release gets the present one, unkept."""
    asset = _assets().get(request.match_info["name"])
    if asset is None:
        raise web.HTTPNotFound
    kept = request.match_info["tag"] == asset.tag
    return web.Response(
        body=asset.body,
        content_type=asset.content_type,
        charset="utf-8",
        headers={"Cache-Control": IMMUTABLE if kept else "no-store"},
    )
