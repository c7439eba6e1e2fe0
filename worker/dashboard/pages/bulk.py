"""Acts on many jobs from a page: tried first, with counts, cost, sample and difference, then done.

The trial changes nothing; what is confirmed afterwards says everything once more, so that it means
the same to whichever process takes it.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

from aiohttp import web

from jobs.job import Job
from jobs.states import State
from worker.api.models.requests import MAX_SELECTED_JOBS
from worker.api.models.views import rfc3339
from worker.api.problems import Problem, bad_field
from worker.app.bulk_request import SWEPT_STATES, BulkAction, BulkRequest, apply_merge_patch
from worker.dashboard.background_bulk import BACKGROUND_BULKS, BackgroundBulk
from worker.dashboard.filters import FILTER_FIELDS, TIME_FIELDS, FilterForm, read_filter
from worker.dashboard.json_form import read_patch
from worker.dashboard.page_request import PageRequest
from worker.dashboard.views.diffs import DiffLine, diff
from worker.dashboard.views.formatting import count
from worker.store.codec import DECODE_ERRORS, decode
from worker.store.read.queries import Filter

PREVIEW_WAIT_S: Final = 2.0
START_WAIT_S: Final = 0.8
"""How long the answer waits for the end; after that a page shows how far it is."""

SAMPLE_SIZE: Final = 8
MAX_DIFFS: Final = 3


@dataclass(frozen=True, slots=True)
class JobDiff:
    """What a patch does to one job's inputs."""

    job_id: str
    lines: tuple[DiffLine, ...]
    error: str = ""


_EFFECTS: Final = {
    BulkAction.RELEASE: "back in line; where a hold stands it opens through one canary, and a hold"
    " that"
    " keeps other jobs waiting as well stays closed",
    BulkAction.REQUEUE: "back in line with a new set of attempts; their history is kept",
    BulkAction.DISCARD: "given up: they end as cancelled and stay on record until retention removes"
    " them",
    BulkAction.CANCEL: "cancelled: at once where nothing is sent, else by asking the provider",
}


async def preview_bulk(page_request: PageRequest) -> web.StreamResponse:
    """Count what an act on many jobs would do."""
    act, asked, ids = await _read_selection(page_request)
    patch = await _read_patch_field(page_request, act)
    errand = await page_request.request.app[BACKGROUND_BULKS].start(
        BulkRequest(act, asked.selection(ids), patch, dry_run=True),
        await page_request.actor(),
        form_fields=await _confirmation_fields(page_request, act, asked),
        ids=tuple(ids or ()),
        expected_jobs=await page_request.context.store.queries.count(asked.filter)
        if ids is None
        else len(ids),
        wait_s=PREVIEW_WAIT_S,
    )
    if errand.ended_at is None:
        return _redirect_to(errand)
    return await show_background_bulk(page_request, errand)


async def start_bulk(page_request: PageRequest) -> web.StreamResponse:
    """Act on many jobs."""
    act, asked, ids = await _read_selection(page_request)
    patch = await _read_patch_field(page_request, act)
    expected = (await page_request.form()).get("expected", "")
    errand = await page_request.request.app[BACKGROUND_BULKS].start(
        BulkRequest(act, asked.selection(ids), patch),
        await page_request.actor(),
        form_fields=await _confirmation_fields(page_request, act, asked),
        ids=tuple(ids or ()),
        expected_jobs=int(expected[:9]) if expected.isdecimal() and expected.isascii() else None,
        wait_s=START_WAIT_S,
    )
    return _redirect_to(errand)


async def background_bulk_page(page_request: PageRequest) -> web.StreamResponse:
    """How far an act on many jobs is."""
    errand = page_request.request.app[BACKGROUND_BULKS].find(page_request.request.match_info["id"])
    if errand is None:
        detail = "no act of this name is known here any more: the audit tells what was done"
        raise Problem(404, "no-such-act", "No such act", detail)
    return await show_background_bulk(page_request, errand)


async def show_background_bulk(
    page_request: PageRequest, bulk_run: BackgroundBulk
) -> web.StreamResponse:
    """A trial with what it found, or an act with what became of it."""
    is_plan = bulk_run.is_dry_run and bulk_run.ended_at is not None
    jobs = await _sample(page_request, bulk_run) if is_plan else []
    return await page_request.render(
        "errand.html",
        run=bulk_run,
        jobs=jobs,
        diffs=await _diffs(page_request, bulk_run, jobs) if is_plan else [],
        effect=_EFFECTS[bulk_run.action],
        progress=_progress_text(bulk_run),
    )


def _redirect_to(bulk_run: BackgroundBulk) -> web.Response:
    return web.Response(status=303, headers={"Location": f"/bulk/{bulk_run.id}"})


# What is meant.


async def _read_selection(
    page_request: PageRequest,
) -> tuple[BulkAction, FilterForm, list[str] | None]:
    """The act, its filter, and the jobs ticked where it is for those; raises `Problem`."""
    form = await page_request.form()
    try:
        act = BulkAction(form.get("act", ""))
    except ValueError:
        raise bad_field("act", f"must be one of {', '.join(BulkAction)}") from None
    asked = read_filter(form, page_request.now)
    if asked.errors:
        name, what = next(iter(asked.errors.items()))
        raise bad_field(name, what)
    state = asked.filter.state
    if form.get("scope") == "selected":
        ids = list(dict.fromkeys(await page_request.field_values("ids")))
        if not 1 <= len(ids) <= MAX_SELECTED_JOBS:
            raise bad_field("selection", f"is empty: tick 1 to {MAX_SELECTED_JOBS} jobs")
        return act, FilterForm({}, Filter()), ids
    if state is not None and state not in SWEPT_STATES[act]:
        raise bad_field("state", f"is {state}, which {act} is not for")
    if not asked.values and form.get("scope") != "all":
        raise bad_field("filter", "admits every job: narrow it")
    return act, asked, None


async def _read_patch_field(page_request: PageRequest, action: BulkAction) -> dict[str, Any] | None:
    text = (await page_request.form()).get("patch", "").strip()
    if not text or action is not BulkAction.REQUEUE:
        return None
    return read_patch(text)


async def _confirmation_fields(
    page_request: PageRequest, action: BulkAction, filter_form: FilterForm
) -> dict[str, str]:
    """What the form that confirms says: times are those of now, `2h` would move on."""
    form = await page_request.form()
    kept: dict[str, str] = {
        name: filter_form.values[name] for name in FILTER_FIELDS if name in filter_form.values
    }
    for name in TIME_FIELDS:
        if (at := getattr(filter_form.filter, name)) is not None:
            kept[name] = rfc3339(at)
    for name in ("scope", "patch", "note", "back"):
        if form.get(name):
            kept[name] = form[name]
    return {**kept, "act": action.value}


# What is shown.


async def _sample(page_request: PageRequest, bulk_run: BackgroundBulk) -> list[Job]:
    """A few of the jobs that are meant."""
    store, wanted = page_request.context.store, bulk_run.request.selection
    if wanted.ids is not None:
        stored = await store.jobs.load_many(list(wanted.ids)[:SAMPLE_SIZE])
        return [one.job for one in stored if one is not None]
    found: list[Job] = []
    for state in dict.fromkeys(SWEPT_STATES[bulk_run.action]):
        if wanted.filter.state in (None, state) and len(found) < SAMPLE_SIZE:
            narrow = replace(wanted.filter, state=state)
            page = await store.queries.page(narrow, SAMPLE_SIZE - len(found))
            found += page.jobs
    return found


async def _diffs(
    page_request: PageRequest, bulk_run: BackgroundBulk, jobs: list[Job]
) -> list[JobDiff]:
    """What the patch does to the inputs of the first few."""
    if bulk_run.request.patch is None or not page_request.principal.sees_payloads:
        return []
    found: list[JobDiff] = []
    for job in [one for one in jobs if one.state is State.DEAD][:MAX_DIFFS]:
        inputs, _ = await page_request.context.store.jobs.payloads(job.id)
        try:
            old = decode(inputs or b"{}")
            found.append(JobDiff(job.id, diff(old, apply_merge_patch(old, bulk_run.request.patch))))
        except DECODE_ERRORS:
            found.append(JobDiff(job.id, (), "its inputs cannot be read"))
    return found


def _progress_text(bulk_run: BackgroundBulk) -> str:
    """One line on what would be done, is done, or was."""
    counts, act = bulk_run.counts, bulk_run.action
    jobs = count(counts.done, "job")
    if bulk_run.ended_at is None:
        of = f" of about {count(bulk_run.expected_jobs, 'job')}" if bulk_run.expected_jobs else ""
        return f"{'Counting' if bulk_run.is_dry_run else 'Under way'}: {jobs}{of} so far"
    if bulk_run.is_dry_run:
        return f"Would {act} {jobs}"
    return f"{_PAST_TENSE[act]} {jobs}"


_PAST_TENSE: Final = {
    BulkAction.RELEASE: "Released",
    BulkAction.REQUEUE: "Requeued",
    BulkAction.DISCARD: "Discarded",
    BulkAction.CANCEL: "Cancelled",
}
