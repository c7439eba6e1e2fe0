"""What a change does to inputs, as lines that go, come and stay."""

import difflib
from dataclasses import dataclass
from typing import Any, Final

from worker.dashboard.views.payloads import json_text

MAX_LINE_CHARS: Final = 300
"""Characters of a line that are shown."""

MAX_LINES: Final = 400
MAX_COMPARED_LINES: Final = 4_000
"""Lines of either side; more would keep the process from its other calls."""


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line: `-` goes, `+` comes, a space stays, `…` stands for lines left out."""

    sign: str
    text: str


def diff(before: Any, after: Any) -> tuple[DiffLine, ...]:
    """The difference of two values; empty where there is none."""
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
        return (DiffLine("…", "the change lies beyond what is compared here"),)
    if len(found) > MAX_LINES:
        found = [*found[:MAX_LINES], DiffLine("…", f"{len(found) - MAX_LINES} more lines")]
    return tuple(found)


def _line(text: str) -> DiffLine:
    if text.startswith("@@"):
        return DiffLine("…", "")
    sign, rest = text[:1], text[1:]
    return DiffLine(sign, rest if len(rest) <= MAX_LINE_CHARS else f"{rest[:MAX_LINE_CHARS]}…")
