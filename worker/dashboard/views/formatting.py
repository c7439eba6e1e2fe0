"""Text for a page from numbers, times, durations and external text."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, assert_never

from config.visible_text import INVISIBLE
from jobs.credits.sources import CostSource
from jobs.job import Attempt
from jobs.workflows import EnqueueWarning
from worker.api.models.response import rfc3339

MILLISECONDS_BELOW_S: Final = 0.1
SECONDS_BELOW_S: Final = 120
MINUTES_BELOW_S: Final = 120 * 60
HOURS_BELOW_S: Final = 48 * 3_600
TENTHS_BELOW_S: Final = 10
MAX_WARNINGS_SHOWN: Final = 3


def visible_text(value: object) -> str:
    """An external text with its invisible characters written as code points.

    >>> visible_text("a\u202eb")
    'a⟨U+202E⟩b'
    """
    text = "" if value is None else str(value)
    return INVISIBLE.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


def duration_text(seconds: float) -> str:
    """A duration in one unit.

    >>> [duration_text(s) for s in (0.012, 0.25, 42, 300, 7200, 200_000)]
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
    """A time (Unix seconds) relative to `now`: "5 min ago" or "in 5 min"."""
    if abs(now - then) < MILLISECONDS_BELOW_S:
        return "just now"
    return f"{duration_text(now - then)} ago" if then <= now else f"in {duration_text(then - now)}"


def utc_text(then: float) -> str:
    """A time (Unix seconds) as `2026-01-31 18:00:00 UTC`."""
    return rfc3339(then)[:19].replace("T", " ") + " UTC"


def number(value: float) -> str:
    """A number with narrow no-break spaces between thousands, at most two decimals.

    >>> number(12345), number(0.5)
    ('12\u202f345', '0.5')
    """
    if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN is not itself
        return "–"
    rounded = round(value, 2)
    text = f"{rounded:,.2f}".rstrip("0").rstrip(".") if rounded % 1 else f"{rounded:,.0f}"
    return text.replace(",", "\u202f")


def count(value: int, noun: str, plural: str = "") -> str:
    """A number with its noun.

    >>> count(1, "job"), count(2, "job"), count(3, "batch", "batches")
    ('1 job', '2 jobs', '3 batches')
    """
    return f"{number(value)} {noun if value == 1 else plural or noun + 's'}"


def jobs_waiting_text(jobs: int) -> str:
    """A number of jobs with "wait" or "waits".

    >>> jobs_waiting_text(1), jobs_waiting_text(2)
    ('1 job waits', '2 jobs wait')
    """
    return f"{count(jobs, 'job')} wait{'s' if jobs == 1 else ''}"


def credits_text(value: float | None) -> str:
    """An estimated cost, or "cost unknown" for None."""
    return "cost unknown" if value is None else f"about {credit_amount_text(value)}"


def warnings_text(warnings: Sequence[EnqueueWarning]) -> str:
    """What is wrong with a run, to follow a sentence without its full stop; empty for nothing."""
    if not warnings:
        return ""
    shown = "; ".join(f"{one.field} {one.message}" for one in warnings[:MAX_WARNINGS_SHOWN])
    more = len(warnings) - MAX_WARNINGS_SHOWN
    return f". Warning: {shown}" + (f"; and {more} more" if more > 0 else "")


def credit_amount_text(value: float) -> str:
    """An amount of credits."""
    return f"{number(value)} credit{'' if value == 1 else 's'}"


def attempt_cost_text(attempt: Attempt) -> str:
    """What an attempt cost, and who says so; empty where it has no cost."""
    match attempt.cost_source:
        case CostSource.USAGE:
            source = "named by the provider's list of runs"
        case CostSource.ESTIMATE:
            source = "an estimate: the provider has not named the cost"
        case None:
            source = "named by the answer"
        case _:
            assert_never(attempt.cost_source)
    if attempt.cost is None:
        return "unknown, and without an estimate" if attempt.cost_source is not None else ""
    return f"{credit_amount_text(attempt.cost)}, {source}"


def label_text(name: object) -> str:
    """An internal name as words: `dead_letter` is "dead letter"."""
    return visible_text(name).replace("_", " ")


def size(number_of_bytes: int) -> str:
    """A size in bytes with a binary unit.

    >>> size(2048)
    '2.0 KiB'
    """
    if number_of_bytes < 1_024:  # noqa: PLR2004
        return f"{number_of_bytes} B"
    kib = number_of_bytes / 1_024
    return f"{kib:.1f} KiB" if kib < 1_024 else f"{kib / 1_024:.1f} MiB"  # noqa: PLR2004


def parse_time(text: str, now: float) -> float:
    """Unix seconds of a typed time or age: `2h`, `7d`, `2026-01-31`, `2026-01-31T18:00` (UTC).

    Raises ValueError with the accepted forms.
    """
    age = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)", text.strip())
    if age is not None:
        units = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}
        return max(0.0, now - float(age[1]) * units[age[2]])
    try:
        found = datetime.fromisoformat(text.strip())
        if found.tzinfo is None:
            found = found.replace(tzinfo=UTC)
        return found.astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(
            "must be a time such as 2026-01-31T18:00 (UTC), or an age such as 30m, 2h or 7d"
        ) from None
