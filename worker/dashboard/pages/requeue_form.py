"""The form that requeues a dead letter with changed inputs, as full JSON or as a merge patch."""

from dataclasses import dataclass

from aiohttp import web

from jobs.job import Job
from jobs.states import State
from jobs.workflows import EnqueueWarning
from worker.api.edge.off_loop import parse_off_loop
from worker.api.handlers.jobs import load_path_job
from worker.app.action_table import JobAction
from worker.app.bulk_request import apply_merge_patch
from worker.app.enqueue import InvalidRequest
from worker.app.job_request_parser import encode_new_inputs
from worker.dashboard.json_form import read_inputs, read_patch
from worker.dashboard.page_request import PageRequest
from worker.dashboard.pages.job import effect_context
from worker.dashboard.pages.job_lists import job_href
from worker.dashboard.views.available_actions import effect_text
from worker.dashboard.views.diffs import DiffLine, diff
from worker.dashboard.views.formatting import warnings_text
from worker.dashboard.views.payloads import MAX_EDITED_BYTES, pretty_json
from worker.store.codec import DECODE_ERRORS, decode

NO_INPUTS = b"{}"
"""What a preview compares new inputs with, where the old ones are lost."""


@dataclass(frozen=True, slots=True)
class RequeueForm:
    """The fields of the form, its preview and its error."""

    inputs_text: str
    """Full inputs as JSON text; empty if they are too large to edit."""
    patch_text: str = ""
    diff_lines: tuple[DiffLine, ...] = ()
    shows_diff: bool = False
    """Whether the preview was requested."""
    error: str = ""
    warnings: tuple[EnqueueWarning, ...] = ()
    """What is not as the provider lists it, in a preview."""


async def requeue_form_page(page_request: PageRequest) -> web.StreamResponse:
    """Render the form with the current inputs."""
    job = await load_path_job(page_request.request)
    return await _render_form(
        page_request, job, RequeueForm(_editable_text(await _inputs(page_request, job)))
    )


async def requeue_edited(page_request: PageRequest) -> web.StreamResponse:
    """Preview the changed inputs, or requeue with them."""
    job = await load_path_job(page_request.request)
    form = await page_request.form()
    inputs_text, patch = form.get("inputs", ""), form.get("patch", "").strip()
    old = await _inputs(page_request, job)
    try:
        size_bytes = len(old) + len(inputs_text) + len(patch)
        new = await parse_off_loop(size_bytes, _new_inputs, page_request, old, inputs_text, patch)
        checks = page_request.context.use_cases.enqueue_checks
        found = None if new is None else await checks.preview(job.lane, new)
    except InvalidRequest as error:
        invalid = RequeueForm(inputs_text, patch, error=f"{error.field} {error}")
        return await _render_form(page_request, job, invalid, 422)
    warnings = found.warnings if found is not None else ()
    if form.get("step") != "requeue":
        lines = diff(_decode_inputs(old or NO_INPUTS), _decode_inputs(new or old))
        preview = RequeueForm(inputs_text, patch, lines, shows_diff=True, warnings=warnings)
        return await _render_form(page_request, job, preview)
    after = await page_request.context.use_cases.actions.act(
        JobAction.REQUEUE, job.id, await page_request.actor(), inputs=new
    )
    inputs = "changed" if new is not None else "unchanged"
    return await page_request.redirect_back(
        f"Requeued with {inputs} inputs: now {after.state}{warnings_text(warnings)}",
        path=job_href(job.id),
    )


def _new_inputs(
    page_request: PageRequest, old_inputs: bytes, inputs_text: str, patch_text: str
) -> bytes | None:
    """The new inputs; None if they do not change. Raises `InvalidRequest`."""
    max_bytes = page_request.context.settings.max_inputs_bytes
    new = old_inputs
    if inputs_text.strip():
        new = encode_new_inputs(read_inputs(inputs_text), max_bytes)
    if patch_text:
        new = encode_new_inputs(
            apply_merge_patch(_decode_inputs(new), read_patch(patch_text)), max_bytes
        )
    is_same = bool(old_inputs) and _decode_inputs(new) == _decode_inputs(old_inputs)
    return None if is_same else new


def _decode_inputs(inputs: bytes) -> object:
    try:
        return decode(inputs)
    except DECODE_ERRORS:
        raise InvalidRequest("inputs", "of this job are unreadable: enter new ones") from None


async def _inputs(page_request: PageRequest, job: Job) -> bytes:
    """Its inputs; empty where they are lost."""
    return (await page_request.read_payloads(job.id)).inputs or b""


def _editable_text(inputs: bytes) -> str:
    return pretty_json(inputs) if 0 < len(inputs) <= MAX_EDITED_BYTES else ""


async def _render_form(
    page_request: PageRequest, job: Job, form: RequeueForm, status: int = 200
) -> web.StreamResponse:
    if job.state is not State.DEAD:
        text = f"Only dead letters can be requeued: {job.id} is {job.state}"
        return await page_request.redirect_back(text, is_error=True, path=job_href(job.id))
    payloads = page_request.context.store.payloads
    problem = (await payloads.missing_inputs([job.id])).get(job.id)
    context = await effect_context(page_request, [job], inputs_problem=problem)
    effect = effect_text(JobAction.REQUEUE, job, context)
    return await page_request.render(
        "requeue_form.html",
        status,
        job=job,
        form=form,
        effect=effect,
        has_no_inputs=problem is not None,
    )
