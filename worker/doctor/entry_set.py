"""A set of entries too large for a set: eight bytes each."""

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
        """Remember a pair; again is no harm."""
        value = hash((key, member))
        self._buckets[value & _MASK].append(value)

    def seal(self) -> None:
        """Sort, once all are added."""
        self._buckets = [array("q", sorted(bucket)) for bucket in self._buckets]

    def has(self, key: str, member: str) -> bool:
        """Whether a pair was added (before `seal`)."""
        value = hash((key, member))
        bucket = self._buckets[value & _MASK]
        place = bisect_left(bucket, value)
        return place < len(bucket) and bucket[place] == value
