"""Bulk actions: a preview with counts, cost, sample and differences, then the run.

The preview changes nothing. The form that confirms it repeats the whole request, so any API process
can run it.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

from aiohttp import web

from jobs.job import Job
from jobs.states import State
from worker.api.auth.page_guard import safe_redirect_path
from worker.api.edge.off_loop import parse_off_loop
from worker.api.models.requests import MAX_SELECTED_JOBS
from worker.api.models.response import rfc3339
from worker.api.problems import Problem, bad_field
from worker.app.action_table import ACTION_TABLE, JobAction
from worker.app.bulk_request import SWEPT_STATES, BulkAction, BulkRequest, apply_merge_patch
from worker.dashboard.background_bulk import BACKGROUND_BULKS, BackgroundBulk
from worker.dashboard.filters import FILTER_FIELDS, TIME_FIELDS, FilterForm, read_filter
from worker.dashboard.json_form import read_patch
from worker.dashboard.page_request import PageRequest
from worker.dashboard.views.diffs import DiffLine, diff
from worker.dashboard.views.formatting import count
from worker.engine.unreadable_records import load_jobs
from worker.store.codec import DECODE_ERRORS, decode
from worker.store.read.filter import Filter

PREVIEW_WAIT_S: Final = 2.0
START_WAIT_S: Final = 0.8
"""Seconds that a response waits for the run to end; after that it shows the progress."""

SAMPLE_SIZE: Final = 8
MAX_DIFFS: Final = 3


@dataclass(frozen=True, slots=True)
class JobDiff:
    """What a patch changes in the inputs of one job."""

    job_id: str
    lines: tuple[DiffLine, ...]
    error: str = ""


async def preview_bulk(page_request: PageRequest) -> web.StreamResponse:
    """Count what a bulk action would do."""
    action, filter_form, ids = await _read_selection(page_request)
    patch = await _read_patch_field(page_request, action)
    bulk_run = await page_request.request.app[BACKGROUND_BULKS].start(
        BulkRequest(action, filter_form.selection(ids), patch, dry_run=True),
        await page_request.actor(),
        form_fields=await _confirmation_fields(page_request, action, filter_form),
        ids=tuple(ids or ()),
        expected_jobs=await page_request.context.store.read.queries.count(filter_form.filter)
        if ids is None
        else len(ids),
        wait_s=PREVIEW_WAIT_S,
    )
    if bulk_run.ended_at is None:
        return _redirect_to(bulk_run)
    return await show_background_bulk(page_request, bulk_run)


async def start_bulk(page_request: PageRequest) -> web.StreamResponse:
    """Start a bulk action, and redirect to its progress."""
    action, filter_form, ids = await _read_selection(page_request)
    patch = await _read_patch_field(page_request, action)
    expected = (await page_request.form()).get("expected", "")
    bulk_run = await page_request.request.app[BACKGROUND_BULKS].start(
        BulkRequest(action, filter_form.selection(ids), patch),
        await page_request.actor(),
        form_fields=await _confirmation_fields(page_request, action, filter_form),
        ids=tuple(ids or ()),
        expected_jobs=int(expected[:9]) if expected.isdecimal() and expected.isascii() else None,
        wait_s=START_WAIT_S,
    )
    return _redirect_to(bulk_run)


async def background_bulk_page(page_request: PageRequest) -> web.StreamResponse:
    """Render the progress or the result of a bulk action."""
    run_id = page_request.request.match_info["id"]
    bulk_run = page_request.request.app[BACKGROUND_BULKS].find(run_id)
    if bulk_run is None:
        detail = "its progress is no longer stored: the audit log records what was done"
        raise Problem(404, "no-such-bulk-action", "No such bulk action", detail)
    return await show_background_bulk(page_request, bulk_run)


async def show_background_bulk(
    page_request: PageRequest, bulk_run: BackgroundBulk
) -> web.StreamResponse:
    """Render a preview, or a bulk action with its progress or result."""
    is_preview = bulk_run.is_dry_run and bulk_run.ended_at is not None
    jobs = await _sample(page_request, bulk_run) if is_preview else []
    return await page_request.render(
        "background_bulk.html",
        run=bulk_run,
        jobs=jobs,
        diffs=await _diffs(page_request, bulk_run, jobs) if is_preview else [],
        effect=ACTION_TABLE[JobAction(bulk_run.action)].effect,
        progress=_progress_text(bulk_run),
    )


def _redirect_to(bulk_run: BackgroundBulk) -> web.Response:
    return web.Response(status=303, headers={"Location": f"/bulk/{bulk_run.id}"})


# The request.


async def _read_selection(
    page_request: PageRequest,
) -> tuple[BulkAction, FilterForm, list[str] | None]:
    """Action, filter, and ids of the selected jobs (None: all that match); raises `Problem`."""
    form = await page_request.form()
    try:
        action = BulkAction(form.get("action", ""))
    except ValueError:
        raise bad_field("action", f"must be one of {', '.join(BulkAction)}") from None
    filter_form = read_filter(form, page_request.now)
    for name, error in filter_form.errors.items():
        raise bad_field(name, error)
    state = filter_form.filter.state
    if form.get("scope") == "selected":
        ids = list(dict.fromkeys(await page_request.field_values("ids")))
        if not 1 <= len(ids) <= MAX_SELECTED_JOBS:
            raise bad_field("selection", f"is empty: select 1 to {MAX_SELECTED_JOBS} jobs")
        return action, FilterForm({}, Filter()), ids
    if state is not None and state not in SWEPT_STATES[action]:
        raise bad_field("state", f"is {state}: {action} does not apply to it")
    if not filter_form.values and form.get("scope") != "all":
        raise bad_field("filter", "matches every job: narrow it")
    return action, filter_form, None


async def _read_patch_field(page_request: PageRequest, action: BulkAction) -> dict[str, Any] | None:
    text = (await page_request.form()).get("patch", "").strip()
    if not text or action is not BulkAction.REQUEUE:
        return None
    return await parse_off_loop(len(text), read_patch, text)


async def _confirmation_fields(
    page_request: PageRequest, action: BulkAction, filter_form: FilterForm
) -> dict[str, str]:
    """The fields of the confirmation form; ages such as `2h` become fixed times."""
    form = await page_request.form()
    fields: dict[str, str] = {
        name: filter_form.values[name] for name in FILTER_FIELDS if name in filter_form.values
    }
    for name in TIME_FIELDS:
        if (at := getattr(filter_form.filter, name)) is not None:
            fields[name] = rfc3339(at)
    for name in ("scope", "patch", "note"):
        if form.get(name):
            fields[name] = form[name]
    if form.get("back"):
        fields["back"] = safe_redirect_path(form["back"])
    return {**fields, "action": action.value}


# The page.


async def _sample(page_request: PageRequest, bulk_run: BackgroundBulk) -> list[Job]:
    """A few of the affected jobs."""
    use_cases, selection = page_request.context.use_cases, bulk_run.request.selection
    if selection.ids is not None:
        ids = list(selection.ids)[:SAMPLE_SIZE]
        stored = await load_jobs(page_request.context.store.jobs, ids, page_request.now)
        return [one.job for one in stored if one is not None]
    found: list[Job] = []
    for state in dict.fromkeys(SWEPT_STATES[bulk_run.action]):
        if selection.filter.state in (None, state) and len(found) < SAMPLE_SIZE:
            in_state = replace(selection.filter, state=state)
            page = await use_cases.queries.job_page(in_state, SAMPLE_SIZE - len(found))
            found += page.jobs
    return found


async def _diffs(
    page_request: PageRequest, bulk_run: BackgroundBulk, jobs: list[Job]
) -> list[JobDiff]:
    """What the patch changes in the inputs of the first jobs."""
    if bulk_run.request.patch is None or not page_request.principal.sees_payloads:
        return []
    found: list[JobDiff] = []
    for job in [one for one in jobs if one.state is State.DEAD][:MAX_DIFFS]:
        inputs = (await page_request.read_payloads(job.id)).inputs
        try:
            before = decode(inputs or b"")
            after = apply_merge_patch(before, bulk_run.request.patch)
            found.append(JobDiff(job.id, diff(before, after)))
        except DECODE_ERRORS:
            found.append(JobDiff(job.id, (), "its inputs are unreadable"))
    return found


def _progress_text(bulk_run: BackgroundBulk) -> str:
    """One line: the preview, the progress or the result."""
    counts, action = bulk_run.counts, bulk_run.action
    jobs = count(counts.done, "job")
    if bulk_run.ended_at is None:
        of = f" of about {count(bulk_run.expected_jobs, 'job')}" if bulk_run.expected_jobs else ""
        return f"{'Counting' if bulk_run.is_dry_run else 'In progress'}: {jobs}{of} so far"
    if bulk_run.is_dry_run:
        return f"Would {action} {jobs}"
    return f"{ACTION_TABLE[JobAction(action)].past_tense} {jobs}"
