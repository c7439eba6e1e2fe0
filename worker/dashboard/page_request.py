"""One request of a page: who looks, at what, and how it is answered."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from config.settings import Role
from worker.api.auth.access import PARTIAL_HEADER, Principal, principal_of, safe_redirect_path
from worker.api.context import ApiContext, context_of, current_actor
from worker.api.models.requests import MAX_NOTE_CHARS
from worker.api.problems import Problem, bad_field, problem_of
from worker.app.actions import Actor
from worker.dashboard.flash import Flash, set_flash
from worker.dashboard.rendering import render

Form = Mapping[str, str]
PageHandler = Callable[["PageRequest"], Awaitable[web.StreamResponse]]
SERVER_ERROR_FROM: Final = 500


@dataclass(frozen=True, slots=True)
class PageRoute:
    """One page or act: a GET is for `role`, a POST changes something and carries the CSRF token."""

    method: str
    path: str
    handler: PageHandler
    role: Role = Role.WATCH


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request behind its guard."""

    request: web.Request
    context: ApiContext
    principal: Principal
    now: float

    @property
    def path(self) -> str:
        """Path and query, as the browser has them."""
        return self.request.raw_path

    async def form(self) -> dict[str, str]:
        """The fields of a form, the last of each name; files count as missing."""
        posted = await self.request.post()
        return {name: value for name, value in posted.items() if isinstance(value, str)}

    async def field_values(self, name: str) -> list[str]:
        """Every value of one field: the boxes that were ticked."""
        posted = await self.request.post()
        return [value for value in posted.getall(name, []) if isinstance(value, str)]

    async def actor(self) -> Actor:
        """Who acts, with the note of the form; raises `Problem` where that is too long."""
        note = (await self.form()).get("note", "").strip()
        if len(note) > MAX_NOTE_CHARS:
            raise bad_field("note", f"must be a text of at most {MAX_NOTE_CHARS} characters")
        return current_actor(note)

    async def render(self, template: str, status: int = 200, **variables: Any) -> web.Response:
        """A page; the script that refreshes one gets its changing parts alone."""
        partial = PARTIAL_HEADER in self.request.headers
        return await render(self, template, status, partial=partial, **variables)

    async def redirect_back(
        self, text: str, *, is_error: bool = False, path: str = ""
    ) -> web.Response:
        """Send the browser on after an act, with a word on what became of it."""
        where = path or safe_redirect_path((await self.form()).get("back", ""))
        response = web.Response(status=303, headers={"Location": where})
        set_flash(response, Flash(text, is_error=is_error))
        return response


def page_handler(route: PageRoute) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The handler of a route; an act that could not be done sends back to where it was asked."""

    async def handler(request: web.Request) -> web.StreamResponse:
        office = context_of(request)
        visit = PageRequest(request, office, principal_of(request), office.clock.now())
        if request.method != "POST":
            return await route.handler(visit)
        try:
            return await route.handler(visit)
        except Exception as error:
            problem = problem_of(error)
            if problem is None or problem.status >= SERVER_ERROR_FROM:
                raise
            return await _redirect_with_error(visit, problem)

    return handler


async def _redirect_with_error(page_request: PageRequest, problem: Problem) -> web.StreamResponse:
    if "back" not in await page_request.form():
        raise problem
    return await page_request.redirect_back(f"Not done: {problem.detail}", is_error=True)
