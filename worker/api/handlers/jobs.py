"""Jobs over HTTP: enqueue, list, read, wait."""

from typing import cast

from aiohttp import web

from jobs.holds import Gates
from jobs.lanes import JOB_ID, JobId
from jobs.requests import Order
from worker.api.auth.access import person, sees_payloads
from worker.api.context import Office, office_of
from worker.api.models.requests import BulkRequest, JobsQuery, WaitQuery
from worker.api.models.views import View, job_view, json_response, page_view, why_view
from worker.api.parsing import read_body, read_json, read_query
from worker.api.problems import bad_parameter, problem_of
from worker.app.actions import NoSuchJob
from worker.app.enqueue import BadOrder, Placed
from worker.app.job_request_parser import parse_order
from worker.app.queries import Whole
from worker.store.read.queries import Filter

IDEMPOTENCY_KEY = "Idempotency-Key"


async def enqueue(request: web.Request) -> web.Response:
    """Put one job on the road."""
    office = office_of(request)
    data = await read_json(request)
    job_id, order = parse_order(data, max_inputs_bytes=office.settings.max_inputs_bytes)
    job_id = _one_id(_idempotency_key(request), job_id)
    placed = await office.intake.enqueue(order, job_id=job_id, by=person())
    location = {"Location": f"/v1/jobs/{placed.job.id}"}
    if placed.created:
        gates = await office.standing.gates()
        return json_response(job_view(placed.job, order.inputs, gates=gates), 202, location)
    whole = await _whole(office, placed.job.id)
    return json_response(_view(whole, await office.standing.gates()), 200, location)


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


def _one_id(header: JobId | None, field: JobId | None) -> JobId | None:
    if header is not None and field is not None and header != field:
        raise bad_parameter(IDEMPOTENCY_KEY, "and id differ: they are one thing, give one")
    return header or field


async def enqueue_bulk(request: web.Request) -> web.Response:
    """Put many jobs on the road. Each is judged by itself."""
    if IDEMPOTENCY_KEY in request.headers:
        raise bad_parameter(IDEMPOTENCY_KEY, "names one job: give each job of a bulk an id")
    office = office_of(request)
    body = await read_body(request, BulkRequest)
    read = [_read(data, office.settings.max_inputs_bytes) for data in body.jobs]
    good = [entry for entry in read if not isinstance(entry, BadOrder)]
    placed = iter(await office.intake.enqueue_many(good, by=person()))
    results = [
        _result(data, entry if isinstance(entry, BadOrder) else next(placed))
        for data, entry in zip(body.jobs, read, strict=True)
    ]
    return json_response({"results": results})


def _read(data: object, most: int) -> tuple[JobId | None, Order] | BadOrder:
    try:
        return parse_order(data, max_inputs_bytes=most)
    except BadOrder as error:
        return error


def _result(data: object, outcome: Placed | Exception) -> View:
    if isinstance(outcome, Placed):
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
    office = office_of(request)
    page = await office.store.queries.page(wanted, query.limit, query.cursor)
    hidden, etas = not sees_payloads(), await office.review.etas(page.jobs)
    gates = await office.standing.gates()
    views = [job_view(job, eta=etas.get(job.id), gates=gates, hidden=hidden) for job in page.jobs]
    return json_response(page_view(views, page.next_cursor))


async def one_job(request: web.Request) -> web.Response:
    """A job, whole."""
    office = office_of(request)
    whole = await _whole(office, wanted_job(request))
    return json_response(_view(whole, await office.standing.gates()))


async def why_not_running(request: web.Request) -> web.Response:
    """What keeps a job from running."""
    office = office_of(request)
    job_id = wanted_job(request)
    stored = await office.store.jobs.load(job_id)
    if stored is None:
        raise NoSuchJob(job_id)
    blockers = await office.review.why(stored.job)
    evidence = await office.review.evidence(stored.job)
    return json_response(why_view(stored.job, blockers, evidence))


async def wait(request: web.Request) -> web.Response:
    """A job, as soon as it is settled or parked, or when time is up."""
    office = office_of(request)
    query = read_query(request, WaitQuery)
    job_id = wanted_job(request)

    def is_wanted() -> bool:
        return request.transport is not None and not request.transport.is_closing()

    await office.waiters.until_at_rest(job_id, query.timeout_s, is_wanted)
    return json_response(_view(await _whole(office, job_id), await office.standing.gates()))


def wanted_job(request: web.Request) -> JobId:
    """The id in the path; raises `NoSuchJob` where no job can have it."""
    job_id = request.match_info["id"]
    if JOB_ID.fullmatch(job_id) is None:
        raise NoSuchJob(job_id)
    return JobId(job_id)


async def _whole(office: Office, job_id: str) -> Whole:
    whole = await office.review.job(job_id)
    if whole is None:
        raise NoSuchJob(job_id)
    return whole


def _view(whole: Whole, gates: Gates) -> View:
    hidden, eta = not sees_payloads(), whole.eta
    return job_view(whole.job, whole.inputs, whole.result, eta=eta, gates=gates, hidden=hidden)
