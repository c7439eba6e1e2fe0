"""Reads the bodies of requests: bounded in size, in time, and in memory over all requests.

Who is not known yet has a smaller share and less time than who is: only the login and the webhook
receiver read the bodies of such clients.
"""

import asyncio
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, assert_never

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from config.settings import Settings
from worker.api.auth.principal import principal_name
from worker.api.body_encoding import refuse_encoded_body
from worker.api.edge.body_budget import BodyBudget, OverBudget
from worker.api.edge.client_address import client_address, client_network
from worker.api.edge.responses import expect_payloads
from worker.api.problems import Problem

UNKNOWN_CLIENT_TIMEOUT_S: Final = 10.0
"""How long the body of an unknown client may take."""

TIMEOUT_S: Final = 120.0
"""The same for a known one."""

STALL_TIMEOUT_S: Final = 10.0
"""How long nothing may arrive of a body."""

RETRY_AFTER_S: Final = 1
"""Sent where too many bytes are in memory: most requests take milliseconds."""

LOGIN_BYTES: Final = 8 << 10
SMALL_BYTES: Final = 256 << 10
"""A thousand job ids and everything around them."""

ENVELOPE_BYTES: Final = 64 << 10
"""Everything of a job request but its inputs."""

UNKNOWN_BUDGET_BYTES: Final = 24 << 20
KNOWN_BUDGET_BYTES: Final = 48 << 20
"""Bodies in memory at once, or two of the largest size; one client may have half of it."""

DELIVERY_ENVELOPE_BYTES: Final = 1 << 20
"""Bytes that a delivery may have besides a result of `KNOUDS_MAX_RESULT_BYTES`."""


class BodyKind(Enum):
    """What a route reads, which says how large it may be."""

    LOGIN = auto()
    SMALL = auto()
    """A note, a filter, ids."""
    INPUTS = auto()
    """One job request, or inputs."""
    FORM_OF_INPUTS = auto()
    """The same in a form, which writes most characters as three."""
    BULK = auto()
    DELIVERY = auto()
    """A webhook of the provider."""


class BodyTooLarge(Problem):
    """A body that is larger than its route reads (413)."""

    def __init__(self, max_bytes: int, advice: str) -> None:
        detail = f"the body is larger than {max_bytes} bytes: {advice}"
        super().__init__(413, "too-large", "Body too large", detail)


@dataclass(slots=True)
class _HeldBytes:
    """What the body of one request has taken of a budget."""

    budget: BodyBudget
    client: str
    size_bytes: int = 0

    def take(self, size_bytes: int) -> None:
        self.budget.take(self.client, size_bytes)
        self.size_bytes += size_bytes

    def give_back(self) -> None:
        self.budget.give_back(self.client, self.size_bytes)
        self.size_bytes = 0


class RequestBodies:
    """Reads the bodies of an application."""

    def __init__(self, settings: Settings) -> None:
        self._max_inputs_bytes = settings.max_inputs_bytes
        self._max_body_bytes = settings.max_body_bytes
        self._max_delivery_bytes = settings.max_result_bytes + DELIVERY_ENVELOPE_BYTES
        self.unknown = _budget(UNKNOWN_BUDGET_BYTES, self._max_delivery_bytes)
        self.known = _budget(KNOWN_BUDGET_BYTES, self._max_body_bytes)

    def max_bytes(self, kind: BodyKind) -> int:
        """How large a body of a kind may be."""
        match kind:
            case BodyKind.LOGIN:
                return LOGIN_BYTES
            case BodyKind.SMALL:
                return min(SMALL_BYTES, self._max_body_bytes)
            case BodyKind.INPUTS:
                # Escapes (\u00e9) may double what the inputs have in UTF-8.
                return min(2 * self._max_inputs_bytes + ENVELOPE_BYTES, self._max_body_bytes)
            case BodyKind.FORM_OF_INPUTS:
                return min(4 * self._max_inputs_bytes + ENVELOPE_BYTES, self._max_body_bytes)
            case BodyKind.BULK:
                return self._max_body_bytes
            case BodyKind.DELIVERY:
                return self._max_delivery_bytes
            case _:
                assert_never(kind)

    async def read(self, request: web.Request, kind: BodyKind) -> bytes:
        """The body, once; raises `Problem` (408, 413, 429, 503), or 400 where it is cut off."""
        max_bytes, name = self.max_bytes(kind), principal_name()
        if (request.content_length or 0) > max_bytes:
            raise BodyTooLarge(max_bytes, _advice(kind))
        if name:
            held = _HeldBytes(self.known, name)
        else:
            held = _HeldBytes(self.unknown, client_network(client_address(request)))
        request[_HELD] = held
        body = bytearray()
        timeout_s = TIMEOUT_S if name else UNKNOWN_CLIENT_TIMEOUT_S
        try:
            async with asyncio.timeout(timeout_s):
                while chunk := await _next_chunk(request):
                    held.take(len(chunk))
                    body += chunk
                    if len(body) > max_bytes:
                        raise BodyTooLarge(max_bytes, _advice(kind))
        except TimeoutError:
            raise _too_slow(timeout_s) from None
        except OverBudget as error:
            raise _over_budget(error) from None
        return bytes(body)


REQUEST_BODIES: Final = web.AppKey("request bodies", RequestBodies)

_HELD: Final = web.RequestKey("held bytes", _HeldBytes)


async def read_limited(request: web.Request, kind: BodyKind) -> bytes:
    """The body of a request, which counts as in memory until the response; raises `Problem`.

    A response that may show inputs again counts before anything is done.
    """
    body = await request.app[REQUEST_BODIES].read(request, kind)
    if kind in (BodyKind.INPUTS, BodyKind.FORM_OF_INPUTS):
        await expect_payloads(request, len(body))
    return body


@web.middleware
async def body_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse encoded bodies on every route, and count what is read until the response."""
    refuse_encoded_body(request)
    try:
        return await handler(request)
    finally:
        if (held := request.get(_HELD)) is not None:
            held.give_back()


async def _next_chunk(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(STALL_TIMEOUT_S):
            return await request.content.readany()
    except (ConnectionError, HttpProcessingError, web.RequestPayloadError, RuntimeError):
        detail = "the body ends early, or its chunks are malformed: send it again"
        raise Problem(400, "malformed", "Malformed body", detail) from None


def _budget(total_bytes: int, largest_bytes: int) -> BodyBudget:
    total_bytes = max(total_bytes, 2 * largest_bytes)
    return BodyBudget(total_bytes, total_bytes // 2)


def _advice(kind: BodyKind) -> str:
    match kind:
        case BodyKind.LOGIN:
            return "send the form of the login page alone"
        case BodyKind.SMALL:
            return "name fewer jobs, or use a filter"
        case BodyKind.INPUTS | BodyKind.FORM_OF_INPUTS:
            return (
                "pass large files by URL, or raise KNOUDS_MAX_INPUTS_BYTES and"
                " KNOUDS_MAX_BODY_BYTES"
            )
        case BodyKind.BULK:
            return "send fewer jobs at once, or raise KNOUDS_MAX_BODY_BYTES"
        case BodyKind.DELIVERY:
            return "a delivery may have KNOUDS_MAX_RESULT_BYTES and 1 MiB; polls read the result"
        case _:
            assert_never(kind)


def _too_slow(timeout_s: float) -> Problem:
    detail = (
        f"the body may take {timeout_s:g} s, and pause for {STALL_TIMEOUT_S:g} s: send it faster"
    )
    return Problem(408, "slow-request", "Request too slow", detail)


def _over_budget(error: OverBudget) -> Problem:
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    if error.is_of_client:
        detail = "too many bytes of your requests are in memory: send fewer at once"
        return Problem(429, "too-many-bytes", "Too many bytes at once", detail, headers=headers)
    detail = "too many bytes of requests are in memory: try again"
    return Problem(503, "busy", "Too many bytes at once", detail, headers=headers)
