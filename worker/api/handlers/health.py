"""Is it alive, is it ready, what is it, what does it take."""

import asyncio
from importlib.metadata import version
from typing import Final

from aiohttp import web

from worker.api.context import context_of
from worker.api.models.views import json_response

READY_TIMEOUT_S: Final = 2.0
"""A probe has a deadline of its own, shorter than the patience of our connections."""

SERVICE: Final = "knouds-worker"


async def livez(request: web.Request) -> web.Response:
    """The process answers."""
    del request
    return json_response({"live": True})


async def readyz(request: web.Request) -> web.Response:
    """Redis answers; workers and their troubles are told, not judged: jobs wait safely meanwhile.

    `troubles`: worker id → background services that are being restarted, with the error's class.
    """
    async with asyncio.timeout(READY_TIMEOUT_S):
        workers = await context_of(request).queries.live_workers()
    troubles = {worker.id: worker.failures for worker in workers if worker.failures}
    return json_response({"ready": True, "workers": len(workers), "troubles": troubles})


async def index(request: web.Request) -> web.Response:
    """What is here."""
    del request
    return json_response(
        {"service": SERVICE, "version": version(SERVICE), "openapi": "/openapi.json"}
    )
