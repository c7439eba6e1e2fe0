"""The gates as they stand, read at most a few times a second however many ask."""

from typing import Final

from jobs.holds import Gates
from worker.clock import Clock
from worker.store.holds import HoldStore

MAX_AGE_S: Final = 0.5
"""How old an answer may be: it tells people what a job waits behind, and decides nothing."""


class GateCache:
    """The gates of one namespace, for those who only tell of them."""

    def __init__(self, hold_store: HoldStore, clock: Clock) -> None:
        self._hold_store = hold_store
        self._clock = clock
        self._read_at = float("-inf")
        self._cached = Gates()

    async def gates(self) -> Gates:
        """Every gate that stands, or stood a moment ago."""
        now = self._clock.now()
        if not self._read_at <= now < self._read_at + MAX_AGE_S:
            self._cached = await self._hold_store.gates()
            self._read_at = now
        return self._cached
