"""The provider's answers, read into the values that the core decides on.

Sans-IO and total: any status, headers and bytes give a value, and nothing here raises. `headers`
have their names in lower case. `now` (Unix seconds) is what dates in headers count from.

What an answer means is not decided here but by the verdict table. Here is decided only what was
said: accepted, finished, an error, or nothing that can be trusted.
"""

from collections.abc import Mapping
from typing import Final

from jobs.outcomes import (
    Accepted,
    Finished,
    Lost,
    PollFailed,
    PollOutcome,
    ProviderError,
    Refused,
    RunCancelled,
    RunFailed,
    RunMissing,
    StillRunning,
    SubmitOutcome,
)
from worker.provider.knouds import fields
from worker.provider.knouds.fields import ResponseBody, read_body
from worker.provider.port import (
    CallFailure,
    CancelAccepted,
    CancelNotFound,
    CancelOutcome,
    Identity,
    RateLimitSeen,
    WebhookEvent,
    WorkflowSchema,
)

UNKNOWN_STATUS: Final = "unknown"
"""The status of a readable answer that names none."""

_NO_BODY: Final = ResponseBody()
_NOT_FOUND: Final = 404
_STATUS_ALIASES: Final = {"canceled": "cancelled"}
_END_STATUSES: Final = frozenset({"completed", "failed", "cancelled"})
_DOCUMENTED_STATUSES: Final = _END_STATUSES | {"processing", "cancel_requested"}
"""Statuses of the documentation, spelt as we spell them."""


def read_submit(
    status: int, headers: Mapping[str, str], body: bytes, now: float | None = None
) -> SubmitOutcome:
    """Read the answer to a submit, async or sync.

    A 2xx that neither names a run to poll nor carries a usable result is `Lost`: it may be paid.
    """
    found = read_body(body)
    if not _is_2xx(status):
        return Refused(_read_error(status, headers, found, now))
    if found is None:
        return Lost("an answer that is not a JSON object", status)
    execution_id = fields.read_id(found.execution_id)
    if fields.read_flag(found.is_async) and execution_id is not None:
        return Accepted(
            execution_id=execution_id,
            request_id=fields.read_id(found.request_id),
            expects_webhook=fields.read_webhook_configured(found.webhook_delivery),
        )
    if fields.is_false(found.success):
        fault = _read_error(status, headers, found, now)
        if fault.code is not None:
            return Refused(fault)
        return Lost(f"success: false without a code {fault.message}".strip(), status)
    result = fields.read_result(found.result)
    if result is not None:
        return _finished(found, result)
    if fields.read_flag(found.is_async):
        return Lost("accepted without a usable execution id", status)
    named = f"; it names execution {execution_id}" if execution_id else ""
    return Lost(f"neither accepted nor a usable result{named}", status)


def read_poll(
    status: int, headers: Mapping[str, str], body: bytes, now: float | None = None
) -> PollOutcome:
    """Read the answer to a poll. What does not speak of the run is `NoLook`."""
    found = read_body(body)
    if not _is_2xx(status):
        fault = _read_error(status, headers, found, now)
        if status == _NOT_FOUND:
            return RunMissing(fault)
        return PollFailed(_describe(fault), status, fault.retry_after_s)
    if found is None:
        return PollFailed("an answer that is not a JSON object", status)
    return _read_run(found, read_status(found), status)


def read_cancel(
    status: int, headers: Mapping[str, str], body: bytes, now: float | None = None
) -> CancelOutcome:
    """Read the answer to a cancel; its shape is not documented, so any 2xx is a yes."""
    found = read_body(body)
    if _is_2xx(status):
        return CancelAccepted(read_status(found) if found else UNKNOWN_STATUS)
    fault = _read_error(status, headers, found, now)
    return CancelNotFound(fault) if status == _NOT_FOUND else CallFailure(_describe(fault), fault)


def read_whoami(
    status: int, headers: Mapping[str, str], body: bytes, now: float | None = None
) -> Identity | CallFailure:
    """Read whose key it is; which members the answer has is not documented."""
    found = read_body(body)
    if not _is_2xx(status) or found is None:
        fault = _read_error(status, headers, found, now)
        return CallFailure(_describe(fault), fault)
    return Identity(
        user_id=fields.read_id(found.user_id),
        tier=fields.read_code(found.tier),
        capabilities=fields.read_texts(found.capabilities),
    )


def read_schema(
    status: int, headers: Mapping[str, str], body: bytes, now: float | None = None
) -> WorkflowSchema | CallFailure:
    """Read a workflow's schema."""
    found = read_body(body)
    if not _is_2xx(status) or found is None:
        fault = _read_error(status, headers, found, now)
        return CallFailure(_describe(fault), fault)
    return WorkflowSchema(
        raw=body,
        name=fields.read_text(found.name),
        description=fields.read_text(found.description),
        estimated_cost=fields.read_number(found.estimated_credit_cost),
    )


def read_webhook(body: bytes) -> WebhookEvent | None:
    """Read a delivery; None where it is not a JSON object or names no event.

    Only an end of a run is an answer: anything else is worth a poll at most.
    """
    found = read_body(body)
    event = fields.read_code(found.event) if found else None
    if found is None or event is None:
        return None
    execution_id = fields.read_id(found.execution_id)
    subject, _, verb = event.partition(".")
    status = _normalized(verb)
    ended = subject == "execution" and status in _END_STATUSES and execution_id is not None
    return WebhookEvent(
        event=event,
        execution_id=execution_id,
        request_id=fields.read_id(found.request_id),
        outcome=_read_run(found, status, None) if ended else None,
    )


def read_rate_limit(headers: Mapping[str, str], now: float) -> RateLimitSeen | None:
    """Read the rate-limit headers; None where the answer has none that says anything."""
    if "x-ratelimit-remaining" not in headers and "x-ratelimit-limit" not in headers:
        return None
    seen = RateLimitSeen(
        limit=fields.read_count(headers.get("x-ratelimit-limit")),
        remaining=fields.read_count(headers.get("x-ratelimit-remaining")),
        reset_at=fields.read_reset(headers.get("x-ratelimit-reset"), now),
    )
    return None if seen.limit is None and seen.remaining is None else seen


def read_status(found: ResponseBody) -> str:
    """Read a run's status in our spelling: lower case, `_` between words, `cancelled`."""
    text = fields.read_text(found.status)
    if not text:
        return UNKNOWN_STATUS
    return text if text in _DOCUMENTED_STATUSES else _normalized(text)


def _normalized(text: str) -> str:
    plain = (
        fields.sanitize(text)[: fields.MAX_CODE_CHARS].lower().replace("-", "_").replace(" ", "_")
    )
    return _STATUS_ALIASES.get(plain, plain)


def _read_run(found: ResponseBody, status: str, http_status: int | None) -> PollOutcome:
    """Say what a poll or a webhook says of a run."""
    match status:
        case "completed":
            result = fields.read_result(found.result)
            if result is None:
                return Lost("completed without a usable result", http_status)
            return _finished(found, result)
        case "failed":
            return RunFailed(_provider_error(found))
        case "cancelled":
            return RunCancelled(fields.read_result(found.result), fields.read_number(found.cost))
        case _:
            return StillRunning(status)


def _finished(found: ResponseBody, result: bytes) -> Finished:
    return Finished(
        result=result,
        cost=fields.read_number(found.cost),
        execution_id=fields.read_id(found.execution_id),
        request_id=fields.read_id(found.request_id),
    )


def _read_error(
    status: int, headers: Mapping[str, str], found: ResponseBody | None, now: float | None
) -> ProviderError:
    """Read an error answer, or what is left of one."""
    if found is None:
        wait = fields.read_retry_after(status, headers, _NO_BODY.retry_after, now)
        return ProviderError(None, http_status=status, retry_after_s=wait, is_readable=False)
    wait = fields.read_retry_after(status, headers, found.retry_after, now)
    return _provider_error(found, status, wait)


def _provider_error(
    found: ResponseBody, http_status: int | None = None, retry_after_s: float | None = None
) -> ProviderError:
    code, message = fields.read_error(found)
    return ProviderError(
        code=code,
        message=message,
        http_status=http_status,
        required_capability=fields.read_capabilities(found.required)
        or fields.read_capabilities(found.attempted),
        provider_status=fields.read_code(found.provider_status, allow_numbers=True),
        retry_after_s=retry_after_s,
    )


def _describe(error: ProviderError) -> str:
    said = error.message if error.is_readable else "an answer that is not a JSON object"
    return f"{error.display_code}: {said}" if said else error.display_code


def _is_2xx(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004
