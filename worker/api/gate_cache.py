"""The gates as they stand, read at most a few times a second however many ask."""

from typing import Final

from jobs.holds import Gates
from worker.clock import Clock
from worker.store.holds import GateStore

FRESH_S: Final = 0.5
"""How old an answer may be: it tells people what a job waits behind, and decides nothing."""


class Standing:
    """The gates of one namespace, for those who only tell of them."""

    def __init__(self, gates: GateStore, clock: Clock) -> None:
        self._gates = gates
        self._clock = clock
        self._read_at = float("-inf")
        self._known = Gates()

    async def gates(self) -> Gates:
        """Every gate that stands, or stood a moment ago."""
        now = self._clock.now()
        if not self._read_at <= now < self._read_at + FRESH_S:
            self._known = await self._gates.standing()
            self._read_at = now
        return self._known
