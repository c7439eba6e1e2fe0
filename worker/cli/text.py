"""Times as text, and texts made safe for a terminal."""

import os
import re
import shlex
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

PROGRAM: Final = "knouds-worker"

Doc = dict[str, Any]
"""A JSON object, as the API sends it."""

_UNITS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)")

MAX_SHOWN_AS_SECONDS_S: Final = 120
MAX_SHOWN_AS_MINUTES_S: Final = 120 * 60
MAX_SHOWN_AS_HOURS_S: Final = 48 * 3_600


def sanitize(value: object) -> str:
    """A text without the characters that move a cursor or change colours or direction."""
    from config.visible_text import INVISIBLE  # noqa: PLC0415  not before the import guard

    return "" if value is None else INVISIBLE.sub("�", str(value))


def escape_json(text: str) -> str:
    """JSON text with such characters escaped: it means the same, and a terminal shows it."""
    from config.visible_text import INVISIBLE  # noqa: PLC0415  not before the import guard

    return INVISIBLE.sub(lambda at: at[0] if at[0] < " " else f"\\u{ord(at[0]):04x}", text)


def format_duration(seconds: float) -> str:
    """A duration in one unit.

    >>> [format_duration(s) for s in (0.25, 42, 300, 7200, 200_000)]
    ['0.2s', '42s', '5m', '2h', '2d']
    """
    s = max(0.0, seconds)
    if s < 10:  # noqa: PLR2004  below it, tenths are of use
        return f"{s:.1f}s"
    if s < MAX_SHOWN_AS_SECONDS_S:
        return f"{s:.0f}s"
    if s < MAX_SHOWN_AS_MINUTES_S:
        return f"{s // 60:.0f}m"
    return f"{s // 3_600:.0f}h" if s < MAX_SHOWN_AS_HOURS_S else f"{s // 86_400:.0f}d"


def parse_time(value: object) -> float | None:
    """Unix seconds of an RFC 3339 text or a number; None for anything else."""
    if isinstance(value, int | float):
        return float(value)
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        return None


def format_age(value: object, now: float) -> str:
    """A time as `5m ago` or `in 5m`; empty where it is not a time."""
    moment = parse_time(value)
    if moment is None:
        return ""
    return (
        f"{format_duration(now - moment)} ago"
        if moment <= now
        else f"in {format_duration(moment - now)}"
    )


def parse_duration(text: str) -> float:
    """Seconds of `90`, `90s`, `15m`, `2h` or `7d`; ValueError otherwise."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write 90, 90s, 15m, 2h or 7d")
    return float(match[1]) * _UNITS[match[2]]


def parse_moment(text: str, now: float) -> str:
    """RFC 3339 of a date and time, or of a duration counted back from `now`.

    A time without a zone is local time. Raises ValueError where it is neither.
    """
    try:
        if _DURATION.fullmatch(text.strip()):
            moment = datetime.fromtimestamp(now - parse_duration(text), UTC)
        else:
            moment = datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"{text!r} is neither a time (2026-01-31T18:00, of the years 1 to 9999 in UTC) nor a"
            " duration (2h)"
        ) from None
    return moment.isoformat().replace("+00:00", "Z")


def lane_of(job: Doc) -> str:
    """`account/kind/target` of a job or a group."""
    return sanitize("/".join(str(job.get(part, "?")) for part in ("account", "kind", "target")))


def command_line(*words: str) -> str:
    """A command of this program to copy, quoted where a shell needs it."""
    return shlex.join((program_path(), *words))


def program_path() -> str:
    """This program as a shell finds it here: by name, or by path where it is not on PATH."""
    started = Path(sys.argv[0])
    if started.name != PROGRAM or shutil.which(PROGRAM) or not started.is_file():
        return PROGRAM
    path = os.path.relpath(started)
    return str(started) if path.startswith("..") else path


def credit_lines(stats: Doc) -> list[str]:
    """A line for each budget or balance that needs an operator, with what to do."""
    warnings: list[Doc] = stats.get("credit_warnings") or []
    return [f"{one['text']}. {one['action']}" for one in warnings]


def redis_lines(stats: Doc) -> list[str]:
    """A line for each thing that Redis refuses, with what ends it."""
    refusals: list[Doc] = stats.get("redis_refuses") or []
    return [f"{one['text']}. {one['action']}" for one in refusals]
