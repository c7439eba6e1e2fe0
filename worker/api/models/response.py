"""What every response model shares: its configuration, how it writes times, and its encoder.

A response model is both what is encoded and what the OpenAPI document describes. Inputs and results
are embedded as the JSON text they are stored as (`msgspec.Raw`), never decoded.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from worker.app import rfc3339 as times

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""RFC 3339, UTC, milliseconds and Z, as `rfc3339` writes it."""

RawJson = msgspec.Raw
"""JSON text of a payload."""

rfc3339 = times.rfc3339
optional_rfc3339 = times.optional_rfc3339

_encoder: Final = msgspec.json.Encoder()


class ResponseModel(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """Part of a JSON response. A field without a default is always present, if only as null."""


def encode_response(body: ResponseModel) -> bytes:
    """A response model as JSON text."""
    return _encoder.encode(body)


def json_response(
    body: ResponseModel, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A response model as the response to a request."""
    return web.Response(
        status=status,
        body=_encoder.encode(body),
        content_type="application/json",
        headers=headers,
    )
