"""HTTP responses as values, and their encoding."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeAlias

import msgspec

JsonObject: TypeAlias = dict[str, object]
Credits: TypeAlias = int | float

JSON = "application/json"
HTML = "text/html"
NO_HEADERS: Mapping[str, str] = MappingProxyType({})

encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class SandboxReply:
    """One complete HTTP response."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    content_type: str = JSON

    def with_headers(self, headers: Mapping[str, str]) -> "SandboxReply":
        """Return the same response with `headers` added."""
        return replace(self, headers={**self.headers, **headers}) if headers else self


def json_reply(
    value: object, status: int = 200, headers: Mapping[str, str] = NO_HEADERS
) -> SandboxReply:
    """Return `value` as a JSON response."""
    return SandboxReply(status, encode(value), headers)


def error_reply(
    status: int,
    message: str,
    code: str | None = None,
    fields: Mapping[str, object] = NO_HEADERS,
    headers: Mapping[str, str] = NO_HEADERS,
) -> SandboxReply:
    """Return an error in the provider's shape: `error`, mostly `code`, context fields."""
    body: JsonObject = {"error": message}
    if code is not None:
        body["code"] = code
    body.update(fields)
    return SandboxReply(status, encode(body), headers)


def proxy_page(status: int) -> SandboxReply:
    """Return the HTML error page of a proxy."""
    page = f"<html><head><title>{status}</title></head><body><h1>{status}</h1>proxy</body></html>"
    return SandboxReply(status, page.encode(), NO_HEADERS, HTML)
