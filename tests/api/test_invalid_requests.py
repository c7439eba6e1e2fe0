"""What cannot be taken is refused with its field and the fix, and its value is never repeated."""

from typing import Any

import msgspec
import pytest

from jobs.states import Kind, OnUncertain
from tests.api.checked_api import REQUEST, CheckedApi
from worker.app.enqueue import InvalidRequest
from worker.app.job_request_parser import parse_arq_call, parse_job_request, read_time

LIMIT = 1 << 20


@pytest.mark.parametrize(
    ("change", "field", "fix"),
    [
        ({"kind": "video"}, "kind", "workflow"),
        ({"kind": None}, "kind", "workflow"),
        ({"target": "GPT Image"}, "target", "lowercase"),
        ({"target": "-x"}, "target", "lowercase"),
        ({"target": "x\n"}, "target", "lowercase"),
        ({"target": "a" * 129}, "target", "lowercase"),
        ({"target": 7}, "target", "lowercase"),
        ({"inputs": []}, "inputs", "object"),
        ({"inputs": "{}"}, "inputs", "object"),
        ({"inputs": None}, "inputs", "object"),
        ({"id": ""}, "id", "1 to 128"),
        ({"id": "-a"}, "id", "letter or digit"),
        ({"id": "a/b"}, "id", "letters"),
        ({"id": "a" * 129}, "id", "128"),
        ({"id": 1}, "id", "letters"),
        ({"priority": 101}, "priority", "-100 to 100"),
        ({"priority": -101}, "priority", "-100 to 100"),
        ({"priority": 1.5}, "priority", "whole"),
        ({"priority": "1"}, "priority", "whole"),
        ({"priority": True}, "priority", "whole"),
        ({"priority": 10**30}, "priority", "whole"),
        ({"tags": "a"}, "tags", "20"),
        ({"tags": ["a"] * 21}, "tags", "20"),
        ({"tags": ["a", ""]}, "tags[1]", "64"),
        ({"tags": ["a b"]}, "tags[0]", "letters"),
        ({"tags": ["a" * 65]}, "tags[0]", "64"),
        ({"batch": ""}, "batch", "128"),
        ({"batch": "a" * 129}, "batch", "128"),
        ({"run_at": "2030-01-31T09:30:00"}, "run_at", "no time zone"),
        ({"run_at": "2030-02-31T09:30:00Z"}, "run_at", "no time that exists"),
        ({"run_at": "tomorrow"}, "run_at", "RFC 3339"),
        ({"run_at": "20300131T093000Z"}, "run_at", "RFC 3339"),
        ({"run_at": 1_900_000_000}, "run_at", "RFC 3339"),
        ({"delay_s": -1}, "delay_s", "from 0"),
        ({"delay_s": 400_000_000}, "delay_s", "ten years"),
        ({"delay_s": "1"}, "delay_s", "seconds"),
        ({"delay_s": 1, "run_at": "2030-01-31T09:30:00Z"}, "delay_s", "one of the two"),
        ({"max_attempts": 0}, "max_attempts", "1 to 100"),
        ({"max_attempts": 101}, "max_attempts", "1 to 100"),
        ({"deadline_s": 0}, "deadline_s", "above 0"),
        ({"deadline_s": -5}, "deadline_s", "above 0"),
        ({"on_uncertain": "hope"}, "on_uncertain", "park"),
        ({"account": "No Such"}, "account", "lowercase"),
        ({"prioritiy": 1}, "prioritiy", "did you mean priority"),
        ({"colour": "red"}, "colour", "there are kind, target"),
    ],
)
async def test_a_wrong_field_is_named_with_its_fix(
    api: CheckedApi, change: dict[str, object], field: str, fix: str
) -> None:
    reply = await api.post("/v1/jobs", {**REQUEST, **change})
    assert (reply.status, reply.field) == (422, field)
    assert reply.detail.startswith(f"{field} ")
    assert fix in reply.detail


@pytest.mark.parametrize("field", ["kind", "target", "inputs"])
async def test_a_missing_field_is_named(api: CheckedApi, field: str) -> None:
    job_request = {name: value for name, value in REQUEST.items() if name != field}
    reply = await api.post("/v1/jobs", job_request)
    assert (reply.status, reply.field) == (422, field)
    assert "is missing" in reply.detail


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"1", b"null"])
async def test_a_body_that_is_no_object_is_refused(api: CheckedApi, body: bytes) -> None:
    assert (await api.post_text("/v1/jobs", body)).status == 422


@pytest.mark.parametrize("inputs", [{"secret": "hunter2-hunter2"}, "hunter2-hunter2"])
async def test_a_refusal_never_repeats_inputs(api: CheckedApi, inputs: object) -> None:
    for change in ({"priority": "x"}, {"colour": 1}, {"run_at": "hunter2-hunter2"}):
        reply = await api.post("/v1/jobs", {**REQUEST, "inputs": inputs, **change})
        assert reply.status == 422
        assert b"hunter2" not in reply.body


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "missing"),
        (b"{", "line 1 column 2"),
        (b'{"kind": "model",}', "line 1 column 18"),
        (b"{'kind': 1}", "line 1 column 2"),
        (b'{"kind": "model"} x', "Extra data"),
        (b'{"inputs": {"a": NaN}}', "NaN is not JSON"),
        (b'{"inputs": {"a": -Infinity}}', "-Infinity is not JSON"),
        (b'{"inputs": {"a": 1e999}}', "out of range"),
        (b'{"inputs": {"a": ' + b"9" * 5000 + b"}}", "too many digits"),
        (b'{"inputs": {"a": "\\ud800"}}', "surrogate"),
        (b'{"inputs": {"a": "\\udc00 b"}}', "surrogate"),
        (b'{"inputs": {"a": "\xff"}}', "UTF-8 (byte 18)"),
        (b'\xef\xbb\xbf{"kind": "model"}', "byte order mark"),
        ('{"kind": "model"}'.encode("utf-16"), "not UTF-8"),
        (b'{"kind": "model", "kind": "workflow"}', "appears twice"),
        (b'{"inputs": {"a": [{"b": 1, "b": 1}]}}', "appears twice"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"inputs": ' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001, "nested too deep"),
    ],
)
async def test_a_body_that_is_not_json_is_refused_with_what_is_wrong_and_where(
    api: CheckedApi, text: bytes, says: str
) -> None:
    reply = await api.post_text("/v1/jobs", text)
    assert reply.status == (422 if not text else 400)
    assert says in reply.detail


async def test_a_form_is_refused_in_favour_of_json(api: CheckedApi) -> None:
    body = msgspec.json.encode(REQUEST)
    for kind in ("application/x-www-form-urlencoded", "text/plain"):
        reply = await api.call("POST", "/v1/jobs", body=body, headers={"Content-Type": kind})
        assert reply.status == 415
        assert "application/json" in reply.detail


async def test_json_of_a_charset_or_a_suffix_is_json(api: CheckedApi) -> None:
    body = msgspec.json.encode(REQUEST)
    for kind in ("application/json; charset=utf-8", "application/merge-patch+json"):
        reply = await api.call("POST", "/v1/jobs", body=body, headers={"Content-Type": kind})
        assert reply.status == 202


# The reader itself, which plain arq uses, too.


def read(**facts: Any) -> Any:
    return parse_job_request({**REQUEST, **facts}, max_inputs_bytes=LIMIT)


def test_a_request_carries_everything_that_was_asked_for() -> None:
    job_id, job_request = read(
        id="j1",
        run_at="2030-01-31T09:30:00.5+01:00",
        deadline_s=90,
        on_uncertain="retry",
        account="studio",
        batch="b/1",
    )
    assert job_id == "j1"
    assert (job_request.kind, job_request.on_uncertain) == (Kind.MODEL, OnUncertain.RETRY)
    assert (job_request.run_at, job_request.deadline_s) == (1_896_078_600.5, 90.0)
    assert (job_request.account, job_request.batch, job_request.max_attempts) == (
        "studio",
        "b/1",
        None,
    )


def test_null_is_the_same_as_nothing_where_nothing_is_allowed() -> None:
    names = ("id", "batch", "run_at", "delay_s", "max_attempts", "deadline_s")
    assert read(**dict.fromkeys(names)) == read()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("1970-01-01t00:00:01z", 1.0),
        ("1970-01-01 01:00:00.123456789+01:00", 0.123),
        ("9999-12-31T23:59:59Z", 253_402_300_799.0),
    ],
)
def test_times_are_read_to_the_millisecond(text: str, seconds: float) -> None:
    assert read_time(text) == seconds


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_delay_is_finite(value: float) -> None:
    with pytest.raises(InvalidRequest, match="ten years"):
        read(delay_s=value)


def test_inputs_that_json_does_not_know_are_refused() -> None:
    for inputs in ({"a": object()}, {"a": "\ud800"}, {"a": {1: 2}}):
        with pytest.raises(InvalidRequest) as caught:
            read(inputs=inputs)
        assert caught.value.field == "inputs"


def test_options_of_plain_arq_are_a_request_with_arqs_id() -> None:
    options = {"priority": 3, "tags": ["a"]}
    job_id, job_request = parse_arq_call(
        Kind.WORKFLOW, "my-flow", {"a": 1}, "arq-1", options, max_inputs_bytes=LIMIT
    )
    assert (job_id, job_request.kind, job_request.target) == ("arq-1", Kind.WORKFLOW, "my-flow")
    assert (job_request.priority, job_request.tags, job_request.inputs) == (3, ("a",), b'{"a":1}')


@pytest.mark.parametrize(
    ("target", "inputs", "arq_id", "options", "field"),
    [
        (7, {}, "a", {}, "target"),
        ("m", None, "a", {}, "inputs"),
        ("m", {}, "a b", {}, "id"),
        ("m", {}, "a", {"priority": "high"}, "priority"),
        ("m", {}, "a", {"id": "b"}, "id"),
        ("m", {}, "a", {"kind": "model"}, "kind"),
        ("m", {}, "a", {"sleep": 1}, "sleep"),
    ],
)
def test_bad_options_name_their_field(
    target: object, inputs: object, arq_id: str, options: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_arq_call(Kind.MODEL, target, inputs, arq_id, options, max_inputs_bytes=LIMIT)
    assert caught.value.field == field
