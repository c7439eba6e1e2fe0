"""Characters that nobody sees: they move a cursor, or turn the direction of a text."""

import re
from typing import Final

INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
)
"""Control characters C0 and C1 but tab and line feed, and those that format or separate lines."""


def escaped(text: str) -> str:
    r"""The text with each of these characters as an escape of JSON and Python.

    >>> escaped("a\x1b[2Jb\u202e")
    'a\\u001b[2Jb\\u202e'
    """
    return INVISIBLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def one_line(text: str) -> str:
    """The same, with line feeds and tabs escaped as well: one log line stays one line."""
    return escaped(text).replace("\n", "\\n").replace("\t", "\\t")
