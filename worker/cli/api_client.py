"""The client of the HTTP API: requests out, documents back, refusals as one line each."""

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from yarl import URL

from worker.cli.exit_codes import ApiUnreachable, CommandFailure, RedisUnreachable

CALL_TIMEOUT_S: Final = 120.0
"""For a call that works through many jobs."""
CONNECT_TIMEOUT_S: Final = 5.0
MAX_SENDS: Final = 3
"""How often an order with an id is sent: the id makes it one job, however often it arrives."""

SERVICE_UNAVAILABLE: Final = 503

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """A 2xx answer: its text, letter for letter, and what it says."""

    status: int
    text: str
    doc: Json


class ConnectionLost(ApiUnreachable):
    """The connection broke off after the request was sent: it may have taken effect."""


class ApiClient:
    """The calls of one command. Raises `Failure` for all that a person has to know."""

    def __init__(self, http: aiohttp.ClientSession, base_url: str) -> None:
        self._http = http
        self._base_url = base_url

    @property
    def base_url(self) -> str:
        """Where the API is."""
        return self._base_url

    async def get(
        self, *path: str, query: Mapping[str, Any] | None = None, timeout_s: float = CALL_TIMEOUT_S
    ) -> ApiResponse:
        """Read one document."""
        return await self._call("GET", path, query or {}, None, timeout_s)

    async def post(self, *path: str, body: Json, timeout_s: float = CALL_TIMEOUT_S) -> ApiResponse:
        """Act, once."""
        return await self._call("POST", path, {}, body, timeout_s)

    async def post_idempotent(self, *path: str, body: Json) -> ApiResponse:
        """Act, and again where the answer was lost: only for what carries ids."""
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
        body: Json | None,
        timeout_s: float,
    ) -> ApiResponse:
        url = URL(self._base_url + build_path(path, query), encoded=True)
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S)
        try:
            async with self._http.request(
                method, url, json=body, timeout=timeout, allow_redirects=False
            ) as response:
                text = await response.text(errors="replace")
                return _parse_response(self._base_url, response.status, text)
        except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError) as error:
            raise ApiUnreachable(unreachable_message(self._base_url, error)) from None
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise ConnectionLost(
                f"the API at {self._base_url} broke off ({type(error).__name__}); the call may have"
                " taken effect, so look before you repeat it"
            ) from None


@asynccontextmanager
async def open_client(base_url: str, token: str | None) -> AsyncGenerator[ApiClient]:
    """Yield a client of the API at `base`, which sends `token` as bearer."""
    headers = {"Accept": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    async with aiohttp.ClientSession(headers=headers) as http:
        yield ApiClient(http, base_url)


def build_path(parts: tuple[str, ...], query: Mapping[str, Any]) -> str:
    """Put a path together below `/v1`; a part may hold any character, an unset query is left out.

    >>> build_path(("jobs", "a/b", "why"), {"limit": 5, "tag": None})
    '/v1/jobs/a%2Fb/why?limit=5'
    """
    path = "".join(f"/{quote(part, safe=':@')}" for part in ("v1", *parts))
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def unreachable_message(base_url: str, error: Exception) -> str:
    """Say where nobody answers, and what to do."""
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


def explain_problem(problem: Json, status: int) -> str:
    """Put a problem+json document (RFC 9457) into one line that names the field.

    >>> explain_problem({"title": "Bad order", "detail": "not an object", "field": "inputs"}, 422)
    'inputs: not an object'
    """
    text = str(problem.get("detail") or problem.get("title") or f"refused with HTTP {status}")
    field = problem.get("field")
    if not isinstance(field, str) or not field or text.startswith(field):
        return text
    return f"{field}: {text}"


def _parse_response(base_url: str, status: int, text: str) -> ApiResponse:
    try:
        doc: object = msgspec.json.decode(text)
    except msgspec.DecodeError:
        doc = None
    problem = _as_object(doc)
    if status == SERVICE_UNAVAILABLE:
        why = explain_problem(problem or {}, status)
        raise RedisUnreachable(f"the API at {base_url} is not ready: {why}")
    if problem is None:
        raise ApiUnreachable(
            f"what answers at {base_url} is not this API (HTTP {status}, no JSON object);"
            " set KNOUDS_API_URL"
        )
    if status >= 300:  # noqa: PLR2004  the API redirects nothing
        raise CommandFailure(_with_advice(explain_problem(problem, status), status))
    return ApiResponse(status, text, problem)


def _as_object(value: object) -> Json | None:
    return cast("Json", value) if isinstance(value, dict) else None


def _with_advice(message: str, status: int) -> str:
    advice = {401: "set KNOUDS_API_TOKEN", 403: "KNOUDS_API_TOKEN has too small a role"}.get(status)
    return f"{message} ({advice})" if advice and "KNOUDS_API_TOKEN" not in message else message
