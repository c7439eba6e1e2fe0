"""The page of one job, and its inputs and result as files."""

from typing import Final

from aiohttp import web

from worker.api.handlers.jobs import load_path_job, path_job_id
from worker.api.models.jobs import WAITING_STATES
from worker.api.problems import Problem
from worker.dashboard.page_request import PageRequest
from worker.dashboard.views.available_actions import EffectContext, available_actions
from worker.dashboard.views.media import media_of
from worker.dashboard.views.payloads import payload_of
from worker.dashboard.views.timeline import (
    HEIGHT,
    WIDTH,
    state_intervals,
    timeline_bars,
    timeline_entries,
)

_OPERATOR_BLOCKER: Final = "person"
"""Kind of the blocker that repeats the reason of a parked job or a dead letter."""


async def job_page(page_request: PageRequest) -> web.StreamResponse:
    """Render one job: timeline, payloads, blockers and available actions."""
    job = await load_path_job(page_request.request)
    queries, store = page_request.context.use_cases.queries, page_request.context.store
    inputs, result = await store.jobs.payloads(job.id)
    sees_payloads = page_request.principal.sees_payloads
    intervals = state_intervals(job, page_request.now)
    return await page_request.render(
        "job.html",
        job=job,
        timeline_size=(WIDTH, HEIGHT),
        bars=timeline_bars(intervals),
        entries=timeline_entries(job, intervals),
        blockers=[one for one in await queries.why(job) if one.kind != _OPERATOR_BLOCKER],
        evidence=await queries.evidence(job),
        is_waiting=job.state in WAITING_STATES,
        actions=available_actions(
            job, await effect_context(page_request, has_inputs=inputs is not None)
        )
        if page_request.principal.may_operate
        else (),
        inputs=payload_of(inputs) if sees_payloads else None,
        has_inputs=inputs is not None,
        result=payload_of(result) if sees_payloads else None,
        has_result=result is not None,
        media=media_of(result) if sees_payloads else (),
        eta=(await queries.etas([job])).get(job.id),
    )


async def effect_context(page_request: PageRequest, *, has_inputs: bool = True) -> EffectContext:
    """What the effect texts of actions depend on."""
    context = page_request.context
    return EffectContext(
        await context.gate_cache.gates(),
        await context.store.costs.last(),
        context.settings.retention_s,
        has_inputs,
    )


async def job_file(page_request: PageRequest) -> web.StreamResponse:
    """The full inputs or result as a download: the browser never renders it."""
    job_id, name = path_job_id(page_request.request), page_request.request.match_info["file"]
    inputs, result = await page_request.context.store.jobs.payloads(job_id)
    body = {"inputs": inputs, "result": result}.get(name)
    if body is None:
        raise Problem(404, "no-such-file", "No such file", f"this job has no {name}")
    return web.Response(
        body=body,
        content_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{name}.json"'},
    )
