"""Inputs and results as text for a page: indented, truncated, without invisible characters."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from jobs.payloads import MissingPayload
from worker.dashboard.views.formatting import visible_text
from worker.store.codec import DECODE_ERRORS, decode

MAX_SHOWN_CHARS: Final = 8_000
"""Characters shown on a page; the full text is a download."""

MAX_EDITED_BYTES: Final = 65_536
"""Bytes of inputs that a form can edit directly; larger inputs need a patch."""

_INVISIBLE_IN_JSON: Final = re.compile(
    "[\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
)


@dataclass(frozen=True, slots=True)
class Payload:
    """A JSON text for a page."""

    text: str
    size_bytes: int
    """Size of the full text."""
    is_complete: bool


_MISSING_TEXTS: Final = {
    MissingPayload.LOST: "Lost: Redis has no inputs of this job, so it cannot be sent.",
    MissingPayload.ERASED: "Erased: it is kept no longer.",
    MissingPayload.KEY_LOST: "Unreadable: no key of KNOUDS_PAYLOAD_KEYS reads it. It is under"
    " another key, or somebody changed it or put a plain one in its place.",
}


def missing_text(problem: MissingPayload | None) -> str:
    """Why a payload is not shown, in words; empty where there is no problem."""
    return "" if problem is None else _MISSING_TEXTS[problem]


def payload_of(raw: bytes | None) -> Payload | None:
    """A stored JSON text as a page shows it; None for None."""
    if raw is None:
        return None
    text = pretty_json(raw)
    return Payload(text[:MAX_SHOWN_CHARS], len(raw), len(text) <= MAX_SHOWN_CHARS)


def pretty_json(raw: bytes) -> str:
    """Indented JSON with invisible characters escaped: it decodes to the same value.

    A text over `MAX_EDITED_BYTES` is not parsed: its beginning is returned unchanged.
    """
    if len(raw) <= MAX_EDITED_BYTES:
        try:
            return json_text(decode(raw))
        except (*DECODE_ERRORS, RecursionError):
            pass
    return visible_text(raw[: MAX_SHOWN_CHARS * 4].decode("utf-8", "replace"))


def json_text(value: Any) -> str:
    """A value as indented JSON, with invisible characters escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return _INVISIBLE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
