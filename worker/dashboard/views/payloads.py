"""Inputs and results as a page shows them: pretty, shortened, nothing invisible."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from worker.dashboard.views.formatting import plain
from worker.store.codec import BROKEN, decode

SHOWN: Final = 8_000
"""Characters shown on a page; the whole is a file to download."""

EDITED_MOST: Final = 65_536
"""Bytes of inputs that a page offers for editing as a whole; larger ones are patched."""

_UNSEEN_IN_JSON: Final = re.compile(
    "[\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
)


@dataclass(frozen=True, slots=True)
class Payload:
    """A JSON text on a page."""

    text: str
    size: int
    """Bytes of the whole."""
    is_whole: bool


def payload(raw: bytes | None) -> Payload | None:
    """A text to show; None where there is none."""
    if raw is None:
        return None
    text = pretty(raw)
    return Payload(text[:SHOWN], len(raw), len(text) <= SHOWN)


def pretty(raw: bytes) -> str:
    """JSON over lines, with what nobody can see written as escapes: it stays the same JSON.

    Large texts are not parsed: they are shown as they are, from the beginning.
    """
    if len(raw) <= EDITED_MOST:
        try:
            return readable(decode(raw))
        except (*BROKEN, RecursionError):
            pass
    return plain(raw[: SHOWN * 4].decode("utf-8", "replace"))


def readable(value: Any) -> str:
    """A value as JSON over lines."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return _UNSEEN_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
