"""Errors in the responses of Knouds: what is the provider's word, and what something else sent."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from jobs.error_table import TLS_PORT, may_be_page
from jobs.outcomes import CallFailure, ProviderError, RunMissing
from worker.provider.knouds import fields
from worker.provider.knouds.error_rows import STATUS_OF_CODE
from worker.provider.knouds.fields import ResponseBody
from worker.provider.knouds.run_statuses import DOCUMENTED_STATUSES, read_status

NOT_JSON: Final = "the response is not a JSON object"

NO_ERROR_FORM: Final = "JSON without error or code, which the errors of this API have"

SERVER_ERROR: Final = 500

_NO_BODY: Final = ResponseBody()
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404


def read_error_response(
    status: int,
    headers: Mapping[str, str],
    members: ResponseBody | None,
    now: float | None,
    body: bytes = b"",
) -> ProviderError:
    """Read an error response; without a readable body only status and headers count.

    A JSON object that has not the form of the provider's errors counts as unreadable in a 4xx.
    """
    is_page = _is_page(status, headers, body, members)
    wait = fields.read_retry_after(status, headers, (members or _NO_BODY).retry_after, now)
    location = fields.read_location(headers.get("location"))
    if members is not None and not is_page:
        return replace(read_provider_error(members, status, wait), location=location)
    return ProviderError(
        None,
        NO_ERROR_FORM if members is not None else "",
        status,
        retry_after_s=wait,
        is_readable=False,
        is_page=is_page,
        wants_tls=is_page and fields.wants_tls(body),
        location=location,
    )


def _is_page(
    status: int, headers: Mapping[str, str], body: bytes, members: ResponseBody | None
) -> bool:
    """Whether an error response is not the provider's own: something else may answer there."""
    if members is not None and (fields.is_error(members) or not 400 <= status < 500):  # noqa: PLR2004
        return False
    if not may_be_page(status):
        return False
    return fields.is_html(headers, body) if status == _FORBIDDEN or is_2xx(status) else True


def read_provider_error(
    body: ResponseBody, http_status: int | None = None, retry_after_s: float | None = None
) -> ProviderError:
    """Read the error in a response, or inside a failed run."""
    code, message = fields.read_error(body)
    return ProviderError(
        code=code,
        message=message,
        http_status=http_status,
        required_capability=fields.read_capabilities(body.required)
        or fields.read_capabilities(body.attempted),
        provider_status=fields.read_code(body.provider_status, allow_numbers=True),
        retry_after_s=retry_after_s,
    )


def unread_error(status: int, why: str) -> ProviderError:
    """The error of a response of which only the head can be read."""
    return ProviderError(None, why, status, is_readable=False)


def read_refusal(
    status: int, headers: Mapping[str, str], members: ResponseBody | None, now: float | None
) -> RunMissing | CallFailure | None:
    """Read a 2xx that is a refusal: an error, and neither a run nor a result nor a status of one.

    A documented code counts as with the status that is documented with it.
    """
    if members is None or not (fields.is_error(members) or fields.is_false(members.success)):
        return None
    if fields.read_result(members.result) is not None:
        return None
    error = read_error_response(status, headers, members, now)
    counts_as = STATUS_OF_CODE.get(error.code or "")
    # It may be about a run all the same: only a code that refuses the call outweighs that.
    refuses = counts_as is not None and counts_as < SERVER_ERROR
    run_status = fields.read_text(members.status) or ""
    if read_status(members) in DOCUMENTED_STATUSES:
        return None
    is_named = run_status != "error" and not run_status.isdecimal() and run_status
    if (is_named or fields.read_id(members.execution_id)) and not refuses:
        return None
    if counts_as == _NOT_FOUND:
        return RunMissing(error)
    return replace(call_failure(error), http_status=counts_as or status)


def read_refused_call(
    status: int, headers: Mapping[str, str], members: ResponseBody | None, now: float | None
) -> CallFailure | None:
    """Read whether a 2xx is a refusal of a call that names no run."""
    match read_refusal(status, headers, members, now):
        case RunMissing(error=error):
            return replace(call_failure(error), http_status=_NOT_FOUND)
        case refusal:
            return refusal


def missing_or_failed(
    status: int,
    headers: Mapping[str, str],
    members: ResponseBody | None,
    now: float | None,
    body: bytes,
) -> RunMissing | CallFailure:
    """A 404 is the provider's word only as JSON: a page says nothing about the run."""
    error = read_error_response(status, headers, members, now, body)
    is_missing = status == _NOT_FOUND and error.is_readable
    return RunMissing(error) if is_missing else call_failure(error)


def call_failure(error: ProviderError) -> CallFailure:
    """The failure of a call that was answered with an error."""
    message = error.message if error.is_readable or error.message else NOT_JSON
    if error.wants_tls:
        message = TLS_PORT.meaning
    if error.location is not None:
        message = f"it redirects to {error.location}"
    why = f"{error.display_code}: {message}" if message else error.display_code
    return CallFailure(why, error.http_status, error.retry_after_s, error)


def is_2xx(status: int) -> bool:
    """Whether a status says that the call succeeded."""
    return 200 <= status < 300  # noqa: PLR2004
