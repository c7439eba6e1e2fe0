"""From errors to responses: one middleware, RFC 9457 problem details, the status of the error.

A problem names the field and the fix. It shows nothing internal, and the log shows nothing of a
request but its method and route.
"""

import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, assert_never

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from msgspec import UNSET, UnsetType

from jobs.batches import BatchSealed
from jobs.lifecycle import IllegalTransition
from jobs.states import State
from worker.api.edge.repeated_lines import REPEATED_LINES
from worker.api.models.problems import ProblemResponse
from worker.api.models.response import encode_response
from worker.app.actions import (
    NoSuchHold,
    NoSuchJob,
    NoSuchWorker,
    PayloadsErased,
    RunTaken,
)
from worker.app.batches import BatchExists, NoSuchBatch
from worker.app.breaker_actions import NoSuchBreaker
from worker.app.budgets import NoSuchBudget
from worker.app.callbacks import NoSuchCallback
from worker.app.enqueue import InvalidRequest, JobIdConflict, NotGranted
from worker.app.enqueue_guard import LimitReached, RedisMemoryFull
from worker.app.erasure import ErasureRefused
from worker.app.lane_caps import NoSuchCap
from worker.app.schedules import NoSuchSchedule
from worker.app.shown_ids import shown_job_id
from worker.store.client import BadCursor
from worker.store.refusals import RedisRefusal, RefusalCode, error_word, redis_refusal
from worker.store.schema import NewerRecordError

log: Final = structlog.get_logger(__name__)

CONTENT_TYPE: Final = "application/problem+json"

RETRY_AFTER_S: Final = 2
"""Sent while Redis is away or refuses: most of that ends within seconds."""

OPERATOR_RETRY_AFTER_S: Final = 30
"""Sent for what an operator has to end."""

_TYPE: Final = "urn:knouds-worker:problem:"


class Problem(Exception):
    """A response that is an error: `name` ends the problem's type, `detail` names the fix."""

    def __init__(
        self,
        status: int,
        name: str,
        title: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        field: str | UnsetType = UNSET,
        state: State | UnsetType = UNSET,
        reason: str | UnsetType = UNSET,
    ) -> None:
        self.status = status
        self.name = name
        self.title = title
        self.detail = detail
        self.headers = dict(headers or {})
        self._field = field
        self._state = state
        self._reason = reason
        super().__init__(detail)

    def body(self) -> ProblemResponse:
        """The problem details."""
        return ProblemResponse(
            type=_TYPE + self.name,
            title=self.title,
            status=self.status,
            detail=self.detail,
            field=self._field,
            state=self._state,
            reason=self._reason,
        )

    def response(self) -> web.Response:
        """The problem details as a response."""
        return web.Response(
            status=self.status,
            body=encode_response(self.body()),
            content_type=CONTENT_TYPE,
            headers=self.headers,
        )


@dataclass(frozen=True, slots=True)
class ProblemPage:
    """Renders problems of pages as HTML; status and headers are set afterwards."""

    render: Callable[[web.Request, Problem], Awaitable[web.StreamResponse]]


PROBLEM_PAGE: Final = web.AppKey("problem page", ProblemPage)
"""Without it, problems of pages are JSON like those of the API."""

_ANSWERS_AS_PAGE: Final[ContextVar[bool]] = ContextVar("as page", default=False)


def answer_as_page() -> None:
    """Render problems of this request as a page, where the application has one."""
    _ANSWERS_AS_PAGE.set(True)


def bad_field(field: str, message: str, status: int = 422) -> Problem:
    """A field of the body with a wrong value; `message` says what it must be."""
    return Problem(status, "bad-field", "Bad field", f"{field} {message}", field=field)


def bad_parameter(name: str, message: str) -> Problem:
    """A query parameter or header with a wrong value; `message` says what it must be."""
    return Problem(400, "bad-parameter", "Bad parameter", f"{name} {message}", field=name)


_MISSING: Final[Mapping[type[Exception], str]] = {
    NoSuchJob: "job",
    NoSuchHold: "hold",
    NoSuchWorker: "worker",
    NoSuchBreaker: "breaker",
    NoSuchBudget: "budget",
    NoSuchCap: "cap",
    NoSuchSchedule: "schedule",
    NoSuchCallback: "callback",
    NoSuchBatch: "batch",
}


def problem_of(error: Exception) -> Problem | None:
    """The problem for an error of ours, of aiohttp or of Redis; None for a bug."""
    match error:
        case Problem():
            return error
        case LimitReached() | RedisMemoryFull():
            return _limited(error)
        case InvalidRequest():
            return bad_field(error.field, str(error), 403 if isinstance(error, NotGranted) else 422)
        case BatchSealed() | BatchExists():
            word = "batch-sealed" if isinstance(error, BatchSealed) else "batch-exists"
            return Problem(409, word, "Not possible with this batch", str(error), field="batch")
        case JobIdConflict() | NewerRecordError() | IllegalTransition() | RunTaken():
            return _conflict(error)
        case PayloadsErased() | ErasureRefused():
            title = "Not possible in this state"
            return Problem(409, "illegal-move", title, str(error), state=error.state)
        case LookupError() if type(error) in _MISSING:
            what = _MISSING[type(error)]
            return Problem(404, f"no-such-{what}", f"No such {what}", str(error))
        case BadCursor():
            detail = str(error)
            return Problem(400, "bad-parameter", "Bad parameter", detail, field="cursor")
        case web.HTTPException():
            return _from_aiohttp(error)
        case _:
            refusal = redis_refusal(error)
            return None if refusal is None else refused_by_redis(refusal)


def _limited(error: LimitReached | RedisMemoryFull) -> Problem:
    """What may not be enqueued now; `reason` names the limit."""
    detail = str(error)
    if isinstance(error, LimitReached):
        headers = {"Retry-After": str(error.retry_after_s)}
        title, reason = "Limit reached", error.name
        return Problem(429, "limit-reached", title, detail, headers=headers, reason=reason)
    headers = {"Retry-After": str(OPERATOR_RETRY_AFTER_S)}
    title, reason = "Redis is nearly full", RefusalCode.OOM.value
    return Problem(503, "unavailable", title, detail, headers=headers, reason=reason)


def refused_by_redis(refusal: RedisRefusal) -> Problem:
    """Redis does not answer, or refuses what every request needs."""
    is_away = refusal.code in (RefusalCode.UNREACHABLE, RefusalCode.CERTIFICATE)
    wait_s = OPERATOR_RETRY_AFTER_S if refusal.needs_operator else RETRY_AFTER_S
    return Problem(
        503,
        "unavailable",
        "Redis is not available" if is_away else "Redis refuses",
        f"{refusal.reason}: try again; a job that carries an id is never created twice."
        f" Operator: {refusal.fix}",
        headers={"Retry-After": str(wait_s)},
        reason=refusal.code.value,
    )


def _conflict(error: JobIdConflict | NewerRecordError | IllegalTransition | RunTaken) -> Problem:
    """The problem where what is there stands against the request."""
    detail = str(error)
    match error:
        case JobIdConflict():
            headers = {"Location": f"/v1/jobs/{error.job_id}"}
            return Problem(409, "conflict", "The id is taken", detail, headers=headers, field="id")
        case NewerRecordError():
            detail = error.message_for(shown_job_id(error.name))
            return Problem(409, "newer-schema", "Written by a newer version", detail)
        case IllegalTransition():
            title = "Not possible in this state"
            return Problem(409, "illegal-move", title, detail, state=error.state)
        case RunTaken():
            headers = {"Location": f"/v1/jobs/{error.owner}"} if error.owner else {}
            title, field = "The run of another job", "execution_id"
            return Problem(409, "run-taken", title, detail, headers=headers, field=field)
        case _:
            assert_never(error)


def _from_aiohttp(error: web.HTTPException) -> Problem | None:
    match error:
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            return Problem(
                405,
                "method-not-allowed",
                "Method not allowed",
                f"{error.method} is not allowed here: use {allowed}",
                headers={"Allow": allowed},
            )
        case web.HTTPNotFound():
            detail = "nothing is served at this path: see /openapi.json"
            return Problem(404, "no-such-path", "No such path", detail)
        case _ if error.status >= 400:  # noqa: PLR2004
            phrase = HTTPStatus(error.status).phrase
            return Problem(error.status, "http", phrase, error.reason)
        case _:
            return None


@web.middleware
async def problem_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Respond to every error with a problem."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if problem_of(error) is None:
            raise
        return await _respond(request, logged_problem(request, error))
    except Exception as error:  # noqa: BLE001 - every error gets a response
        return await _respond(request, logged_problem(request, error))


def logged_problem(request: web.Request, error: Exception, jobs: int | None = None) -> Problem:
    """The problem for any error, which is logged if it is not the client's.

    `jobs`: of how many jobs of a bulk request it is the result.
    """
    problem = problem_of(error)
    if problem is None:
        _log_limited(request, "request.failed", error, jobs)
        detail = "an error of knouds-worker: see its log"
        return Problem(500, "internal", "Internal error", detail)
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        _log_limited(request, "request.refused", error, jobs, reason=problem.name)
    return problem


def _log_limited(
    request: web.Request, event: str, error: Exception, jobs: int | None, **more: str
) -> None:
    """Log what a client can cause at will: once a period for a route and a kind of error."""
    facts = _log_facts(request, error, jobs) | more
    omitted = request.app[REPEATED_LINES].admit((event, facts["route"], facts["error"]))
    if omitted is not None:
        counted = {"omitted": omitted} if omitted else {}
        (log.error if event == "request.failed" else log.warning)(event, **facts, **counted)


async def _respond(request: web.Request, problem: Problem) -> web.StreamResponse:
    problem_page = request.app.get(PROBLEM_PAGE) if _ANSWERS_AS_PAGE.get() else None
    if problem_page is None:
        return problem.response()
    page = await problem_page.render(request, problem)
    page.set_status(problem.status)
    page.headers.update(problem.headers)
    return page


def _log_facts(request: web.Request, error: Exception, jobs: int | None) -> dict[str, Any]:
    """What may be logged of a failed request: not the error's message, which may quote inputs."""
    resource = request.match_info.route.resource
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    counted = {} if jobs is None else {"jobs": jobs}
    return counted | {
        "method": request.method,
        "route": resource.canonical if resource is not None else None,
        "error": error_word(error),
        "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
