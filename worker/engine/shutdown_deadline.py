"""How long a worker that was told to stop still waits."""

import asyncio
from collections.abc import Collection
from typing import Any

from worker.clock import Clock
from worker.tasks import cancel_and_wait


class ShutdownDeadline:
    """Ends when its time is over, or at once when a second signal hurries."""

    def __init__(self, clock: Clock, grace_s: float) -> None:
        self._clock = clock
        self._grace_s = grace_s
        self._ends_at: float | None = None
        self._expired = asyncio.Event()

    @property
    def has_started(self) -> bool:
        """Whether the worker was told to stop."""
        return self._ends_at is not None

    def start(self) -> None:
        """Start the grace time, once."""
        if self._ends_at is None:
            self._ends_at = self._clock.now() + self._grace_s

    def expire(self) -> None:
        """End it now."""
        self._expired.set()

    async def wait_for(self, tasks: Collection["asyncio.Task[Any]"]) -> None:
        """Return when every task is done or the patience is over."""
        self.start()
        left = max(0.0, (self._ends_at or 0.0) - self._clock.now())
        if not tasks:
            return
        hurry = asyncio.create_task(self._expired.wait())
        done = asyncio.create_task(asyncio.wait(tasks))
        await asyncio.wait({hurry, done}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        await cancel_and_wait(hurry, done)
