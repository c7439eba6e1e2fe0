"""The acts of people on one job: each a form, answered by going back with what became of it."""

from aiohttp import web

from jobs.job import Job
from worker.api.handlers.jobs import path_job_id
from worker.api.models.requests import ResolveBody
from worker.api.parsing import validate_model
from worker.api.problems import bad_field
from worker.dashboard.page_request import PageRequest
from worker.dashboard.pages.job_lists import job_href
from worker.dashboard.views.formatting import label_text


async def run_job_action(page_request: PageRequest) -> web.StreamResponse:
    """Cancel, park, release, requeue, discard, resubmit or attach."""
    job_id, desk = path_job_id(page_request.request), page_request.context.actions
    actor = await page_request.actor()
    match page_request.request.match_info["way"]:
        case "cancel":
            job = await desk.cancel(job_id, actor)
        case "park":
            job = await desk.park(job_id, actor)
        case "release":
            job = await desk.release(job_id, actor)
        case "requeue":
            job = await desk.requeue(job_id, actor)
        case "discard":
            job = await desk.discard(job_id, actor)
        case "resubmit":
            job = await desk.resubmit(job_id, actor)
        case "attach":
            job = await _attach(page_request, job_id)
        case _:
            raise web.HTTPNotFound
    return await page_request.redirect_back(
        _done_text(page_request.request.match_info["way"], job),
        path=await _redirect_path(page_request, job),
    )


async def _attach(page_request: PageRequest, job_id: str) -> Job:
    given = (await page_request.form()).get("execution_id", "").strip()
    if not given:
        raise bad_field("execution id", "is missing: copy it from the provider's dashboard")
    asked = validate_model({"execution_id": given}, ResolveBody)
    job = await page_request.context.actions.attach(
        job_id, await page_request.actor(), asked.execution_id or ""
    )
    await page_request.context.webhook_receiver.assign_execution(given, job.id)
    return job


def _done_text(action: str, job: Job) -> str:
    done = {
        "cancel": "Cancel asked" if job.state == "cancelling" else "Cancelled",
        "park": "Parked",
        "release": "Released",
        "requeue": "Requeued",
        "discard": "Discarded",
        "resubmit": "Resubmitted",
        "attach": "Attached",
    }[action]
    return f"{done}: {job.id} is {label_text(job.state)} now"


async def _redirect_path(page_request: PageRequest, job: Job) -> str:
    return "" if (await page_request.form()).get("back") else job_href(job.id)
