"""How many bytes of bodies may be in memory at once, of one client and of all."""

from collections import Counter
from dataclasses import dataclass, field


class OverBudget(Exception):
    """The bytes do not fit now."""

    def __init__(self, *, is_of_client: bool) -> None:
        super().__init__("too many bytes at once")
        self.is_of_client = is_of_client
        """Whether the client alone has too many."""


@dataclass(slots=True)
class BodyBudget:
    """The bytes in memory; `OverBudget` where more would be too many."""

    total_bytes: int
    client_bytes: int
    _used_by: Counter[str] = field(default_factory=Counter[str])
    _used: int = 0

    @property
    def used_bytes(self) -> int:
        """The bytes that are in memory now."""
        return self._used

    def take(self, client: str, size_bytes: int) -> None:
        """Count bytes that are kept from now on; raises `OverBudget`."""
        if self._used_by[client] + size_bytes > self.client_bytes:
            raise OverBudget(is_of_client=True)
        if self._used + size_bytes > self.total_bytes:
            raise OverBudget(is_of_client=False)
        self._used_by[client] += size_bytes
        self._used += size_bytes

    def give_back(self, client: str, size_bytes: int) -> None:
        """Count bytes that are kept no more."""
        self._used -= size_bytes
        self._used_by[client] -= size_bytes
        if not self._used_by[client]:
            del self._used_by[client]
