"""`/openapi.json` is valid and complete; every response of every test is checked against it."""

import re
from collections.abc import Iterator
from typing import Any, Final, cast

import msgspec
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from tests.api.checked_api import DOCUMENT, REQUEST, CheckedApi
from worker.api.models.events import EVENT_MODELS
from worker.api.openapi_examples import examples
from worker.compose.api import ENDPOINTS


async def test_the_document_is_valid_openapi_and_served(api: CheckedApi) -> None:
    document = (await api.get("/openapi.json")).json
    validate(document)
    assert document == DOCUMENT
    assert document["openapi"].startswith("3.1")


VERBS: Final = re.compile(
    r"add|cancel|check|create|disable|discard|drain|enable|enqueue|erase|explain|export|forecast|get|list|park"
    r"|edit|patch|pause|preview|probe|put|receive|release|remove|requeue|resend|reset|resolve|restore"
    r"|resubmit|resume|revoke|run|seal|set|stop|stream|test|turn|undo|update|wait"
)
"""What an operation id begins with: it is the name of a method of the clients."""


def operations() -> Iterator[dict[str, Any]]:
    for path in DOCUMENT["paths"].values():
        yield from path.values()


def test_every_operation_is_named_as_a_method_of_a_client() -> None:
    for operation in operations():
        verb, _, noun = operation["operationId"].partition("_")
        assert VERBS.fullmatch(verb), f"name the handler of {operation['operationId']} by its verb"
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", noun), operation["operationId"]


def test_every_response_has_a_schema_and_every_error_is_a_problem() -> None:
    for operation in operations():
        assert {"200", "201", "202", "204"} & operation["responses"].keys()
        for status, response in operation["responses"].items():
            content: dict[str, Any] = response["content"]
            assert all(facts["schema"] for facts in content.values()), operation["operationId"]
            if status >= "400":
                problem = content["application/problem+json"]["schema"]
                assert problem == {"$ref": "#/components/schemas/Problem"}


def test_every_kind_of_event_has_a_schema() -> None:
    stream = DOCUMENT["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]
    event = stream["text/event-stream"]["schema"]["properties"]
    assert event["event"]["enum"] == list(EVENT_MODELS)
    assert len(event["data"]["contentSchema"]["anyOf"]) == len(event["event"]["enum"])


WITHOUT_EXAMPLE: Final = frozenset({"receive_webhook", "get_openapi", "revoke_session"})
"""A delivery needs a signature, the document would hold itself, a session needs a browser."""


def test_every_operation_has_an_example_that_fits_its_schema() -> None:
    missing: set[str] = set()
    for operation in operations():
        bodies = [one["content"] for one in operation["responses"].values()]
        request = operation.get("requestBody", {}).get("content", {})
        found = [facts for content in (request, *bodies) for facts in content.values()]
        for facts in found:
            if "example" in facts:
                schema = facts["schema"] | {"components": DOCUMENT["components"]}
                fault = next(
                    cast("Any", Draft202012Validator(schema)).iter_errors(facts["example"]), None
                )
                assert fault is None, f"{operation['operationId']}: {fault.message}"
        is_json = any("application/json" in content for content in bodies)
        if is_json and not any("example" in facts for facts in found):
            missing.add(operation["operationId"])
    assert missing == WITHOUT_EXAMPLE, "add a call to tools/api_examples.py, then `make examples`"


def test_every_example_is_of_an_operation() -> None:
    named = {operation["operationId"] for operation in operations()}
    assert examples().keys() <= named, "`make examples`"


def test_every_call_is_in_it_once() -> None:
    found = list(operations())
    assert len(found) == len(ENDPOINTS)
    assert len({operation["operationId"] for operation in found}) == len(ENDPOINTS)
    for operation in found:
        assert operation["summary"].endswith(".")
        assert {"500", "503"} <= operation["responses"].keys()


def test_every_reference_has_its_schema() -> None:
    text = msgspec.json.encode(DOCUMENT).decode()
    found = set(re.findall(r'"\$ref":"#/components/schemas/(\w+)"', text))
    assert text.count('"$ref"') > len(found) > 10
    assert found <= DOCUMENT["components"]["schemas"].keys()


def test_every_field_of_a_request_says_what_it_must_be() -> None:
    for name, facts in DOCUMENT["components"]["schemas"]["JobRequestBody"]["properties"].items():
        assert facts["description"], name


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"priority": 3, "tags": ["a"], "run_at": "2030-01-31T09:30:00Z"},
        {"priority": 101},
        {"kind": "video"},
        {"tags": ["a b"]},
        {"colour": 1},
        {"delay_s": -1},
        {"id": "a/b"},
    ],
)
async def test_the_schema_of_a_request_agrees_with_what_is_taken(
    api: CheckedApi, change: dict[str, object]
) -> None:
    schema = {
        "$ref": "#/components/schemas/JobRequestBody",
        "components": DOCUMENT["components"],
    }
    job_request = {**REQUEST, **change}
    is_accepted = (await api.post("/v1/jobs", job_request)).status == 202
    validator = cast("Any", Draft202012Validator(schema))
    assert is_accepted is validator.is_valid(job_request)
