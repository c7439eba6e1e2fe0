"""HTTP responses as values: the documented shapes, and their encoding."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

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


class SandboxAccepted(
    msgspec.Struct,
    frozen=True,
    rename={
        "is_async": "_async",
        "execution_id": "executionId",
        "request_id": "requestId",
        "webhook_delivery": "webhookDelivery",
        "poll_url": "pollUrl",
    },
):
    """The response to an async submit."""

    is_async: bool
    execution_id: str | UnsetType
    request_id: str
    status: str
    webhook_delivery: JsonObject
    poll_url: str


class SandboxFinished(msgspec.Struct, frozen=True):
    """The response to a sync run; `ms` is the provider's time in milliseconds."""

    success: bool
    result: object
    cost: Credits
    ms: int


class Execution(msgspec.Struct, frozen=True, rename="camel"):
    """The response to a poll and to a cancel."""

    execution_id: str
    request_id: str
    status: str
    created_at: str
    workflow_slug: str | UnsetType = UNSET
    model_ids: tuple[str, ...] | UnsetType = UNSET
    completed_at: str | UnsetType = UNSET
    result: object = UNSET
    cost: Credits | UnsetType = UNSET
    error: object = UNSET
    code: str | UnsetType = UNSET


class WebhookPayload(msgspec.Struct, frozen=True, rename="camel"):
    """The body of a webhook delivery."""

    event: str
    execution_id: str
    request_id: str
    user_id: str
    status: str
    workflow_slug: str | UnsetType = UNSET
    model_ids: tuple[str, ...] | UnsetType = UNSET
    result: object = UNSET
    error: object = UNSET


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
