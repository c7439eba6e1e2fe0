"""All parts together: started in order, kept alive, stopped in the reverse order."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import aiohttp

from worker.cli.exit_codes import CommandFailure
from worker.cli.up.processes import ChildProcess, ManagedProcess

T = TypeVar("T")
Notify = Callable[[str], None]

READY_TIMEOUT_S: Final = 60.0
PROBE_INTERVAL_S: Final = 0.05
BACKOFF_BASE_S: Final = 1.0
BACKOFF_CAP_S: Final = 30.0
BACKOFF_RESET_S: Final = 60.0
"""A part that lived this long starts again with the shortest backoff."""


class ProcessStack:
    """The parts that run. `say` tells the person about those that end by themselves."""

    def __init__(self, notify: Notify, force_stop: asyncio.Event) -> None:
        self._notify = notify
        self._force_stop = force_stop
        self._processes: list[ManagedProcess] = []
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self, process: ManagedProcess) -> None:
        """Start one more part; it is stopped before those that were there already."""
        self._processes.append(process)
        await process.start()

    def keep_all_alive(self) -> None:
        """From now on, start again what ends by itself."""
        self._keepers = [
            asyncio.create_task(keep_alive(service, self._notify)) for service in self._processes
        ]

    async def stop(self) -> None:
        """Stop every part, the last one first, whatever becomes of the others."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for service in reversed(self._processes):
            await service.stop(self._force_stop)


async def keep_alive(process: ManagedProcess, notify: Notify) -> None:
    """Start a part again whenever it ends, with a backoff that doubles while it does not live."""
    clock = asyncio.get_running_loop().time
    backoff = BACKOFF_BASE_S
    while True:
        began = clock()
        how = await process.wait()
        if clock() - began >= BACKOFF_RESET_S:
            backoff = BACKOFF_BASE_S
        while True:
            notify(f"{process.name} ended by itself ({how}); starting it again in {backoff:g} s")
            await asyncio.sleep(backoff)
            backoff = min(BACKOFF_CAP_S, backoff * 2)
            try:
                await process.start()
            except CommandFailure as failure:
                how = failure.message
            else:
                break


async def wait_until_ready(
    children: Sequence[ChildProcess], probe: Callable[[], Awaitable[T | None]]
) -> T:
    """Look again and again until there is something to see.

    Raises Failure when one of the children ends before that, or the last takes too long.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + READY_TIMEOUT_S
    while clock() < deadline:
        for child in children:
            if child.has_ended:
                raise CommandFailure(f"{child.name} did not start: {await child.wait()}")
        if (seen := await probe()) is not None:
            return seen
        await asyncio.sleep(PROBE_INTERVAL_S)
    last = children[-1]
    raise CommandFailure(
        f"{last.name} was not ready within {READY_TIMEOUT_S:g} s: {last.last_log_line()}"
    )


async def probe_ready(http: aiohttp.ClientSession, url: str, *, min_workers: int) -> bool | None:
    """True when the API is ready and so many workers live; None until then."""
    try:
        async with http.get(f"{url}/readyz", timeout=aiohttp.ClientTimeout(total=5)) as answer:
            if answer.status != 200:  # noqa: PLR2004
                return None
            doc = await answer.json()
            return True if int(doc["workers"]) >= min_workers else None
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError):
        return None
