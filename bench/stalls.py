"""How late an event loop is: a sampler that runs inside the measured process.

It asks to be woken every 10 ms and notes how late it was. A loop that was blocked for 100 ms made
ten samples late, not one: those it slept through are counted, too, so a share of the samples is a
share of the time. The sampler costs about half a percent of a core, the same for each worker.
"""

import asyncio
import contextlib
import time
from array import array
from collections.abc import Sequence
from typing import Final

EVERY_S: Final = 0.01


class StallSampler:
    """Samples of lateness, in seconds, with the wall time of each."""

    def __init__(self) -> None:
        self._at = array("d")
        self._late = array("d")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Sample from now on, on the running loop."""
        self._task = asyncio.create_task(self._sample(), name="stalls")

    async def stop(self) -> None:
        """Sample no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def samples(self) -> list[tuple[float, float]]:
        """Wall time and lateness of each."""
        return list(zip(self._at, self._late, strict=True))

    async def _sample(self) -> None:
        due = time.monotonic() + EVERY_S
        while True:
            await asyncio.sleep(due - time.monotonic())
            woken, wall = time.monotonic(), time.time()
            while due <= woken:
                self._at.append(wall)
                self._late.append(woken - due)
                due += EVERY_S


def within(samples: Sequence[Sequence[float]], started: float, ended: float) -> list[float]:
    """The lateness of what was sampled between two moments."""
    return [late for at, late in samples if started <= at <= ended]
