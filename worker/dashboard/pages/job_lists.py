"""Job lists: the page of all jobs, and the list that other pages include."""

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
from worker.store.client import BadCursor
from worker.store.read.queries import Page

PAGE_SIZE: Final = 50
"""Jobs on a page."""

MAX_COUNTED_JOBS: Final = 500
"""Jobs that are counted one by one if no index gives the number of matches."""

MAX_ID_MATCHES: Final = 20
"""Jobs that a search by ID prefix returns."""

MAX_SEARCH_CHARS: Final = 128


@dataclass(frozen=True, slots=True)
class JobList:
    """A page of jobs with everything that its table needs."""

    filter_form: FilterForm
    path: str
    jobs: tuple[Job, ...]
    next_cursor: str | None
    total: int | None
    """Number of matching jobs; None if counting them is expensive."""
    actions: tuple[BulkAction, ...]
    """Bulk actions for these jobs."""
    error: str = ""

    @property
    def is_first_page(self) -> bool:
        """Whether this is the page of the newest jobs."""
        return self.filter_form.cursor is None

    @property
    def older_href(self) -> str | None:
        """The URL of the next page; None on the last."""
        return (
            self.filter_form.href(self.path, cursor=self.next_cursor) if self.next_cursor else None
        )

    @property
    def newest_href(self) -> str:
        """The URL of the first page."""
        return self.filter_form.href(self.path)


async def job_list(page_request: PageRequest, path: str, state: State | None = None) -> JobList:
    """The jobs that match the query, of one state if the page sets it."""
    filter_form = read_filter(page_request.request.query, page_request.now, state)
    if filter_form.errors:
        error = "; ".join(f"{name} {text}" for name, text in filter_form.errors.items())
        return JobList(filter_form, path, (), None, None, (), error)
    error = ""
    try:
        page = await page_request.context.use_cases.queries.job_page(
            filter_form.filter, PAGE_SIZE, filter_form.cursor
        )
    except BadCursor as bad_cursor:
        page, error = Page((), None), str(bad_cursor)
    total = await _total(page_request, filter_form, page)
    actions = actions_for(filter_form.filter.state)
    return JobList(filter_form, path, page.jobs, page.next_cursor, total, actions, error)


async def _total(page_request: PageRequest, filter_form: FilterForm, page: Page) -> int | None:
    """Number of matching jobs; None if counting them is expensive."""
    queries = page_request.context.store.read.queries
    total = await queries.count(filter_form.filter)
    if total is not None:
        return total
    if page.next_cursor is None:
        return len(page.jobs) if filter_form.cursor is None else None
    if len(page.jobs) < PAGE_SIZE:
        return None
    counted = await page_request.context.use_cases.queries.job_page(
        filter_form.filter, MAX_COUNTED_JOBS
    )
    return len(counted.jobs) if counted.next_cursor is None else None


def actions_for(state: State | None) -> tuple[BulkAction, ...]:
    """The bulk actions for jobs of a state; all of them for None."""
    return tuple(one for one in BulkAction if state is None or state in SWEPT_STATES[one])


async def jobs_page(page_request: PageRequest) -> web.StreamResponse:
    """Render the jobs that match the query, newest first; `id` searches for one job."""
    searched_id = page_request.request.query.get("id", "").strip()
    if searched_id:
        return await _find(page_request, searched_id)
    listed = await job_list(page_request, "/jobs")
    status = 400 if listed.error else 200
    return await page_request.render("jobs.html", status, list=listed, choices=filter_choices())


async def _find(page_request: PageRequest, searched_id: str) -> web.StreamResponse:
    """The jobs of an ID, an execution ID or an ID prefix; redirects if there is exactly one."""
    store = page_request.context.store
    if JOB_ID.fullmatch(searched_id) and (await store.jobs.read_many([searched_id]))[0] is not None:
        return _redirect_to_job(searched_id)
    prefix = searched_id[:MAX_SEARCH_CHARS]
    (by_execution,) = await store.webhooks.jobs_of([prefix])
    ids = list(by_execution) or await store.read.queries.ids_with_prefix(prefix, MAX_ID_MATCHES)
    if len(ids) == 1:
        return _redirect_to_job(ids[0])
    shown = await page_request.context.use_cases.queries.shown_jobs(ids)
    jobs = tuple(job for job in shown if job is not None)
    listed = JobList(read_filter({}, page_request.now), "/jobs", jobs, None, len(jobs), ())
    return await page_request.render(
        "jobs.html",
        200 if jobs else 404,
        list=listed,
        choices=filter_choices(),
        searched_id=searched_id,
    )


def _redirect_to_job(job_id: str) -> web.Response:
    return web.Response(status=303, headers={"Location": job_href(job_id)})


def job_href(job_id: str) -> str:
    """The URL of a job's page."""
    return f"/jobs/{quote(job_id, safe='')}"


def filter_choices() -> Mapping[str, tuple[str, ...]]:
    """The values of the filter fields with a fixed choice."""
    return {"state": tuple(State), "kind": tuple(Kind)}
