"""Where the API is, and how a client talks to it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

import httpx

from .errors import api_error
from .requests import Request
from .retries import RetryPolicy

DEFAULT_URL = "http://127.0.0.1:8080"
URL_VARIABLE = "KNOUDS_API_URL"
TOKEN_VARIABLE = "KNOUDS_API_TOKEN"  # noqa: S105 - the name of a variable

STREAM_SILENCE_S = 45.0
"""A stream that is silent for so long is broken: the server writes every 15 s."""

LONG_POLL_S = 60.0
"""How long one long poll asks the server to wait; it takes 120 s at most."""

_FIRST_ERROR = 400


@dataclass(frozen=True)
class ClientSettings:
    """The address, the token and the times of a client."""

    base_url: str
    token: str | None = field(repr=False)
    timeout_s: float
    retries: RetryPolicy

    @classmethod
    def of(
        cls, base_url: str | None, token: str | None, timeout_s: float, retries: RetryPolicy | None
    ) -> ClientSettings:
        """The settings given, else those of the environment."""
        url = base_url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
        found = token or os.environ.get(TOKEN_VARIABLE) or None
        return cls(url.rstrip("/"), found, timeout_s, retries or RetryPolicy())

    def arguments(self, request: Request) -> dict[str, Any]:
        """The arguments of httpx for a request."""
        headers = self.headers
        if request.content is not None:
            headers["Content-Type"] = "application/json"
        return {
            "method": request.method,
            "url": self.base_url + request.path,
            "params": request.parameters,
            "content": request.content,
            "headers": headers,
            "timeout": self.timeout_s + request.wait_s,
        }

    def stream_arguments(self, query: dict[str, str], silence_s: float) -> dict[str, Any]:
        """The arguments of httpx for a stream of events."""
        return {
            "method": "GET",
            "url": self.base_url + "/v1/events",
            "params": query,
            "headers": {**self.headers, "Accept": "text/event-stream"},
            "timeout": httpx.Timeout(self.timeout_s, read=silence_s),
        }

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every request."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}


def read_answer(response: httpx.Response) -> Any:
    """The JSON or text of an answer; raises `ApiError`, or a transport error if unreadable."""
    if response.status_code >= _FIRST_ERROR:
        raise api_error(response.status_code, response.content, response.headers)
    if not response.headers.get("Content-Type", "").startswith("application/json"):
        return response.text
    try:
        return json.loads(response.content)
    except ValueError:
        raise httpx.RemoteProtocolError("the answer is not the JSON that it says it is") from None
