"""Time, chance and names as the test sets them."""

import random

from jobs.lanes import JobId

BEGIN: float = 1_790_000_000.0


class ManualClock:
    """A clock that stands still until it is moved; its dice are the same in every run."""

    def __init__(self) -> None:
        self._now = BEGIN
        self._random = random.Random(1)  # noqa: S311  dice of a test
        self._names = 0

    def now(self) -> float:
        """Unix time in seconds."""
        return self._now

    def jitter(self) -> float:
        """Uniform in [0, 1)."""
        return self._random.random()

    def new_id(self) -> JobId:
        """The next of a row of names."""
        self._names += 1
        return JobId(f"n{self._names}")

    def pass_time(self, seconds: float) -> None:
        """Move on."""
        self._now = round(self._now + seconds, 3)
