"""A message that is shown once, on the page after an action.

It is sent in a cookie that the next page deletes: the server stores nothing, and no URL holds the
message. Pages escape it like any other external text.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Final

import msgspec
from aiohttp import web

COOKIE: Final = "knouds_flash"
MAX_AGE_S: Final = 60
MAX_TEXT_CHARS: Final = 600


@dataclass(frozen=True, slots=True)
class Flash:
    """The result of an action."""

    text: str
    is_error: bool = False


_decoder: Final = msgspec.json.Decoder(tuple[str, bool])


def set_flash(response: web.Response, flash: Flash) -> None:
    """Add the message to a response."""
    data = msgspec.json.encode((flash.text[:MAX_TEXT_CHARS], flash.is_error))
    response.set_cookie(
        COOKIE,
        base64.urlsafe_b64encode(data).decode(),
        max_age=MAX_AGE_S,
        httponly=True,
        samesite="Strict",
    )


def read_flash(request: web.Request) -> Flash | None:
    """The message of the previous page; the response must clear it."""
    sent = request.cookies.get(COOKIE)
    if not sent:
        return None
    try:
        text, is_error = _decoder.decode(base64.urlsafe_b64decode(sent.encode("ascii")))
    except (ValueError, binascii.Error, msgspec.DecodeError):
        return None
    return Flash(text[:MAX_TEXT_CHARS], is_error)


def clear_flash(response: web.Response) -> None:
    """Delete the cookie."""
    response.del_cookie(COOKIE, httponly=True, samesite="Strict")
