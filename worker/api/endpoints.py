"""What an endpoint of the API is: its handler, its role, and its requests and responses."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web
from pydantic import BaseModel

from config.values import Role
from worker.api.auth.principal import Visibility
from worker.api.context import context_of
from worker.api.edge.responses import expect_response
from worker.api.models.query_parameters import QueryParameters
from worker.api.models.response import ResponseModel
from worker.api.parsing import read_query
from worker.api.prefix import add_route

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

JSON_LINES: Final = "application/x-ndjson"
"""Content type of a response with a JSON object a line."""

BODY_PROBLEMS: Final = (400, 408, 413, 415, 422, 429)
"""Statuses of problems that an endpoint with a body may have."""


@dataclass(frozen=True, slots=True)
class Operation:
    """How the OpenAPI document names an endpoint."""

    id: str
    summary: str
    """One sentence."""
    description: str = ""

    @classmethod
    def of(cls, handler: Handler) -> "Operation":
        """Named after the handler, with the first line of its docstring."""
        return cls(getattr(handler, "__name__", ""), (handler.__doc__ or "").partition("\n")[0])


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path."""

    method: str
    path: str
    handler: Handler
    role: Role | None
    """The role a token needs; None: open to all."""
    responses: Mapping[int, type[ResponseModel] | None]
    """Successful statuses; None: plain text."""
    body: type[BaseModel] | None = None
    is_body_required: bool = False
    query: type[BaseModel] | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Request headers it reads, each with a description."""
    problem_statuses: tuple[int, ...] = ()
    """Statuses of problems beside those that every endpoint may have."""
    content_type: str | None = None
    """Content type of a successful response that is not JSON: text, or a stream of events whose
    data `responses` describe."""
    is_signed: bool = False
    """The handler authenticates the caller by a signature: any host and any query is accepted."""
    visibility: Visibility = Visibility.SYSTEM
    """Which jobs it concerns, and so to which tokens it is closed."""
    brief: Mapping[int, type[ResponseModel]] = field(default_factory=dict[int, type[ResponseModel]])
    """What a token gets instead at a status that may not see more of a job."""
    is_long: bool = False
    """It may last for minutes: what its response needs is taken when there is one."""
    named: Operation | None = None
    """For a handler that serves several endpoints; without it the handler's name and docstring."""

    @property
    def operation(self) -> Operation:
        """How the OpenAPI document names it."""
        return self.named or Operation.of(self.handler)


def add_endpoint(app: web.Application, endpoint: Endpoint) -> None:
    """Add an endpoint behind its checks; one for GET serves HEAD, too."""
    handler = guarded(endpoint)
    add_route(app, endpoint.method, endpoint.path, handler)
    if endpoint.method == "GET":
        add_route(app, "HEAD", endpoint.path, handler)


def guarded(endpoint: Endpoint) -> Handler:
    """The handler behind the checks that do not depend on the body."""
    handler, role, visibility = endpoint.handler, endpoint.role, endpoint.visibility
    if endpoint.is_signed:
        return handler
    takes_no_query = endpoint.query is None
    shows_data = role is not None and not endpoint.is_long

    async def checked(request: web.Request) -> web.StreamResponse:
        await context_of(request).access.authorize(request, role, visibility)
        if shows_data:
            await expect_response(request)
        if takes_no_query and request.query_string:
            read_query(request, QueryParameters)
        return await handler(request)

    return checked
