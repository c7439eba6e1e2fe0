"""Inputs and results as a page shows them: pretty, shortened, nothing invisible."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from worker.dashboard.views.formatting import visible_text
from worker.store.codec import DECODE_ERRORS, decode

MAX_SHOWN_CHARS: Final = 8_000
"""Characters shown on a page; the whole is a file to download."""

MAX_EDITED_BYTES: Final = 65_536
"""Bytes of inputs that a page offers for editing as a whole; larger ones are patched."""

_INVISIBLE_IN_JSON: Final = re.compile(
    "[\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
)


@dataclass(frozen=True, slots=True)
class Payload:
    """A JSON text on a page."""

    text: str
    size_bytes: int
    """Bytes of the whole."""
    is_complete: bool


def payload_of(raw: bytes | None) -> Payload | None:
    """A text to show; None where there is none."""
    if raw is None:
        return None
    text = pretty_json(raw)
    return Payload(text[:MAX_SHOWN_CHARS], len(raw), len(text) <= MAX_SHOWN_CHARS)


def pretty_json(raw: bytes) -> str:
    """JSON over lines, with what nobody can see written as escapes: it stays the same JSON.

    Large texts are not parsed: they are shown as they are, from the beginning.
    """
    if len(raw) <= MAX_EDITED_BYTES:
        try:
            return json_text(decode(raw))
        except (*DECODE_ERRORS, RecursionError):
            pass
    return visible_text(raw[: MAX_SHOWN_CHARS * 4].decode("utf-8", "replace"))


def json_text(value: Any) -> str:
    """A value as JSON over lines."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return _INVISIBLE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
