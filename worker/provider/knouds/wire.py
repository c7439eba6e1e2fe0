"""The responses of Knouds, read into the values that the core decides on.

Sans-IO and total: any status, headers and bytes give a value; nothing here raises. Header names are
in lower case. `now` (Unix seconds): what dates in headers count from.

This module reads what was said: accepted, finished, an error, or nothing that can be trusted. What
an error means for the job is up to the error table.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from jobs.outcomes import (
    Accepted,
    CallFailure,
    Finished,
    Lost,
    PollOutcome,
    ProviderError,
    Refused,
    RunCancelled,
    RunFailed,
    StillRunning,
    SubmitOutcome,
)
from worker.provider.knouds import errors, fields
from worker.provider.knouds.fields import ResponseBody, read_body
from worker.provider.knouds.run_statuses import UNKNOWN_STATUS, read_status
from worker.provider.port import (
    CancelAccepted,
    CancelOutcome,
    Identity,
    ReportedRateLimit,
)

NO_USER: Final = "the response to whoami names no user"

CUT_OFF: Final = "sent, then the response was cut off by a reset"

GATEWAY_ERRORS: Final = frozenset({502, 503, 504})
"""Statuses with which a proxy says that it got no answer from the server; a 503 can also come after
the request was passed on."""


def read_submit(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    now: float | None = None,
    *,
    body_sent: bool = True,
    is_cut: bool = False,
    plain_proxy: str = "",
) -> SubmitOutcome:
    """Read the response to a submit, async or sync.

    A 2xx that neither names a run to poll, nor carries a usable result, nor an error with a code is
    Lost: it may be paid. A login or captcha page is a refusal: the request did not get through.
    `body_sent`: whether the request was fully written before the response came. `is_cut`: whether a
    reset ended the body; a whole JSON object is read all the same. `plain_proxy`: the proxy that
    may have answered instead, if there is one: its gateway errors prove nothing, also a 503.
    """
    members = read_body(body)
    if members is None and (lost := _proves_nothing(status, plain_proxy, is_cut=is_cut)):
        return read_lost(lost)
    if not errors.is_2xx(status):
        error = errors.read_error_response(status, headers, members, now, body)
        return Refused(replace(error, body_sent=body_sent))
    if members is None:
        if fields.is_access_page(body):
            return Refused(ProviderError(None, "", status, is_readable=False, is_page=True))
        return Lost(errors.NOT_JSON, status)
    execution_id = fields.read_id(members.execution_id)
    if fields.read_flag(members.is_async) and execution_id is not None:
        return Accepted(
            execution_id=execution_id,
            request_id=fields.read_id(members.request_id),
            expects_webhook=fields.read_webhook_configured(members.webhook_delivery),
        )
    result = fields.read_result(members.result)
    is_refused = fields.is_false(members.success)
    if result is not None and not is_refused:
        return _finished(members, result)
    error = errors.read_error_response(status, headers, members, now)
    if error.code is not None and (is_refused or error.message) and execution_id is None:
        return Refused(error)
    if is_refused:
        return Lost(f"success: false without a code {error.message}".strip(), status)
    if fields.read_flag(members.is_async):
        return Lost("accepted without a usable execution id", status)
    named = f"; it names execution {execution_id}" if execution_id else ""
    return Lost(f"neither accepted nor a usable result{named}", status)


def _proves_nothing(status: int, plain_proxy: str, *, is_cut: bool) -> Lost | None:
    """Why a response without JSON is not even an error of the provider."""
    if is_cut:
        return Lost(CUT_OFF, status)
    if plain_proxy and status in GATEWAY_ERRORS:
        return Lost(f"{status} {_from_proxy(plain_proxy)}", status)
    return None


def read_lost(lost: Lost) -> SubmitOutcome:
    """Read a response that did not come whole: the head of a 3xx or 4xx decides by itself."""
    status = lost.http_status
    if status is None or not 300 <= status < 500:  # noqa: PLR2004
        return lost
    return Refused(errors.unread_error(status, lost.why))


def read_unread_call(failure: CallFailure) -> CallFailure:
    """Read the failure of a call whose response did not come whole, as `read_lost` does."""
    status = failure.http_status
    if status is None or not 300 <= status < 500:  # noqa: PLR2004
        return replace(failure, http_status=None)
    error = errors.unread_error(status, failure.why)
    return replace(failure, why=f"{error.display_code}: {failure.why}", error=error)


def with_proxy(failure: CallFailure, plain_proxy: str) -> CallFailure:
    """The failure of a call; where a proxy may have answered instead, its text says so."""
    error = failure.error
    is_unreadable = error is not None and not error.is_readable
    if not plain_proxy or not is_unreadable or failure.http_status not in GATEWAY_ERRORS:
        return failure
    return replace(failure, why=f"{failure.http_status} {_from_proxy(plain_proxy)}")


def _from_proxy(plain_proxy: str) -> str:
    return f"from the {plain_proxy} or from the provider: the response does not say which"


def read_poll(
    status: int, headers: Mapping[str, str], body: bytes, now: float | None = None
) -> PollOutcome:
    """Read the response to a poll; one that says nothing about the run is CallFailure."""
    members = read_body(body)
    if not errors.is_2xx(status):
        return errors.missing_or_failed(status, headers, members, now, body)
    if members is None:
        return CallFailure(
            errors.NOT_JSON,
            status,
            error=errors.read_error_response(status, headers, None, now, body),
        )
    refusal = errors.read_refusal(status, headers, members, now)
    return refusal or read_run(members, read_status(members), status)


def read_cancel(
    status: int, headers: Mapping[str, str], body: bytes, now: float | None = None
) -> CancelOutcome:
    """Read the response to a cancel; its shape is not documented, so any 2xx accepts it."""
    members = read_body(body)
    if errors.is_2xx(status):
        if members is None:
            return CancelAccepted(UNKNOWN_STATUS)
        refusal = errors.read_refusal(status, headers, members, now)
        if refusal is not None:
            return refusal
        return CancelAccepted(read_status(members), *fields.read_names(members))
    return errors.missing_or_failed(status, headers, members, now, body)


def read_whoami(
    status: int, headers: Mapping[str, str], body: bytes, now: float | None = None
) -> Identity | CallFailure:
    """Read whose API key it is: `{"user": {"id", "email", "role", "tier", "approved"}}`.

    A 2xx without a `user` object is CallFailure: a refusal, or not the answer of this API.
    """
    members = read_body(body)
    if not errors.is_2xx(status) or members is None:
        return errors.call_failure(errors.read_error_response(status, headers, members, now, body))
    user = fields.read_user(members.user)
    if user is None:
        return errors.read_refused_call(status, headers, members, now) or CallFailure(
            NO_USER, status
        )
    return Identity(
        user_id=fields.read_id(user.id),
        role=fields.read_code(user.role),
        tier=fields.read_code(user.tier),
        approved=fields.read_optional_flag(user.approved),
        email_domain=fields.read_email_domain(user.email),
    )


def read_call_failure(
    status: int, headers: Mapping[str, str], body: bytes, now: float | None = None
) -> CallFailure | None:
    """Read the error of a call that only reads; None for a 2xx that is no refusal."""
    members = read_body(body)
    if errors.is_2xx(status):
        return errors.read_refused_call(status, headers, members, now)
    return errors.call_failure(errors.read_error_response(status, headers, members, now, body))


def read_rate_limit(headers: Mapping[str, str], now: float) -> ReportedRateLimit | None:
    """Read the rate-limit headers; None if there is neither a limit nor a remaining count."""
    if "x-ratelimit-remaining" not in headers and "x-ratelimit-limit" not in headers:
        return None
    reported = ReportedRateLimit(
        limit=fields.read_count(headers.get("x-ratelimit-limit")),
        remaining=fields.read_count(headers.get("x-ratelimit-remaining")),
        reset_at=fields.read_reset(headers, now),
    )
    return None if reported.limit is None and reported.remaining is None else reported


def read_run(body: ResponseBody, status: str, http_status: int | None) -> PollOutcome:
    """Read what a poll or a webhook says about a run; `http_status`: None for a webhook."""
    match status:
        case "completed":
            result = fields.read_result(body.result)
            if result is None:
                execution_id, request_id = fields.read_names(body)
                return Lost(
                    "completed without a usable result",
                    http_status,
                    execution_id=execution_id,
                    request_id=request_id,
                )
            return _finished(body, result)
        case "failed":
            return RunFailed(errors.read_provider_error(body), *fields.read_names(body))
        case "cancelled":
            result, cost = fields.read_result(body.result), fields.read_number(body.cost)
            return RunCancelled(result, cost, *fields.read_names(body))
        case _:
            return StillRunning(status, *fields.read_names(body))


def _finished(body: ResponseBody, result: bytes) -> Finished:
    took_ms = fields.read_number(body.ms)
    return Finished(
        result=result,
        cost=fields.read_number(body.cost),
        execution_id=fields.read_id(body.execution_id),
        request_id=fields.read_id(body.request_id),
        duration_s=None if took_ms is None else took_ms / 1_000,
    )
