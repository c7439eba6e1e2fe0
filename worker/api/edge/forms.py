"""Reads the forms of pages, once for a request."""

from typing import Final
from urllib.parse import parse_qsl

from aiohttp import web

from worker.api.edge.bodies import BodyKind, read_limited
from worker.api.edge.off_loop import parse_off_loop
from worker.api.problems import Problem

FORM_TYPE: Final = "application/x-www-form-urlencoded"
MAX_FIELDS: Final = 2_000
"""A thousand selected jobs and everything around them."""

_FIELDS: Final = web.RequestKey("form fields", list[tuple[str, str]])


async def read_form_fields(
    request: web.Request, kind: BodyKind = BodyKind.SMALL
) -> list[tuple[str, str]]:
    """Names and values of a form, in its order; none of another content type. Raises `Problem`."""
    fields = request.get(_FIELDS)
    if fields is None:
        fields = request[_FIELDS] = await _read(request, kind)
    return fields


async def _read(request: web.Request, kind: BodyKind) -> list[tuple[str, str]]:
    if request.content_type == "multipart/form-data":
        detail = f"send the form as {FORM_TYPE}: no form of ours has files"
        raise Problem(415, "not-a-form", "Not a form of ours", detail)
    if request.content_type != FORM_TYPE:
        return []
    body = await read_limited(request, kind)
    try:
        return await parse_off_loop(len(body), _parse, body)
    except ValueError:
        detail = f"the form cannot be read: it has to be UTF-8, with at most {MAX_FIELDS} fields"
        raise Problem(400, "malformed", "Malformed form", detail) from None


def _parse(body: bytes) -> list[tuple[str, str]]:
    text = body.decode()
    return parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
