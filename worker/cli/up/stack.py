"""All parts together: started in order, kept alive, stopped in the reverse order."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import aiohttp

from worker.cli.exit_codes import Failure
from worker.cli.up.processes import Child, Service

T = TypeVar("T")
Say = Callable[[str], None]

READY_WITHIN_S: Final = 60.0
LOOK_EVERY_S: Final = 0.05
BACKOFF_BASE_S: Final = 1.0
BACKOFF_CAP_S: Final = 30.0
STEADY_AFTER_S: Final = 60.0
"""A part that lived this long starts again with the shortest backoff."""


class Stack:
    """The parts that run. `say` tells the person about those that end by themselves."""

    def __init__(self, say: Say, hurry: asyncio.Event) -> None:
        self._say = say
        self._hurry = hurry
        self._services: list[Service] = []
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self, service: Service) -> None:
        """Start one more part; it is stopped before those that were there already."""
        self._services.append(service)
        await service.start()

    def keep(self) -> None:
        """From now on, start again what ends by itself."""
        self._keepers = [
            asyncio.create_task(keep_alive(service, self._say)) for service in self._services
        ]

    async def stop(self) -> None:
        """Stop every part, the last one first, whatever becomes of the others."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for service in reversed(self._services):
            await service.stop(self._hurry)


async def keep_alive(service: Service, say: Say) -> None:
    """Start a part again whenever it ends, with a backoff that doubles while it does not live."""
    clock = asyncio.get_running_loop().time
    backoff = BACKOFF_BASE_S
    while True:
        began = clock()
        how = await service.wait()
        if clock() - began >= STEADY_AFTER_S:
            backoff = BACKOFF_BASE_S
        while True:
            say(f"{service.name} ended by itself ({how}); starting it again in {backoff:g} s")
            await asyncio.sleep(backoff)
            backoff = min(BACKOFF_CAP_S, backoff * 2)
            try:
                await service.start()
            except Failure as failure:
                how = failure.message
            else:
                break


async def until_ready(children: Sequence[Child], look: Callable[[], Awaitable[T | None]]) -> T:
    """Look again and again until there is something to see.

    Raises Failure when one of the children ends before that, or the last takes too long.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + READY_WITHIN_S
    while clock() < deadline:
        for child in children:
            if child.has_ended:
                raise Failure(f"{child.name} did not start: {await child.wait()}")
        if (seen := await look()) is not None:
            return seen
        await asyncio.sleep(LOOK_EVERY_S)
    last = children[-1]
    raise Failure(f"{last.name} was not ready within {READY_WITHIN_S:g} s: {last.last_line()}")


async def look_ready(http: aiohttp.ClientSession, url: str, *, workers: int) -> bool | None:
    """True when the API is ready and so many workers live; None until then."""
    try:
        async with http.get(f"{url}/readyz", timeout=aiohttp.ClientTimeout(total=5)) as answer:
            if answer.status != 200:  # noqa: PLR2004
                return None
            doc = await answer.json()
            return True if int(doc["workers"]) >= workers else None
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError):
        return None
