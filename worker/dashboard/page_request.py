"""One request of a page: its principal, its form, and how it is answered."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from config.values import Role
from worker.api.auth.page_guard import PARTIAL_HEADER, safe_redirect_path
from worker.api.auth.principal import Principal, current_principal, log_payload_read
from worker.api.context import ApiContext, context_of, current_actor
from worker.api.edge.bodies import BodyKind
from worker.api.edge.forms import read_form_fields
from worker.api.edge.responses import expect_payloads
from worker.api.endpoints import Endpoint
from worker.api.models.requests import MAX_NOTE_CHARS
from worker.api.prefix import own_path
from worker.api.problems import Problem, bad_field, problem_of
from worker.app.actions import Actor
from worker.dashboard.flash import Flash, set_flash
from worker.dashboard.rendering import render
from worker.store.payloads import StoredPayloads

Form = Mapping[str, str]
PageHandler = Callable[["PageRequest"], Awaitable[web.StreamResponse]]
SERVER_ERROR_FROM: Final = 500


@dataclass(frozen=True, slots=True)
class PageRoute:
    """One page or form: a POST needs a valid CSRF token as well.

    `shows` names the calls of the API that show or do the same, as `GET /v1/audit`. The page needs
    the roles that these need, and `role`.
    """

    method: str
    path: str
    handler: PageHandler
    shows: tuple[str, ...]
    role: Role = Role.WATCH
    form: BodyKind = BodyKind.SMALL
    """What the form may hold that is posted to it."""

    def needed_role(self, endpoints: Iterable[Endpoint]) -> Role:
        """The largest of these roles: a page is never open to less than the API."""
        roles = {f"{one.method} {one.path}": one.role for one in endpoints}
        needed = [self.role, *(roles[name] or Role.ENQUEUE for name in self.shows)]
        return max(needed, key=tuple(Role).index)


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request that passed the access check."""

    request: web.Request
    context: ApiContext
    principal: Principal
    now: float

    @property
    def path(self) -> str:
        """Path and query as the browser sent them, without the prefix of a proxy."""
        return own_path(self.request)

    async def read_payloads(self, job_id: str) -> StoredPayloads:
        """Inputs and result of a job; who may see them, is in the access log. Raises `Problem`."""
        if self.principal.sees_payloads:
            log_payload_read(job_id)
        payloads = self.context.store.payloads
        await expect_payloads(self.request, await payloads.size_bytes(job_id))
        return await payloads.read(job_id)

    async def form(self) -> dict[str, str]:
        """The fields of the form, the last value of each name."""
        return dict(await read_form_fields(self.request))

    async def field_values(self, name: str) -> list[str]:
        """All values of one field, such as the selected checkboxes."""
        fields = await read_form_fields(self.request)
        return [value for field, value in fields if field == name]

    async def actor(self) -> Actor:
        """The operator with the note of the form; raises `Problem` if the note is too long."""
        note = (await self.form()).get("note", "").strip()
        if len(note) > MAX_NOTE_CHARS:
            raise bad_field("note", f"must be a text of at most {MAX_NOTE_CHARS} characters")
        return current_actor(note)

    async def render(self, template: str, status: int = 200, **variables: Any) -> web.Response:
        """Render a page; a refresh by the script gets only the parts that change."""
        partial = PARTIAL_HEADER in self.request.headers
        return await render(self, template, status, partial=partial, **variables)

    async def redirect_back(
        self, text: str, *, is_error: bool = False, path: str = ""
    ) -> web.Response:
        """Redirect after an action, with a message; by default to the page of the form."""
        location = path or safe_redirect_path((await self.form()).get("back", ""))
        response = web.Response(status=303, headers={"Location": location})
        set_flash(response, Flash(text, is_error=is_error))
        return response


def page_handler(route: PageRoute) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The handler of a route; a failed action redirects to the form's page with the error."""

    async def handler(request: web.Request) -> web.StreamResponse:
        context = context_of(request)
        page_request = PageRequest(request, context, current_principal(), context.clock.now())
        if request.method != "POST":
            return await route.handler(page_request)
        try:
            return await route.handler(page_request)
        except Exception as error:
            problem = problem_of(error)
            if problem is None or problem.status >= SERVER_ERROR_FROM:
                raise
            return await _redirect_with_error(page_request, problem)

    return handler


async def _redirect_with_error(page_request: PageRequest, problem: Problem) -> web.StreamResponse:
    if "back" not in await page_request.form():
        raise problem
    return await page_request.redirect_back(f"Not done: {problem.detail}", is_error=True)
