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
    Fault,
    Finished,
    Lost,
    Missing,
    NoLook,
    PollAnswer,
    Refused,
    RunCancelled,
    RunFailed,
    StillRunning,
    SubmitAnswer,
)
from worker.provider.knouds import fields
from worker.provider.knouds.fields import Body, read_body
from worker.provider.port import (
    CancelAnswer,
    CancelNotThere,
    CancelTaken,
    Identity,
    QuotaSeen,
    Trouble,
    WebhookEvent,
    WorkflowSchema,
)

NO_STATUS: Final = "unknown"
"""The status of a readable answer that names none."""

_NO_BODY: Final = Body()
_NOT_FOUND: Final = 404
_SPELLINGS: Final = {"canceled": "cancelled"}
_ENDED: Final = frozenset({"completed", "failed", "cancelled"})
_PLAIN: Final = _ENDED | {"processing", "cancel_requested"}
"""Statuses of the documentation, spelt as we spell them."""


def read_submit(
    status: int, headers: Mapping[str, str], body: bytes, now: float | None = None
) -> SubmitAnswer:
    """Read the answer to a submit, async or sync.

    A 2xx that neither names a run to poll nor carries a usable result is `Lost`: it may be paid.
    """
    found = read_body(body)
    if not _is_2xx(status):
        return Refused(_refusal(status, headers, found, now))
    if found is None:
        return Lost("an answer that is not a JSON object", status)
    execution_id = fields.read_id(found.execution_id)
    if fields.read_flag(found.is_async) and execution_id is not None:
        return Accepted(
            execution_id=execution_id,
            request_id=fields.read_id(found.request_id),
            webhook=fields.read_webhook_configured(found.webhook_delivery),
        )
    if fields.is_false(found.success):
        fault = _refusal(status, headers, found, now)
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
) -> PollAnswer:
    """Read the answer to a poll. What does not speak of the run is `NoLook`."""
    found = read_body(body)
    if not _is_2xx(status):
        fault = _refusal(status, headers, found, now)
        if status == _NOT_FOUND:
            return Missing(fault)
        return NoLook(_why(fault), status, fault.retry_after_s)
    if found is None:
        return NoLook("an answer that is not a JSON object", status)
    return _run(found, read_status(found), status)


def read_cancel(
    status: int, headers: Mapping[str, str], body: bytes, now: float | None = None
) -> CancelAnswer:
    """Read the answer to a cancel; its shape is not documented, so any 2xx is a yes."""
    found = read_body(body)
    if _is_2xx(status):
        return CancelTaken(read_status(found) if found else NO_STATUS)
    fault = _refusal(status, headers, found, now)
    return CancelNotThere(fault) if status == _NOT_FOUND else Trouble(_why(fault), fault)


def read_whoami(
    status: int, headers: Mapping[str, str], body: bytes, now: float | None = None
) -> Identity | Trouble:
    """Read whose key it is; which members the answer has is not documented."""
    found = read_body(body)
    if not _is_2xx(status) or found is None:
        fault = _refusal(status, headers, found, now)
        return Trouble(_why(fault), fault)
    return Identity(
        user_id=fields.read_id(found.user_id),
        tier=fields.read_code(found.tier),
        capabilities=fields.read_texts(found.capabilities),
    )


def read_schema(
    status: int, headers: Mapping[str, str], body: bytes, now: float | None = None
) -> WorkflowSchema | Trouble:
    """Read a workflow's schema."""
    found = read_body(body)
    if not _is_2xx(status) or found is None:
        fault = _refusal(status, headers, found, now)
        return Trouble(_why(fault), fault)
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
    status = _spelt(verb)
    ended = subject == "execution" and status in _ENDED and execution_id is not None
    return WebhookEvent(
        event=event,
        execution_id=execution_id,
        request_id=fields.read_id(found.request_id),
        answer=_run(found, status, None) if ended else None,
    )


def read_quota(headers: Mapping[str, str], now: float) -> QuotaSeen | None:
    """Read the rate-limit headers; None where the answer has none that says anything."""
    if "x-ratelimit-remaining" not in headers and "x-ratelimit-limit" not in headers:
        return None
    seen = QuotaSeen(
        limit=fields.read_count(headers.get("x-ratelimit-limit")),
        remaining=fields.read_count(headers.get("x-ratelimit-remaining")),
        reset_at=fields.read_reset(headers.get("x-ratelimit-reset"), now),
    )
    return None if seen.limit is None and seen.remaining is None else seen


def read_status(found: Body) -> str:
    """Read a run's status in our spelling: lower case, `_` between words, `cancelled`."""
    text = fields.read_text(found.status)
    if not text:
        return NO_STATUS
    return text if text in _PLAIN else _spelt(text)


def _spelt(text: str) -> str:
    plain = fields.shorten(text)[: fields.LONGEST_CODE].lower().replace("-", "_").replace(" ", "_")
    return _SPELLINGS.get(plain, plain)


def _run(found: Body, status: str, http_status: int | None) -> PollAnswer:
    """Say what a poll or a webhook says of a run."""
    match status:
        case "completed":
            result = fields.read_result(found.result)
            if result is None:
                return Lost("completed without a usable result", http_status)
            return _finished(found, result)
        case "failed":
            return RunFailed(_fault(found))
        case "cancelled":
            return RunCancelled(fields.read_result(found.result), fields.read_number(found.cost))
        case _:
            return StillRunning(status)


def _finished(found: Body, result: bytes) -> Finished:
    return Finished(
        result=result,
        cost=fields.read_number(found.cost),
        execution_id=fields.read_id(found.execution_id),
        request_id=fields.read_id(found.request_id),
    )


def _refusal(
    status: int, headers: Mapping[str, str], found: Body | None, now: float | None
) -> Fault:
    """Read an error answer, or what is left of one."""
    if found is None:
        wait = fields.read_retry_after(status, headers, _NO_BODY.retry_after, now)
        return Fault(None, http_status=status, retry_after_s=wait, readable=False)
    wait = fields.read_retry_after(status, headers, found.retry_after, now)
    return _fault(found, status, wait)


def _fault(
    found: Body, http_status: int | None = None, retry_after_s: float | None = None
) -> Fault:
    code, message = fields.read_error(found)
    return Fault(
        code=code,
        message=message,
        http_status=http_status,
        required=fields.read_rights(found.required) or fields.read_rights(found.attempted),
        provider_status=fields.read_code(found.provider_status, numbers=True),
        retry_after_s=retry_after_s,
    )


def _why(fault: Fault) -> str:
    said = fault.message if fault.readable else "an answer that is not a JSON object"
    return f"{fault.name}: {said}" if said else fault.name


def _is_2xx(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004
