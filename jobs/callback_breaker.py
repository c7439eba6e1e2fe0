"""The breaker of a callback host: a host that is down gets one try now and then, not all. Pure."""

from typing import Final

import msgspec

TRIPS_AFTER: Final = 5
"""Tries in a row that found the host down."""

FIRST_PAUSE_S: Final = 2.0
LONGEST_PAUSE_S: Final = 300.0
"""Between two probes: 2 s, then twice as long each, up to five minutes."""


class CallbackBreaker(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="schema",
    tag=1,
    forbid_unknown_fields=True,
):
    """A host that callbacks could not reach. It is closed again when its record is removed."""

    until: float
    """When the next probe is due, Unix seconds."""
    failures: int
    """Tries in a row that found it down."""
    since: float
    """When it tripped."""
    error: str = ""
    """What the last try met."""


def after_host_failure(
    before: CallbackBreaker | None, failures: int, now: float, error: str
) -> CallbackBreaker | None:
    """The breaker after another try found its host down; None while it stays closed.

    `failures`: how many tries in a row found it down, with this one, as far as this process knows.
    """
    if before is None:
        if failures < TRIPS_AFTER:
            return None
        until = now + FIRST_PAUSE_S
        return CallbackBreaker(until=until, failures=failures, since=now, error=error)
    probes = max(0, before.failures - TRIPS_AFTER) + 1
    pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(probes, 20))
    return msgspec.structs.replace(
        before, until=now + pause, failures=before.failures + 1, error=error
    )
