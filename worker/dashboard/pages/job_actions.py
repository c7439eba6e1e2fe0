"""The actions on one job: each form redirects back with the result."""

from aiohttp import web

from jobs.job import Job
from jobs.states import State
from worker.api.handlers.jobs import path_job_id
from worker.api.models.requests import ResolveBody
from worker.api.parsing import validate_model
from worker.api.problems import bad_field
from worker.app.action_table import ACTION_TABLE, JobAction
from worker.dashboard.page_request import PageRequest
from worker.dashboard.pages.job_lists import job_href
from worker.dashboard.views.formatting import label_text


async def run_job_action(page_request: PageRequest) -> web.StreamResponse:
    """Run the action of the path; 404 if there is no such action."""
    try:
        action = JobAction(page_request.request.match_info["action"])
    except ValueError:
        raise web.HTTPNotFound from None
    job_id, actor = path_job_id(page_request.request), await page_request.actor()
    execution_id = await _execution_id(page_request) if action is JobAction.ATTACH else ""
    job = await page_request.context.use_cases.actions.act(
        action, job_id, actor, execution_id=execution_id
    )
    return await page_request.redirect_back(
        _done_text(action, job), path=await _redirect_path(page_request, job)
    )


async def erase_job(page_request: PageRequest) -> web.StreamResponse:
    """Erase the payloads of the job; the form says what that means for its state."""
    job_id, actor = path_job_id(page_request.request), await page_request.actor()
    job = await page_request.context.use_cases.erasure.erase(job_id, actor, force=True)
    return await page_request.redirect_back(
        f"Erased the inputs and the result of {job.id}", path=job_href(job.id)
    )


async def _execution_id(page_request: PageRequest) -> str:
    given = (await page_request.form()).get("execution_id", "").strip()
    if not given:
        raise bad_field("execution id", "is missing: copy it from the provider's dashboard")
    return validate_model({"execution_id": given}, ResolveBody).execution_id or ""


def _done_text(action: JobAction, job: Job) -> str:
    if action is JobAction.RELEASE and job.state is State.RUNNING:
        return f"{job.id} is polled for another deadline; nothing is sent"
    is_requested = action is JobAction.CANCEL and job.state is State.CANCELLING
    done = "Cancel requested" if is_requested else ACTION_TABLE[action].past_tense
    return f"{done}: {job.id} is now {label_text(job.state)}"


async def _redirect_path(page_request: PageRequest, job: Job) -> str:
    return "" if (await page_request.form()).get("back") else job_href(job.id)
