"""The page of one job, and its inputs and result as files."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from jobs.job import Job
from jobs.states import State
from worker.api.handlers.jobs import wanted_job
from worker.api.problems import Problem
from worker.app.actions import NoSuchJob
from worker.dashboard.page_request import Visit
from worker.dashboard.views.available_actions import Around, offers
from worker.dashboard.views.media import media_of
from worker.dashboard.views.payloads import payload
from worker.dashboard.views.timeline import HEIGHT, WIDTH, bars, steps, stretches

_WAITING: Final = frozenset({State.SCHEDULED, State.QUEUED, State.RETRYING})


@dataclass(frozen=True, slots=True)
class Road:
    """The box the road is drawn in."""

    width: int = WIDTH
    height: int = HEIGHT


async def job_page(visit: Visit) -> web.StreamResponse:
    """One job: its road, its payloads, why it waits, and what can be done."""
    job = await wanted(visit)
    review, store = visit.office.review, visit.office.store
    inputs, result = await store.jobs.payloads(job.id)
    shown = visit.person.sees_payloads
    found = stretches(job, visit.now)
    return await visit.answer(
        "job.html",
        job=job,
        road=Road(),
        bars=bars(found),
        steps=steps(job, found),
        blockers=await review.why(job),
        evidence=await review.evidence(job),
        is_waiting=job.state in _WAITING,
        offers=offers(job, await around(visit)) if visit.person.may_act else (),
        inputs=payload(inputs) if shown else None,
        result=payload(result) if shown else None,
        has_result=result is not None,
        media=media_of(result) if shown else (),
        eta=(await review.etas([job])).get(job.id),
    )


async def wanted(visit: Visit) -> Job:
    """The job of the path; raises `NoSuchJob`."""
    job_id = wanted_job(visit.request)
    stored = await visit.office.store.jobs.load(job_id)
    if stored is None:
        raise NoSuchJob(job_id)
    return stored.job


async def around(visit: Visit) -> Around:
    """What the effects of acts depend on."""
    store = visit.office.store
    return Around(
        await store.gates.standing(),
        await store.fleet.costs(),
        visit.office.settings.retention_s,
    )


async def job_file(visit: Visit) -> web.StreamResponse:
    """Inputs or result, whole, as a file: never rendered by the browser."""
    job_id, name = wanted_job(visit.request), visit.request.match_info["file"]
    inputs, result = await visit.office.store.jobs.payloads(job_id)
    body = {"inputs": inputs, "result": result}.get(name)
    if body is None:
        raise Problem(404, "no-such-file", "Nothing here", f"this job has no {name}")
    return web.Response(
        body=body,
        content_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{name}.json"'},
    )
