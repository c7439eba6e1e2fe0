"""Schedules over HTTP: list, set, remove, switch and run them."""

from aiohttp import web

from jobs.requests import JobRequest
from jobs.schedules.record import SCHEDULE_NAME, STORED_SCHEDULE_NAME
from jobs.tenants import tenant_job_id
from worker.api.auth.principal import current_principal
from worker.api.context import context_of, current_actor
from worker.api.edge.bodies import BodyKind
from worker.api.edge.responses import expect_payloads
from worker.api.handlers.jobs import counted_for, idempotency_key, send_enqueued
from worker.api.models.requests import ActionBody
from worker.api.models.response import json_response
from worker.api.models.schedules import ScheduleBody, SchedulePageResponse, schedule_response
from worker.api.parsing import read_body
from worker.api.problems import bad_field
from worker.app.enqueue import InvalidRequest
from worker.app.schedule_jobs import parse_scheduled_job
from worker.app.schedules import NoSuchSchedule, ScheduleDetails, ScheduleRequest


async def list_schedules(request: web.Request) -> web.Response:
    """Every schedule, with its next tick and its last run."""
    tenant = current_principal().grants.tenant
    found = await context_of(request).use_cases.schedules.list_all(tenant)
    items = [schedule_response(one) for one in found]
    return json_response(SchedulePageResponse(items=items, next_cursor=None))


async def get_schedule(request: web.Request) -> web.Response:
    """A schedule: its next ticks, its last runs, and what keeps it from running."""
    name = stored_name(request)
    context = context_of(request)
    await expect_payloads(request, await context.store.schedules.inputs_size(name))
    return _details_response(await context.use_cases.schedules.details(name))


async def set_schedule(request: web.Request) -> web.Response:
    """Set a schedule: a job that is enqueued at each tick of a cron line.

    With another line, time zone or `enabled` it begins now; else its ticks go on. The rights of the
    token are checked now, and not again at each tick.
    """
    body = await read_body(request, ScheduleBody, BodyKind.INPUTS)
    context, caller = context_of(request), current_principal()
    try:
        name = stored_name(request)
    except NoSuchSchedule:
        raise bad_field(
            "name",
            "must be 1 to 64 lowercase letters, digits, dots, hyphens or underscores, and begin and"
            " end with a letter or digit",
        ) from None
    job_request = parse_scheduled_job(body.job, context.settings.max_inputs_bytes)
    await context.use_cases.enqueue_guard.refresh()
    refuse_job(request, job_request)
    wanted = ScheduleRequest(
        body.cron,
        body.job,
        body.time_zone,
        body.overlap,
        body.catch_up,
        body.enabled,
        counted_for(caller, caller.limits(context.settings.token_limits)),
    )
    return _details_response(
        await context.use_cases.schedules.set(name, wanted, current_actor(body.note))
    )


async def remove_schedule(request: web.Request) -> web.Response:
    """Remove a schedule; it is returned as it was, and its jobs go on."""
    body = await read_body(request, ActionBody)
    use_case = context_of(request).use_cases.schedules
    removed = await use_case.remove(stored_name(request), current_actor(body.note))
    return json_response(schedule_response(removed))


async def enable_schedule(request: web.Request) -> web.Response:
    """Let a schedule enqueue jobs, from now on."""
    return await _switch(request, enabled=True)


async def disable_schedule(request: web.Request) -> web.Response:
    """Let a schedule enqueue nothing until it is enabled."""
    return await _switch(request, enabled=False)


async def run_schedule(request: web.Request) -> web.Response:
    """Enqueue the job of a schedule now, whether it is enabled and whatever runs.

    With an `Idempotency-Key` once for each key.
    """
    body = await read_body(request, ActionBody)
    context, caller, name = context_of(request), current_principal(), stored_name(request)
    use_case = context.use_cases.schedules
    job_request = await use_case.request_of(name)
    limits = caller.limits(context.settings.token_limits)
    await context.use_cases.enqueue_guard.admit(
        caller.name, limits, [job_request], tenant=caller.grants.tenant
    )
    refuse_job(request, job_request)
    key = idempotency_key(request) or ""
    result = await use_case.run(name, current_actor(body.note), key)
    return await send_enqueued(request, job_request, result)


def refuse_job(request: web.Request, job_request: JobRequest) -> None:
    """Raise `InvalidRequest` for a job that the caller may not enqueue, as `job.…`."""
    guard, caller = context_of(request).use_cases.enqueue_guard, current_principal()
    try:
        caller.refuse_target(job_request)
        guard.refuse_account(job_request, caller.grants.accounts)
    except InvalidRequest as error:
        error.field = f"job.{error.field}"
        raise


def stored_name(request: web.Request) -> str:
    """The schedule of the path, as its name is stored; raises `NoSuchSchedule`."""
    given, tenant = request.match_info["name"], current_principal().grants.tenant
    if (SCHEDULE_NAME if tenant else STORED_SCHEDULE_NAME).fullmatch(given) is None:
        raise NoSuchSchedule(given[:64])
    return tenant_job_id(tenant, given)


async def _switch(request: web.Request, *, enabled: bool) -> web.Response:
    body = await read_body(request, ActionBody)
    context, name = context_of(request), stored_name(request)
    await expect_payloads(request, await context.store.schedules.inputs_size(name))
    actor = current_actor(body.note)
    return _details_response(await context.use_cases.schedules.enable(name, actor, enabled=enabled))


def _details_response(details: ScheduleDetails) -> web.Response:
    return json_response(schedule_response(details.shown, details))
