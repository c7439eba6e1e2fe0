"""The form that enqueues a new job, filled in from an existing one."""

from typing import Any, Final

from aiohttp import web

from config.values import TokenLimits
from jobs.job import Job
from worker.api.auth.principal import principal_name
from worker.api.edge.off_loop import parse_off_loop
from worker.api.handlers.jobs import load_path_job
from worker.app.enqueue import InvalidRequest
from worker.app.job_request_parser import parse_job_request
from worker.dashboard.json_form import read_inputs
from worker.dashboard.page_request import Form, PageRequest
from worker.dashboard.pages.job_lists import job_href
from worker.dashboard.views.formatting import credits_text, warnings_text
from worker.dashboard.views.payloads import MAX_EDITED_BYTES, pretty_json
from worker.store.codec import decode

TEXT_FIELDS: Final = ("kind", "target", "account", "batch", "fair_key")
FORM_FIELDS: Final = (*TEXT_FIELDS, "priority", "tags", "inputs")


async def enqueue_similar_page(page_request: PageRequest) -> web.StreamResponse:
    """Render the form with the fields of the job."""
    job = await load_path_job(page_request.request)
    inputs = (await page_request.read_payloads(job.id)).inputs
    given = {
        "kind": job.kind.value,
        "target": job.target,
        "account": job.account,
        "priority": str(job.priority),
        "tags": " ".join(job.tags),
        "batch": job.batch or "",
        "fair_key": job.fair_key or "",
        "inputs": pretty_json(inputs) if inputs and len(inputs) <= MAX_EDITED_BYTES else "",
    }
    return await _render_form(page_request, job, given)


async def enqueue_similar(page_request: PageRequest) -> web.StreamResponse:
    """Enqueue a new job from the form."""
    job = await load_path_job(page_request.request)
    form = await page_request.form()
    max_bytes = page_request.context.settings.max_inputs_bytes
    try:
        inputs = await _inputs_of(page_request, job, form.get("inputs", ""))
        _, request = parse_job_request(
            _job_request_fields(form, inputs), max_inputs_bytes=max_bytes
        )
        use_cases, principal = page_request.context.use_cases, page_request.principal
        principal.refuse_target(request)
        await use_cases.enqueue_guard.admit(principal_name(), TokenLimits(), [request])
        use_cases.enqueue_guard.refuse_account(request, principal.grants.accounts)
        enqueued = await use_cases.enqueuer.enqueue(request, by=principal_name())
    except InvalidRequest as error:
        given = {name: form.get(name, "") for name in FORM_FIELDS}
        return await _render_form(page_request, job, given, f"{error.field} {error}")
    warnings = enqueued.preview.warnings if enqueued.preview else ()
    text = f"Enqueued {enqueued.job.id}, similar to {job.id}{warnings_text(warnings)}"
    return await page_request.redirect_back(text, path=job_href(enqueued.job.id))


async def _inputs_of(page_request: PageRequest, job: Job, inputs_text: str) -> Any:
    """The inputs of the form; if it has none, those of the job."""
    if inputs_text.strip():
        return await parse_off_loop(len(inputs_text), read_inputs, inputs_text)
    inputs = (await page_request.read_payloads(job.id)).inputs
    if inputs is None:
        raise InvalidRequest("inputs", "of this job cannot be read: enter new ones")
    return decode(inputs)


def _job_request_fields(form: Form, inputs: Any) -> dict[str, Any]:
    """The fields of a job request, without those that are empty."""
    fields: dict[str, Any] = {
        name: form[name].strip() for name in TEXT_FIELDS if form.get(name, "").strip()
    }
    priority = form.get("priority", "").strip()
    try:
        fields["priority"] = int(priority) if priority else 0
    except ValueError:
        fields["priority"] = priority
    return {**fields, "tags": form.get("tags", "").split(), "inputs": inputs}


async def _render_form(
    page_request: PageRequest, job: Job, given: dict[str, str], error: str = ""
) -> web.StreamResponse:
    estimates = await page_request.context.use_cases.estimator.estimates([job.lane])
    effect = f"Creates a new job ({credits_text(estimates[job.lane])})"
    status = 422 if error else 200
    return await page_request.render(
        "enqueue_similar.html", status, job=job, given=given, error=error, effect=effect
    )
