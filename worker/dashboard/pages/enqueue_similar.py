"""A new job from a form: "enqueue one like this"."""

from typing import Any, Final

from aiohttp import web

from jobs.job import Job
from worker.api.auth.access import person
from worker.app.enqueue import BadOrder
from worker.app.job_request_parser import parse_order
from worker.dashboard.json_form import read_inputs
from worker.dashboard.page_request import Form, Visit
from worker.dashboard.pages.job import wanted
from worker.dashboard.pages.job_lists import job_href
from worker.dashboard.views.formatting import credits_text
from worker.dashboard.views.payloads import EDITED_MOST, pretty
from worker.store.codec import decode

FIELDS: Final = ("kind", "target", "account", "priority", "tags", "batch", "inputs")


async def again_page(visit: Visit) -> web.StreamResponse:
    """The form, filled in from a job."""
    job = await wanted(visit)
    inputs, _ = await visit.office.store.jobs.payloads(job.id)
    given = {
        "kind": job.kind.value,
        "target": job.target,
        "account": job.account,
        "priority": str(job.priority),
        "tags": " ".join(job.tags),
        "batch": job.batch or "",
        "inputs": pretty(inputs or b"{}") if len(inputs or b"") <= EDITED_MOST else "",
    }
    return await _form(visit, job, given)


async def enqueue_again(visit: Visit) -> web.StreamResponse:
    """Enqueue what the form says, as a job of its own."""
    job = await wanted(visit)
    form = await visit.form()
    most = visit.office.settings.max_inputs_bytes
    try:
        inputs = await _inputs_of(visit, job, form.get("inputs", ""))
        _, order = parse_order(_asked(form, inputs), max_inputs_bytes=most)
        placed = await visit.office.intake.enqueue(order, by=person())
    except BadOrder as error:
        given = {name: form.get(name, "") for name in FIELDS}
        return await _form(visit, job, given, f"{error.field} {error}")
    told = f"Enqueued {placed.job.id}, like {job.id}"
    return await visit.back(told, to=job_href(placed.job.id))


async def _inputs_of(visit: Visit, job: Job, typed: str) -> Any:
    """The inputs that were typed; left empty, those of the job."""
    if typed.strip():
        return decode(read_inputs(typed, visit.office.settings.max_inputs_bytes))
    inputs, _ = await visit.office.store.jobs.payloads(job.id)
    return decode(inputs or b"{}")


def _asked(form: Form, inputs: Any) -> dict[str, Any]:
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


async def _form(
    visit: Visit, job: Job, given: dict[str, str], fault: str = ""
) -> web.StreamResponse:
    costs = await visit.office.store.fleet.costs()
    effect = f"A new job of its own; {credits_text(costs.get(f'{job.kind}/{job.target}'))}"
    status = 422 if fault else 200
    return await visit.answer(
        "again.html", status, job=job, given=given, fault=fault, effect=effect
    )
