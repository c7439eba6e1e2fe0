"""Jobs over HTTP: enqueue, list, read, wait."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Final, cast

from aiohttp import web

from config.values import TokenLimits
from jobs.job import Job
from jobs.lanes import JOB_ID, JobId
from jobs.requests import JobRequest
from worker.api.auth.continued_access import rights_check
from worker.api.auth.principal import (
    Principal,
    current_principal,
    log_payload_read,
    sees_payloads,
)
from worker.api.context import context_of, of_own_tenant
from worker.api.edge.bodies import BodyKind
from worker.api.edge.responses import expect_payloads
from worker.api.models.breakers import breaker_response
from worker.api.models.enqueue import (
    BulkEnqueueResponse,
    BulkResultResponse,
    bulk_result_response,
    enqueued_job_response,
    run_preview_response,
)
from worker.api.models.jobs import (
    NO_GATES,
    JobPageResponse,
    JobResponse,
    job_response,
    why_response,
)
from worker.api.models.query_parameters import JobsQuery, WaitQuery
from worker.api.models.requests import BulkEnqueueBody
from worker.api.models.response import json_response
from worker.api.parsing import read_parsed, read_query, validate_model
from worker.api.problems import Problem, bad_parameter, logged_problem, problem_of
from worker.api.streams.connection import is_client_connected
from worker.app.actions import NoSuchJob
from worker.app.enqueue import EnqueueResult, InvalidRequest, lane_of
from worker.app.enqueue_guard import EnqueueGuard, LimitReached
from worker.app.extras import extra_or
from worker.app.job_request_parser import parse_job_request
from worker.app.shown_ids import shown_job_id
from worker.store.payloads import StoredPayloads
from worker.store.read.filter import Filter
from worker.store.refusals import error_word

IDEMPOTENCY_KEY = "Idempotency-Key"

JOBS_AT_ONCE: Final = 50
"""Jobs of a page that are put together in one turn of the event loop: some 2 ms of work."""

_Parsed = tuple[JobId | None, JobRequest] | InvalidRequest | LimitReached
"""An entry of a bulk, or why it is refused."""


async def enqueue_job(request: web.Request) -> web.Response:
    """Enqueue a job."""
    context = context_of(request)
    parse = partial(parse_job_request, max_inputs_bytes=context.settings.max_inputs_bytes)
    job_id, job_request = await read_parsed(request, BodyKind.INPUTS, parse)
    caller = current_principal()
    caller.refuse_target(job_request)
    job_id = _agreed_id(idempotency_key(request), job_id)
    limits = caller.limits(context.settings.token_limits)
    await context.use_cases.enqueue_guard.admit(
        caller.name, limits, [job_request], tenant=caller.grants.tenant
    )
    context.use_cases.enqueue_guard.refuse_account(job_request, caller.grants.accounts)
    result = await context.use_cases.enqueuer.enqueue(
        job_request,
        job_id=job_id,
        tenant=caller.grants.tenant,
        by=caller.name,
        counted_for=counted_for(caller, limits),
        sees_results=caller.sees_payloads,
    )
    return await send_enqueued(request, job_request, result)


async def send_enqueued(
    request: web.Request, job_request: JobRequest, result: EnqueueResult
) -> web.Response:
    """The response to an enqueue: the job (202), or the one that the same request made (200)."""
    context, caller = context_of(request), current_principal()
    location = {"Location": f"/v1/jobs/{shown_job_id(result.job.id)}"}
    if result.created:
        gates = await extra_or(NO_GATES, context.gates())
        body = job_response(
            result.job,
            StoredPayloads(job_request.inputs, None, metadata=job_request.metadata),
            gates=gates,
            enqueued=result,
        )
        return json_response(body, 202, location)
    if not caller.sees_jobs:
        return json_response(enqueued_job_response(result), headers=location)
    return await _details_response(request, result.job.id, location, result)


async def preview_job(request: web.Request) -> web.Response:
    """Answer what an enqueue would say of its run, and enqueue nothing.

    It counts against the limits of the token all the same.
    """
    context = context_of(request)
    parse = partial(parse_job_request, max_inputs_bytes=context.settings.max_inputs_bytes)
    _, job_request = await read_parsed(request, BodyKind.INPUTS, parse)
    caller = current_principal()
    caller.refuse_target(job_request)
    limits = caller.limits(context.settings.token_limits)
    await context.use_cases.enqueue_guard.admit(
        caller.name, limits, [job_request], tenant=caller.grants.tenant
    )
    context.use_cases.enqueue_guard.refuse_account(job_request, caller.grants.accounts)
    context.use_cases.enqueuer.check_callback(job_request)
    checks = context.use_cases.enqueue_checks
    preview = await checks.preview(lane_of(job_request), job_request.inputs)
    return json_response(run_preview_response(job_request, preview))


def counted_for(caller: Principal, limits: TokenLimits) -> str:
    """The token whose limit of open jobs counts what a caller enqueues; empty for none."""
    return caller.name if limits.open_jobs or limits.open_bytes else ""


def idempotency_key(request: web.Request) -> JobId | None:
    """The header, bare or quoted as in draft-ietf-httpapi-idempotency-key-header."""
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
        raise bad_parameter(IDEMPOTENCY_KEY, "and id differ: both name the job, send one of them")
    return header or field


async def enqueue_jobs(request: web.Request) -> web.Response:
    """Enqueue many jobs. Each is accepted or refused by itself."""
    if IDEMPOTENCY_KEY in request.headers:
        raise bad_parameter(IDEMPOTENCY_KEY, "names one job: give each job of a bulk an id")
    context = context_of(request)
    caller, max_bytes = current_principal(), context.settings.max_inputs_bytes
    parse = partial(_parse_bulk, max_bytes, caller)
    jobs, parsed = await read_parsed(request, BodyKind.BULK, parse)
    guard, limits = context.use_cases.enqueue_guard, caller.limits(context.settings.token_limits)
    parsed = await _within_limits(guard, caller, limits, parsed)
    parsed = [_refused_account(guard, caller, entry) for entry in parsed]
    valid = [entry for entry in parsed if isinstance(entry, tuple)]
    enqueuer = context.use_cases.enqueuer
    outcomes = iter(
        await enqueuer.enqueue_many(
            valid,
            tenant=caller.grants.tenant,
            by=caller.name,
            counted_for=counted_for(caller, limits),
            sees_results=caller.sees_payloads,
        )
    )
    rows = [next(outcomes) if isinstance(entry, tuple) else entry for entry in parsed]
    problems = _problems(request, [row for row in rows if isinstance(row, Exception)])
    results = [_bulk_result(data, row, problems) for data, row in zip(jobs, rows, strict=True)]
    return json_response(BulkEnqueueResponse(results=results))


def _parse_bulk(
    max_inputs_bytes: int, caller: Principal, data: object
) -> tuple[list[object], list[_Parsed]]:
    """The job requests as they were sent, and each as it was read, or why not."""
    jobs = validate_model(data, BulkEnqueueBody).jobs
    return jobs, [_parse_job_request(job, max_inputs_bytes, caller) for job in jobs]


def _parse_job_request(data: object, max_inputs_bytes: int, caller: Principal) -> _Parsed:
    try:
        job_id, job_request = parse_job_request(data, max_inputs_bytes=max_inputs_bytes)
        caller.refuse_target(job_request)
    except InvalidRequest as error:
        return error
    return job_id, job_request


async def _within_limits(
    guard: EnqueueGuard, caller: Principal, limits: TokenLimits, entries: Sequence[_Parsed]
) -> list[_Parsed]:
    """The entries; beyond a limit why they are refused. Raises that where no job has room."""
    requests = [entry[1] for entry in entries if isinstance(entry, tuple)]
    refusals = iter(await guard.admit(caller.name, limits, requests, tenant=caller.grants.tenant))
    return [(next(refusals) or entry) if isinstance(entry, tuple) else entry for entry in entries]


def _refused_account(guard: EnqueueGuard, caller: Principal, entry: _Parsed) -> _Parsed:
    """The entry, or why its account is refused."""
    if not isinstance(entry, tuple):
        return entry
    try:
        guard.refuse_account(entry[1], caller.grants.accounts)
    except InvalidRequest as error:
        return error
    return entry


def _problems(request: web.Request, errors: Sequence[Exception]) -> dict[Exception, Problem]:
    """The problem of each error; errors of ours that are alike are logged once."""
    found: dict[Exception, Problem] = {}
    alike: dict[str, list[Exception]] = {}
    for error in errors:
        problem = problem_of(error)
        if problem is not None and problem.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            found[error] = problem
        else:
            alike.setdefault(error_word(error), []).append(error)
    for same in alike.values():
        found |= dict.fromkeys(same, logged_problem(request, same[0], jobs=len(same)))
    return found


def _bulk_result(
    data: object, outcome: EnqueueResult | Exception, problems: Mapping[Exception, Problem]
) -> BulkResultResponse:
    if isinstance(outcome, EnqueueResult):
        return bulk_result_response(outcome)
    given = cast("dict[str, object]", data).get("id") if isinstance(data, dict) else None
    problem = problems[outcome]
    return BulkResultResponse(
        id=given if isinstance(given, str) else None, status=problem.status, error=problem.body()
    )


async def list_jobs(request: web.Request) -> web.Response:
    """A page of jobs, newest first."""
    query = read_query(request, JobsQuery)
    job_filter = of_own_tenant(Filter(**query.model_dump(exclude={"limit", "cursor"})))
    context = context_of(request)
    page = await context.use_cases.queries.job_page(job_filter, query.limit, query.cursor)
    hidden, etas = not sees_payloads(), await context.use_cases.queries.etas(page.jobs)
    gates = await context.gates()
    metadata = {} if hidden else await context.use_cases.queries.metadata(page.jobs)
    items: list[JobResponse] = []
    for first in range(0, len(page.jobs), JOBS_AT_ONCE):
        items += [
            job_response(
                job,
                StoredPayloads(None, None, metadata=metadata.get(job.id)),
                eta=etas.get(job.id),
                gates=gates,
                payloads_hidden=hidden,
            )
            for job in page.jobs[first : first + JOBS_AT_ONCE]
        ]
        await asyncio.sleep(0)  # others have their turn
    return json_response(JobPageResponse(items=items, next_cursor=page.next_cursor))


async def get_job(request: web.Request) -> web.Response:
    """A job with its inputs and result."""
    return await _details_response(request, path_job_id(request))


async def explain_job(request: web.Request) -> web.Response:
    """What keeps a job from running."""
    context = context_of(request)
    job = await load_path_job(request)
    blockers = await context.use_cases.queries.why(job)
    evidence = await context.use_cases.queries.evidence(job)
    first = next((one.breaker for one in blockers if one.breaker is not None), None)
    breaker = None
    if first is not None:
        summary = await context.use_cases.queries.breaker_summary(first)
        breaker = breaker_response(summary.breaker, summary.queued_jobs, context.clock.now())
    return json_response(why_response(job, blockers, evidence, breaker))


async def wait_for_job(request: web.Request) -> web.Response:
    """A job, as soon as it is settled or parked, or when the time is up."""
    context = context_of(request)
    query = read_query(request, WaitQuery)
    job_id = path_job_id(request)
    timeout_s = min(query.timeout_s, context.access.longest_s(request))
    with context.long_polls.slots.hold(current_principal()):
        await context.long_polls.wait_until_settled_or_parked(
            job_id, timeout_s, partial(is_client_connected, request), rights_check(request)
        )
    await context.access.confirm(request)
    return await _details_response(request, path_job_id(request))


def path_job_id(request: web.Request) -> JobId:
    """The stored id of the job in the path; raises `NoSuchJob` where no job can have it."""
    given = request.match_info["id"]
    job_id = current_principal().job_id(given)
    if job_id is None:
        raise NoSuchJob(given)
    return job_id


async def load_path_job(request: web.Request) -> Job:
    """The job that the path names; raises `NoSuchJob`."""
    context, job_id = context_of(request), path_job_id(request)
    job = await context.use_cases.queries.shown_job(job_id)
    if job is None:
        raise NoSuchJob(job_id)
    return job


async def _details_response(
    request: web.Request,
    job_id: JobId,
    headers: dict[str, str] | None = None,
    enqueued: EnqueueResult | None = None,
) -> web.Response:
    context = context_of(request)
    details = await context.use_cases.queries.job(job_id, partial(expect_payloads, request))
    if details is None:
        raise NoSuchJob(job_id)
    if sees_payloads():
        log_payload_read(job_id)
    body = job_response(
        details.job,
        details.payloads,
        eta=details.eta,
        gates=await context.gates(),
        payloads_hidden=not sees_payloads(),
        enqueued=enqueued,
    )
    return json_response(body, headers=headers)
