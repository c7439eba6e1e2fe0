"""Sends responses: bounded in memory over all requests, and in time.

What a response may need is counted before its data is read, what it has until the system has taken
all of it. Its body is in memory once, and handed to the system in parts as the client takes them.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from aiohttp import payload, web
from aiohttp.abc import AbstractStreamWriter

from config.settings import Settings
from worker.api.auth.principal import principal_name
from worker.api.edge.body_budget import OverBudget
from worker.api.edge.client_address import client_address, client_network
from worker.api.edge.response_budget import SMALL_BYTES, ResponseBudget
from worker.api.problems import Problem

BUDGET_BYTES: Final = 48 << 20
"""Responses in memory at once, or four of the largest; one client may have half of it."""

WAIT_S: Final = 15.0
"""How long a response waits for room: longer than a client may take nothing of another one."""

RETRY_AFTER_S: Final = 5

UNKNOWN_BYTES: Final = 512 << 10
"""What a route is expected to answer that has not answered yet."""

BUILD_FACTOR: Final = 2
"""While a response is built, its data is in memory twice: as it was read, and as it is sent."""

ENVELOPE_BYTES: Final = 32 << 10
"""Everything of a job but its inputs and result."""

BUILT_AT_ONCE: Final = 2
"""Large responses that are put together at once, of each client one: each is work of some 50 ms for
the event loop, which others wait for between its steps."""

PART_BYTES: Final = 64 << 10

_READING: Final = frozenset({"GET", "HEAD"})

SEND_BASE_S: Final = 30.0
SLOWEST_BYTES_PER_S: Final = 32 << 10
"""A response may take `SEND_BASE_S`, and as much more as its size takes at this speed."""


@dataclass(slots=True)
class _HeldBytes:
    """What the response to one request has taken of the budget."""

    budget: ResponseBudget
    building: ResponseBudget
    client: str
    size_bytes: int = 0
    is_building: bool = False
    is_measured: bool = False
    """Whether the handler said how much it needs."""

    async def begin_building(self) -> None:
        """Wait until few other large responses are put together."""
        await self.building.take(self.client, 1)
        self.is_building = True

    async def take_instead(self, size_bytes: int) -> None:
        """Take so much, and give back what was taken before: nobody waits and holds."""
        self.give_back()
        await self.budget.take(self.client, size_bytes)
        self.size_bytes = size_bytes

    def settle(self, size_bytes: int) -> None:
        """Count what is in memory, whatever was expected; it is put together."""
        self.budget.add(self.client, size_bytes)
        self.give_back()
        self.size_bytes = size_bytes

    def give_back(self) -> None:
        size_bytes, self.size_bytes = self.size_bytes, 0
        if size_bytes:
            self.budget.give_back(self.client, size_bytes)
        if self.is_building:
            self.is_building = False
            self.building.give_back(self.client, 1)


@dataclass(slots=True)
class Responses:
    """The responses of an application that are being built or sent."""

    budget: ResponseBudget
    building: ResponseBudget
    """Counts responses, not bytes."""
    _largest: dict[str, int] = field(default_factory=dict[str, int])
    """By route, the largest body so far."""

    @classmethod
    def of(cls, settings: Settings) -> "Responses":
        """With a budget for the sizes of the settings."""
        largest = BUILD_FACTOR * (settings.max_inputs_bytes + settings.max_result_bytes)
        total_bytes = max(BUDGET_BYTES, 2 * largest)
        building = ResponseBudget(BUILT_AT_ONCE, 1, WAIT_S, small_bytes=0)
        return cls(ResponseBudget(total_bytes, total_bytes // 2, WAIT_S), building)

    def expected_bytes(self, request: web.Request) -> int:
        """How large the response of a route may become, as far as is known."""
        return self._largest.get(_route_of(request), UNKNOWN_BYTES)

    def measured(self, request: web.Request, size_bytes: int) -> None:
        """Remember the largest response of a route."""
        if route := _route_of(request):
            self._largest[route] = max(self._largest.get(route, 0), size_bytes)


RESPONSES: Final = web.AppKey("responses", Responses)

_HELD: Final = web.RequestKey("held bytes of the response", _HeldBytes)


async def expect_response(request: web.Request) -> None:
    """Take what a response may need that shows what is stored; raises `Problem` (429, 503).

    What shows the request's own body, or a job's payloads, says so by `expect_payloads`.
    """
    if request.method not in _READING:
        return
    size_bytes = request.app[RESPONSES].expected_bytes(request)
    await _take(request, size_bytes)
    if size_bytes > SMALL_BYTES:
        await _wait_for(request, _held(request).begin_building())


async def expect_payloads(request: web.Request, size_bytes: int) -> None:
    """Take what a response with so much of inputs and results needs; as `expect_response`."""
    await _take(request, size_bytes + ENVELOPE_BYTES)
    request[_HELD].is_measured = True


async def send_response(request: web.Request, response: web.StreamResponse) -> bool:
    """Send a response that is built; then `finish_response` has to follow.

    False: the client takes it too slowly, and its connection is to be closed.
    """
    if not isinstance(response, web.Response) or response.prepared:
        return True
    body = response.body
    size_bytes = len(body) if isinstance(body, bytes) else 0
    held = _held(request)
    if not held.is_measured and response.status == HTTPStatus.OK:
        request.app[RESPONSES].measured(request, size_bytes)
    held.settle(size_bytes)
    if isinstance(body, bytes) and size_bytes > PART_BYTES:
        response.body = _Parts(body)
        within_s = SEND_BASE_S + size_bytes / SLOWEST_BYTES_PER_S
    else:
        within_s = None  # as long as the client takes something of it
    try:
        async with asyncio.timeout(within_s):
            await response.prepare(request)
            await response.write_eof()
    except ConnectionError as error:
        error.__traceback__ = (
            None  # a future of the connection keeps it, and so would keep the body
        )
    except TimeoutError:
        return False
    return True


def finish_response(request: web.Request) -> None:
    """Give back what the response of a request has taken."""
    if (held := request.get(_HELD)) is not None:
        held.give_back()


class _Parts(payload.Payload):
    """A body that is handed over in parts, each when the one before has been taken."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self._size = len(body)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write all of it."""
        view = memoryview(self._value)
        for start in range(0, len(view), PART_BYTES):
            await writer.write(view[start : start + PART_BYTES])
            await writer.drain()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text."""
        text: bytes = self._value
        return text.decode(encoding, errors)


async def _take(request: web.Request, size_bytes: int) -> None:
    if size_bytes > SMALL_BYTES:
        size_bytes *= BUILD_FACTOR
    await _wait_for(request, _held(request).take_instead(size_bytes))


async def _wait_for(request: web.Request, taken: Awaitable[None]) -> None:
    try:
        await taken
    except OverBudget as error:
        raise _over_budget(error) from None
    if request.transport is None or request.transport.is_closing():
        raise _over_budget(OverBudget(is_of_client=True))  # nobody reads it


def _held(request: web.Request) -> _HeldBytes:
    held = request.get(_HELD)
    if held is None:
        responses = request.app[RESPONSES]
        client = principal_name() or client_network(client_address(request))
        held = request[_HELD] = _HeldBytes(responses.budget, responses.building, client)
    return held


def _route_of(request: web.Request) -> str:
    """The path as it is routed; empty where nothing is served."""
    resource = request.match_info.route.resource
    return "" if resource is None else resource.canonical


def _over_budget(error: OverBudget) -> Problem:
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    if error.is_of_client:
        detail = (
            "too many bytes of responses to your requests are in memory: read the responses, and"
            " send fewer requests at once"
        )
        return Problem(429, "too-many-bytes", "Too many bytes at once", detail, headers=headers)
    detail = "too many bytes of responses are in memory: try again"
    return Problem(503, "busy", "Too many bytes at once", detail, headers=headers)
