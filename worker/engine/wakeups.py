"""Bells: how one part of a worker tells another that there is something to do now."""

import asyncio
from dataclasses import dataclass, field


class Bell:
    """A service waits on its bell or for its pause to end, whichever comes first."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake whoever waits, or the next who will."""
        self._event.set()

    async def wait(self, pause_s: float) -> None:
        """Return when the bell rings, at the latest after the pause."""
        if pause_s > 0 and not self._event.is_set():
            try:
                async with asyncio.timeout(pause_s):
                    await self._event.wait()
            except TimeoutError:
                pass
        self._event.clear()


@dataclass(frozen=True, slots=True)
class Bells:
    """The bells of one worker."""

    admission: Bell = field(default_factory=Bell)
    """Something is queued, a slot is free, or a gate opened."""
    hops: Bell = field(default_factory=Bell)
    """There is an entry in arq's queue."""
    timer: Bell = field(default_factory=Bell)
    """Something is due sooner than the timer knew."""
    poller: Bell = field(default_factory=Bell)
    """A run wants to be looked at sooner than the poller knew, or a place to look is free."""
    deliveries: Bell = field(default_factory=Bell)
    """The provider delivered something, or somebody waits for what it delivered."""
