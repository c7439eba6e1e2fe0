"""Which jobs a newer version wrote, as this process met them: they are passed over in the indexes.

Without it the newer jobs at the head of a lane, or of what is due, would keep this process from
reading the jobs behind them.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

KEPT_S: Final = 60.0
"""After so long such a job is read again."""

MAX_KEPT: Final = 2_000
"""Jobs that are passed over at once; what is behind more of them in one index is not found."""


class NewerJobs:
    """The ids of jobs that a newer version wrote."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def note(self, job_id: str) -> None:
        """Pass over a job for a while."""
        if len(self._until) < MAX_KEPT:
            self._until.setdefault(job_id, asyncio.get_running_loop().time() + KEPT_S)

    def ids(self) -> tuple[str, ...]:
        """The jobs to pass over now."""
        if not self._until:
            return ()
        now = asyncio.get_running_loop().time()
        self._until = {job_id: until for job_id, until in self._until.items() if until > now}
        return tuple(self._until)

    def without(self, rows: Sequence[T], id_of: Callable[[T], str], limit: int) -> list[T]:
        """The first `limit` rows of other jobs; read `len(ids())` rows more than that."""
        return [row for row in rows if id_of(row) not in self._until][:limit]
