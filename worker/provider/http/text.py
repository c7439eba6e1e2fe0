"""Texts from outside, made safe to store and to show."""

import re
from typing import Final

MAX_MESSAGE_CHARS: Final = 500


def sanitize(text: str, secrets: re.Pattern[str]) -> str:
    """Return the text as one printable line of at most 500 characters.

    `secrets` matches what must not show; its first group is the prefix that stays visible.
    """
    text = secrets.sub(r"\1…", text[: 4 * MAX_MESSAGE_CHARS])
    text = "".join(char if char.isprintable() else " " for char in text)
    text = " ".join(text.split())
    return text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 1] + "…"
