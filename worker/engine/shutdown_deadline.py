"""How long a worker that stops waits for open sync runs."""

import asyncio
from collections.abc import Collection
from typing import Any

from worker.clock import Clock
from worker.tasks import cancel_and_wait


class ShutdownDeadline:
    """Ends after the grace time, or at once at a second stop signal."""

    def __init__(self, clock: Clock, grace_s: float) -> None:
        self._clock = clock
        self._grace_s = grace_s
        self._ends_at: float | None = None
        self._expired = asyncio.Event()

    @property
    def has_started(self) -> bool:
        """Whether the worker is stopping."""
        return self._ends_at is not None

    def start(self) -> None:
        """Start the grace time, once."""
        if self._ends_at is None:
            self._ends_at = self._clock.now() + self._grace_s

    def expire(self) -> None:
        """End it now."""
        self._expired.set()

    async def wait_for(self, tasks: Collection["asyncio.Task[Any]"]) -> None:
        """Return when every task is done, at the latest at the deadline."""
        self.start()
        remaining_s = max(0.0, (self._ends_at or 0.0) - self._clock.now())
        if not tasks:
            return
        expired = asyncio.create_task(self._expired.wait())
        done = asyncio.create_task(asyncio.wait(tasks))
        await asyncio.wait(
            {expired, done}, timeout=remaining_s, return_when=asyncio.FIRST_COMPLETED
        )
        await cancel_and_wait(expired, done)
