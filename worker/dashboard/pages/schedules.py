"""Schedules: the list, one with its ticks and runs, and the forms that change them."""

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web
from pydantic import ValidationError

from jobs.schedules.record import STORED_SCHEDULE_NAME, CatchUp, Overlap
from worker.api.auth.principal import principal_name
from worker.api.edge.off_loop import parse_off_loop
from worker.api.edge.responses import expect_payloads
from worker.api.handlers.jobs import counted_for
from worker.api.handlers.schedules import refuse_job, stored_name
from worker.api.models.schedules import ScheduleBody
from worker.app.actions import Actor
from worker.app.enqueue import InvalidRequest
from worker.app.job_request_parser import as_invalid_request
from worker.app.schedule_jobs import parse_scheduled_job
from worker.app.schedules import NoSuchSchedule, ScheduleDetails, ScheduleRequest
from worker.dashboard.json_form import read_job_request
from worker.dashboard.page_request import PageRequest
from worker.dashboard.pages.job_lists import job_href
from worker.dashboard.views.formatting import warnings_text
from worker.dashboard.views.schedules import FIELDS, NEW, schedule_fields, schedule_href
from worker.store.codec import decode

PAGE: Final = "/schedules"


async def schedules_page(page_request: PageRequest) -> web.StreamResponse:
    """Render every schedule, and all that is known of the one that `name` chooses."""
    return await _render(page_request, page_request.request.query.get("name", ""))


async def set_schedule(page_request: PageRequest) -> web.StreamResponse:
    """Set a schedule; with a wrong value, render the form as it was sent and say what to fix."""
    form = await page_request.form()
    given = {name: form.get(name, "").strip() for name in FIELDS}
    actor = await page_request.actor()
    try:
        details = await _set(page_request, given, actor)
    except InvalidRequest as error:
        return await _render(page_request, "", given, error)
    schedule = details.shown.schedule
    text = f"Set {schedule.name}: {schedule.cron} ({schedule.time_zone})"
    text += warnings_text(details.warnings)
    return await page_request.redirect_back(text, path=schedule_href(schedule.name))


async def run_schedule(page_request: PageRequest) -> web.StreamResponse:
    """Enqueue the job of a schedule now."""
    name, actor = stored_name(page_request.request), await page_request.actor()
    use_cases, principal = page_request.context.use_cases, page_request.principal
    job_request = await use_cases.schedules.request_of(name)
    limits = principal.limits(page_request.context.settings.token_limits)
    await use_cases.enqueue_guard.admit(principal_name(), limits, [job_request])
    refuse_job(page_request.request, job_request)
    enqueued = await use_cases.schedules.run(name, actor)
    text = f"Enqueued {enqueued.job.id}"
    return await page_request.redirect_back(text, path=job_href(enqueued.job.id))


async def enable_schedule(page_request: PageRequest) -> web.StreamResponse:
    """Let a schedule enqueue jobs, from now on."""
    return await _switch(page_request, enabled=True)


async def disable_schedule(page_request: PageRequest) -> web.StreamResponse:
    """Let a schedule enqueue nothing until it is enabled."""
    return await _switch(page_request, enabled=False)


async def remove_schedule(page_request: PageRequest) -> web.StreamResponse:
    """Remove a schedule."""
    name, actor = stored_name(page_request.request), await page_request.actor()
    await page_request.context.use_cases.schedules.remove(name, actor)
    return await page_request.redirect_back(f"Removed {name}: its jobs go on", path=PAGE)


async def _switch(page_request: PageRequest, *, enabled: bool) -> web.StreamResponse:
    name, actor = stored_name(page_request.request), await page_request.actor()
    await page_request.context.use_cases.schedules.enable(name, actor, enabled=enabled)
    text = f"Enabled {name}: it enqueues from now on" if enabled else f"Disabled {name}"
    return await page_request.redirect_back(text, path=schedule_href(name))


async def _set(
    page_request: PageRequest, given: Mapping[str, str], actor: Actor
) -> ScheduleDetails:
    """Set the schedule of the form; raises `InvalidRequest`."""
    context, principal = page_request.context, page_request.principal
    fields: dict[str, Any] = {name: given[name] for name in FIELDS if name != "name"}
    fields |= {"enabled": given["enabled"] == "yes", "job": await _job(page_request, given)}
    try:
        body = ScheduleBody.model_validate(fields)
    except ValidationError as error:
        raise as_invalid_request(error, ScheduleBody) from None
    job_request = parse_scheduled_job(body.job, context.settings.max_inputs_bytes)
    await context.use_cases.enqueue_guard.refresh()
    refuse_job(page_request.request, job_request)
    wanted = ScheduleRequest(
        body.cron,
        body.job,
        body.time_zone,
        body.overlap,
        body.catch_up,
        body.enabled,
        counted_for(principal, principal.limits(context.settings.token_limits)),
    )
    return await context.use_cases.schedules.set(given["name"], wanted, actor)


async def _job(page_request: PageRequest, given: Mapping[str, str]) -> dict[str, Any]:
    """The job request of the form; if it has none, that of the schedule."""
    if given["job"]:
        return await parse_off_loop(len(given["job"]), read_job_request, given["job"])
    try:
        found = await page_request.context.use_cases.schedules.details(given["name"])
    except NoSuchSchedule:
        raise InvalidRequest("job", "is missing: give a job request") from None
    if found.inputs is None:
        raise InvalidRequest("job", "of this schedule cannot be read: enter it anew")
    return {**found.shown.schedule.job, "inputs": decode(found.inputs)}


async def _render(
    page_request: PageRequest,
    chosen: str,
    given: Mapping[str, str] | None = None,
    error: InvalidRequest | None = None,
) -> web.StreamResponse:
    use_case = page_request.context.use_cases.schedules
    details = None
    if STORED_SCHEDULE_NAME.fullmatch(chosen):
        size = await page_request.context.store.schedules.inputs_size(chosen)
        await expect_payloads(page_request.request, size)
        details = await use_case.details(chosen)
    # A fault within the job is shown at its field, with the path of what is wrong.
    field = "" if error is None else error.field.partition(".")[0].partition("[")[0]
    path = "" if error is None or error.field == field else f"{error.field} "
    return await page_request.render(
        "schedules.html",
        200 if error is None else 422,
        rows=await use_case.list_all(),
        details=details,
        given=given or (NEW if details is None else schedule_fields(details)),
        errors={} if error is None else {field: f"{path}{error}"},
        overlaps=tuple(Overlap),
        policies=tuple(CatchUp),
    )
