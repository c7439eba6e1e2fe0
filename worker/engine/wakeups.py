"""Bells: how one part of a worker tells another that there is something to do now."""

import asyncio
from dataclasses import dataclass, field


class Wakeup:
    """A service waits on its bell or for its pause to end, whichever comes first."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Wake whoever waits, or the next who will."""
        self._event.set()

    async def wait(self, timeout_s: float) -> None:
        """Return when the bell rings, at the latest after the pause."""
        if timeout_s > 0 and not self._event.is_set():
            try:
                async with asyncio.timeout(timeout_s):
                    await self._event.wait()
            except TimeoutError:
                pass
        self._event.clear()


@dataclass(frozen=True, slots=True)
class Wakeups:
    """The bells of one worker."""

    admission: Wakeup = field(default_factory=Wakeup)
    """Something is queued, a slot is free, or a gate opened."""
    arq_queue: Wakeup = field(default_factory=Wakeup)
    """There is an entry in arq's queue."""
    scheduler: Wakeup = field(default_factory=Wakeup)
    """Something is due sooner than the timer knew."""
    poller: Wakeup = field(default_factory=Wakeup)
    """A run wants to be looked at sooner than the poller knew, or a place to look is free."""
    deliveries: Wakeup = field(default_factory=Wakeup)
    """The provider delivered something, or somebody waits for what it delivered."""
