"""Lists of jobs: the page of all jobs, and the part that other pages put below their own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from aiohttp import web

from jobs.job import Job
from jobs.lanes import JOB_ID
from jobs.states import Kind, State
from worker.app.bulk_request import SWEEPS, Act
from worker.dashboard.filters import Asked, read_filter
from worker.dashboard.page_request import Visit
from worker.store.read.queries import BadCursor, Page

SHOWN: Final = 50
"""Jobs on a page."""

COUNTED_MOST: Final = 500
"""Jobs that are counted one by one where no index tells how many match."""

FOUND_MOST: Final = 20
"""Jobs that the beginning of an id is offered for."""


@dataclass(frozen=True, slots=True)
class JobList:
    """A page of jobs with everything its table needs."""

    asked: Asked
    path: str
    jobs: tuple[Job, ...]
    next_cursor: str | None
    total: int | None
    """How many match, where an index tells."""
    acts: tuple[Act, ...]
    """What can be done to all of them."""
    fault: str = ""

    @property
    def is_first(self) -> bool:
        """Whether this is the newest page."""
        return self.asked.cursor is None

    @property
    def older(self) -> str | None:
        """Where the list goes on."""
        return self.asked.href(self.path, cursor=self.next_cursor) if self.next_cursor else None

    @property
    def newest(self) -> str:
        """Where the list begins."""
        return self.asked.href(self.path)


async def job_list(visit: Visit, path: str, state: State | None = None) -> JobList:
    """The jobs that the address asks for."""
    asked = read_filter(visit.request.query, visit.now, state)
    queries = visit.office.store.queries
    if asked.faults:
        fault = "; ".join(f"{name} {what}" for name, what in asked.faults.items())
        return JobList(asked, path, (), None, None, (), fault)
    fault = ""
    try:
        page = await queries.page(asked.filter, SHOWN, asked.cursor)
    except BadCursor as error:
        page, fault = Page((), None), str(error)
    total = await _total(visit, asked, page)
    acts = acts_for(asked.filter.state)
    return JobList(asked, path, page.jobs, page.next_cursor, total, acts, fault)


async def _total(visit: Visit, asked: Asked, page: Page) -> int | None:
    """How many jobs match; None where that would take long to say."""
    queries = visit.office.store.queries
    total = await queries.count(asked.filter)
    if total is not None:
        return total
    if page.next_cursor is None:
        return len(page.jobs) if asked.cursor is None else None
    if len(page.jobs) < SHOWN:
        return None
    counted = await queries.page(asked.filter, COUNTED_MOST)
    return len(counted.jobs) if counted.next_cursor is None else None


def acts_for(state: State | None) -> tuple[Act, ...]:
    """The acts that a state allows; all of them where the list shows every state."""
    return tuple(act for act in Act if state is None or state in SWEEPS[act])


async def jobs_page(visit: Visit) -> web.StreamResponse:
    """Jobs by filter, newest first."""
    wanted = visit.request.query.get("id", "").strip()
    if wanted:
        return await _find(visit, wanted)
    listed = await job_list(visit, "/jobs")
    status = 400 if listed.fault else 200
    return await visit.answer("jobs.html", status, list=listed, choices=choices())


async def _find(visit: Visit, wanted: str) -> web.StreamResponse:
    """The job of an id, an execution id or the beginning of an id: straight to it if it is one."""
    store = visit.office.store
    if JOB_ID.fullmatch(wanted) and await store.jobs.load(wanted) is not None:
        return _to(wanted)
    (by_run,) = await store.webhooks.jobs_of([wanted[:128]])
    ids = list(by_run) or await store.queries.ids_beginning(wanted[:128], FOUND_MOST)
    if len(ids) == 1:
        return _to(ids[0])
    stored = await store.jobs.load_many(ids)
    jobs = tuple(one.job for one in stored if one is not None)
    listed = JobList(read_filter({}, visit.now), "/jobs", jobs, None, len(jobs), ())
    return await visit.answer(
        "jobs.html", 200 if jobs else 404, list=listed, choices=choices(), looked_for=wanted
    )


def _to(job_id: str) -> web.Response:
    return web.Response(status=303, headers={"Location": job_href(job_id)})


def job_href(job_id: str) -> str:
    """The page of a job."""
    return f"/jobs/{quote(job_id, safe='')}"


def choices() -> Mapping[str, tuple[str, ...]]:
    """What the filter's fields with few values offer."""
    return {"state": tuple(State), "kind": tuple(Kind)}
