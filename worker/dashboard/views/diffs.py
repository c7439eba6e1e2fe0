"""What a change does to inputs, as lines that go, come and stay."""

import difflib
from dataclasses import dataclass
from typing import Any, Final

from worker.dashboard.views.payloads import readable

LINE_MOST: Final = 300
"""Characters of a line that are shown."""

LINES_MOST: Final = 400
COMPARED_MOST: Final = 4_000
"""Lines of either side; more would keep the process from its other calls."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line: `-` goes, `+` comes, a space stays, `…` stands for lines left out."""

    sign: str
    text: str


def diff(before: Any, after: Any) -> tuple[Line, ...]:
    """The difference of two values; empty where there is none."""
    old, new = readable(before).splitlines(), readable(after).splitlines()
    if old == new:
        return ()
    found = [
        _line(text)
        for text in difflib.unified_diff(old[:COMPARED_MOST], new[:COMPARED_MOST], lineterm="", n=2)
        if not text.startswith(("---", "+++"))
    ]
    if not found:
        return (Line("…", "the change lies beyond what is compared here"),)
    if len(found) > LINES_MOST:
        found = [*found[:LINES_MOST], Line("…", f"{len(found) - LINES_MOST} more lines")]
    return tuple(found)


def _line(text: str) -> Line:
    if text.startswith("@@"):
        return Line("…", "")
    sign, rest = text[:1], text[1:]
    return Line(sign, rest if len(rest) <= LINE_MOST else f"{rest[:LINE_MOST]}…")
