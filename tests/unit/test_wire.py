# ruff: noqa: E501  a row of a table stays on one line
"""The wire: what each response is read as, as data, and that no response makes it raise."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.error_table import OUTSIDE_CONTRACT, Disposition, ErrorTable
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
    RunMissing,
    StillRunning,
    SubmitOutcome,
)
from jobs.states import Kind, Mode
from worker.provider.http.request import HttpRequest
from worker.provider.knouds import calls, wire
from worker.provider.knouds.error_rows import ERROR_RULES
from worker.provider.knouds.errors import NO_ERROR_FORM
from worker.provider.knouds.webhooks import KnoudsWebhooks
from worker.provider.knouds.workflows import read_workflow_schema, read_workflows
from worker.provider.port import (
    CancelAccepted,
    CancelOutcome,
    Identity,
    ReportedRateLimit,
    WebhookEvent,
)

NOW = 1_790_000_000.0
HTML = b"<html><body><h1>502</h1></body></html>"
RESULT = b'{"images": ["https://cdn/1.png"],  "n":1.50}'
ID = "550e8400-e29b-41d4-a716-446655440000"
ACCEPTED = {
    "_async": True,
    "executionId": ID,
    "requestId": "kie_1",
    "status": "processing",
    "webhookDelivery": {"configured": False},
    "pollUrl": f"/api/executions/{ID}",
}


def encoded(value: object) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def without(body: Mapping[str, object], *names: str) -> dict[str, object]:
    return {name: value for name, value in body.items() if name not in names}


# Requests.


@pytest.mark.parametrize(
    ("request_made", "method", "path"),
    [
        (
            calls.submit(Kind.MODEL, "suno", b"{}", Mode.ASYNC, "k"),
            "POST",
            "/api/models/suno/run?async=true",
        ),
        (
            calls.submit(Kind.MODEL, "suno", b"{}", Mode.SYNC, "k"),
            "POST",
            "/api/models/suno/run",
        ),
        (
            calls.submit(Kind.WORKFLOW, "my-flow", b"{}", Mode.ASYNC, "k"),
            "POST",
            "/api/workflows/my-flow/run?async=true",
        ),
        (
            calls.submit(Kind.WORKFLOW, "my-flow", b"{}", Mode.SYNC, "k"),
            "POST",
            "/api/workflows/my-flow/run",
        ),
        (calls.poll(ID, "k"), "GET", f"/api/executions/{ID}"),
        (calls.cancel(ID, "k"), "POST", f"/api/executions/{ID}/cancel"),
        (calls.whoami("k"), "GET", "/api/whoami"),
        (calls.poll("a/../b?c#d é", "k"), "GET", "/api/executions/a%2F..%2Fb%3Fc%23d%20%C3%A9"),
        (calls.poll("..", "k"), "GET", "/api/executions/%2E%2E"),
    ],
)
def test_a_call_is_written_as_documented(request_made: HttpRequest, method: str, path: str) -> None:
    assert (request_made.method, request_made.path) == (method, path)
    assert request_made.headers["x-api-key"] == "k"
    assert "authorization" not in request_made.headers


def test_inputs_are_passed_on_byte_for_byte() -> None:
    inputs = b'{ "prompt":"\\u00e9",  "cfg": 1.10 }'
    made = calls.submit(Kind.MODEL, "suno", inputs, Mode.ASYNC, "k")
    assert made.body == b'{"inputs":' + inputs + b"}"
    assert made.headers["content-type"] == "application/json"


def test_a_request_shows_neither_key_nor_inputs() -> None:
    shown = repr(calls.submit(Kind.MODEL, "suno", b'{"a": "hush"}', Mode.ASYNC, "knouds_key"))
    assert "hush" not in shown
    assert "knouds_key" not in shown


# Submits.

NEITHER = "neither accepted nor a usable result"
NOT_JSON = "the response is not a JSON object"
LOGIN = b"\n<!DOCTYPE html><html><form><input type='password'></form></html>"
NO_USER = "the response to whoami names no user"


def page(status: int) -> ProviderError:
    """What a page with a status is read as."""
    return ProviderError(None, "", status, is_readable=False, is_page=True)


SUBMITS: list[tuple[str, int, object, SubmitOutcome]] = [
    ("async", 200, ACCEPTED, Accepted(ID, "kie_1")),
    ("async, 202", 202, ACCEPTED, Accepted(ID, "kie_1")),
    (
        "a webhook will come",
        200,
        {**ACCEPTED, "webhookDelivery": {"configured": True, "url": "https://x"}},
        Accepted(ID, "kie_1", expects_webhook=True),
    ),
    ("a number as id", 200, {"_async": True, "executionId": 42}, Accepted("42")),
    ("members of other types", 200, {**ACCEPTED, "requestId": [], "status": 3}, Accepted(ID)),
    ("webhookDelivery is a text", 200, {**ACCEPTED, "webhookDelivery": "yes"}, Accepted(ID, "kie_1")),
    ("a byte that is not UTF-8", 200, encoded(ACCEPTED)[:-1] + b',"x":"\xff"}', Accepted(ID, "kie_1")),
    ("a byte order mark", 200, b"\xef\xbb\xbf" + encoded(ACCEPTED), Accepted(ID, "kie_1")),
    ("async without an id", 200, without(ACCEPTED, "executionId"), Lost("accepted without a usable execution id", 200)),
    ("async, id null", 200, {**ACCEPTED, "executionId": None}, Lost("accepted without a usable execution id", 200)),
    ("async, id blank", 200, {**ACCEPTED, "executionId": " "}, Lost("accepted without a usable execution id", 200)),
    ("async, id true", 200, {**ACCEPTED, "executionId": True}, Lost("accepted without a usable execution id", 200)),
    ("async, id endless", 200, {**ACCEPTED, "executionId": "x" * 999}, Lost("accepted without a usable execution id", 200)),
    ("sync", 200, b'{"success": true, "result": ' + RESULT + b', "cost": 12, "ms": 9}', Finished(RESULT, 12.0, duration_s=0.009)),
    ("sync, with ids", 200, b'{"result": ' + RESULT + b', "executionId": 7, "requestId": "r"}', Finished(RESULT, None, "7", "r")),
    ("sync, 201", 201, b'{"result": ' + RESULT + b"}", Finished(RESULT)),
    ("a cost that is a text", 200, {"success": True, "result": {"a": 1}, "cost": "3"}, Finished(b'{"a": 1}')),
    ("a cost below nothing", 200, {"success": True, "result": {"a": 1}, "cost": -3}, Finished(b'{"a": 1}')),
    ("a cost out of range", 200, b'{"result": {"a": 1}, "cost": 1e999}', Finished(b'{"a": 1}')),
    ("a result that is a text", 200, {"success": True, "result": "https://x"}, Finished(b'"https://x"')),
    ("a result that is a list", 200, {"success": True, "result": [1]}, Finished(b"[1]")),
    ("async flag, no id, a result", 200, {"_async": True, "result": [1]}, Finished(b"[1]")),
    ("half a pair in a result", 200, b'{"result": {"text": "a\\ud83d", "b": "\\\\ud83d\\ud83d\\ude00"}}', Finished(b'{"text": "a\\ufffd", "b": "\\\\ud83d\\ud83d\\ude00"}')),
    ("a broken byte in a result", 200, b'{"result": {"text": "a\xc3"}}', Finished('{"text": "a�"}'.encode())),
    ("success without a result", 200, {"success": True}, Lost(NEITHER, 200)),
    ("success, result null", 200, {"success": True, "result": None}, Lost(NEITHER, 200)),
    ("success, result empty", 200, b'{"success": true, "result": { \n}}', Lost(NEITHER, 200)),
    ("success, result an empty list", 200, {"result": []}, Lost(NEITHER, 200)),
    ("success, result false", 200, {"result": False}, Lost(NEITHER, 200)),
    ("success, result blank", 200, {"result": ""}, Lost(NEITHER, 200)),
    ("an id without the flag", 200, without(ACCEPTED, "_async"), Lost(f"{NEITHER}; it names execution {ID}", 200)),
    ("success: false with a code", 200, {"success": False, "code": "EXECUTION_FAILED", "error": "no"}, Refused(ProviderError("EXECUTION_FAILED", "no", 200))),
    ("success: false without a code", 200, {"success": False, "error": "no"}, Lost("success: false without a code no", 200)),
    ("success: false, but accepted", 200, {**ACCEPTED, "success": False, "code": "X"}, Accepted(ID, "kie_1")),
    ("refused in a 2xx", 200, {"error": "top up", "code": "INSUFFICIENT_CREDITS"}, Refused(ProviderError("INSUFFICIENT_CREDITS", "top up", 200))),
    ("refused in a 2xx, with a result", 200, {"error": "no", "code": "X", "result": [1]}, Finished(b"[1]")),
    ("refused in a 2xx, with a run", 200, {"error": "no", "code": "X", "executionId": ID}, Lost(f"{NEITHER}; it names execution {ID}", 200)),
    ("a code without an error", 200, {"success": True, "code": "QUEUED"}, Lost(NEITHER, 200)),
    ("HTML", 200, HTML, Lost(NOT_JSON, 200)),
    ("a login page", 200, LOGIN, Refused(page(200))),
    ("a bot check", 200, b"<!-- x --><!DOCTYPE html><title>Just a moment...</title>", Refused(page(200))),
    ("JSON about a login", 200, b'"<html>log in"', Lost(NOT_JSON, 200)),
    ("a page at 403", 403, HTML, Refused(page(403))),
    ("a page at 404", 404, HTML, Refused(page(404))),
    ("nothing at 405", 405, b"", Refused(page(405))),
    ("a text at 403", 403, b"Forbidden", Refused(ProviderError(None, "", 403, is_readable=False))),
    ("a page at 400", 400, HTML, Refused(page(400))),
    ("a text at 422", 422, b"Not Found", Refused(page(422))),
    ("a text as JSON at 404", 404, b'"Not Found"', Refused(page(404))),
    ("a list at 410", 410, b"[]", Refused(page(410))),
    ("null at 400", 400, b"null", Refused(page(400))),
    ("nothing at 409", 409, b"", Refused(page(409))),
    ("JSON of a gateway", 404, {"message": "no Route matched"}, Refused(replace(page(404), message=NO_ERROR_FORM))),
    ("JSON of another server", 422, {"detail": "Not Found"}, Refused(replace(page(422), message=NO_ERROR_FORM))),
    ("an empty object at 400", 400, {}, Refused(replace(page(400), message=NO_ERROR_FORM))),
    ("an empty error", 400, {"error": "", "message": None}, Refused(replace(page(400), message=NO_ERROR_FORM))),
    ("a code alone", 400, {"code": "INVALID_INPUTS"}, Refused(ProviderError("INVALID_INPUTS", "", 400))),
    ("nginx at 400", 400, b"<html>The plain HTTP request was sent to HTTPS port", Refused(replace(page(400), wants_tls=True))),
    ("Go and Caddy at 400", 400, b"Client sent an HTTP request to an HTTPS server.\n", Refused(replace(page(400), wants_tls=True))),
    ("Apache at 400", 400, b"<p>Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />", Refused(replace(page(400), wants_tls=True))),
    ("Tomcat at 400", 400, b"Bad Request\r\nThis combination of host and port requires TLS.\r\n", Refused(replace(page(400), wants_tls=True))),
    ("a page at 408", 408, HTML, Refused(ProviderError(None, "", 408, is_readable=False))),
    ("a page at 429", 429, HTML, Refused(ProviderError(None, "", 429, is_readable=False))),
    ("a page at 401", 401, HTML, Refused(ProviderError(None, "", 401, is_readable=False))),
    ("a list at 402", 402, b"[]", Refused(ProviderError(None, "", 402, is_readable=False))),
    ("a captive portal", 511, HTML, Refused(page(511))),
    ("cut off", 200, encoded(ACCEPTED)[:-9], Lost(NOT_JSON, 200)),
    ("nothing", 200, b"", Lost(NOT_JSON, 200)),
    ("no content", 204, b"", Lost(NOT_JSON, 204)),
    ("a list", 200, b"[1]", Lost(NOT_JSON, 200)),
    ("endless nesting", 200, b'{"result": ' + b"[" * 200_000, Lost(NOT_JSON, 200)),
    ("moved", 307, b"", Refused(ProviderError(None, "", 307, is_readable=False))),
    ("moved, with JSON", 302, {"error": "see there"}, Refused(ProviderError(None, "see there", 302))),
    ("a proxy's 502", 502, HTML, Refused(ProviderError(None, "", 502, is_readable=False))),
    ("a 504 of nothing", 504, b"", Refused(ProviderError(None, "", 504, is_readable=False))),
    ("JSON that is no object", 500, b'"oops"', Refused(ProviderError(None, "", 500, is_readable=False))),
    ("an error without a code", 401, {"error": "Invalid API key"}, Refused(ProviderError(None, "Invalid API key", 401))),
    ("an error as an object", 500, {"error": {"code": "EXECUTION_FAILED", "message": "no"}}, Refused(ProviderError("EXECUTION_FAILED", "no", 500))),
    ("a code beside the object", 500, {"error": {"code": "INNER", "message": "no"}, "code": "OUTER"}, Refused(ProviderError("OUTER", "no", 500))),
    ("a code that is a number", 400, {"error": "no", "code": 42}, Refused(ProviderError(None, "no", 400))),
    ("an error that is a number", 400, {"error": 42}, Refused(ProviderError(None, "42", 400))),
    ("an error that is a list", 400, {"error": ["no"], "message": "why"}, Refused(ProviderError(None, "why", 400))),
    ("a lower-case code", 402, {"error": "used up", "code": "grant_exhausted"}, Refused(ProviderError("grant_exhausted", "used up", 402))),
    ("required", 403, {"error": "no", "code": "CAPABILITY_DENIED", "required": "model:run"}, Refused(ProviderError("CAPABILITY_DENIED", "no", 403, required_capability="model:run"))),
    ("required, several", 403, {"error": "no", "required": ["a", "b"]}, Refused(ProviderError(None, "no", 403, required_capability="a, b"))),
    ("required, a sentence", 403, {"error": "no", "required": "a red car for Alice"}, Refused(ProviderError(None, "no", 403))),
    ("required, a long word", 403, {"error": "no", "required": "a" * 65}, Refused(ProviderError(None, "no", 403))),
    ("required, odd characters", 403, {"error": "no", "required": ["model:run", "<b>"]}, Refused(ProviderError(None, "no", 403, required_capability="model:run"))),
    ("a request id that is a sentence", 202, {"_async": True, "executionId": "e", "requestId": "a red car for Alice", "status": "processing"}, Accepted("e", None)),
    ("attempted", 403, {"error": "no", "attempted": "model:run"}, Refused(ProviderError(None, "no", 403, required_capability="model:run"))),
    ("upstream's status", 500, {"error": "no", "code": "PROVIDER_SUBMIT_FAILED", "providerStatus": 503, "providerBody": "hush"}, Refused(ProviderError("PROVIDER_SUBMIT_FAILED", "no", 500, provider_status="503"))),
    ("upstream's status, a text", 500, {"error": "no", "providerStatus": "timeout"}, Refused(ProviderError(None, "no", 500, provider_status="timeout"))),
    ("a text over several lines", 400, {"error": " a\n\tb\x1b[31m "}, Refused(ProviderError(None, "a b [31m", 400))),
    ("an unknown status", 799, {"error": "no", "code": "NEW"}, Refused(ProviderError("NEW", "no", 799))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "expected"), [row[1:] for row in SUBMITS], ids=[row[0] for row in SUBMITS]
)
def test_an_answer_to_a_submit_is_read(status: int, body: object, expected: SubmitOutcome) -> None:
    assert wire.read_submit(status, {}, encoded(body), NOW) == expected


@pytest.mark.parametrize(
    "row", ErrorTable(ERROR_RULES).rules, ids=lambda r: f"{r.http_status}-{r.code}"
)
def test_every_row_of_the_error_table_is_found_from_an_answer(row: Any) -> None:
    body = encoded({"error": "no"} | ({"code": row.code} if row.code else {}))
    answer = wire.read_submit(row.http_status, {}, body, NOW)
    assert isinstance(answer, Refused)
    assert ErrorTable(ERROR_RULES).rule_for_submit(answer.error) is row


def test_a_page_that_claims_to_be_json_is_a_page() -> None:
    answer = wire.read_submit(404, {"content-type": "application/json"}, HTML, NOW)
    assert answer == Refused(page(404))


@pytest.mark.parametrize(
    ("location", "origin"),
    [
        ("https://new.example:65536/x", None),
        ("https://Knouds.ai/api/models?x#y", "https://knouds.ai"),
        ("http://[::1]:8090/", "http://[::1]:8090"),
        ("https://knouds.ai", "https://knouds.ai"),
        ("https://user:secret@knouds.ai/", None),
        ("/login", None),
        ("javascript:alert(1)", None),
        ("https://a b/", None),
        ("", None),
    ],
)
def test_of_a_redirect_only_scheme_and_host_are_kept(location: str, origin: str | None) -> None:
    answer = wire.read_submit(301, {"location": location}, b"", NOW)
    assert isinstance(answer, Refused)
    assert answer.error.location == origin


@pytest.mark.parametrize("body_sent", [True, False])
def test_it_is_kept_whether_the_request_was_fully_written(*, body_sent: bool) -> None:
    answer = wire.read_submit(408, {}, b"", NOW, body_sent=body_sent)
    assert isinstance(answer, Refused)
    assert answer.error.body_sent is body_sent


@pytest.mark.parametrize("status", [303, 500, 502, 504])
def test_a_page_of_a_proxy_is_no_certain_refusal(status: int) -> None:
    answer = wire.read_submit(status, {}, HTML, NOW)
    assert isinstance(answer, Refused)
    assert (
        ErrorTable(ERROR_RULES).rule_for_submit(answer.error).disposition is Disposition.UNCERTAIN
    )


def test_a_refusal_with_a_2xx_is_left_to_the_table() -> None:
    answer = wire.read_submit(200, {}, encoded({"success": False, "code": "NEW"}), NOW)
    assert isinstance(answer, Refused)
    assert ErrorTable(ERROR_RULES).rule_for_submit(answer.error) is OUTSIDE_CONTRACT


def test_a_message_is_short_and_holds_no_key() -> None:
    body = encoded({"error": "bad key knouds_live_abc-DEF_123 " + "x" * 9_000})
    answer = wire.read_submit(401, {}, body, NOW)
    assert isinstance(answer, Refused)
    assert "abc" not in answer.error.message
    assert "knouds_live_…" in answer.error.message
    assert len(answer.error.message) == 500


# Waiting.

DATE = {"date": "Mon, 21 Sep 2026 14:13:20 GMT"}  # NOW
IN_A_MINUTE = "Mon, 21 Sep 2026 14:14:20 GMT"
WAITS: list[tuple[str, int, Mapping[str, str], object, float | None]] = [
    ("seconds", 429, {"retry-after": "7"}, {}, 7.0),
    ("a fraction", 503, {"retry-after": "0.5"}, {}, 0.5),
    ("a date", 429, {"retry-after": IN_A_MINUTE}, {}, 60.0),
    ("the body", 429, {}, {"retryAfter": 9}, 9.0),
    ("the longer of header and body", 429, {"retry-after": "7"}, {"retryAfter": 9}, 9.0),
    ("the longer of body and header", 429, {"retry-after": "9"}, {"retryAfter": 7}, 9.0),
    ("a header of 0 beside the body", 429, {"retry-after": "0"}, {"retryAfter": 9}, 9.0),
    ("a header below 0 beside the body", 429, {"retry-after": "-5"}, {"retryAfter": 9}, 9.0),
    ("two headers", 503, {"retry-after": "3, 30"}, {}, 30.0),
    ("a number and a date", 503, {"retry-after": f"30, {IN_A_MINUTE}"}, {}, 60.0),
    ("a date and a number", 503, {"retry-after": f"{IN_A_MINUTE}, 90"}, {}, 90.0),
    ("two dates", 503, {"retry-after": f"{DATE['date']}, {IN_A_MINUTE}"}, {}, 60.0),
    ("0 in a window that goes on", 429, {"retry-after": "0", "x-ratelimit-reset": "30"}, {}, 30.0),
    ("the window's end in seconds from now", 429, {"x-ratelimit-reset": "30"}, {}, 30.0),
    ("the window's end in ms from now", 429, {"x-ratelimit-reset": "30000"}, {}, 30.0),
    ("the window's end in ms", 429, {"x-ratelimit-reset": f"{NOW * 1000 + 30_000:.0f}"}, {}, 30.0),
    ("a header of nonsense", 429, {"retry-after": "soon"}, {"retryAfter": 9}, 9.0),
    ("a body of nonsense", 429, {}, {"retryAfter": "9"}, None),
    ("the window's end", 429, {"x-ratelimit-reset": f"{NOW + 30:.0f}"}, {}, 30.0),
    ("the window's end is no floor for others", 500, {"x-ratelimit-reset": f"{NOW + 30:.0f}"}, {}, None),
    ("a window that ended", 429, {"x-ratelimit-reset": f"{NOW - 30:.0f}"}, {}, 0.0),
    ("a window of years", 429, {"x-ratelimit-reset": "9999999999999"}, {}, None),
    ("below nothing", 429, {"retry-after": "-5"}, {}, 0.0),
    ("a date gone by", 429, {"retry-after": "Mon, 21 Sep 2020 14:14:20 GMT"}, {}, 0.0),
    ("absurd", 429, {"retry-after": "99999999"}, {}, 3600.0),
    ("endless", 429, {"retry-after": "inf"}, {}, None),
    ("no number", 429, {"retry-after": "nan"}, {}, None),
    ("none", 429, {}, {}, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"), [w[1:] for w in WAITS], ids=[w[0] for w in WAITS]
)
@pytest.mark.parametrize("clock", ["ours", "theirs"])
def test_how_long_to_wait(
    status: int, headers: Mapping[str, str], body: object, expected: float | None, clock: str
) -> None:
    answer = (
        wire.read_submit(status, headers, encoded(body), NOW)
        if clock == "ours"
        else wire.read_submit(status, {**headers, **DATE}, encoded(body))
    )
    assert isinstance(answer, Refused)
    assert answer.error.retry_after_s == expected


def test_a_date_that_is_days_off_is_not_believed() -> None:
    headers = {"retry-after": IN_A_MINUTE, "date": "Mon, 07 Sep 2026 14:13:20 GMT"}
    answer = wire.read_submit(503, headers, b"{}", NOW)
    assert isinstance(answer, Refused)
    assert answer.error.retry_after_s == 60.0


@pytest.mark.parametrize("off_s", [-120, -20, 120])
def test_dates_count_from_the_clock_of_the_server(off_s: int) -> None:
    """A clock of ours that is 2 min off neither cuts a wait nor stretches it."""
    headers = {"retry-after": IN_A_MINUTE, **DATE}
    answer = wire.read_submit(503, headers, b"{}", NOW + off_s)
    assert isinstance(answer, Refused)
    assert answer.error.retry_after_s == 60.0
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{NOW + 30:.0f}", **DATE}
    assert wire.read_rate_limit(headers, NOW + off_s) == ReportedRateLimit(
        None, 0, NOW + off_s + 30
    )


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            {
                "x-ratelimit-limit": "100, 100;w=60",
                "x-ratelimit-remaining": "42, 41",
                "x-ratelimit-reset": "30, 31",
            },
            ReportedRateLimit(100, 42, NOW + 30),
        ),
        (
            {
                "x-ratelimit-limit": "100",
                "x-ratelimit-remaining": "42",
                "x-ratelimit-reset": f"{NOW + 30:.0f}",
            },
            ReportedRateLimit(100, 42, NOW + 30),
        ),
        ({"x-ratelimit-remaining": "0"}, ReportedRateLimit(None, 0, None)),
        ({"x-ratelimit-limit": "100"}, ReportedRateLimit(100, None, None)),
        (
            {"x-ratelimit-limit": "100", "x-ratelimit-reset": "9"},
            ReportedRateLimit(100, None, NOW + 9),
        ),
        ({"x-ratelimit-limit": "unlimited", "x-ratelimit-remaining": "-1"}, None),
        ({"x-ratelimit-reset": f"{NOW:.0f}"}, None),
        ({}, None),
    ],
)
def test_rate_limits_are_read_from_headers(
    headers: Mapping[str, str], expected: ReportedRateLimit | None
) -> None:
    assert wire.read_rate_limit(headers, NOW) == expected


# Polls.

POLLS: list[tuple[str, int, object, PollOutcome]] = [
    ("processing", 200, {"status": "processing"}, StillRunning("processing")),
    ("cancel requested", 200, {"status": "cancel_requested"}, StillRunning("cancel_requested")),
    ("an unknown status", 200, {"status": "Queued-Somewhere else"}, StillRunning("queued_somewhere_else")),
    ("no status", 200, {"executionId": ID}, StillRunning("unknown")),
    ("a status that is a list", 200, {"status": []}, StillRunning("unknown")),
    ("completed", 200, b'{"status": "completed", "result": ' + RESULT + b', "cost": 12.5, "executionId": "e", "requestId": "r"}', Finished(RESULT, 12.5, "e", "r")),
    ("COMPLETED", 200, {"status": "COMPLETED", "result": {"a": 1}}, Finished(b'{"a": 1}')),
    ("completed, nothing", 200, {"status": "completed"}, Lost("completed without a usable result", 200)),
    ("completed, empty", 200, {"status": "completed", "result": {}}, Lost("completed without a usable result", 200)),
    ("failed, an object", 200, {"status": "failed", "error": {"code": "EXECUTION_FAILED", "message": "no"}}, RunFailed(ProviderError("EXECUTION_FAILED", "no"))),
    ("failed, a text", 200, {"status": "failed", "error": "no", "code": "EXECUTION_FAILED"}, RunFailed(ProviderError("EXECUTION_FAILED", "no"))),
    ("failed, no code", 200, {"status": "failed", "error": "no"}, RunFailed(ProviderError(None, "no"))),
    ("failed, no word", 200, {"status": "failed"}, RunFailed(ProviderError(None))),
    ("failed upstream", 200, {"status": "failed", "error": {"code": "X"}, "providerStatus": 422}, RunFailed(ProviderError("X", provider_status="422"))),
    ("cancelled", 200, {"status": "cancelled"}, RunCancelled()),
    ("CANCELED", 200, {"status": "CANCELED"}, RunCancelled()),
    ("cancelled, finished first", 200, {"status": "cancelled", "result": [1], "cost": 3}, RunCancelled(b"[1]", 3.0)),
    ("cancelled, nothing", 200, {"status": "cancelled", "result": {}}, RunCancelled()),
    ("not there", 404, {"error": "gone", "code": "EXECUTION_NOT_FOUND"}, RunMissing(ProviderError("EXECUTION_NOT_FOUND", "gone", 404))),
    ("a page that is not there", 404, HTML, CallFailure(f"HTTP_404: {NOT_JSON}", 404)),
    ("bad key", 401, {"error": "bad key"}, CallFailure("HTTP_401: bad key", 401)),
    ("denied", 403, {"error": "no", "code": "CAPABILITY_DENIED"}, CallFailure("CAPABILITY_DENIED: no", 403)),
    ("too often", 429, {"error": "slow", "code": "RATE_LIMIT_EXCEEDED", "retryAfter": 3}, CallFailure("RATE_LIMIT_EXCEEDED: slow", 429, 3.0)),
    ("down", 503, b"", CallFailure(f"HTTP_503: {NOT_JSON}", 503)),
    ("moved", 302, b"", CallFailure(f"HTTP_302: {NOT_JSON}", 302)),
    ("gone", 410, {}, CallFailure(f"HTTP_410: {NO_ERROR_FORM}", 410)),
    ("a 404 of a gateway", 404, {"message": "no Route matched"}, CallFailure(f"HTTP_404: {NO_ERROR_FORM}", 404)),
    ("a list at 404", 404, b"[]", CallFailure(f"HTTP_404: {NOT_JSON}", 404)),
    ("denied in a 2xx", 200, {"error": "no", "code": "CAPABILITY_DENIED", "required": "execution:read"}, CallFailure("CAPABILITY_DENIED: no", 403)),
    ("denied in a 2xx that names the run", 200, {"error": "no", "code": "CAPABILITY_DENIED", "executionId": ID}, CallFailure("CAPABILITY_DENIED: no", 403)),
    ("denied in a 2xx with a status of its own", 200, {"status": "error", "error": "no", "code": "LEGACY_KEY_RETIRED"}, CallFailure("LEGACY_KEY_RETIRED: no", 401)),
    ("denied in a 2xx with a status of HTTP", 202, {"status": 403, "success": False, "code": "SCOPE_DENIED"}, CallFailure("SCOPE_DENIED", 403)),
    ("too often in a 2xx", 200, {"error": "slow", "code": "RATE_LIMIT_EXCEEDED", "retryAfter": 3}, CallFailure("RATE_LIMIT_EXCEEDED: slow", 429, 3.0)),
    ("not there, in a 2xx", 200, {"error": "gone", "code": "EXECUTION_NOT_FOUND"}, RunMissing(ProviderError("EXECUTION_NOT_FOUND", "gone", 200))),
    ("an unknown refusal in a 2xx", 200, {"error": "no", "code": "NEW"}, CallFailure("NEW: no", 200)),
    ("an error without a code in a 2xx", 200, {"error": "no"}, CallFailure("HTTP_200: no", 200)),
    ("success: false without a word", 200, {"success": False}, CallFailure("HTTP_200", 200)),
    ("an error beside a status nobody knows", 200, {"status": "waiting", "error": "busy", "code": "EXECUTION_FAILED"}, StillRunning("waiting")),
    ("an error beside the run", 200, {"executionId": ID, "error": "busy"}, StillRunning("unknown")),
    ("processing, with an old error", 200, {"status": "processing", "error": "no", "code": "CAPABILITY_DENIED"}, StillRunning("processing")),
    ("failed, denied", 200, {"status": "failed", "error": "no", "code": "CAPABILITY_DENIED"}, RunFailed(ProviderError("CAPABILITY_DENIED", "no"))),
    ("a page", 200, HTML, CallFailure(NOT_JSON, 200)),
    ("nothing", 200, b"", CallFailure(NOT_JSON, 200)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "expected"), [row[1:] for row in POLLS], ids=[row[0] for row in POLLS]
)
def test_an_answer_to_a_poll_is_read(status: int, body: object, expected: PollOutcome) -> None:
    assert wire.read_poll(status, {}, encoded(body), NOW) == expected


# The rest.


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"status": "cancel-requested"}, CancelAccepted("cancel_requested")),
        (202, b"", CancelAccepted("unknown")),
        (200, {"success": True}, CancelAccepted("unknown")),
        (404, {"error": "gone"}, RunMissing(ProviderError(None, "gone", 404))),
        (404, {"detail": "Not Found"}, CallFailure(f"HTTP_404: {NO_ERROR_FORM}", 404)),
        (
            200,
            {"error": "no", "code": "CAPABILITY_DENIED"},
            CallFailure("CAPABILITY_DENIED: no", 403),
        ),
        (
            200,
            {"error": "gone", "code": "EXECUTION_NOT_FOUND"},
            RunMissing(ProviderError("EXECUTION_NOT_FOUND", "gone", 200)),
        ),
        (200, {"status": "cancelled", "error": "by a user"}, CancelAccepted("cancelled")),
        (409, {"error": "late"}, CallFailure("HTTP_409: late", 409)),
        (
            503,
            b"",
            CallFailure(f"HTTP_503: {NOT_JSON}", 503),
        ),
    ],
)
def test_an_answer_to_a_cancel_is_read(status: int, body: object, expected: CancelOutcome) -> None:
    assert wire.read_cancel(status, {}, encoded(body), NOW) == expected


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            200,
            {
                "user": {
                    "id": "u_abc123",
                    "email": "you@Example.com",
                    "role": "user",
                    "tier": "pro",
                    "approved": True,
                }
            },
            Identity("u_abc123", "user", "pro", True, "example.com"),
        ),
        (200, {"user": {"approved": False, "email": "@"}}, Identity(approved=False)),
        (200, {"user": {"tier": 3, "approved": "no", "role": [], "email": 1}}, Identity()),
        (200, {"userId": "u", "tier": "pro"}, CallFailure(NO_USER, 200)),
        (200, {"user": "u"}, CallFailure(NO_USER, 200)),
        (
            200,
            {"error": "old", "code": "LEGACY_KEY_RETIRED"},
            CallFailure("LEGACY_KEY_RETIRED: old", 401),
        ),
        (200, {"error": "down"}, CallFailure("HTTP_200: down", 200)),
        (401, {"error": "bad"}, CallFailure("HTTP_401: bad", 401)),
        (
            200,
            HTML,
            CallFailure(f"HTTP_200: {NOT_JSON}", 200),
        ),
    ],
)
def test_a_key_knows_whose_it_is(
    status: int, body: object, expected: Identity | CallFailure
) -> None:
    assert wire.read_whoami(status, {}, encoded(body), NOW) == expected


@pytest.mark.parametrize("read", [read_workflows, read_workflow_schema, wire.read_call_failure])
def test_a_refusal_in_a_2xx_is_one_for_every_call(read: Any) -> None:
    assert not isinstance(read(200, {}, encoded({"rows": []}), NOW), CallFailure)
    for code, status in (("CAPABILITY_DENIED", 403), ("LEGACY_KEY_RETIRED", 401), ("NEW", 200)):
        refused = read(200, {}, encoded({"error": "no", "code": code}), NOW)
        assert refused == CallFailure(f"{code}: no", status)
    missing = read(200, {}, encoded({"error": "no", "code": "EXECUTION_NOT_FOUND"}), NOW)
    assert missing == CallFailure("EXECUTION_NOT_FOUND: no", 404)


def test_a_refused_call_says_how_long_to_wait() -> None:
    refused = wire.read_whoami(404, {"retry-after": "4"}, encoded({"error": "none"}))
    assert refused == CallFailure("HTTP_404: none", 404, 4.0)


COMPLETED = {"event": "execution.completed", "executionId": ID, "requestId": "r", "userId": "u"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {**COMPLETED, "status": "completed", "result": {"a": 1}},
            WebhookEvent("execution.completed", ID, "r", Finished(b'{"a": 1}', None, ID, "r")),
        ),
        (
            {**COMPLETED, "status": "completed"},
            WebhookEvent("execution.completed", ID, "r", Lost("completed without a usable result")),
        ),
        (
            {
                "event": "execution.failed",
                "executionId": ID,
                "error": {"code": "X", "message": "m"},
            },
            WebhookEvent("execution.failed", ID, None, RunFailed(ProviderError("X", "m"))),
        ),
        (
            {"event": "execution.cancelled", "executionId": ID, "result": [1]},
            WebhookEvent("execution.cancelled", ID, None, RunCancelled(b"[1]")),
        ),
        (
            {"event": "webhook.test", "executionId": ID, "status": "completed", "result": [1]},
            WebhookEvent("webhook.test", ID, None, None, is_test=True),
        ),
        (
            {"event": "execution.paused", "executionId": ID},
            WebhookEvent("execution.paused", ID, None, None),
        ),
        (
            {"event": "execution.completed", "result": [1]},
            WebhookEvent("execution.completed", None, None, None),
        ),
        (
            {"event": "batch.completed", "executionId": ID, "result": [1]},
            WebhookEvent("batch.completed", ID, None, None),
        ),
        ({"executionId": ID, "status": "completed"}, None),
        (b"nonsense", None),
    ],
)
def test_a_delivery_is_read(body: object, expected: WebhookEvent | None) -> None:
    assert KnoudsWebhooks().read_event(encoded(body)) == expected


# Nothing raises.

# No deadline: a busy machine must not fail the test.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

NAMES = ["retry-after", "date", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]
MEMBERS = [
    "_async", "success", "executionId", "requestId", "status", "event", "webhookDelivery", "result",
    "cost", "error", "code", "message", "required", "attempted", "providerStatus", "retryAfter",
    "userId", "tier", "capabilities", "name", "description", "estimatedCreditCost",
]  # fmt: skip
FINITE = st.floats(allow_nan=False, allow_infinity=False)
LEAVES = (
    st.none() | st.booleans() | st.integers() | FINITE | st.text(max_size=9)
    | st.sampled_from(["completed", "failed", "cancelled", "execution.failed", "1" * 5_000, 10**400])
)  # fmt: skip
VALUES = LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(st.text(), LEAVES, max_size=2)
NESTED = st.dictionaries(st.sampled_from(["code", "message", "configured"]), LEAVES)
OBJECTS = st.dictionaries(st.sampled_from(MEMBERS), VALUES | NESTED | st.floats()).map(
    lambda body: json.dumps(body).encode()
)
BODIES = OBJECTS | st.binary() | st.tuples(OBJECTS, st.binary(max_size=3)).map(b"".join)
HEADERS = st.dictionaries(
    st.sampled_from(NAMES),
    st.text() | st.integers().map(str) | st.floats().map(str) | st.datetimes().map(str)
    | st.sampled_from([IN_A_MINUTE, "Mon, 32 Sep 99999 25:61:61 +9999", "1" * 5_000]),
)  # fmt: skip
STATUSES = st.sampled_from([200, 202, 404, 429, 500]) | st.integers()


@CALM
@given(STATUSES, HEADERS, BODIES, st.none() | st.just(NOW))
def test_no_answer_makes_the_wire_raise(
    status: int, headers: dict[str, str], body: bytes, now: float | None
) -> None:
    submitted = wire.read_submit(status, headers, body, now)
    polled = wire.read_poll(status, headers, body, now)
    assert isinstance(submitted, get_args(SubmitOutcome))
    assert isinstance(polled, get_args(PollOutcome))
    assert isinstance(wire.read_cancel(status, headers, body, now), get_args(CancelOutcome))
    assert isinstance(wire.read_whoami(status, headers, body, now), Identity | CallFailure)
    read_workflows(status, headers, body, now)
    read_workflow_schema(status, headers, body, now)
    KnoudsWebhooks().read_event(body)
    KnoudsWebhooks().read_run(body)
    wire.read_rate_limit(headers, NOW)


@CALM
@given(STATUSES, HEADERS, BODIES)
def test_only_a_2xx_is_ever_a_run_or_a_result(
    status: int, headers: dict[str, str], body: bytes
) -> None:
    is_2xx = 200 <= status < 300
    assert is_2xx or isinstance(wire.read_submit(status, headers, body), Refused)
    assert is_2xx or isinstance(wire.read_poll(status, headers, body), RunMissing | CallFailure)


@CALM
@given(HEADERS, BODIES)
def test_a_wait_is_never_negative_nor_longer_than_an_hour(
    headers: dict[str, str], body: bytes
) -> None:
    answer = wire.read_submit(429, headers, body, NOW)
    assert isinstance(answer, Refused)
    wait = answer.error.retry_after_s
    assert wait is None or 0 <= wait <= 3600
    quota = wire.read_rate_limit(headers, NOW)
    reset_at = quota.reset_at if quota else None
    assert reset_at is None or NOW <= reset_at <= NOW + 3600


@CALM
@given(st.dictionaries(st.text(), VALUES, min_size=1), st.none() | st.integers(0, 3))
def test_a_result_is_never_encoded_anew(result: dict[str, object], indent: int | None) -> None:
    raw = json.dumps(result, indent=indent).encode()
    answer = wire.read_submit(200, {}, b'{"success":true,"result":' + raw + b"}")
    assert answer == Finished(raw)
