"""The processes of `up`: started in order, kept alive, stopped in the reverse order."""

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
LOG_CHECK_INTERVAL_S: Final = 5.0
BACKOFF_BASE_S: Final = 1.0
BACKOFF_CAP_S: Final = 30.0
BACKOFF_RESET_S: Final = 60.0
"""A process that ran this long is started again with the shortest backoff."""


class ProcessStack:
    """The processes that run. `notify` gets a line about each that ends by itself."""

    def __init__(self, notify: Notify, force_stop: asyncio.Event) -> None:
        self._notify = notify
        self._force_stop = force_stop
        self._processes: list[ManagedProcess] = []
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self, process: ManagedProcess) -> None:
        """Start one more process; it is stopped before those that were started earlier."""
        self._processes.append(process)
        await process.start()

    def keep_all_alive(self) -> None:
        """From now on, restart each process that ends by itself."""
        self._keepers = [
            asyncio.create_task(keep_alive(process, self._notify)) for process in self._processes
        ]
        children = [one for one in self._processes if isinstance(one, ChildProcess)]
        self._keepers.append(asyncio.create_task(rotate_logs(children)))

    async def stop(self) -> None:
        """Stop every process, the last one first."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for process in reversed(self._processes):
            await process.stop(self._force_stop)


async def rotate_logs(children: Sequence[ChildProcess]) -> None:
    """Keep the logs of processes bounded while they run, for ever."""
    while True:
        for child in children:
            child.rotate_log()
        await asyncio.sleep(LOG_CHECK_INTERVAL_S)


async def keep_alive(process: ManagedProcess, notify: Notify) -> None:
    """Restart a process whenever it ends, with a backoff that doubles while it keeps ending."""
    clock = asyncio.get_running_loop().time
    backoff = BACKOFF_BASE_S
    while True:
        started = clock()
        how = await process.wait()
        if clock() - started >= BACKOFF_RESET_S:
            backoff = BACKOFF_BASE_S
        while True:
            notify(f"{process.name} ended by itself ({how}); restarting it in {backoff:g} s")
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
    """Call `probe` until it returns a value; returns that value.

    Raises CommandFailure when one of the children ends before that, or after `READY_TIMEOUT_S`.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + READY_TIMEOUT_S
    while clock() < deadline:
        for child in children:
            if child.has_ended:
                raise CommandFailure(f"{child.name} did not start: {await child.wait()}")
        if (found := await probe()) is not None:
            return found
        await asyncio.sleep(PROBE_INTERVAL_S)
    last = children[-1]
    raise CommandFailure(
        f"{last.name} was not ready within {READY_TIMEOUT_S:g} s: {last.last_log_line()}"
    )


async def probe_ready(http: aiohttp.ClientSession, url: str, *, min_workers: int) -> bool | None:
    """True when the API is ready and has `min_workers` live workers; None until then."""
    try:
        async with http.get(f"{url}/readyz", timeout=aiohttp.ClientTimeout(total=5)) as answer:
            if answer.status != 200:  # noqa: PLR2004
                return None
            doc = await answer.json()
            return True if int(doc["workers"]) >= min_workers else None
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError):
        return None
