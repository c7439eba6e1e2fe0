"""What every response model shares: its configuration, how it writes times, and its encoder.

A response model is both what is encoded and what the OpenAPI document describes. Inputs and results
are embedded as the JSON text they are stored as (`msgspec.Raw`), never decoded.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta

_MAX_TIMESTAMP_S: Final = 253_402_300_799.0
"""The end of the year 9999: the last second RFC 3339 can write."""

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""RFC 3339, UTC, milliseconds and Z, as `rfc3339` writes it."""

RawJson = msgspec.Raw
"""JSON text of a payload."""

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


def rfc3339(seconds: float) -> str:
    """Unix seconds as RFC 3339 in UTC, with milliseconds.

    A time before 1970 or after the year 9999 is written as that bound: a provider's `Retry-After`
    may name any time.
    """
    bounded = min(max(seconds, 0.0), _MAX_TIMESTAMP_S)
    second, milliseconds = divmod(round(bounded * 1_000), 1_000)
    return f"{_second_text(second)}.{milliseconds:03d}Z"


@lru_cache(maxsize=4_096)
def _second_text(at: int) -> str:
    """A whole second without its zone, cached: a page of jobs writes thousands of times."""
    return datetime.fromtimestamp(at, UTC).isoformat()[:-6]


def optional_rfc3339(seconds: float | None) -> str | None:
    """Unix seconds as RFC 3339; None as None."""
    return None if seconds is None else rfc3339(seconds)
