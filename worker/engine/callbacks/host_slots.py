"""How many callbacks this worker sends at once: in all, and to one host."""

from collections import Counter
from typing import Final

MAX_AT_ONCE: Final = 32
MAX_PER_HOST: Final = 8
"""A slow host takes no more of the slots."""


class HostSlots:
    """The slots of one worker."""

    def __init__(self, most: int = MAX_AT_ONCE, most_per_host: int = MAX_PER_HOST) -> None:
        self._most = most
        self._most_per_host = most_per_host
        self._taken: Counter[str] = Counter()
        self._down: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """How many are taken."""
        return self._taken.total()

    def free(self, host: str) -> int:
        """How many callbacks to a host may be sent now."""
        return max(0, min(self._most - self.total, self._most_per_host - self._taken[host]))

    def take(self, host: str) -> None:
        """A callback to a host is sent."""
        self._taken[host] += 1

    def give_back(self, host: str) -> None:
        """One has ended."""
        self._taken[host] -= 1
        if not self._taken[host]:
            del self._taken[host]

    def count_down(self, host: str) -> int:
        """The host was found down: how many times in a row, as far as this worker knows."""
        self._down[host] += 1
        return self._down[host]

    def count_up(self, host: str) -> None:
        """The host answered."""
        del self._down[host]
