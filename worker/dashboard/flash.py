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
LASTS_S: Final = 60
TEXT_MOST: Final = 600


@dataclass(frozen=True, slots=True)
class Flash:
    """What became of an act."""

    text: str
    bad: bool = False


_decoder: Final = msgspec.json.Decoder(tuple[str, bool])


def put_flash(response: web.Response, flash: Flash) -> None:
    """Send it along."""
    data = msgspec.json.encode((flash.text[:TEXT_MOST], flash.bad))
    response.set_cookie(
        COOKIE,
        base64.urlsafe_b64encode(data).decode(),
        max_age=LASTS_S,
        httponly=True,
        samesite="Strict",
    )


def take_flash(request: web.Request) -> Flash | None:
    """What the page before said; the answer to this request must drop it."""
    sent = request.cookies.get(COOKIE)
    if not sent:
        return None
    try:
        text, bad = _decoder.decode(base64.urlsafe_b64decode(sent.encode("ascii")))
    except (ValueError, binascii.Error, msgspec.DecodeError):
        return None
    return Flash(text[:TEXT_MOST], bad)


def drop_flash(response: web.Response) -> None:
    """Take the cookie back."""
    response.del_cookie(COOKIE, httponly=True, samesite="Strict")
