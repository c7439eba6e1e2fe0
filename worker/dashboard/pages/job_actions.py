"""The acts of people on one job: each a form, answered by going back with what became of it."""

from aiohttp import web

from jobs.job import Job
from worker.api.handlers.jobs import wanted_job
from worker.api.models.requests import ResolveRequest
from worker.api.parsing import as_model
from worker.api.problems import bad_field
from worker.dashboard.page_request import Visit
from worker.dashboard.pages.job_lists import job_href
from worker.dashboard.views.formatting import words


async def act_on_job(visit: Visit) -> web.StreamResponse:
    """Cancel, park, release, requeue, discard, resubmit or attach."""
    job_id, desk = wanted_job(visit.request), visit.office.desk
    actor = await visit.actor()
    match visit.request.match_info["way"]:
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
            job = await _attach(visit, job_id)
        case _:
            raise web.HTTPNotFound
    return await visit.back(
        _told(visit.request.match_info["way"], job), to=await _where(visit, job)
    )


async def _attach(visit: Visit, job_id: str) -> Job:
    given = (await visit.form()).get("execution_id", "").strip()
    if not given:
        raise bad_field("execution id", "is missing: copy it from the provider's dashboard")
    asked = as_model({"execution_id": given}, ResolveRequest)
    job = await visit.office.desk.attach(job_id, await visit.actor(), asked.execution_id or "")
    await visit.office.reception.adopt(given, job.id)
    return job


def _told(way: str, job: Job) -> str:
    done = {
        "cancel": "Cancel asked" if job.state == "cancelling" else "Cancelled",
        "park": "Parked",
        "release": "Released",
        "requeue": "Requeued",
        "discard": "Discarded",
        "resubmit": "Resubmitted",
        "attach": "Attached",
    }[way]
    return f"{done}: {job.id} is {words(job.state)} now"


async def _where(visit: Visit, job: Job) -> str:
    return "" if (await visit.form()).get("back") else job_href(job.id)
