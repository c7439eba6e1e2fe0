"""A set of entries in eight bytes each, for more than a Python set can hold."""

from array import array
from bisect import bisect_left
from typing import Final

_BUCKETS: Final = 1_024
_MASK: Final = _BUCKETS - 1


class EntrySet:
    """Remembers `(key, member)` pairs by a 64-bit hash.

    All pairs are added first; `seal` then makes them searchable.
    """

    def __init__(self) -> None:
        self._buckets = [array("q") for _ in range(_BUCKETS)]

    def add(self, key: str, member: str) -> None:
        """Add a pair; adding it twice is allowed."""
        value = hash((key, member))
        self._buckets[value & _MASK].append(value)

    def seal(self) -> None:
        """Make the pairs searchable, after all are added."""
        self._buckets = [array("q", sorted(bucket)) for bucket in self._buckets]

    def has(self, key: str, member: str) -> bool:
        """Whether a pair was added (before `seal`)."""
        value = hash((key, member))
        bucket = self._buckets[value & _MASK]
        position = bisect_left(bucket, value)
        return position < len(bucket) and bucket[position] == value
