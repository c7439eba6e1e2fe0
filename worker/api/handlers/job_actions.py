"""The acts of people on single jobs over HTTP. Each answers with the job as it is now."""

from aiohttp import web

from jobs.job import Job
from worker.api.context import context_of, current_actor
from worker.api.handlers.jobs import path_job_id
from worker.api.models.requests import ActionBody, RequeueBody, ResolveBody
from worker.api.models.views import job_view, json_response
from worker.api.parsing import read_body
from worker.api.problems import bad_field
from worker.app.action_table import JobAction
from worker.app.job_request_parser import encode_inputs


async def cancel(request: web.Request) -> web.Response:
    """Cancel it, at once or by asking the provider."""
    return await _act(request, JobAction.CANCEL)


async def park(request: web.Request) -> web.Response:
    """Make it wait until an operator releases it."""
    return await _act(request, JobAction.PARK)


async def release(request: web.Request) -> web.Response:
    """Release a parked job."""
    return await _act(request, JobAction.RELEASE)


async def discard(request: web.Request) -> web.Response:
    """Give a parked job or dead letter up."""
    return await _act(request, JobAction.DISCARD)


async def _act(request: web.Request, action: JobAction) -> web.Response:
    actor = current_actor((await read_body(request, ActionBody)).note)
    job = await context_of(request).actions.act(action, path_job_id(request), actor)
    return await _job_response(request, job)


async def requeue(request: web.Request) -> web.Response:
    """Send a dead letter down the road again, with other inputs where given."""
    office = context_of(request)
    body = await read_body(request, RequeueBody)
    inputs = None
    if body.inputs is not None:
        inputs = encode_inputs(body.inputs, office.settings.max_inputs_bytes)
    person = current_actor(body.note)
    return await _job_response(
        request,
        await office.actions.act(JobAction.REQUEUE, path_job_id(request), person, inputs=inputs),
    )


async def resolve(request: web.Request) -> web.Response:
    """Say what became of an uncertain job."""
    office = context_of(request)
    desk = office.actions
    body = await read_body(request, ResolveBody)
    job_id = path_job_id(request)
    person = current_actor(body.note)
    match body.execution_id, body.outcome:
        case str() as execution_id, None:
            job = await desk.act(JobAction.ATTACH, job_id, person, execution_id=execution_id)
        case None, "resubmit":
            job = await desk.act(JobAction.RESUBMIT, job_id, person)
        case None, "discard":
            job = await desk.act(JobAction.DISCARD, job_id, person)
        case None, None:
            raise bad_field("outcome", "is missing: give execution_id, or outcome")
        case _:
            raise bad_field("outcome", "cannot stand beside execution_id: give one of the two")
    return await _job_response(request, job)


async def _job_response(request: web.Request, job: Job) -> web.Response:
    office = context_of(request)
    inputs, result = await office.store.jobs.payloads(job.id)
    eta = (await office.queries.etas([job])).get(job.id)
    gates = await office.gate_cache.gates()
    return json_response(job_view(job, inputs, result, eta=eta, gates=gates))
