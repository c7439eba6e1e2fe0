"""Times as the API and callbacks write them."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

_MAX_TIMESTAMP_S: Final = 253_402_300_799.0
"""The end of the year 9999: the last second RFC 3339 can write."""


def rfc3339(seconds: float) -> str:
    """Unix seconds as RFC 3339 in UTC, with milliseconds.

    A time before 1970 or after the year 9999 is written as that bound: a provider's `Retry-After`
    may name any time.
    """
    bounded = min(max(seconds, 0.0), _MAX_TIMESTAMP_S)
    second, milliseconds = divmod(round(bounded * 1_000), 1_000)
    return f"{_second_text(second)}.{milliseconds:03d}Z"


@lru_cache(maxsize=4_096)
def _second_text(at: int) -> str:
    """A whole second without its zone, cached: a page of jobs writes thousands of times."""
    return datetime.fromtimestamp(at, UTC).isoformat()[:-6]


def optional_rfc3339(seconds: float | None) -> str | None:
    """Unix seconds as RFC 3339; None as None."""
    return None if seconds is None else rfc3339(seconds)
