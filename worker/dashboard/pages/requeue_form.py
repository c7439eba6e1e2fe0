"""A dead letter with other inputs: typed as a whole or as a merge patch, shown as a difference."""

from dataclasses import dataclass

from aiohttp import web

from jobs.job import Job
from jobs.states import State
from worker.app.bulk_request import merge
from worker.app.enqueue import BadOrder
from worker.app.job_request_parser import encode_inputs
from worker.dashboard.json_form import read_inputs, read_patch
from worker.dashboard.page_request import Visit
from worker.dashboard.pages.job import around, wanted
from worker.dashboard.pages.job_lists import job_href
from worker.dashboard.views.available_actions import offers
from worker.dashboard.views.diffs import Line, diff
from worker.dashboard.views.payloads import EDITED_MOST, pretty
from worker.store.codec import BROKEN, decode


@dataclass(frozen=True, slots=True)
class Edit:
    """What the form says, and what it would do."""

    inputs: str
    """JSON text of the whole; empty where that is too large to type over."""
    patch: str = ""
    lines: tuple[Line, ...] = ()
    is_shown: bool = False
    """Whether the difference was asked for."""
    fault: str = ""


async def edit_page(visit: Visit) -> web.StreamResponse:
    """The form, with the inputs as they are."""
    job = await wanted(visit)
    return await _form(visit, job, Edit(_typed(await _inputs(visit, job))))


async def requeue_edited(visit: Visit) -> web.StreamResponse:
    """Show what a change does, or requeue with it."""
    job = await wanted(visit)
    form = await visit.form()
    typed, patch = form.get("inputs", ""), form.get("patch", "").strip()
    old = await _inputs(visit, job)
    try:
        new = _changed(visit, old, typed, patch)
    except BadOrder as error:
        edit = Edit(typed, patch, fault=f"{error.field} {error}")
        return await _form(visit, job, edit, 422)
    if form.get("step") != "go":
        lines = diff(_parsed(old), _parsed(new or old))
        return await _form(visit, job, Edit(typed, patch, lines, is_shown=True))
    after = await visit.office.desk.requeue(job.id, await visit.actor(), new)
    changed = "with changed inputs" if new is not None else "as it was"
    return await visit.back(f"Requeued {changed}: {after.state} now", to=job_href(job.id))


def _changed(visit: Visit, old: bytes, typed: str, patch: str) -> bytes | None:
    """The new inputs; None where they stay as they are. Raises `BadOrder`."""
    most = visit.office.settings.max_inputs_bytes
    new = read_inputs(typed, most) if typed.strip() else old
    if patch:
        new = encode_inputs(merge(_parsed(new), read_patch(patch)), most)
    return None if _parsed(new) == _parsed(old) else new


def _parsed(inputs: bytes) -> object:
    try:
        return decode(inputs)
    except BROKEN:
        raise BadOrder("inputs", "of this job cannot be read: type them anew") from None


async def _inputs(visit: Visit, job: Job) -> bytes:
    inputs, _ = await visit.office.store.jobs.payloads(job.id)
    return inputs or b"{}"


def _typed(inputs: bytes) -> str:
    return pretty(inputs) if len(inputs) <= EDITED_MOST else ""


async def _form(visit: Visit, job: Job, edit: Edit, status: int = 200) -> web.StreamResponse:
    if job.state is not State.DEAD:
        text = f"Only dead letters are requeued: {job.id} is {job.state}"
        return await visit.back(text, bad=True, to=job_href(job.id))
    offer = offers(job, await around(visit))[0]
    return await visit.answer("requeue.html", status, job=job, edit=edit, offer=offer)
