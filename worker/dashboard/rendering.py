"""Templates: everything escaped, a missing name is an error, nothing inline that a CSP refuses."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from config.settings import Role
from jobs.states import State
from worker.api.auth.access import Person
from worker.dashboard.assets import asset_url
from worker.dashboard.flash import Flash, drop_flash, take_flash
from worker.dashboard.views import formatting

if TYPE_CHECKING:
    from worker.api.context import Office
    from worker.dashboard.page_request import Visit

PAGES: Final = (
    ("/", "Overview", "o", None),
    ("/jobs", "Jobs", "j", None),
    ("/parked", "Parked", "p", State.PARKED),
    ("/dead", "Dead letters", "d", State.DEAD),
    ("/holds", "Holds", "h", None),
    ("/batches", "Batches", "b", None),
    ("/audit", "Audit", "a", None),
)
"""Path, name, key behind `g`, and the state whose jobs are counted beside it."""


@cache
def environment() -> Environment:
    """The templates, loaded once."""
    found = Environment(
        loader=PackageLoader("worker.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "plain": formatting.plain,
        "span": formatting.span,
        "exact": formatting.exact,
        "stamp": formatting.stamp,
        "number": formatting.number,
        "credits": formatting.credits_text,
        "amount": formatting.count_credits,
        "words": formatting.words,
        "size": formatting.size,
    }
    for name, value in _GLOBALS.items():
        found.globals[name] = value
    return found


_GLOBALS: Final[Mapping[str, Any]] = {
    "ago": formatting.ago,
    "count": formatting.count,
    "asset": asset_url,
    "pages": PAGES,
    "State": State,
}
"""What every template may use."""


async def render(
    visit: "Visit", template: str, status: int, *, partial: bool, **facts: Any
) -> web.Response:
    """A page for somebody who is logged in."""
    flash = None if partial else take_flash(visit.request)
    states, _ = await visit.office.store.queries.states()
    response = html(
        template,
        status,
        partial=partial,
        path=visit.path,
        here=visit.request.path,
        now=visit.now,
        person=visit.person,
        may_enqueue=may_enqueue(visit.person),
        flash=flash,
        counts=states,
        logs_out=visit.office.access.needs_login,
        **facts,
    )
    if flash is not None:
        drop_flash(response)
    return response


def html(template: str, status: int = 200, **facts: Any) -> web.Response:
    """A page."""
    text = environment().get_template(template).render(facts)
    return web.Response(status=status, text=text, content_type="text/html", charset="utf-8")


def may_enqueue(person: Person) -> bool:
    """Whether somebody may put jobs on the road from a page, which shows inputs."""
    return person.role.covers(Role.OPERATE)


def plain_page(
    office: "Office", template: str, status: int, *, flash: Flash | None = None, **facts: Any
) -> web.Response:
    """A page that stands alone: no counts, no person, nothing read from the store."""
    return html(
        template,
        status,
        partial=False,
        path="/",
        here="",
        now=office.clock.now(),
        person=None,
        may_enqueue=False,
        flash=flash,
        counts=None,
        logs_out=False,
        **facts,
    )
