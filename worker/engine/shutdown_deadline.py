"""How long a worker that stops waits for open sync runs."""

import asyncio
from collections.abc import Collection
from typing import Any, Final

from worker.clock import Clock
from worker.tasks import cancel_and_wait

EXIT_RESERVE_S: Final = 10.0
"""Of the grace time, what is left to record the runs that were cut and to end the process."""

EXIT_RESERVE_SHARE: Final = 0.25
"""At most this share of a short grace time is reserved."""

HURRIED_GRACE_S: Final = 30.0
"""The grace time from a second stop signal on."""


class ShutdownDeadline:
    """Ends with the grace time, less what the process needs to end.

    A second stop signal shortens the wait to `HURRIED_GRACE_S`, a third one ends it.
    """

    def __init__(self, clock: Clock, grace_s: float) -> None:
        self._clock = clock
        self._grace_s = grace_s
        self._ends_at: float | None = None
        self._signals = 0
        self._shortened = asyncio.Event()

    @property
    def has_started(self) -> bool:
        """Whether the worker is stopping."""
        return self._ends_at is not None

    def start(self) -> None:
        """Start the grace time, once."""
        if self._ends_at is None:
            self._ends_at = self._clock.now() + wait_of(self._grace_s)

    def record_signal(self) -> float:
        """Count a stop signal; returns for how many more seconds sync runs are waited for."""
        self.start()
        self._signals += 1
        if self._signals > 1:
            wait_s = wait_of(HURRIED_GRACE_S) if self._signals == 2 else 0.0  # noqa: PLR2004
            self._ends_at = min(self._ends_at or 0.0, self._clock.now() + wait_s)
            self._shortened.set()
        return self._remaining_s()

    async def wait_for(self, tasks: Collection["asyncio.Task[Any]"]) -> None:
        """Return when every task is done, at the latest at the deadline."""
        self.start()
        if not tasks:
            return
        done = asyncio.create_task(asyncio.wait(tasks))
        while not done.done() and (remaining_s := self._remaining_s()) > 0:
            self._shortened.clear()
            shortened = asyncio.create_task(self._shortened.wait())
            await asyncio.wait(
                {shortened, done}, timeout=remaining_s, return_when=asyncio.FIRST_COMPLETED
            )
            await cancel_and_wait(shortened)
        await cancel_and_wait(done)

    def _remaining_s(self) -> float:
        return max(0.0, (self._ends_at or 0.0) - self._clock.now())


def wait_of(grace_s: float) -> float:
    """For how long sync runs are waited for within a grace time, both in seconds."""
    return grace_s - min(EXIT_RESERVE_S, grace_s * EXIT_RESERVE_SHARE)
