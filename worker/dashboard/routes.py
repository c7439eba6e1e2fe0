"""Every page and every act of a page in one table."""

from collections.abc import Iterable
from typing import Final

from aiohttp import web

from config.settings import Role
from worker.api.auth.access import PARTIAL_HEADER, page
from worker.api.context import API_CONTEXT
from worker.api.endpoints import Endpoint, Handler, guarded
from worker.api.problems import PROBLEM_PAGE, ProblemPage
from worker.dashboard.assets import serve_asset
from worker.dashboard.background_bulk import BACKGROUND_BULKS, BackgroundBulks
from worker.dashboard.page_request import PageRoute, page_handler
from worker.dashboard.pages.audit import audit_page
from worker.dashboard.pages.batches import batches_page
from worker.dashboard.pages.bulk import background_bulk_page, preview_bulk, start_bulk
from worker.dashboard.pages.enqueue_similar import enqueue_similar, enqueue_similar_page
from worker.dashboard.pages.holds import holds_page, pause_scope, release_hold
from worker.dashboard.pages.job import job_file, job_page
from worker.dashboard.pages.job_actions import run_job_action
from worker.dashboard.pages.job_lists import jobs_page
from worker.dashboard.pages.login import login_page, problem_page
from worker.dashboard.pages.overview import overview_page
from worker.dashboard.pages.requeue_form import requeue_edited, requeue_form_page
from worker.dashboard.pages.review_queues import dead_page, parked_page

_OPERATE: Final = Role.OPERATE

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
    PageRoute("GET", "/jobs/{id}/requeue", requeue_form_page, _OPERATE),
    PageRoute("POST", "/jobs/{id}/requeue", requeue_edited, _OPERATE),
    PageRoute("GET", "/jobs/{id}/again", enqueue_similar_page, _OPERATE),
    PageRoute("POST", "/jobs/{id}/again", enqueue_similar, _OPERATE),
    PageRoute("POST", "/jobs/{id}/acts/{way}", run_job_action, _OPERATE),
    PageRoute("POST", "/holds", pause_scope, _OPERATE),
    PageRoute("POST", "/holds/{id}/release", release_hold, _OPERATE),
    PageRoute("POST", "/bulk", preview_bulk, _OPERATE),
    PageRoute("POST", "/bulk/go", start_bulk, _OPERATE),
    PageRoute("GET", "/bulk/{id}", background_bulk_page, _OPERATE),
)
"""A path, what it shows or does, and who may."""


def add_pages(app: web.Application, endpoints: Iterable[Endpoint]) -> None:
    """Add the dashboard to an application that has its office, before its calls.

    Where a page and a call share a path, browsers get the page and programs the call.
    """
    calls = {call.path: guarded(call) for call in endpoints if call.method == "GET"}
    office = app[API_CONTEXT]
    app[PROBLEM_PAGE] = ProblemPage(problem_page)
    app[BACKGROUND_BULKS] = errands = BackgroundBulks(office.bulk, office.clock)

    async def close(_: web.Application) -> None:
        await errands.close()

    app.on_shutdown.append(close)
    app.router.add_get("/login", login_page)
    app.router.add_get("/static/{tag}/{name}", serve_asset)
    for route in PAGES:
        handler = page(route.role)(page_handler(route))
        if route.method == "GET":
            call = calls.get(route.path)
            app.router.add_get(
                route.path, handler if call is None else _page_or_call(handler, call)
            )
        else:
            app.router.add_route(route.method, route.path, handler)


def _page_or_call(html_handler: Handler, call_handler: Handler) -> Handler:
    """The page for whoever takes HTML, the call for everybody else."""

    async def either(request: web.Request) -> web.StreamResponse:
        takes_html = "text/html" in request.headers.get("Accept", "")
        return await (
            html_handler if takes_html or PARTIAL_HEADER in request.headers else call_handler
        )(request)

    return either
