"""Whatever fits the schema, or just misses it, gets an answer that the schema promises.

The requests are schemathesis's own. The ids among them are those of jobs in every state.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi import checks as openapi_checks

from config.settings import Settings
from config.values import ApiToken, Role
from jobs.lanes import Scope
from tests.api.checked_api import DOCUMENT
from tests.api.conftest import OpenApi
from tests.api.job_factory import JobFactory
from worker.api.endpoints import Endpoint
from worker.api.handlers import events as stream
from worker.api.models.query_parameters import WaitQuery
from worker.app.actions import Actions, Actor
from worker.compose.api import ENDPOINTS
from worker.store import Store

# What the library says of types, it says with unknown parameters.
_checks: Any = checks
_openapi_checks: Any = openapi_checks
_openapi: Any = schemathesis.openapi

CHECKS: Final[tuple[Any, ...]] = (
    _checks.not_a_server_error,
    _openapi_checks.status_code_conformance,
    _openapi_checks.content_type_conformance,
    _openapi_checks.response_schema_conformance,
)

EXAMPLES: Final = 20
"""Requests for each call and way of making them up."""

TOKENS: Final = tuple(ApiToken(role, role, SecretStr(f"{role}-0123456789abcdef")) for role in Role)
ROLES: Final = [Role.OPERATE] * 8 + [Role.WATCH, None]

JOBS: Final = (
    "queued",
    "submitting",
    "running",
    "retrying",
    "held",
    "uncertain",
    "stuck",
    "dead",
    "succeeded",
)
"""Ids of jobs, each in the state it names."""


@pytest.fixture
async def served(
    store: Store,
    namespace: str,
    job_factory: JobFactory,
    open_api: OpenApi,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncGenerator[str]:
    """The API over jobs of every state and a pause; its streams end soon."""
    monkeypatch.setattr(stream, "MAX_STREAM_S", 0.02)
    for name in JOBS:
        await getattr(job_factory, name)(name)
    await Actions(store, job_factory.clock).place_hold(Scope("studio"), Actor("ann"))
    settings = Settings(namespace=namespace, http_port=0, api_tokens=TOKENS)
    async with open_api(store, settings) as api:
        yield api.url


@pytest.mark.parametrize(
    ("endpoint", "mode"),
    [
        pytest.param(endpoint, mode, id=f"{mode} {endpoint.method} {endpoint.path}")
        for endpoint in ENDPOINTS
        for mode in GenerationMode
        # Where there is neither body nor query, nothing can miss the schema.
        if mode is GenerationMode.POSITIVE or endpoint.body or endpoint.query
    ],
)
async def test_every_answer_is_as_the_document_promises(
    served: str, endpoint: Endpoint, mode: GenerationMode
) -> None:
    operation = _openapi.from_dict(DOCUMENT)[endpoint.path][endpoint.method]
    requests = operation.as_strategy(generation_mode=mode)
    await asyncio.to_thread(_run, requests, endpoint, served)


def _run(requests: st.SearchStrategy[Any], endpoint: Endpoint, url: str) -> None:
    @seed(1)
    @hypothesis_settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(case=requests, job=st.sampled_from(JOBS), role=st.sampled_from(ROLES))
    def ask(case: Any, job: str, role: Role | None) -> None:
        query: dict[str, Any] = case.query or {}
        if "id" in case.path_parameters:
            case.path_parameters["id"] = job
        if endpoint.query is WaitQuery and _is_long(query.get("timeout_s", 30)):
            case.query = query | {"timeout_s": 0.01}
        headers = {} if role is None else {"Authorization": f"Bearer {role}-0123456789abcdef"}
        answer = case.call(base_url=url, headers=headers)
        case.validate_response(
            answer,
            checks=CHECKS,
        )

    ask()


def _is_long(timeout_s: object) -> bool:
    """Whether a wait would last: the text of a number counts."""
    try:
        return float(str(timeout_s)) > 0
    except ValueError:
        return False
