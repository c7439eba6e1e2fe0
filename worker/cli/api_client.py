"""The client of the HTTP API: it sends requests and returns documents; a refusal is one line."""

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from yarl import URL

from worker.cli.exit_codes import ApiUnreachable, CommandFailure, RedisUnreachable
from worker.cli.text import Doc, escape_json

CALL_TIMEOUT_S: Final = 120.0
"""Enough for a call on many jobs."""
CONNECT_TIMEOUT_S: Final = 5.0
MAX_SENDS: Final = 3
"""How often a request with an id is sent: the id makes it one job, however often it arrives."""

SERVICE_UNAVAILABLE: Final = 503

TOO_MANY_REQUESTS: Final = 429

TEXT_TYPES: Final = ("text/csv", "application/x-ndjson")
"""Content types of responses that are rows of text, not one document."""


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """A 2xx response: its text as it was sent, and the JSON object that it holds; none of rows."""

    status: int
    text: str
    doc: Doc


class ConnectionLost(ApiUnreachable):
    """The connection was lost after the request was sent: it may have taken effect."""


class RequestRefused(CommandFailure):
    """The API refused a request."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class TooManyRequests(RequestRefused):
    """A limit of the token is reached: the same request may pass later."""


class ApiClient:
    """The calls of one command. Every expected failure is a `CommandFailure`."""

    def __init__(self, http: aiohttp.ClientSession, base_url: str) -> None:
        self._http = http
        self._base_url = base_url

    async def get(
        self, *path: str, query: Mapping[str, Any] | None = None, timeout_s: float = CALL_TIMEOUT_S
    ) -> ApiResponse:
        """Read one document."""
        return await self._call("GET", path, query or {}, None, timeout_s)

    async def post(self, *path: str, body: Doc, timeout_s: float = CALL_TIMEOUT_S) -> ApiResponse:
        """Act, once."""
        return await self._call("POST", path, {}, body, timeout_s)

    async def put(self, *path: str, body: Doc) -> ApiResponse:
        """Set, once."""
        return await self._call("PUT", path, {}, body, CALL_TIMEOUT_S)

    async def patch(self, *path: str, body: Doc) -> ApiResponse:
        """Change, once."""
        return await self._call("PATCH", path, {}, body, CALL_TIMEOUT_S)

    async def delete(self, *path: str, body: Doc) -> ApiResponse:
        """Undo, once."""
        return await self._call("DELETE", path, {}, body, CALL_TIMEOUT_S)

    async def post_idempotent(self, *path: str, body: Doc) -> ApiResponse:
        """Act, and repeat where the response was lost: only for requests that carry ids."""
        for _ in range(MAX_SENDS - 1):
            try:
                return await self.post(*path, body=body)
            except ConnectionLost:
                continue
        return await self.post(*path, body=body)

    async def _call(
        self,
        method: str,
        path: tuple[str, ...],
        query: Mapping[str, Any],
        body: Doc | None,
        timeout_s: float,
    ) -> ApiResponse:
        url = URL(self._base_url + build_path(path, query), encoded=True)
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S)
        try:
            async with self._http.request(
                method, url, json=body, timeout=timeout, allow_redirects=False
            ) as response:
                text = await response.text(errors="replace")
                if response.ok and response.content_type in TEXT_TYPES:
                    return ApiResponse(response.status, text, {})
                return _parse_response(self._base_url, response.status, text)
        except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError) as error:
            raise ApiUnreachable(unreachable_message(self._base_url, error)) from None
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise ConnectionLost(
                f"the connection to the API at {self._base_url} was lost ({type(error).__name__});"
                " the call may have taken effect: check before you repeat it"
            ) from None


@asynccontextmanager
async def open_client(base_url: str, token: str | None) -> AsyncGenerator[ApiClient]:
    """Yield a client of the API at `base_url`, which sends `token` as bearer."""
    headers = {"Accept": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    async with aiohttp.ClientSession(headers=headers) as http:
        yield ApiClient(http, base_url)


def build_path(parts: tuple[str, ...], query: Mapping[str, Any]) -> str:
    """A path below `/v1`; a part may hold any character, and a query value of None is omitted.

    >>> build_path(("jobs", "a/b", "why"), {"limit": 5, "tag": None})
    '/v1/jobs/a%2Fb/why?limit=5'
    """
    path = "".join(f"/{quote(part, safe=':@')}" for part in ("v1", *parts))
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def unreachable_message(base_url: str, error: Exception) -> str:
    """Where nothing answers, why, and what to do."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        why = "no such host"
    elif number and number > 0:
        why = os.strerror(number)
    else:
        why = "no answer in time"
    return (
        f"no API at {base_url} ({why}): start everything with `knouds-worker up`, or set"
        " KNOUDS_API_URL"
    )


def explain_problem(problem: Doc, status: int) -> str:
    """A problem+json document (RFC 9457) as one line that names the field.

    >>> explain_problem({"title": "Bad request", "detail": "not an object", "field": "inputs"}, 422)
    'inputs: not an object'
    """
    text = str(problem.get("detail") or problem.get("title") or f"refused with HTTP {status}")
    field = problem.get("field")
    if not isinstance(field, str) or not field or text.startswith(field):
        return text
    return f"{field}: {text}"


def _parse_response(base_url: str, status: int, text: str) -> ApiResponse:
    try:
        doc = msgspec.json.decode(text, type=Doc | None)
    except msgspec.DecodeError:
        doc = None
    if status == SERVICE_UNAVAILABLE:
        why = explain_problem(doc or {}, status)
        raise RedisUnreachable(f"the API at {base_url} is not ready: {why}")
    if doc is None:
        raise ApiUnreachable(
            f"what answers at {base_url} is not this API (HTTP {status}, no JSON object);"
            " set KNOUDS_API_URL"
        )
    if status == TOO_MANY_REQUESTS:
        raise TooManyRequests(explain_problem(doc, status), status)
    if status >= 300:  # noqa: PLR2004  the API redirects nothing
        raise RequestRefused(_with_advice(explain_problem(doc, status), status), status)
    return ApiResponse(status, escape_json(text), doc)


def _with_advice(message: str, status: int) -> str:
    advice = {401: "set KNOUDS_API_TOKEN", 403: "KNOUDS_API_TOKEN has a role that is too low"}.get(
        status
    )
    return f"{message} ({advice})" if advice and "KNOUDS_API_TOKEN" not in message else message
