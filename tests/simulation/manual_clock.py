"""A clock that the test moves, with predictable jitter and ids."""

import random

from jobs.lanes import JobId

BEGIN: float = 1_790_000_000.0


class ManualClock:
    """A clock that stands still until it is moved. Jitter and ids are the same in every run."""

    def __init__(self) -> None:
        self._now = BEGIN
        self._random = random.Random(1)  # noqa: S311  not for secrets
        self._ids_made = 0

    def now(self) -> float:
        """Unix time in seconds."""
        return self._now

    def jitter(self) -> float:
        """Uniform in [0, 1)."""
        return self._random.random()

    def new_id(self) -> JobId:
        """`n1`, `n2` and so on."""
        self._ids_made += 1
        return JobId(f"n{self._ids_made}")

    def pass_time(self, seconds: float) -> None:
        """Move the clock forward."""
        self._now = round(self._now + seconds, 3)
