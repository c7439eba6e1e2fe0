"""A word that is shown once, on the page after an act.

It travels in a cookie of its own, which the next page takes: nothing is kept on the server, and an
address never holds what was said. Whatever is in it is escaped like any other text from outside.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Final

import msgspec
from aiohttp import web

COOKIE: Final = "knouds_said"
MAX_AGE_S: Final = 60
MAX_TEXT_CHARS: Final = 600


@dataclass(frozen=True, slots=True)
class Flash:
    """What became of an act."""

    text: str
    is_error: bool = False


_decoder: Final = msgspec.json.Decoder(tuple[str, bool])


def set_flash(response: web.Response, flash: Flash) -> None:
    """Send it along."""
    data = msgspec.json.encode((flash.text[:MAX_TEXT_CHARS], flash.is_error))
    response.set_cookie(
        COOKIE,
        base64.urlsafe_b64encode(data).decode(),
        max_age=MAX_AGE_S,
        httponly=True,
        samesite="Strict",
    )


def read_flash(request: web.Request) -> Flash | None:
    """What the page before said; the answer to this request must drop it."""
    sent = request.cookies.get(COOKIE)
    if not sent:
        return None
    try:
        text, bad = _decoder.decode(base64.urlsafe_b64decode(sent.encode("ascii")))
    except (ValueError, binascii.Error, msgspec.DecodeError):
        return None
    return Flash(text[:MAX_TEXT_CHARS], bad)


def clear_flash(response: web.Response) -> None:
    """Take the cookie back."""
    response.del_cookie(COOKIE, httponly=True, samesite="Strict")
