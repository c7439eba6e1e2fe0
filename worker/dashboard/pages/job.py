"""The page of one job, and its inputs and result as files."""

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from jobs.callbacks import Callback
from jobs.fairness import fair_key_of
from jobs.job import Job
from jobs.newer import is_newer
from jobs.payloads import MissingPayload
from worker.api.handlers.jobs import load_path_job, path_job_id
from worker.api.models.jobs import WAITING_STATES
from worker.api.problems import Problem
from worker.app.action_table import ACTION_TABLE, PayloadAction
from worker.app.relatives import relatives_of
from worker.dashboard.page_request import PageRequest
from worker.dashboard.pages.edit_job import edit_fields
from worker.dashboard.views.available_actions import EffectContext, available_actions
from worker.dashboard.views.media import media_of
from worker.dashboard.views.payloads import missing_text, payload_of
from worker.dashboard.views.timeline import (
    HEIGHT,
    WIDTH,
    state_intervals,
    timeline_bars,
    timeline_entries,
)
from worker.store.payloads import StoredPayloads

_OPERATOR_BLOCKER: Final = "person"
"""Kind of the blocker that repeats the reason of a parked job or a dead letter."""


async def job_page(page_request: PageRequest) -> web.StreamResponse:
    """Render one job: timeline, payloads, blockers and available actions."""
    job = await load_path_job(page_request.request)
    queries = page_request.context.use_cases.queries
    payloads = await page_request.read_payloads(job.id)
    sees_payloads = page_request.principal.sees_payloads
    intervals = state_intervals(job, page_request.now)
    return await page_request.render(
        "job.html",
        job=job,
        relatives=await relatives_of(job, queries, page_request.context.store.dependencies),
        timeline_size=(WIDTH, HEIGHT),
        bars=timeline_bars(intervals),
        entries=timeline_entries(job, intervals),
        blockers=[one for one in await queries.why(job) if one.kind != _OPERATOR_BLOCKER],
        evidence=await queries.evidence(job),
        is_waiting=job.state in WAITING_STATES,
        actions=available_actions(
            job,
            await effect_context(page_request, [job], inputs_problem=payloads.inputs_problem),
        )
        if page_request.principal.may_operate
        else (),
        metadata=payload_of(payloads.metadata) if sees_payloads else None,
        inputs=payload_of(payloads.inputs) if sees_payloads else None,
        inputs_problem=missing_text(payloads.inputs_problem),
        result=payload_of(payloads.result) if sees_payloads else None,
        has_result=payloads.result is not None,
        result_problem=missing_text(payloads.result_problem),
        edited=edit_fields(job) if page_request.principal.may_operate and not is_newer(job) else {},
        erasure=_erasure_text(job, payloads) if page_request.principal.may_operate else "",
        media=media_of(payloads.result, page_request.context.media_policy) if sees_payloads else (),
        eta=(await queries.etas([job])).get(job.id),
        callbacks=await _callbacks(page_request, job),
        fair_key=fair_key_of(job),
    )


async def _callbacks(page_request: PageRequest, job: Job) -> list[Callback]:
    """What its app was told; empty where nobody hears of it."""
    if job.callback_url is None:
        return []
    return await page_request.context.use_cases.callbacks.of_job(job.id)


def _erasure_text(job: Job, payloads: StoredPayloads) -> str:
    """What erasing the payloads does; empty where it is not possible, or nothing is left."""
    is_empty = payloads.inputs_problem is MissingPayload.ERASED and payloads.result is None
    row = ACTION_TABLE[PayloadAction.ERASE]
    return "" if is_empty or is_newer(job) or job.state not in row.states else row.effect


async def effect_context(
    page_request: PageRequest,
    jobs: Sequence[Job],
    *,
    inputs_problem: MissingPayload | None = None,
) -> EffectContext:
    """What the effect texts of actions on some jobs depend on."""
    context = page_request.context
    return EffectContext(
        await context.gates(),
        await context.use_cases.estimator.estimates({job.lane for job in jobs}),
        context.settings.retention_s,
        inputs_problem,
    )


async def job_file(page_request: PageRequest) -> web.StreamResponse:
    """The full inputs or result as a download: the browser never renders it."""
    job_id, name = path_job_id(page_request.request), page_request.request.match_info["file"]
    found = await page_request.read_payloads(job_id)
    body, problem = {
        "inputs": (found.inputs, found.inputs_problem),
        "result": (found.result, found.result_problem),
    }[name]
    if body is None:
        detail = missing_text(problem) or f"this job has no {name}"
        raise Problem(404, "no-such-file", "No such file", detail)
    return web.Response(
        body=body,
        content_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{name}.json"'},
    )
