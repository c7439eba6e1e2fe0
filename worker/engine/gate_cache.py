"""The gates of a namespace, read at most once in a while, however many callers ask."""

import asyncio

from jobs.holds import Gates
from worker.clock import Clock
from worker.store.holds import HoldStore


class GateCache:
    """Holds, cool-downs and sync-only targets, at most `max_age_s` old.

    Callers that ask while a read is under way share it. With an infinite age it is a snapshot.
    """

    def __init__(self, holds: HoldStore, clock: Clock, max_age_s: float) -> None:
        self._holds = holds
        self._clock = clock
        self._max_age_s = max_age_s
        self._read_at = float("-inf")
        self._read: asyncio.Task[Gates] | None = None

    async def gates(self) -> Gates:
        """Every gate; raises what Redis raises, and reads again at the next call."""
        now = self._clock.now()
        read = self._read
        if read is None or _failed(read) or not 0 <= now - self._read_at < self._max_age_s:
            read = self._read = asyncio.create_task(self._holds.gates(), name="read gates")
            self._read_at = now
        if read.done():
            return read.result()
        return await asyncio.shield(read)


def _failed(read: asyncio.Task[Gates]) -> bool:
    return read.done() and (read.cancelled() or read.exception() is not None)
