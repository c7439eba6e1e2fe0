"""Every page and every act of a page in one table."""

from collections.abc import Iterable
from typing import Final

from aiohttp import web

from config.settings import Role
from worker.api.auth.access import PARTIAL_HEADER, page
from worker.api.context import OFFICE
from worker.api.endpoints import Endpoint, Handler, guarded
from worker.api.problems import PROBLEM_PAGE, ProblemPage
from worker.dashboard.assets import serve_asset
from worker.dashboard.background_bulk import ERRANDS, Errands
from worker.dashboard.page_request import PageRoute, visiting
from worker.dashboard.pages.audit import audit_page
from worker.dashboard.pages.batches import batches_page
from worker.dashboard.pages.bulk import do_bulk, errand_page, try_bulk
from worker.dashboard.pages.enqueue_similar import again_page, enqueue_again
from worker.dashboard.pages.holds import holds_page, pause, release_hold
from worker.dashboard.pages.job import job_file, job_page
from worker.dashboard.pages.job_actions import act_on_job
from worker.dashboard.pages.job_lists import jobs_page
from worker.dashboard.pages.login import login_page, problem_page
from worker.dashboard.pages.overview import overview_page
from worker.dashboard.pages.requeue_form import edit_page, requeue_edited
from worker.dashboard.pages.review_queues import dead_page, parked_page

_ACT: Final = Role.OPERATE

PAGES: Final = (
    PageRoute("GET", "/", overview_page),
    PageRoute("GET", "/jobs", jobs_page),
    PageRoute("GET", "/parked", parked_page),
    PageRoute("GET", "/dead", dead_page),
    PageRoute("GET", "/holds", holds_page),
    PageRoute("GET", "/batches", batches_page),
    PageRoute("GET", "/audit", audit_page),
    PageRoute("GET", "/jobs/{id}", job_page),
    PageRoute("GET", "/jobs/{id}/{file:inputs|result}.json", job_file, Role.READ),
    PageRoute("GET", "/jobs/{id}/requeue", edit_page, _ACT),
    PageRoute("POST", "/jobs/{id}/requeue", requeue_edited, _ACT),
    PageRoute("GET", "/jobs/{id}/again", again_page, _ACT),
    PageRoute("POST", "/jobs/{id}/again", enqueue_again, _ACT),
    PageRoute("POST", "/jobs/{id}/acts/{way}", act_on_job, _ACT),
    PageRoute("POST", "/holds", pause, _ACT),
    PageRoute("POST", "/holds/{id}/release", release_hold, _ACT),
    PageRoute("POST", "/bulk", try_bulk, _ACT),
    PageRoute("POST", "/bulk/go", do_bulk, _ACT),
    PageRoute("GET", "/bulk/{id}", errand_page, _ACT),
)
"""A path, what it shows or does, and who may."""


def add_pages(app: web.Application, endpoints: Iterable[Endpoint]) -> None:
    """Add the dashboard to an application that has its office, before its calls.

    Where a page and a call share a path, browsers get the page and programs the call.
    """
    calls = {call.path: guarded(call) for call in endpoints if call.method == "GET"}
    office = app[OFFICE]
    app[PROBLEM_PAGE] = ProblemPage(problem_page)
    app[ERRANDS] = errands = Errands(office.bulk, office.clock)

    async def close(_: web.Application) -> None:
        await errands.close()

    app.on_shutdown.append(close)
    app.router.add_get("/login", login_page)
    app.router.add_get("/static/{tag}/{name}", serve_asset)
    for route in PAGES:
        handler = page(route.role)(visiting(route))
        if route.method == "GET":
            call = calls.get(route.path)
            app.router.add_get(route.path, handler if call is None else _either(handler, call))
        else:
            app.router.add_route(route.method, route.path, handler)


def _either(shown: Handler, called: Handler) -> Handler:
    """The page for whoever takes HTML, the call for everybody else."""

    async def either(request: web.Request) -> web.StreamResponse:
        takes_html = "text/html" in request.headers.get("Accept", "")
        return await (shown if takes_html or PARTIAL_HEADER in request.headers else called)(request)

    return either
