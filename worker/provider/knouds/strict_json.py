"""Makes JSON of what is nearly JSON, so that any reader can read a paid result.

A literal that JSON or a double has no room for (`1e999`, `NaN`, `-Infinity`, an integer of 400
digits) becomes a string of its own text, and so does a value that is nested too deeply. All else
stays byte for byte, so nothing that the provider sent is lost.
"""

import math
import re
from typing import Final

import msgspec

MAX_DEPTH: Final = 200
"""Levels of arrays and objects; the parsers of readers stop at some hundreds."""

MAX_DIGITS: Final = 308
"""Digits of an integer that every double has room for."""

_TOKEN: Final = re.compile(
    rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]|-?Infinity|NaN|-?[0-9][0-9.eE+-]*', re.DOTALL
)


def strict_text(text: bytes) -> bytes:
    """The same JSON text, with strings in place of what strict readers refuse."""
    parts: list[bytes] = []
    depth = done = deep_from = 0
    for token in _TOKEN.finditer(text):
        first = token[0][:1]
        if first == b'"':
            continue
        if first in b"[{":
            depth += 1
            if depth == MAX_DEPTH + 1:
                deep_from = token.start()
        elif first in b"]}":
            if depth == MAX_DEPTH + 1:
                deep = text[deep_from : token.end()].decode(errors="replace")
                parts += [text[done:deep_from], msgspec.json.encode(deep)]
                done = token.end()
            depth -= 1
        elif depth <= MAX_DEPTH and _has_no_room(token[0]):
            parts += [text[done : token.start()], b'"%s"' % token[0]]
            done = token.end()
    return b"".join([*parts, text[done:]])


def _has_no_room(literal: bytes) -> bool:
    """Whether a literal is no number, or one that no double has room for."""
    try:
        return len(literal) > MAX_DIGITS + 1 or not math.isfinite(float(literal))
    except ValueError:
        return False
