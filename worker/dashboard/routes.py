"""Every page and every form of the dashboard in one table."""

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from config.values import Role
from worker.api.auth.page_guard import PARTIAL_HEADER, page
from worker.api.context import ApiContext
from worker.api.edge.bodies import BodyKind
from worker.api.endpoints import Endpoint, Handler, guarded
from worker.api.prefix import add_route
from worker.app.bulk_request import BulkAction
from worker.dashboard.assets import serve_asset
from worker.dashboard.background_bulk import BACKGROUND_BULKS, BackgroundBulks
from worker.dashboard.page_request import PageRoute, page_handler
from worker.dashboard.pages.audit import audit_page
from worker.dashboard.pages.batches import act_on_batch, batches_page
from worker.dashboard.pages.breakers import probe_breaker, reset_breaker
from worker.dashboard.pages.budgets import budgets_page, remove_budget, set_budget
from worker.dashboard.pages.bulk import background_bulk_page, preview_bulk, start_bulk
from worker.dashboard.pages.callbacks import callbacks_page, resend_from_page
from worker.dashboard.pages.caps import remove_cap_from_page, set_cap_from_page
from worker.dashboard.pages.credits import credits_page
from worker.dashboard.pages.edit_job import edit_job_from_page
from worker.dashboard.pages.enqueue_similar import enqueue_similar, enqueue_similar_page
from worker.dashboard.pages.holds import holds_page, pause_scope, release_hold
from worker.dashboard.pages.job import job_file, job_page
from worker.dashboard.pages.job_actions import erase_job, run_job_action
from worker.dashboard.pages.job_lists import jobs_page
from worker.dashboard.pages.login import login_page
from worker.dashboard.pages.overview import overview_page
from worker.dashboard.pages.requeue_form import requeue_edited, requeue_form_page
from worker.dashboard.pages.review_queues import dead_page, parked_page
from worker.dashboard.pages.schedules import (
    disable_schedule,
    enable_schedule,
    remove_schedule,
    run_schedule,
    schedules_page,
    set_schedule,
)
from worker.dashboard.pages.sessions import revoke_from_page, sessions_page
from worker.dashboard.pages.workers import drain_worker, undo_drain

_OPERATE: Final = Role.OPERATE
_INPUTS: Final = BodyKind.FORM_OF_INPUTS
_JOB: Final = "GET /v1/jobs/{id}"
_REQUEUE: Final = "POST /v1/jobs/{id}/requeue"
_SCHEDULE: Final = "/v1/schedules/{name}"
_BATCH: Final = tuple(f"POST /v1/batches/{{name}}/{act}" for act in ("cancel", "requeue-failed"))
_BULK: Final = tuple(f"POST /v1/bulk/{action}" for action in BulkAction)

PAGES: Final = (
    PageRoute(
        "GET",
        "/",
        overview_page,
        ("GET /v1/stats", "GET /v1/stats/history", "GET /v1/groups", "GET /v1/holds"),
    ),
    PageRoute("GET", "/jobs", jobs_page, ("GET /v1/jobs",)),
    PageRoute("GET", "/parked", parked_page, ("GET /v1/jobs", "GET /v1/groups")),
    PageRoute("GET", "/dead", dead_page, ("GET /v1/jobs", "GET /v1/groups")),
    PageRoute("GET", "/holds", holds_page, ("GET /v1/holds", "GET /v1/breakers", "GET /v1/caps")),
    PageRoute("POST", "/caps", set_cap_from_page, ("PUT /v1/caps/{scope}",)),
    PageRoute("POST", "/caps/remove", remove_cap_from_page, ("DELETE /v1/caps/{scope}",)),
    PageRoute("GET", "/batches", batches_page, ("GET /v1/batches",)),
    PageRoute("POST", "/batches", act_on_batch, _BATCH),
    PageRoute("GET", "/callbacks", callbacks_page, ("GET /v1/callbacks",)),
    PageRoute(
        "POST", "/callbacks/{id}/resend", resend_from_page, ("POST /v1/callbacks/{id}/resend",)
    ),
    PageRoute("GET", "/credits", credits_page, ("GET /v1/credits",)),
    PageRoute("GET", "/budgets", budgets_page, ("GET /v1/budgets",)),
    PageRoute("POST", "/budgets", set_budget, ("GET /v1/budgets", "PUT /v1/budgets/{name}")),
    PageRoute("POST", "/budgets/{name}/remove", remove_budget, ("DELETE /v1/budgets/{name}",)),
    PageRoute("GET", "/schedules", schedules_page, ("GET /v1/schedules", f"GET {_SCHEDULE}")),
    PageRoute("POST", "/schedules", set_schedule, (f"PUT {_SCHEDULE}",), form=_INPUTS),
    PageRoute("POST", "/schedules/{name}/run", run_schedule, (f"POST {_SCHEDULE}/run",)),
    PageRoute("POST", "/schedules/{name}/enable", enable_schedule, (f"POST {_SCHEDULE}/enable",)),
    PageRoute(
        "POST", "/schedules/{name}/disable", disable_schedule, (f"POST {_SCHEDULE}/disable",)
    ),
    PageRoute("POST", "/schedules/{name}/remove", remove_schedule, (f"DELETE {_SCHEDULE}",)),
    PageRoute("GET", "/audit", audit_page, ("GET /v1/audit",)),
    PageRoute("GET", "/sessions", sessions_page, ("GET /v1/sessions",)),
    PageRoute(
        "POST", "/sessions/{id}/revoke", revoke_from_page, ("POST /v1/sessions/{id}/revoke",)
    ),
    PageRoute("GET", "/jobs/{id}", job_page, (_JOB, "GET /v1/jobs/{id}/why", "GET /v1/callbacks")),
    PageRoute("GET", "/jobs/{id}/{file:inputs|result}.json", job_file, (_JOB,), Role.READ),
    PageRoute("GET", "/jobs/{id}/requeue", requeue_form_page, (_REQUEUE,)),
    PageRoute("POST", "/jobs/{id}/requeue", requeue_edited, (_REQUEUE,), form=_INPUTS),
    PageRoute("GET", "/jobs/{id}/similar", enqueue_similar_page, ("POST /v1/jobs",), _OPERATE),
    PageRoute("POST", "/jobs/{id}/similar", enqueue_similar, ("POST /v1/jobs",), _OPERATE, _INPUTS),
    PageRoute(
        "POST", "/jobs/{id}/actions/{action}", run_job_action, ("POST /v1/jobs/{id}/cancel",)
    ),
    PageRoute("POST", "/jobs/{id}/edit", edit_job_from_page, ("PATCH /v1/jobs/{id}",)),
    PageRoute("POST", "/jobs/{id}/erase", erase_job, ("DELETE /v1/jobs/{id}/payloads",)),
    PageRoute("POST", "/holds", pause_scope, ("POST /v1/holds",)),
    PageRoute("POST", "/holds/{id}/release", release_hold, ("POST /v1/holds/{id}/release",)),
    PageRoute("POST", "/breakers/{id}/probe", probe_breaker, ("POST /v1/breakers/{id}/probe",)),
    PageRoute("POST", "/breakers/{id}/reset", reset_breaker, ("POST /v1/breakers/{id}/reset",)),
    PageRoute("POST", "/workers/{id}/drain", drain_worker, ("POST /v1/workers/{id}/drain",)),
    PageRoute("POST", "/workers/{id}/undo-drain", undo_drain, ("DELETE /v1/workers/{id}/drain",)),
    PageRoute("POST", "/bulk", preview_bulk, _BULK, form=_INPUTS),
    PageRoute("POST", "/bulk/confirm", start_bulk, _BULK, form=_INPUTS),
    PageRoute("GET", "/bulk/{id}", background_bulk_page, _BULK),
)


def add_pages(app: web.Application, context: ApiContext, endpoints: Sequence[Endpoint]) -> None:
    """Add the dashboard to an application, before the API endpoints.

    If a page and an API endpoint share a path, a client that accepts HTML gets the page.
    """
    api_handlers = {one.path: guarded(one) for one in endpoints if one.method == "GET"}
    app[BACKGROUND_BULKS] = background_bulks = BackgroundBulks(
        context.use_cases.bulk, context.clock
    )

    async def close(_: web.Application) -> None:
        await background_bulks.close()

    app.on_shutdown.append(close)
    for method in ("GET", "HEAD"):
        add_route(app, method, "/login", login_page)
        add_route(app, method, "/static/{tag}/{name}", serve_asset)
    for route in PAGES:
        role = route.needed_role(endpoints)
        handler = page(role, route.form)(page_handler(route))
        if route.method == "GET":
            api_handler = api_handlers.get(route.path)
            if api_handler is not None:
                handler = _html_or_json(handler, api_handler)
        add_route(app, route.method, route.path, handler)


def _html_or_json(html_handler: Handler, json_handler: Handler) -> Handler:
    """A handler that selects by the request's Accept header; refreshes get the page as well."""

    async def select(request: web.Request) -> web.StreamResponse:
        accepts_html = "text/html" in request.headers.get("Accept", "")
        is_page = accepts_html or PARTIAL_HEADER in request.headers
        return await (html_handler if is_page else json_handler)(request)

    return select
