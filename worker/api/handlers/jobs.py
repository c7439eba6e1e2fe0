"""Jobs over HTTP: enqueue, list, read, wait."""

from typing import cast

from aiohttp import web

from jobs.holds import Gates
from jobs.lanes import JOB_ID, JobId
from jobs.requests import JobRequest
from worker.api.auth.access import principal_name, sees_payloads
from worker.api.context import ApiContext, context_of
from worker.api.models.requests import BulkEnqueueBody, JobsQuery, WaitQuery
from worker.api.models.views import View, job_view, json_response, page_view, why_view
from worker.api.parsing import read_body, read_json, read_query
from worker.api.problems import bad_parameter, problem_of
from worker.app.actions import NoSuchJob
from worker.app.enqueue import EnqueueResult, InvalidRequest
from worker.app.job_request_parser import parse_job_request
from worker.app.queries import JobDetails
from worker.engine.unreadable_records import load_job
from worker.store.read.queries import Filter

IDEMPOTENCY_KEY = "Idempotency-Key"


async def enqueue(request: web.Request) -> web.Response:
    """Put one job on the road."""
    office = context_of(request)
    data = await read_json(request)
    job_id, order = parse_job_request(data, max_inputs_bytes=office.settings.max_inputs_bytes)
    job_id = _agreed_id(_idempotency_key(request), job_id)
    placed = await office.enqueuer.enqueue(order, job_id=job_id, by=principal_name())
    location = {"Location": f"/v1/jobs/{placed.job.id}"}
    if placed.created:
        gates = await office.gate_cache.gates()
        return json_response(job_view(placed.job, order.inputs, gates=gates), 202, location)
    whole = await _load_details(office, placed.job.id)
    return json_response(_details_view(whole, await office.gate_cache.gates()), 200, location)


def _idempotency_key(request: web.Request) -> JobId | None:
    """The header, bare or quoted as the RFC draft of it has it."""
    given = request.headers.get(IDEMPOTENCY_KEY)
    if given is None:
        return None
    key = given.strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if JOB_ID.fullmatch(key) is None:
        raise bad_parameter(
            IDEMPOTENCY_KEY, "must be 1 to 128 letters, digits and . _ : @ -, as a job's id"
        )
    return JobId(key)


def _agreed_id(header: JobId | None, field: JobId | None) -> JobId | None:
    if header is not None and field is not None and header != field:
        raise bad_parameter(IDEMPOTENCY_KEY, "and id differ: they are one thing, give one")
    return header or field


async def enqueue_bulk(request: web.Request) -> web.Response:
    """Put many jobs on the road. Each is judged by itself."""
    if IDEMPOTENCY_KEY in request.headers:
        raise bad_parameter(IDEMPOTENCY_KEY, "names one job: give each job of a bulk an id")
    office = context_of(request)
    body = await read_body(request, BulkEnqueueBody)
    read = [_parse_job_request(data, office.settings.max_inputs_bytes) for data in body.jobs]
    good = [entry for entry in read if not isinstance(entry, InvalidRequest)]
    placed = iter(await office.enqueuer.enqueue_many(good, by=principal_name()))
    results = [
        _bulk_result(data, entry if isinstance(entry, InvalidRequest) else next(placed))
        for data, entry in zip(body.jobs, read, strict=True)
    ]
    return json_response({"results": results})


def _parse_job_request(
    data: object, max_inputs_bytes: int
) -> tuple[JobId | None, JobRequest] | InvalidRequest:
    try:
        return parse_job_request(data, max_inputs_bytes=max_inputs_bytes)
    except InvalidRequest as error:
        return error


def _bulk_result(data: object, outcome: EnqueueResult | Exception) -> View:
    if isinstance(outcome, EnqueueResult):
        return {"id": outcome.job.id, "status": 202 if outcome.created else 200}
    given = cast("dict[str, object]", data).get("id") if isinstance(data, dict) else None
    problem = problem_of(outcome)
    return {
        "id": given if isinstance(given, str) else None,
        "status": problem.status if problem else 500,
        "error": problem.view() if problem else None,
    }


async def list_jobs(request: web.Request) -> web.Response:
    """A page of jobs, newest first."""
    query = read_query(request, JobsQuery)
    wanted = Filter(**query.model_dump(exclude={"limit", "cursor"}))
    office = context_of(request)
    page = await office.queries.job_page(wanted, query.limit, query.cursor)
    hidden, etas = not sees_payloads(), await office.queries.etas(page.jobs)
    gates = await office.gate_cache.gates()
    views = [
        job_view(job, eta=etas.get(job.id), gates=gates, payloads_hidden=hidden)
        for job in page.jobs
    ]
    return json_response(page_view(views, page.next_cursor))


async def one_job(request: web.Request) -> web.Response:
    """A job, whole."""
    office = context_of(request)
    whole = await _load_details(office, path_job_id(request))
    return json_response(_details_view(whole, await office.gate_cache.gates()))


async def why_not_running(request: web.Request) -> web.Response:
    """What keeps a job from running."""
    office = context_of(request)
    job_id = path_job_id(request)
    stored = await load_job(office.store.jobs, job_id, office.clock.now())
    if stored is None:
        raise NoSuchJob(job_id)
    blockers = await office.queries.why(stored.job)
    evidence = await office.queries.evidence(stored.job)
    return json_response(why_view(stored.job, blockers, evidence))


async def wait(request: web.Request) -> web.Response:
    """A job, as soon as it is settled or parked, or when time is up."""
    office = context_of(request)
    query = read_query(request, WaitQuery)
    job_id = path_job_id(request)

    def is_wanted() -> bool:
        return request.transport is not None and not request.transport.is_closing()

    await office.long_polls.wait_until_settled_or_parked(job_id, query.timeout_s, is_wanted)
    return json_response(
        _details_view(await _load_details(office, job_id), await office.gate_cache.gates())
    )


def path_job_id(request: web.Request) -> JobId:
    """The id in the path; raises `NoSuchJob` where no job can have it."""
    job_id = request.match_info["id"]
    if JOB_ID.fullmatch(job_id) is None:
        raise NoSuchJob(job_id)
    return JobId(job_id)


async def _load_details(context: ApiContext, job_id: str) -> JobDetails:
    whole = await context.queries.job(job_id)
    if whole is None:
        raise NoSuchJob(job_id)
    return whole


def _details_view(details: JobDetails, gates: Gates) -> View:
    hidden, eta = not sees_payloads(), details.eta
    return job_view(
        details.job, details.inputs, details.result, eta=eta, gates=gates, payloads_hidden=hidden
    )
