"""Templates: all values are escaped, a missing name is an error, no inline script or style."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from config.values import Role
from jobs.states import State
from worker.api.auth.principal import Principal
from worker.api.models.response import rfc3339
from worker.dashboard.assets import asset_url
from worker.dashboard.flash import Flash, clear_flash, read_flash
from worker.dashboard.views import formatting, schedules
from worker.dashboard.views.available_actions import is_destructive

if TYPE_CHECKING:
    from worker.api.context import ApiContext
    from worker.dashboard.page_request import PageRequest

NAVIGATION: Final = (
    ("/", "Overview", "o", None),
    ("/jobs", "Jobs", "j", None),
    ("/parked", "Parked", "p", State.PARKED),
    ("/dead", "Dead letters", "d", State.DEAD),
    ("/holds", "Holds", "h", None),
    ("/batches", "Batches", "b", None),
    ("/callbacks", "Callbacks", "l", None),
    ("/credits", "Credits", "c", None),
    ("/budgets", "Budgets", "u", None),
    ("/schedules", "Schedules", "s", None),
    ("/audit", "Audit", "a", None),
)
"""Path, name, key after `g`, and the state whose number of jobs is shown beside it."""

_ROLES: Final[Mapping[str, Role]] = {
    "/credits": Role.READ,
    "/budgets": Role.READ,
    "/schedules": Role.READ,
    "/audit": Role.READ,
}
"""Pages that are not shown to every role that has pages."""


@cache
def environment() -> Environment:
    """The template environment, created once."""
    found = Environment(
        loader=PackageLoader("worker.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "plain": formatting.visible_text,
        "span": formatting.duration_text,
        "exact": formatting.utc_text,
        "stamp": rfc3339,
        "number": formatting.number,
        "credits": formatting.credits_text,
        "amount": formatting.credit_amount_text,
        "cost_text": formatting.attempt_cost_text,
        "words": formatting.label_text,
        "size": formatting.size,
    }
    for name, value in _GLOBALS.items():
        found.globals[name] = value
    return found


_GLOBALS: Final[Mapping[str, Any]] = {
    "ago": formatting.ago,
    "count": formatting.count,
    "asset": asset_url,
    "pages": NAVIGATION,
    "State": State,
    "is_destructive": is_destructive,
    "schedule_href": schedules.schedule_href,
    "local_tick": schedules.local_tick,
    "skip_text": schedules.skip_text,
    "blocking_job": schedules.blocking_job,
}
"""Names that every template can use."""


async def render(
    page_request: "PageRequest", template: str, status: int, *, partial: bool, **variables: Any
) -> web.Response:
    """Render a page for a principal that is logged in."""
    principal = page_request.principal
    flash = None if partial else read_flash(page_request.request)
    states, _ = await page_request.context.store.read.queries.state_counts()
    response = html_response(
        template,
        status,
        partial=partial,
        path=page_request.path,
        here=page_request.path.partition("?")[0],
        pages=[one for one in NAVIGATION if principal.role.covers(_ROLES.get(one[0], Role.WATCH))],
        now=page_request.now,
        principal=principal,
        may_enqueue=may_enqueue(principal),
        flash=flash,
        counts=states,
        shows_logout=page_request.context.access.needs_login,
        **variables,
    )
    if flash is not None:
        clear_flash(response)
    return response


def html_response(template: str, status: int = 200, **variables: Any) -> web.Response:
    """Render a template as an HTML response."""
    text = environment().get_template(template).render(variables)
    return web.Response(status=status, text=text, content_type="text/html", charset="utf-8")


def may_enqueue(principal: Principal) -> bool:
    """Whether a principal may enqueue jobs from a page, which shows inputs."""
    return principal.role.covers(Role.OPERATE)


def standalone_page(
    context: "ApiContext",
    template: str,
    status: int,
    *,
    flash: Flash | None = None,
    **variables: Any,
) -> web.Response:
    """Render a page without counts or a principal: it reads nothing from the store."""
    return html_response(
        template,
        status,
        partial=False,
        path="/",
        here="",
        now=context.clock.now(),
        principal=None,
        may_enqueue=False,
        flash=flash,
        counts=None,
        shows_logout=False,
        **variables,
    )
