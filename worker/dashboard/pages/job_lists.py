"""Lists of jobs: the page of all jobs, and the part that other pages put below their own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from aiohttp import web

from jobs.job import Job
from jobs.lanes import JOB_ID
from jobs.states import Kind, State
from worker.app.bulk_request import SWEPT_STATES, BulkAction
from worker.dashboard.filters import FilterForm, read_filter
from worker.dashboard.page_request import PageRequest
from worker.store.read.queries import BadCursor, Page

PAGE_SIZE: Final = 50
"""Jobs on a page."""

MAX_COUNTED_JOBS: Final = 500
"""Jobs that are counted one by one where no index tells how many match."""

MAX_ID_MATCHES: Final = 20
"""Jobs that the beginning of an id is offered for."""


@dataclass(frozen=True, slots=True)
class JobList:
    """A page of jobs with everything its table needs."""

    filter_form: FilterForm
    path: str
    jobs: tuple[Job, ...]
    next_cursor: str | None
    total: int | None
    """How many match, where an index tells."""
    actions: tuple[BulkAction, ...]
    """What can be done to all of them."""
    error: str = ""

    @property
    def is_first_page(self) -> bool:
        """Whether this is the newest page."""
        return self.filter_form.cursor is None

    @property
    def older_href(self) -> str | None:
        """Where the list goes on."""
        return (
            self.filter_form.href(self.path, cursor=self.next_cursor) if self.next_cursor else None
        )

    @property
    def newest_href(self) -> str:
        """Where the list begins."""
        return self.filter_form.href(self.path)


async def job_list(page_request: PageRequest, path: str, state: State | None = None) -> JobList:
    """The jobs that the address asks for."""
    asked = read_filter(page_request.request.query, page_request.now, state)
    if asked.errors:
        fault = "; ".join(f"{name} {what}" for name, what in asked.errors.items())
        return JobList(asked, path, (), None, None, (), fault)
    fault = ""
    try:
        page = await page_request.context.queries.job_page(asked.filter, PAGE_SIZE, asked.cursor)
    except BadCursor as error:
        page, fault = Page((), None), str(error)
    total = await _total(page_request, asked, page)
    acts = actions_for(asked.filter.state)
    return JobList(asked, path, page.jobs, page.next_cursor, total, acts, fault)


async def _total(page_request: PageRequest, filter_form: FilterForm, page: Page) -> int | None:
    """How many jobs match; None where that would take long to say."""
    queries = page_request.context.store.queries
    total = await queries.count(filter_form.filter)
    if total is not None:
        return total
    if page.next_cursor is None:
        return len(page.jobs) if filter_form.cursor is None else None
    if len(page.jobs) < PAGE_SIZE:
        return None
    counted = await queries.page(filter_form.filter, MAX_COUNTED_JOBS)
    return len(counted.jobs) if counted.next_cursor is None else None


def actions_for(state: State | None) -> tuple[BulkAction, ...]:
    """The acts that a state allows; all of them where the list shows every state."""
    return tuple(act for act in BulkAction if state is None or state in SWEPT_STATES[act])


async def jobs_page(page_request: PageRequest) -> web.StreamResponse:
    """Jobs by filter, newest first."""
    wanted = page_request.request.query.get("id", "").strip()
    if wanted:
        return await _find(page_request, wanted)
    listed = await job_list(page_request, "/jobs")
    status = 400 if listed.error else 200
    return await page_request.render("jobs.html", status, list=listed, choices=filter_choices())


async def _find(page_request: PageRequest, job_or_execution_id: str) -> web.StreamResponse:
    """The job of an id, an execution id or the beginning of an id: straight to it if it is one."""
    store = page_request.context.store
    if (
        JOB_ID.fullmatch(job_or_execution_id)
        and (await store.jobs.read_many([job_or_execution_id]))[0] is not None
    ):
        return _redirect_to_job(job_or_execution_id)
    (by_run,) = await store.webhooks.jobs_of([job_or_execution_id[:128]])
    ids = list(by_run) or await store.queries.ids_with_prefix(
        job_or_execution_id[:128], MAX_ID_MATCHES
    )
    if len(ids) == 1:
        return _redirect_to_job(ids[0])
    stored = await store.jobs.load_many(ids)
    jobs = tuple(one.job for one in stored if one is not None)
    listed = JobList(read_filter({}, page_request.now), "/jobs", jobs, None, len(jobs), ())
    return await page_request.render(
        "jobs.html",
        200 if jobs else 404,
        list=listed,
        choices=filter_choices(),
        looked_for=job_or_execution_id,
    )


def _redirect_to_job(job_id: str) -> web.Response:
    return web.Response(status=303, headers={"Location": job_href(job_id)})


def job_href(job_id: str) -> str:
    """The page of a job."""
    return f"/jobs/{quote(job_id, safe='')}"


def filter_choices() -> Mapping[str, tuple[str, ...]]:
    """What the filter's fields with few values offer."""
    return {"state": tuple(State), "kind": tuple(Kind)}
