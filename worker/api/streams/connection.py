"""Whether the client of a request is still there: aiohttp lets a handler run on without it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from aiohttp import web

from worker.tasks import cancel_and_wait

CHECK_INTERVAL_S: Final = 0.5
"""How soon a client that went away is noticed."""


def is_client_connected(request: web.Request) -> bool:
    """Whether the connection of a request is open."""
    return request.transport is not None and not request.transport.is_closing()


async def run_while_connected(request: web.Request, work: Coroutine[Any, Any, None]) -> None:
    """Do some work until it ends, or the client goes away. Raises what the work raises."""
    task = asyncio.create_task(work)
    try:
        while not task.done() and is_client_connected(request):
            await asyncio.wait([task], timeout=CHECK_INTERVAL_S)
    finally:
        await cancel_and_wait(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
