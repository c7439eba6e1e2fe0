"""Workflows and schemas as the client reads them: from the sandbox over HTTP, and odd bodies."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import pytest

from jobs.outcomes import CallFailure
from jobs.workflows import InputField, Workflow, WorkflowList, WorkflowSchema
from tests.contract.client_calls import provider_at
from worker.provider.knouds.workflows import (
    MAX_FIELDS,
    MAX_WORKFLOWS,
    read_workflow_schema,
    read_workflows,
)
from worker.sandbox import DEFAULT_KEY, SandboxConfig, running


@pytest.fixture
async def sandbox_url() -> AsyncGenerator[str]:
    async with running(SandboxConfig()) as url:
        yield url


async def admin(url: str, path: str, **body: Any) -> None:
    async with aiohttp.ClientSession() as http, http.post(f"{url}/_sandbox/{path}", json=body) as r:
        assert r.status == 200, await r.text()


async def test_the_list_has_slug_price_and_whether_it_is_archived(sandbox_url: str) -> None:
    await admin(sandbox_url, "workflows", slug="my-pipeline", archived=True, price=None)
    await admin(sandbox_url, "workflows", slug="new-one", title="New", hidden=True)
    await admin(sandbox_url, "workflows", slug="caption-images", listed=False)
    async with provider_at(sandbox_url, key=DEFAULT_KEY) as provider:
        found = await provider.workflows("default")
    assert found == WorkflowList(
        (
            Workflow(slug="my-pipeline", name="Picture, song and film", archived=True),
            Workflow(slug="product-shots", name="Product shots", price=16),
            Workflow(slug="new-one", name="New", hidden=True),
        ),
        is_complete=True,
    )


async def test_a_schema_says_which_fields_have_to_be_given(sandbox_url: str) -> None:
    async with provider_at(sandbox_url, key=DEFAULT_KEY) as provider:
        found = await provider.workflow_schema("default", "product-shots")
        missing = await provider.workflow_schema("default", "no-such")
    assert found == WorkflowSchema(
        (
            InputField(name="product_image", type="string", needed=True),
            InputField(name="prompt", type="string"),
            InputField(name="count", type="number"),
            InputField(name="sandbox", type="object"),
        ),
        is_complete=True,
    )
    assert isinstance(missing, CallFailure)
    assert missing.http_status == 404


async def test_a_key_without_the_right_is_told_which_one_it_lacks(sandbox_url: str) -> None:
    await admin(sandbox_url, "keys", key=DEFAULT_KEY, capabilities=["workflow:run"])
    async with provider_at(sandbox_url, key=DEFAULT_KEY) as provider:
        for found in (
            await provider.workflows("default"),
            await provider.workflow_schema("default", "product-shots"),
        ):
            assert isinstance(found, CallFailure)
            assert found.http_status == 403
            assert found.error is not None
            assert found.error.required_capability == "workflow:read"


def read_list(body: object) -> WorkflowList | CallFailure:
    return read_workflows(200, {}, body if isinstance(body, bytes) else json.dumps(body).encode())


def read_fields(*rows: object, **more: object) -> WorkflowSchema | CallFailure:
    body = {"fields": rows, **more}
    return read_workflow_schema(200, {}, json.dumps(body).encode())


@pytest.mark.parametrize("body", [b"", b"<html>", b"7", b'"x"', b"["])
def test_what_is_no_json_of_ours_is_a_failure(body: bytes) -> None:
    assert isinstance(read_list(body), CallFailure)
    assert isinstance(read_workflow_schema(200, {}, body), CallFailure)


def test_a_form_that_is_not_known_says_nothing() -> None:
    """So a slug that is not in it is not called wrong."""
    assert read_list({"workflows": []}) == WorkflowList()
    assert read_workflow_schema(200, {}, b'{"fields": {}, "name": "x"}') == WorkflowSchema()
    assert read_workflow_schema(200, {}, b"{}") == WorkflowSchema()


def test_odd_members_count_as_absent_and_an_unreadable_entry_makes_a_list_incomplete() -> None:
    odd: dict[str, Any] = {
        "slug": "a",
        "name": [],
        "estimatedCreditCost": "9",
        "archived": 1,
        "new": {},
    }
    found = read_list([odd, {"slug": "b", "name": "n" * 5_000, "estimatedCreditCost": -1}])
    assert found == WorkflowList(
        (Workflow(slug="a"), Workflow(slug="b", name="n" * 200)), is_complete=True
    )
    assert read_list([odd, {"name": "no slug"}]) == WorkflowList((Workflow(slug="a"),))
    assert read_list([odd, 4]) == WorkflowList((Workflow(slug="a"),))


def test_lists_are_bounded() -> None:
    many = read_list([{"slug": f"w{n}"} for n in range(MAX_WORKFLOWS + 1)])
    assert isinstance(many, WorkflowList)
    assert (len(many.workflows), many.is_complete) == (MAX_WORKFLOWS, False)
    schema = read_fields(*({"name": f"f{n}"} for n in range(MAX_FIELDS + 1)))
    assert isinstance(schema, WorkflowSchema)
    assert (len(schema.fields), schema.is_complete) == (MAX_FIELDS, False)


@pytest.mark.parametrize(
    ("field", "values", "needed"),
    [
        ({}, {}, True),
        ({"default": None}, {}, True),
        ({"default": "x"}, {}, False),
        ({"default": ""}, {}, False),
        ({"default": False}, {}, False),
        ({"default": 0}, {}, False),
        ({}, {"f": "x"}, False),
        ({"required": False}, {}, False),
        ({"required": True}, {}, True),
        ({"required": True, "default": ""}, {"f": ""}, True),
        ({"required": True, "default": "x"}, {}, False),
        ({"required": True}, {"f": 3}, False),
        ({"required": "yes"}, {}, True),
    ],
)
def test_a_field_is_needed_if_it_is_not_optional_and_has_no_default(
    field: dict[str, Any], values: dict[str, Any], *, needed: bool
) -> None:
    found = read_fields({"name": "f", "type": "text", **field}, values=values)
    expected = InputField(name="f", type="text", needed=needed)
    assert found == WorkflowSchema((expected,), is_complete=True)


def test_a_field_without_a_name_makes_a_schema_incomplete() -> None:
    found = read_fields({"name": "f", "default": "", "type": {"kind": "new"}}, {"type": "text"})
    assert found == WorkflowSchema((InputField(name="f"),))
