"""Actions of operators on one job over HTTP. The response is the job after the action."""

import contextlib
from collections.abc import Sequence

from aiohttp import web

from jobs.job import Job
from jobs.lanes import JobId
from jobs.workflows import EnqueueWarning
from worker.api.auth.principal import current_principal, log_payload_read
from worker.api.context import context_of, current_actor
from worker.api.edge.bodies import BodyKind
from worker.api.edge.responses import expect_payloads
from worker.api.handlers.jobs import load_path_job, path_job_id
from worker.api.models.job_edits import EditBody
from worker.api.models.jobs import NO_GATES, NO_PAYLOADS, job_response
from worker.api.models.requests import (
    ActionBody,
    ErasureBody,
    ReleaseBody,
    RequeueBody,
    ResolveBody,
)
from worker.api.models.response import json_response
from worker.api.parsing import read_body
from worker.api.problems import Problem, bad_field
from worker.app.action_table import JobAction
from worker.app.eta import Eta
from worker.app.extras import extra_or
from worker.app.job_request_parser import encode_new_inputs
from worker.store.payloads import StoredPayloads


async def run_action(action: JobAction, request: web.Request) -> web.Response:
    """Perform an action that takes nothing but a note."""
    actor = current_actor((await read_body(request, ActionBody)).note)
    job = await context_of(request).use_cases.actions.act(action, path_job_id(request), actor)
    return await _job_response(request, job)


async def requeue_job(request: web.Request) -> web.Response:
    """Requeue a dead letter, with other inputs where given."""
    body = await read_body(request, RequeueBody, BodyKind.INPUTS)
    return await _act_with_inputs(JobAction.REQUEUE, request, body)


async def release_job(request: web.Request) -> web.Response:
    """Release a parked job, with other inputs where given."""
    body = await read_body(request, ReleaseBody, BodyKind.INPUTS)
    return await _act_with_inputs(JobAction.RELEASE, request, body)


async def _act_with_inputs(
    action: JobAction, request: web.Request, body: RequeueBody | ReleaseBody
) -> web.Response:
    context = context_of(request)
    inputs, warnings = None, tuple[EnqueueWarning, ...]()
    if body.inputs is not None:
        inputs = encode_new_inputs(body.inputs, context.settings.max_inputs_bytes)
        lane = (await load_path_job(request)).lane
        warnings = (await context.use_cases.enqueue_checks.preview(lane, inputs)).warnings
    job = await context.use_cases.actions.act(
        action, path_job_id(request), current_actor(body.note), inputs=inputs
    )
    return await _job_response(request, job, warnings)


async def resolve_job(request: web.Request) -> web.Response:
    """Resolve an uncertain job: attach its run, submit it again, or discard it."""
    body = await read_body(request, ResolveBody)
    job_id = path_job_id(request)
    match body.execution_id, body.outcome:
        case str(), None:
            current_principal().refuse_attach()
            action = JobAction.ATTACH
        case None, "resubmit" | "discard":
            action = JobAction(body.outcome)
        case None, None:
            raise bad_field("outcome", "is missing: give execution_id, or outcome")
        case _:
            raise bad_field("outcome", "cannot stand beside execution_id: give one of the two")
    job = await context_of(request).use_cases.actions.act(
        action, job_id, current_actor(body.note), execution_id=body.execution_id or ""
    )
    return await _job_response(request, job)


async def edit_job(request: web.Request) -> web.Response:
    """Change priority, tags or times of a job that is not at the provider; absent fields stay."""
    body = await read_body(request, EditBody)
    edits, actor = context_of(request).use_cases.edits, current_actor(body.note)
    return await _job_response(request, await edits.edit(path_job_id(request), body.edit, actor))


async def erase_job_payloads(request: web.Request) -> web.Response:
    """Erase the inputs and the result of a settled job for good; its record stays.

    Also what webhook deliveries and arq hold of them, and the provider's messages.
    """
    body = await read_body(request, ErasureBody)
    actor = current_actor(body.note)
    erasure = context_of(request).use_cases.erasure
    job = await erasure.erase(path_job_id(request), actor, force=body.force)
    return await _job_response(request, job)


async def _payloads(request: web.Request, job_id: str) -> StoredPayloads | None:
    """Inputs and result; None where their bytes find no room: the action is done all the same."""
    payloads = context_of(request).store.payloads
    with contextlib.suppress(Problem):
        await expect_payloads(request, await payloads.size_bytes(job_id))
        return await payloads.read(job_id)
    return None


async def _job_response(
    request: web.Request, job: Job, warnings: Sequence[EnqueueWarning] = ()
) -> web.Response:
    context = context_of(request)
    queries, no_etas = context.use_cases.queries, dict[JobId, Eta]()
    payloads = await extra_or(None, _payloads(request, job.id))
    etas = await extra_or(no_etas, queries.etas([job]))
    gates = await extra_or(NO_GATES, context.gates())
    if payloads is not None:
        log_payload_read(job.id)
    body = job_response(
        job,
        payloads or NO_PAYLOADS,
        eta=etas.get(job.id),
        gates=gates,
        payloads_hidden=payloads is None,
        warnings=warnings,
    )
    return json_response(body)
