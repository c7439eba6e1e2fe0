"""Times to come on the command line: RFC 3339 for the API, local where they name no zone."""

import time
from datetime import UTC, datetime
from typing import Final

from worker.cli.text import parse_duration, parse_moment

NOW: Final = "now"
NONE: Final = "none"
"""Words of the API beside times."""


def parse_future(text: str) -> str:
    """A time; raises ValueError for a duration, which has an option of its own."""
    if _is_duration(text):
        raise ValueError(f"{text!r} is a duration: use --delay")
    return parse_moment(text, time.time())


def parse_start_by(text: str) -> str:
    """A time, that after a duration from now, or `none`."""
    return text if text == NONE else _time_or_delay(text)


def parse_run_at(text: str) -> str:
    """A time, that after a duration from now, or `now`."""
    return text if text == NOW else _time_or_delay(text)


def _time_or_delay(text: str) -> str:
    if not _is_duration(text):
        return parse_moment(text, time.time())
    moment = datetime.fromtimestamp(time.time() + parse_duration(text), UTC)
    return moment.isoformat().replace("+00:00", "Z")


def _is_duration(text: str) -> bool:
    return text[-1:] in tuple("smhd") or text.isdigit()
