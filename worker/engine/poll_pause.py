"""The pause of the polls of a worker that cannot connect to the provider.

A poll that was not sent says nothing about its run, and its cause may be this worker's network
alone. So the run stays due, for another worker, and this one pauses; then one poll at a time tries
to connect.
"""

from typing import Final

from jobs.outcomes import CallFailure, PollOutcome

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0
"""The pause doubles up to this with every try that does not connect."""


class PollPause:
    """Decides how many polls a worker may begin. Times are Unix seconds."""

    def __init__(self) -> None:
        self._pause_s = 0.0
        self._until = 0.0

    def limit(self, free: int, active: int, now: float) -> int:
        """Of `free` polls, those that may begin now; `active`: how many are under way."""
        if not self._pause_s:
            return free
        return 0 if active or now < self._until else min(1, free)

    def left_s(self, now: float) -> float:
        """Seconds until a poll may try to connect; 0 outside a pause."""
        return max(0.0, self._until - now)

    def record(self, outcome: PollOutcome, now: float) -> bool:
        """Note the outcome of a poll; whether it ends a pause."""
        if not isinstance(outcome, CallFailure) or not outcome.is_unsent:
            was_paused = self._pause_s > 0
            self._pause_s, self._until = 0.0, 0.0
            return was_paused
        if now >= self._until:  # else it began with those that failed just before
            self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2 or FIRST_PAUSE_S)
            self._until = now + self._pause_s
        return False
