"""Wake-ups between the services of one process: there is something to do now."""

import asyncio
from dataclasses import dataclass, field


class Wakeup:
    """Ends the pause of one service early."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """End the present wait, or else the next one."""
        self._event.set()

    async def wait(self, timeout_s: float) -> None:
        """Return when notified, at the latest after `timeout_s`."""
        if timeout_s > 0 and not self._event.is_set():
            try:
                async with asyncio.timeout(timeout_s):
                    await self._event.wait()
            except TimeoutError:
                pass
        self._event.clear()


@dataclass(frozen=True, slots=True)
class Wakeups:
    """The wake-ups of one worker."""

    admission: Wakeup = field(default_factory=Wakeup)
    """A job is queued, a slot is free, or a gate opened."""
    arq_queue: Wakeup = field(default_factory=Wakeup)
    """arq's queue has an entry."""
    scheduler: Wakeup = field(default_factory=Wakeup)
    """A job is due earlier than the scheduler knew."""
    poller: Wakeup = field(default_factory=Wakeup)
    """A poll is due earlier than the poller knew, or one of its slots is free."""
    dependencies: Wakeup = field(default_factory=Wakeup)
    """A job settled that others wait for."""
    deliveries: Wakeup = field(default_factory=Wakeup)
    """The provider delivered something, or a job waits for a delivery."""
