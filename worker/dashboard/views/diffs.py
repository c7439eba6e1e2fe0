"""The difference between two versions of inputs, as lines."""

import difflib
from dataclasses import dataclass
from typing import Any, Final

from worker.dashboard.views.payloads import json_text

MAX_LINE_CHARS: Final = 300
"""Longer lines are cut."""

MAX_LINES: Final = 400
MAX_COMPARED_LINES: Final = 4_000
"""Lines of each side; comparing more would block the event loop too long."""


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line with its sign: `-` removed, `+` added, space unchanged, `…` lines omitted."""

    sign: str
    text: str


def diff(before: Any, after: Any) -> tuple[DiffLine, ...]:
    """The difference between two JSON values; empty if they are equal."""
    old, new = json_text(before).splitlines(), json_text(after).splitlines()
    if old == new:
        return ()
    found = [
        _line(text)
        for text in difflib.unified_diff(
            old[:MAX_COMPARED_LINES], new[:MAX_COMPARED_LINES], lineterm="", n=2
        )
        if not text.startswith(("---", "+++"))
    ]
    if not found:
        return (DiffLine("…", f"the values differ after the first {MAX_COMPARED_LINES} lines"),)
    if len(found) > MAX_LINES:
        found = [*found[:MAX_LINES], DiffLine("…", f"{len(found) - MAX_LINES} more lines")]
    return tuple(found)


def _line(text: str) -> DiffLine:
    if text.startswith("@@"):
        return DiffLine("…", "")
    sign, rest = text[:1], text[1:]
    return DiffLine(sign, rest if len(rest) <= MAX_LINE_CHARS else f"{rest[:MAX_LINE_CHARS]}…")
