"""A dead letter with other inputs: typed as a whole or as a merge patch, shown as a difference."""

from dataclasses import dataclass

from aiohttp import web

from jobs.job import Job
from jobs.states import State
from worker.app.action_table import JobAction
from worker.app.bulk_request import apply_merge_patch
from worker.app.enqueue import InvalidRequest
from worker.app.job_request_parser import encode_inputs
from worker.dashboard.json_form import read_inputs, read_patch
from worker.dashboard.page_request import PageRequest
from worker.dashboard.pages.job import effect_context, load_path_job
from worker.dashboard.pages.job_lists import job_href
from worker.dashboard.views.available_actions import available_actions
from worker.dashboard.views.diffs import DiffLine, diff
from worker.dashboard.views.payloads import MAX_EDITED_BYTES, pretty_json
from worker.store.codec import DECODE_ERRORS, decode


@dataclass(frozen=True, slots=True)
class RequeueForm:
    """What the form says, and what it would do."""

    inputs_text: str
    """JSON text of the whole; empty where that is too large to type over."""
    patch_text: str = ""
    diff_lines: tuple[DiffLine, ...] = ()
    shows_diff: bool = False
    """Whether the difference was asked for."""
    error: str = ""


async def requeue_form_page(page_request: PageRequest) -> web.StreamResponse:
    """The form, with the inputs as they are."""
    job = await load_path_job(page_request)
    return await _render_form(
        page_request, job, RequeueForm(_editable_text(await _inputs(page_request, job)))
    )


async def requeue_edited(page_request: PageRequest) -> web.StreamResponse:
    """Show what a change does, or requeue with it."""
    job = await load_path_job(page_request)
    form = await page_request.form()
    typed, patch = form.get("inputs", ""), form.get("patch", "").strip()
    old = await _inputs(page_request, job)
    try:
        new = _new_inputs(page_request, old, typed, patch)
    except InvalidRequest as error:
        edit = RequeueForm(typed, patch, error=f"{error.field} {error}")
        return await _render_form(page_request, job, edit, 422)
    if form.get("step") != "go":
        lines = diff(_decode_inputs(old), _decode_inputs(new or old))
        return await _render_form(
            page_request, job, RequeueForm(typed, patch, lines, shows_diff=True)
        )
    after = await page_request.context.actions.act(
        JobAction.REQUEUE, job.id, await page_request.actor(), inputs=new
    )
    changed = "with changed inputs" if new is not None else "as it was"
    return await page_request.redirect_back(
        f"Requeued {changed}: {after.state} now", path=job_href(job.id)
    )


def _new_inputs(
    page_request: PageRequest, old_inputs: bytes, inputs_text: str, patch_text: str
) -> bytes | None:
    """The new inputs; None where they stay as they are. Raises `BadOrder`."""
    most = page_request.context.settings.max_inputs_bytes
    new = read_inputs(inputs_text, most) if inputs_text.strip() else old_inputs
    if patch_text:
        new = encode_inputs(apply_merge_patch(_decode_inputs(new), read_patch(patch_text)), most)
    return None if _decode_inputs(new) == _decode_inputs(old_inputs) else new


def _decode_inputs(inputs: bytes) -> object:
    try:
        return decode(inputs)
    except DECODE_ERRORS:
        raise InvalidRequest("inputs", "of this job cannot be read: type them anew") from None


async def _inputs(page_request: PageRequest, job: Job) -> bytes:
    inputs, _ = await page_request.context.store.jobs.payloads(job.id)
    return inputs or b"{}"


def _editable_text(inputs: bytes) -> str:
    return pretty_json(inputs) if len(inputs) <= MAX_EDITED_BYTES else ""


async def _render_form(
    page_request: PageRequest, job: Job, form: RequeueForm, status: int = 200
) -> web.StreamResponse:
    if job.state is not State.DEAD:
        text = f"Only dead letters are requeued: {job.id} is {job.state}"
        return await page_request.redirect_back(text, is_error=True, path=job_href(job.id))
    offer = available_actions(job, await effect_context(page_request))[0]
    return await page_request.render("requeue.html", status, job=job, form=form, action=offer)
