"""How numbers, lengths of time and texts from outside are written on a page."""

import re
from datetime import UTC, datetime
from typing import Final

from worker.api.models.views import moment

_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
)
"""What steers a text without being seen: it could make one look like another."""

MILLISECONDS_UNTIL: Final = 0.1
SECONDS_UNTIL: Final = 120
MINUTES_UNTIL: Final = 120 * 60
HOURS_UNTIL: Final = 48 * 3_600
TENTHS_UNTIL: Final = 10


def plain(value: object) -> str:
    """A text from outside with what nobody can see spelled out, so that it shows what it is.

    >>> plain("a\u202eb")
    'a⟨U+202E⟩b'
    """
    text = "" if value is None else str(value)
    return _UNSEEN.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


def span(seconds: float) -> str:
    """A length of time in one unit.

    >>> [span(s) for s in (0.012, 0.25, 42, 300, 7200, 200_000)]
    ['12 ms', '0.2 s', '42 s', '5 min', '2 h', '2 d']
    """
    s = max(0.0, seconds)
    if s < MILLISECONDS_UNTIL:
        return f"{s * 1_000:.0f} ms"
    if s < TENTHS_UNTIL:
        return f"{s:.1f} s"
    if s < SECONDS_UNTIL:
        return f"{s:.0f} s"
    if s < MINUTES_UNTIL:
        return f"{s // 60:.0f} min"
    return f"{s // 3_600:.0f} h" if s < HOURS_UNTIL else f"{s // 86_400:.0f} d"


def ago(then: float, now: float) -> str:
    """How long ago, or how soon, a time is."""
    if abs(now - then) < MILLISECONDS_UNTIL:
        return "just now"
    return f"{span(now - then)} ago" if then <= now else f"in {span(then - now)}"


def exact(then: float) -> str:
    """A time for people, UTC."""
    return moment(then)[:19].replace("T", " ") + " UTC"


def stamp(then: float) -> str:
    """A time for programs, RFC 3339."""
    return moment(then)


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


def waits(jobs: int) -> str:
    """So many jobs wait.

    >>> waits(1), waits(2)
    ('1 job waits', '2 jobs wait')
    """
    return f"{count(jobs, 'job')} wait{'s' if jobs == 1 else ''}"


def credits_text(value: float | None) -> str:
    """What something costs, or that nobody knows."""
    return "cost not known yet" if value is None else f"about {count_credits(value)}"


def count_credits(value: float) -> str:
    """An amount of credits."""
    return f"{number(value)} credit{'' if value == 1 else 's'}"


def words(name: object) -> str:
    """A name of ours as words: `keep_watching` is "keep watching"."""
    return plain(name).replace("_", " ")


def size(number_of_bytes: int) -> str:
    """A size for people.

    >>> size(2048)
    '2.0 KiB'
    """
    if number_of_bytes < 1_024:  # noqa: PLR2004
        return f"{number_of_bytes} B"
    kib = number_of_bytes / 1_024
    return f"{kib:.1f} KiB" if kib < 1_024 else f"{kib / 1_024:.1f} MiB"  # noqa: PLR2004


def read_moment(text: str, now: float) -> float:
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
