"""The acts of people on single jobs over HTTP. Each answers with the job as it is now."""

from aiohttp import web

from jobs.job import Job
from worker.api.context import context_of, current_actor
from worker.api.handlers.jobs import path_job_id
from worker.api.models.requests import ActionBody, RequeueBody, ResolveBody
from worker.api.models.views import job_view, json_response
from worker.api.parsing import read_body
from worker.api.problems import bad_field
from worker.app.job_request_parser import encode_inputs


async def cancel(request: web.Request) -> web.Response:
    """Cancel it, at once or by asking the provider."""
    body = await read_body(request, ActionBody)
    person = current_actor(body.note)
    return await _job_response(
        request, await context_of(request).actions.cancel(path_job_id(request), person)
    )


async def park(request: web.Request) -> web.Response:
    """Make it wait until a person releases it."""
    body = await read_body(request, ActionBody)
    person = current_actor(body.note)
    return await _job_response(
        request, await context_of(request).actions.park(path_job_id(request), person)
    )


async def release(request: web.Request) -> web.Response:
    """Free a parked job."""
    body = await read_body(request, ActionBody)
    person = current_actor(body.note)
    job = await context_of(request).actions.release(path_job_id(request), person)
    return await _job_response(request, job)


async def discard(request: web.Request) -> web.Response:
    """Give a parked job or dead letter up."""
    body = await read_body(request, ActionBody)
    person = current_actor(body.note)
    job = await context_of(request).actions.discard(path_job_id(request), person)
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
        request, await office.actions.requeue(path_job_id(request), person, inputs)
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
            job = await desk.attach(job_id, person, execution_id)
            await office.webhook_receiver.assign_execution(execution_id, job.id)
        case None, "resubmit":
            job = await desk.resubmit(job_id, person)
        case None, "discard":
            job = await desk.discard(job_id, person)
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
