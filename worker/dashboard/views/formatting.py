"""How numbers, lengths of time and texts from outside are written on a page."""

import re
from datetime import UTC, datetime
from typing import Final

from worker.api.models.views import rfc3339

_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
)
"""What steers a text without being seen: it could make one look like another."""

MILLISECONDS_BELOW_S: Final = 0.1
SECONDS_BELOW_S: Final = 120
MINUTES_BELOW_S: Final = 120 * 60
HOURS_BELOW_S: Final = 48 * 3_600
TENTHS_BELOW_S: Final = 10


def visible_text(value: object) -> str:
    """A text from outside with what nobody can see spelled out, so that it shows what it is.

    >>> plain("a\u202eb")
    'a⟨U+202E⟩b'
    """
    text = "" if value is None else str(value)
    return _INVISIBLE.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


def duration_text(seconds: float) -> str:
    """A length of time in one unit.

    >>> [span(s) for s in (0.012, 0.25, 42, 300, 7200, 200_000)]
    ['12 ms', '0.2 s', '42 s', '5 min', '2 h', '2 d']
    """
    s = max(0.0, seconds)
    if s < MILLISECONDS_BELOW_S:
        return f"{s * 1_000:.0f} ms"
    if s < TENTHS_BELOW_S:
        return f"{s:.1f} s"
    if s < SECONDS_BELOW_S:
        return f"{s:.0f} s"
    if s < MINUTES_BELOW_S:
        return f"{s // 60:.0f} min"
    return f"{s // 3_600:.0f} h" if s < HOURS_BELOW_S else f"{s // 86_400:.0f} d"


def ago(then: float, now: float) -> str:
    """How long ago, or how soon, a time is."""
    if abs(now - then) < MILLISECONDS_BELOW_S:
        return "just now"
    return f"{duration_text(now - then)} ago" if then <= now else f"in {duration_text(then - now)}"


def utc_text(then: float) -> str:
    """A time for people, UTC."""
    return rfc3339(then)[:19].replace("T", " ") + " UTC"


def timestamp_text(then: float) -> str:
    """A time for programs, RFC 3339."""
    return rfc3339(then)


def number(value: float) -> str:
    """A number with thin spaces between thousands.

    >>> number(12345), number(0.5)
    ('12\u202f345', '0.5')
    """
    if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN is not itself
        return "–"
    whole = round(value, 2)
    text = f"{whole:,.2f}".rstrip("0").rstrip(".") if whole % 1 else f"{whole:,.0f}"
    return text.replace(",", "\u202f")


def count(value: int, noun: str, plural: str = "") -> str:
    """So many of a thing.

    >>> count(1, "job"), count(2, "job"), count(3, "batch", "batches")
    ('1 job', '2 jobs', '3 batches')
    """
    return f"{number(value)} {noun if value == 1 else plural or noun + 's'}"


def jobs_waiting_text(jobs: int) -> str:
    """So many jobs wait.

    >>> waits(1), waits(2)
    ('1 job waits', '2 jobs wait')
    """
    return f"{count(jobs, 'job')} wait{'s' if jobs == 1 else ''}"


def credits_text(value: float | None) -> str:
    """What something costs, or that nobody knows."""
    return "cost not known yet" if value is None else f"about {credit_amount_text(value)}"


def credit_amount_text(value: float) -> str:
    """An amount of credits."""
    return f"{number(value)} credit{'' if value == 1 else 's'}"


def label_text(name: object) -> str:
    """A name of ours as words: `keep_watching` is "keep watching"."""
    return visible_text(name).replace("_", " ")


def size(number_of_bytes: int) -> str:
    """A size for people.

    >>> size(2048)
    '2.0 KiB'
    """
    if number_of_bytes < 1_024:  # noqa: PLR2004
        return f"{number_of_bytes} B"
    kib = number_of_bytes / 1_024
    return f"{kib:.1f} KiB" if kib < 1_024 else f"{kib / 1_024:.1f} MiB"  # noqa: PLR2004


def parse_time(text: str, now: float) -> float:
    """Unix seconds of what a person types: `2h`, `7d`, `2026-01-31`, `2026-01-31T18:00` (UTC).

    Raises ValueError with what it must be.
    """
    back = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)", text.strip())
    if back is not None:
        units = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}
        return max(0.0, now - float(back[1]) * units[back[2]])
    try:
        found = datetime.fromisoformat(text.strip())
        if found.tzinfo is None:
            found = found.replace(tzinfo=UTC)
        return found.timestamp()
    except (ValueError, OverflowError):
        raise ValueError(
            "must be a time as 2026-01-31T18:00 (UTC), or how long ago as 30m, 2h or 7d"
        ) from None
