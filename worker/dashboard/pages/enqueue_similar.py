"""A new job from a form: "enqueue one like this"."""

from typing import Any, Final

from aiohttp import web

from jobs.job import Job
from jobs.lanes import target_name
from worker.api.auth.access import principal_name
from worker.app.enqueue import InvalidRequest
from worker.app.job_request_parser import parse_job_request
from worker.dashboard.json_form import read_inputs
from worker.dashboard.page_request import Form, PageRequest
from worker.dashboard.pages.job import load_path_job
from worker.dashboard.pages.job_lists import job_href
from worker.dashboard.views.formatting import credits_text
from worker.dashboard.views.payloads import MAX_EDITED_BYTES, pretty_json
from worker.store.codec import decode

FORM_FIELDS: Final = ("kind", "target", "account", "priority", "tags", "batch", "inputs")


async def enqueue_similar_page(page_request: PageRequest) -> web.StreamResponse:
    """The form, filled in from a job."""
    job = await load_path_job(page_request)
    inputs, _ = await page_request.context.store.jobs.payloads(job.id)
    given = {
        "kind": job.kind.value,
        "target": job.target,
        "account": job.account,
        "priority": str(job.priority),
        "tags": " ".join(job.tags),
        "batch": job.batch or "",
        "inputs": pretty_json(inputs or b"{}") if len(inputs or b"") <= MAX_EDITED_BYTES else "",
    }
    return await _render_form(page_request, job, given)


async def enqueue_similar(page_request: PageRequest) -> web.StreamResponse:
    """Enqueue what the form says, as a job of its own."""
    job = await load_path_job(page_request)
    form = await page_request.form()
    most = page_request.context.settings.max_inputs_bytes
    try:
        inputs = await _inputs_of(page_request, job, form.get("inputs", ""))
        _, order = parse_job_request(_job_request_fields(form, inputs), max_inputs_bytes=most)
        placed = await page_request.context.enqueuer.enqueue(order, by=principal_name())
    except InvalidRequest as error:
        given = {name: form.get(name, "") for name in FORM_FIELDS}
        return await _render_form(page_request, job, given, f"{error.field} {error}")
    told = f"Enqueued {placed.job.id}, like {job.id}"
    return await page_request.redirect_back(told, path=job_href(placed.job.id))


async def _inputs_of(page_request: PageRequest, job: Job, inputs_text: str) -> Any:
    """The inputs that were typed; left empty, those of the job."""
    if inputs_text.strip():
        return decode(read_inputs(inputs_text, page_request.context.settings.max_inputs_bytes))
    inputs, _ = await page_request.context.store.jobs.payloads(job.id)
    return decode(inputs or b"{}")


def _job_request_fields(form: Form, inputs: Any) -> dict[str, Any]:
    """The form as an order; what was left empty is left out."""
    asked: dict[str, Any] = {
        name: form[name].strip()
        for name in ("kind", "target", "account", "batch")
        if form.get(name, "").strip()
    }
    priority = form.get("priority", "").strip()
    try:
        asked["priority"] = int(priority) if priority else 0
    except ValueError:
        asked["priority"] = priority
    return {**asked, "tags": form.get("tags", "").split(), "inputs": inputs}


async def _render_form(
    page_request: PageRequest, job: Job, given: dict[str, str], error: str = ""
) -> web.StreamResponse:
    costs = await page_request.context.store.workers.costs()
    effect = f"A new job of its own; {credits_text(costs.get(target_name(job.kind, job.target)))}"
    status = 422 if error else 200
    return await page_request.render(
        "again.html", status, job=job, given=given, error=error, effect=effect
    )
