"""Packs commands with hiredis, as redis-py's blocking connections do.

redis-py 5's asyncio connections pack each argument in Python; one commit has up to a thousand.
"""

from typing import Any, cast

try:
    import hiredis
except ImportError:  # it comes with arq; without it everything works, at more cost
    hiredis = None  # type: ignore[assignment]


class _HiredisPacking:
    """What a connection packs with."""

    def pack_command(self, *args: Any) -> list[bytes]:
        """Pack a command: `EVALSHA`, or `INFO server` as one argument with a space."""
        name, *rest = args
        words = (name if isinstance(name, bytes) else str(name).encode()).split()
        return [cast("Any", hiredis).pack_command((*words, *rest))]


def packing() -> tuple[type, ...]:
    """The base of a connection class that packs with hiredis; none if it is not installed."""
    return (_HiredisPacking,) if cast("Any", hiredis) else ()
