"""What can go wrong, as exceptions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .decoding import decode
from .models import Job, Problem


class KnoudsWorkerError(Exception):
    """Every error of this package."""


class ConnectionFailed(KnoudsWorkerError):
    """No answer, or an unreadable one, after every try that was safe."""


class ApiError(KnoudsWorkerError):
    """An answer that is an error. `problem` names the field and the fix."""

    def __init__(self, problem: Problem, retry_after_s: float | None = None) -> None:
        self.problem = problem
        self.status = problem.status
        self.retry_after_s = retry_after_s
        super().__init__(f"{problem.status} {problem.title}: {problem.detail}")


class BadRequestError(ApiError):
    """400, 413, 415 or 422: `problem.field` is wrong."""


class AuthenticationError(ApiError):
    """401: no token, or one that is not known."""


class PermissionDeniedError(ApiError):
    """403: the role or the grants of the token do not allow it."""


class NotFoundError(ApiError):
    """404: there is nothing of this id."""


class ConflictError(ApiError):
    """409: the id is taken by another payload, or the state of the job does not allow it."""


class RateLimitError(ApiError):
    """429: a limit of the token or of the API, for `retry_after_s`."""


class UnavailableError(ApiError):
    """A status from 500: the API cannot answer now."""


class JobNotSucceeded(KnoudsWorkerError):
    """A job that was waited for has no result. `job.reason` says why and what to do."""

    def __init__(self, job: Job) -> None:
        self.job = job
        why = f": {job.reason.code} {job.reason.message}".rstrip() if job.reason else ""
        super().__init__(f"job {job.id} is {job.state}{why}")


class JobDead(JobNotSucceeded):
    """It failed for good; an operator can requeue it."""


class JobCancelled(JobNotSucceeded):
    """It was cancelled or discarded."""


class JobParked(JobNotSucceeded):
    """It waits for an operator, and may succeed later."""


class WaitTimeout(KnoudsWorkerError):
    """The time is up. The job goes on: wait for `job_id` again."""

    def __init__(self, job_id: str, timeout_s: float) -> None:
        self.job_id = job_id
        super().__init__(f"job {job_id} has not ended within {timeout_s:g} s")


class InvalidCallback(KnoudsWorkerError):
    """A callback that is not signed by the server, is too old, or was changed on its way."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequestError,
    413: BadRequestError,
    415: BadRequestError,
    422: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    429: RateLimitError,
}

_BY_STATE: dict[str, type[JobNotSucceeded]] = {
    "dead": JobDead,
    "cancelled": JobCancelled,
    "parked": JobParked,
}

_FIRST_SERVER_ERROR = 500


def api_error(status: int, text: bytes, headers: Mapping[str, str]) -> ApiError:
    """The error of an answer; that of a proxy gets a problem made of its status."""
    kind = UnavailableError if status >= _FIRST_SERVER_ERROR else _BY_STATUS.get(status, ApiError)
    return kind(_problem(status, text), retry_after_s(headers))


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The seconds of `Retry-After`."""
    given = headers.get("Retry-After", "")
    return float(given) if given.isdigit() else None


def succeeded(job: Job) -> Job:
    """The job, if it succeeded; raises `JobNotSucceeded`."""
    if job.state == "succeeded":
        return job
    raise _BY_STATE.get(job.state, JobNotSucceeded)(job)


def _problem(status: int, text: bytes) -> Problem:
    try:
        value: Any = json.loads(text)
    except ValueError:
        value = None
    if isinstance(value, dict) and "title" in value and "detail" in value:
        problem: Problem = decode(Problem, {"type": "about:blank", **value, "status": status})
        return problem
    detail = "the answer is not from knouds-worker: is something between that refuses?"
    return Problem(type="about:blank", title="No problem details", status=status, detail=detail)
