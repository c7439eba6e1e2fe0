"""One request of a page: who looks, at what, and how it is answered."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from config.settings import Role
from worker.api.auth.access import PARTIAL_HEADER, Person, our_path, person_of
from worker.api.context import Office, acting, office_of
from worker.api.models.requests import NOTE_MOST
from worker.api.problems import Problem, bad_field, problem_of
from worker.app.actions import Person as Actor
from worker.dashboard.flash import Flash, put_flash
from worker.dashboard.rendering import render

Form = Mapping[str, str]
PageHandler = Callable[["Visit"], Awaitable[web.StreamResponse]]
REFUSED_FROM: Final = 500


@dataclass(frozen=True, slots=True)
class PageRoute:
    """One page or act: a GET is for `role`, a POST changes something and carries the CSRF token."""

    method: str
    path: str
    handler: PageHandler
    role: Role = Role.WATCH


@dataclass(frozen=True, slots=True)
class Visit:
    """A request behind its guard."""

    request: web.Request
    office: Office
    person: Person
    now: float

    @property
    def path(self) -> str:
        """Path and query, as the browser has them."""
        return self.request.raw_path

    async def form(self) -> dict[str, str]:
        """The fields of a form, the last of each name; files count as missing."""
        posted = await self.request.post()
        return {name: value for name, value in posted.items() if isinstance(value, str)}

    async def chosen(self, name: str) -> list[str]:
        """Every value of one field: the boxes that were ticked."""
        posted = await self.request.post()
        return [value for value in posted.getall(name, []) if isinstance(value, str)]

    async def actor(self) -> Actor:
        """Who acts, with the note of the form; raises `Problem` where that is too long."""
        note = (await self.form()).get("note", "").strip()
        if len(note) > NOTE_MOST:
            raise bad_field("note", f"must be a text of at most {NOTE_MOST} characters")
        return acting(note)

    async def answer(self, template: str, status: int = 200, **facts: Any) -> web.Response:
        """A page; the script that refreshes one gets its changing parts alone."""
        partial = PARTIAL_HEADER in self.request.headers
        return await render(self, template, status, partial=partial, **facts)

    async def back(self, text: str, *, bad: bool = False, to: str = "") -> web.Response:
        """Send the browser on after an act, with a word on what became of it."""
        where = to or our_path((await self.form()).get("back", ""))
        response = web.Response(status=303, headers={"Location": where})
        put_flash(response, Flash(text, bad=bad))
        return response


def visiting(route: PageRoute) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The handler of a route; an act that could not be done sends back to where it was asked."""

    async def handler(request: web.Request) -> web.StreamResponse:
        office = office_of(request)
        visit = Visit(request, office, person_of(request), office.clock.now())
        if request.method != "POST":
            return await route.handler(visit)
        try:
            return await route.handler(visit)
        except Exception as error:
            problem = problem_of(error)
            if problem is None or problem.status >= REFUSED_FROM:
                raise
            return await _refused(visit, problem)

    return handler


async def _refused(visit: Visit, problem: Problem) -> web.StreamResponse:
    if "back" not in await visit.form():
        raise problem
    return await visit.back(f"Not done: {problem.detail}", bad=True)
