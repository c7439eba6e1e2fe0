"""How long a worker that was told to stop still waits."""

import asyncio
from collections.abc import Collection
from typing import Any

from worker.clock import Clock
from worker.tasks import end


class Patience:
    """Ends when its time is over, or at once when a second signal hurries."""

    def __init__(self, clock: Clock, grace_s: float) -> None:
        self._clock = clock
        self._grace_s = grace_s
        self._ends_at: float | None = None
        self._hurry = asyncio.Event()

    @property
    def begun(self) -> bool:
        """Whether the worker was told to stop."""
        return self._ends_at is not None

    def begin(self) -> None:
        """Start the grace time, once."""
        if self._ends_at is None:
            self._ends_at = self._clock.now() + self._grace_s

    def hurry(self) -> None:
        """End it now."""
        self._hurry.set()

    async def over_or_done(self, tasks: Collection["asyncio.Task[Any]"]) -> None:
        """Return when every task is done or the patience is over."""
        self.begin()
        left = max(0.0, (self._ends_at or 0.0) - self._clock.now())
        if not tasks:
            return
        hurry = asyncio.create_task(self._hurry.wait())
        done = asyncio.create_task(asyncio.wait(tasks))
        await asyncio.wait({hurry, done}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        await end(hurry, done)
