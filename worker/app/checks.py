"""Checks of what people name, that several use cases share; each raises `InvalidRequest`."""

import re

from jobs.budgets.periods import is_time_zone
from worker.app.enqueue import InvalidRequest

SHOWN_CHARS = 64


def require_name(name: str, pattern: re.Pattern[str]) -> None:
    """Refuse the name of a budget or schedule that has not the shape of one."""
    if pattern.fullmatch(name) is None:
        raise InvalidRequest(
            "name",
            "must be 1 to 64 lowercase letters, digits, dots, hyphens or underscores, and begin"
            " and end with a letter or digit",
        )


def require_time_zone(name: str) -> None:
    """Refuse a time zone that this machine does not know."""
    if not is_time_zone(name):
        raise InvalidRequest(
            "time_zone",
            f"{name[:SHOWN_CHARS]!r} is not the name of a time zone: write one as"
            " Europe/Berlin, America/New_York or UTC",
        )
