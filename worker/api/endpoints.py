"""What a call of the API is: its handler, who may call it, and what goes in and comes out."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web
from pydantic import BaseModel

from config.settings import Role
from worker.api.context import context_of
from worker.api.models.requests import QueryParameters
from worker.api.parsing import read_query

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One call."""

    method: str
    path: str
    handler: Handler
    role: Role | None
    """What a token must be allowed to; None: open to all."""
    responses: Mapping[int, type[BaseModel]]
    body: type[BaseModel] | None = None
    is_body_required: bool = False
    query: type[BaseModel] | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Request headers it reads, with what they mean."""
    problem_statuses: tuple[int, ...] = ()
    """Statuses of problems beside those every call may have."""
    content_type: str | None = None
    """Content type of a good answer that is not JSON: text, or a stream of events whose data
    `answers` describe."""
    is_signed: bool = False
    """The handler knows by a signature who calls: no token, any host, any query."""

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring."""
        return (self.handler.__doc__ or "").partition("\n")[0]

    @property
    def name(self) -> str:
        """The operation's id."""
        return getattr(self.handler, "__name__", "")


def add_endpoint(app: web.Application, endpoint: Endpoint) -> None:
    """Add a call behind its role and its list of query parameters; GET answers HEAD, too."""
    handler = guarded(endpoint)
    app.router.add_route(endpoint.method, endpoint.path, handler)
    if endpoint.method == "GET":
        app.router.add_route("HEAD", endpoint.path, handler)


def guarded(endpoint: Endpoint) -> Handler:
    """The handler behind the checks that do not depend on the body."""
    handler, role = endpoint.handler, endpoint.role
    if endpoint.is_signed:
        return handler
    takes_no_query = endpoint.query is None

    async def checked(request: web.Request) -> web.StreamResponse:
        await context_of(request).access.authorize(request, role)
        if takes_no_query and request.query_string:
            read_query(request, QueryParameters)
        return await handler(request)

    return checked
