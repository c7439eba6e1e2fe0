"""Time, randomness and ids, given to whatever needs them."""

import random
import secrets
import time
from typing import Protocol

from jobs.lanes import JobId


class Clock(Protocol):
    """A source of time, randomness and ids."""

    def now(self) -> float:
        """Unix time in seconds."""
        ...

    def jitter(self) -> float:
        """Uniform in [0, 1)."""
        ...

    def new_id(self) -> JobId:
        """A new job id; later ids sort after earlier ones."""
        ...


class SystemClock:
    """The clock of the machine, and a random generator of its own."""

    def __init__(self) -> None:
        self._random = random.Random(secrets.randbits(64))  # noqa: S311 - jitter is no secret

    def now(self) -> float:
        """Unix time in seconds, rounded to 0.1 ms, so that records stay readable."""
        return round(time.time(), 4)

    def jitter(self) -> float:
        """Uniform in [0, 1)."""
        return self._random.random()

    def new_id(self) -> JobId:
        """Milliseconds and 40 random bits, in hex: 21 characters, sorted by time."""
        return JobId(f"{time.time_ns() // 1_000_000:011x}{secrets.token_hex(5)}")
