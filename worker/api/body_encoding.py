"""Bodies are read as they are: one with a `Content-Encoding` is refused before it is read.

A small compressed body can be of any size once it is unpacked, and the limit of the size counts
what is sent.
"""

from typing import Final

from aiohttp import web

from worker.api.problems import Problem

MAX_SHOWN_CHARS: Final = 60


def refuse_encoded_body(request: web.Request) -> None:
    """Raise `Problem` (415) if the request has a body in any encoding but `identity`."""
    given = ", ".join(request.headers.getall("Content-Encoding", []))
    names = {name.strip().lower() for name in given.split(",")}
    if names <= {"", "identity"} or not request.body_exists:
        return
    detail = (
        f"Content-Encoding {given[:MAX_SHOWN_CHARS]!r} is not supported: send the body as it is,"
        " without a Content-Encoding header"
    )
    raise Problem(
        415,
        "encoded-body",
        "Encoded body",
        detail,
        headers={"Accept-Encoding": "identity"},
        field="Content-Encoding",
    )
