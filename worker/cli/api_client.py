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

from worker.cli.exit_codes import Failure, NoApi, NoRedis

CALL_WITHIN_S: Final = 120.0
"""For a call that works through many jobs."""
REACH_WITHIN_S: Final = 5.0
SEND_TRIES: Final = 3
"""How often an order with an id is sent: the id makes it one job, however often it arrives."""

UNAVAILABLE: Final = 503

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx answer: its text, letter for letter, and what it says."""

    status: int
    text: str
    doc: Json


class Lost(NoApi):
    """The connection broke off after the request was sent: it may have taken effect."""


class Api:
    """The calls of one command. Raises `Failure` for all that a person has to know."""

    def __init__(self, http: aiohttp.ClientSession, base: str) -> None:
        self._http = http
        self._base = base

    @property
    def base(self) -> str:
        """Where the API is."""
        return self._base

    async def get(
        self, *path: str, query: Mapping[str, Any] | None = None, within_s: float = CALL_WITHIN_S
    ) -> Answer:
        """Read one document."""
        return await self._call("GET", path, query or {}, None, within_s)

    async def post(self, *path: str, body: Json, within_s: float = CALL_WITHIN_S) -> Answer:
        """Act, once."""
        return await self._call("POST", path, {}, body, within_s)

    async def send(self, *path: str, body: Json) -> Answer:
        """Act, and again where the answer was lost: only for what carries ids."""
        for _ in range(SEND_TRIES - 1):
            try:
                return await self.post(*path, body=body)
            except Lost:
                continue
        return await self.post(*path, body=body)

    async def _call(
        self,
        method: str,
        path: tuple[str, ...],
        query: Mapping[str, Any],
        body: Json | None,
        within_s: float,
    ) -> Answer:
        url = URL(self._base + build_path(path, query), encoded=True)
        timeout = aiohttp.ClientTimeout(total=within_s, sock_connect=REACH_WITHIN_S)
        try:
            async with self._http.request(
                method, url, json=body, timeout=timeout, allow_redirects=False
            ) as response:
                text = await response.text(errors="replace")
                return _read(self._base, response.status, text)
        except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError) as error:
            raise NoApi(unreachable(self._base, error)) from None
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise Lost(
                f"the API at {self._base} broke off ({type(error).__name__}); the call may have"
                " taken effect, so look before you repeat it"
            ) from None


@asynccontextmanager
async def connected(base: str, token: str | None) -> AsyncGenerator[Api]:
    """Yield a client of the API at `base`, which sends `token` as bearer."""
    headers = {"Accept": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    async with aiohttp.ClientSession(headers=headers) as http:
        yield Api(http, base)


def build_path(parts: tuple[str, ...], query: Mapping[str, Any]) -> str:
    """Put a path together below `/v1`; a part may hold any character, an unset query is left out.

    >>> build_path(("jobs", "a/b", "why"), {"limit": 5, "tag": None})
    '/v1/jobs/a%2Fb/why?limit=5'
    """
    path = "".join(f"/{quote(part, safe=':@')}" for part in ("v1", *parts))
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def unreachable(base: str, error: Exception) -> str:
    """Say where nobody answers, and what to do."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        why = "no such host"
    elif number and number > 0:
        why = os.strerror(number)
    else:
        why = "no answer in time"
    return (
        f"no API at {base} ({why}): start everything with `knouds-worker up`, or set KNOUDS_API_URL"
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


def _read(base: str, status: int, text: str) -> Answer:
    try:
        doc: object = msgspec.json.decode(text)
    except msgspec.DecodeError:
        doc = None
    problem = _object(doc)
    if status == UNAVAILABLE:
        why = explain_problem(problem or {}, status)
        raise NoRedis(f"the API at {base} is not ready: {why}")
    if problem is None:
        raise NoApi(
            f"what answers at {base} is not this API (HTTP {status}, no JSON object);"
            " set KNOUDS_API_URL"
        )
    if status >= 300:  # noqa: PLR2004  the API redirects nothing
        raise Failure(_with_advice(explain_problem(problem, status), status))
    return Answer(status, text, problem)


def _object(value: object) -> Json | None:
    return cast("Json", value) if isinstance(value, dict) else None


def _with_advice(line: str, status: int) -> str:
    advice = {401: "set KNOUDS_API_TOKEN", 403: "KNOUDS_API_TOKEN has too small a role"}.get(status)
    return f"{line} ({advice})" if advice and "KNOUDS_API_TOKEN" not in line else line
