"""`/openapi.json` is valid and complete; every response of every test is checked against it."""

import re
from typing import Any, cast

import msgspec
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from tests.api.checked_api import DOCUMENT, REQUEST, CheckedApi
from worker.compose.api import ENDPOINTS


async def test_the_document_is_valid_openapi_and_served(api: CheckedApi) -> None:
    document = (await api.get("/openapi.json")).json
    validate(document)
    assert document == DOCUMENT
    assert document["openapi"].startswith("3.1")


def test_every_call_is_in_it_once() -> None:
    operations = [o for path in DOCUMENT["paths"].values() for o in path.values()]
    assert len(operations) == len(ENDPOINTS)
    assert len({operation["operationId"] for operation in operations}) == len(ENDPOINTS)
    for operation in operations:
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
