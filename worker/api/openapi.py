"""`/openapi.json`: OpenAPI 3.1, made of the models that read requests and encode responses."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final, cast

import msgspec
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from worker.api.auth.access import COOKIE
from worker.api.auth.origin import CSRF_HEADER
from worker.api.auth.principal import Visibility
from worker.api.endpoints import Endpoint
from worker.api.models.events import BreakerEventResponse, EndResponse, ResetResponse
from worker.api.models.problems import ProblemResponse
from worker.api.models.response import ResponseModel
from worker.api.problems import CONTENT_TYPE

_REF: Final = "#/components/schemas/{model}"

_COMMON_STATUSES: Final = (400, 500, 503)
_AUTH_STATUSES: Final = (401, 403, 429)

_VISIBILITY: Final = {
    Visibility.SYSTEM: ", without a tenant",
    Visibility.TENANT: "",
    Visibility.OWN: ", or one with `own`",
}
"""What else a token needs."""

_DESCRIPTION: Final = """\
Paid, long-running jobs on Knouds: never paid twice, never lost. Errors are RFC 9457 problems, times
RFC 3339 in UTC. Without KNOUDS_API_TOKENS only this machine is served, and no token is needed.
"""


def build_document(endpoints: Sequence[Endpoint], prefix: str = "") -> dict[str, Any]:
    """The OpenAPI document of `endpoints`, served under `prefix`, as JSON values."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "knouds-worker",
            "version": version("knouds-worker"),
            "description": _DESCRIPTION,
        },
        "servers": [{"url": prefix or "/"}],
        "paths": paths,
        "components": {
            "schemas": _schemas(endpoints),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": COOKIE,
                    "description": "of a browser that logged in; unsafe methods also need the"
                    f" header `{CSRF_HEADER}`",
                },
            },
        },
    }


def component_name(model: type[BaseModel] | type[ResponseModel]) -> str:
    """The name of a model in the document: `Job` for `JobResponse`."""
    return model.__name__.removesuffix("Response")


def _schemas(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    responses: dict[type[ResponseModel], None] = {
        ProblemResponse: None,
        BreakerEventResponse: None,
        ResetResponse: None,
        EndResponse: None,
    }
    bodies: dict[type[BaseModel], None] = {}
    for endpoint in endpoints:
        responses |= {model: None for model in endpoint.responses.values() if model is not None}
        responses |= dict.fromkeys(endpoint.brief.values())
        if endpoint.body is not None:
            bodies[endpoint.body] = None
    _, body_schemas = models_json_schema([(m, "validation") for m in bodies], ref_template=_REF)
    _, response_schemas = msgspec.json.schema_components(
        list(responses), ref_template=_REF.format(model="{name}")
    )
    named = {name.removesuffix("Response"): facts for name, facts in response_schemas.items()}
    schemas: dict[str, Any] = body_schemas["$defs"]
    return schemas | cast("dict[str, Any]", _plain_names(named))


def _plain_names(schema: object) -> object:
    """A schema whose references and titles name components as `component_name` does."""
    match schema:
        case dict():
            facts = cast("dict[str, object]", schema)
            return {
                name: fact.removesuffix("Response")
                if name in {"$ref", "title"} and isinstance(fact, str)
                else _plain_names(fact)
                for name, fact in facts.items()
            }
        case list():
            return [_plain_names(item) for item in cast("list[object]", schema)]
        case _:
            return schema


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    named = endpoint.operation
    operation: dict[str, Any] = {
        "operationId": named.id,
        "summary": named.summary,
        "parameters": [
            *_path_parameters(endpoint.path),
            *_query_parameters(endpoint),
            *_headers(endpoint),
        ],
        "responses": _responses(endpoint),
    }
    description = [named.description] if named.description else []
    if endpoint.role is not None:
        rest = _VISIBILITY[endpoint.visibility]
        description.append(f"Needs a token of the role `{endpoint.role}` or above{rest}.")
        operation["security"] = [{"token": []}, {"session": []}, {}]
    if description:
        operation["description"] = " ".join(description)
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": endpoint.is_body_required,
            "content": {"application/json": {"schema": _reference(endpoint.body)}},
        }
    return operation


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    responses: dict[str, Any] = {
        str(status): {
            "description": HTTPStatus(status).phrase,
            "content": _content(endpoint, model, endpoint.brief.get(status)),
        }
        for status, model in endpoint.responses.items()
    }
    auth_statuses = _AUTH_STATUSES if endpoint.role is not None else (403,)
    for status in sorted({*_COMMON_STATUSES, *auth_statuses, *endpoint.problem_statuses}):
        responses[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {CONTENT_TYPE: {"schema": _reference(ProblemResponse)}},
        }
    # From aiohttp itself: a request line or header that is too long, or that is not HTTP.
    responses["400"]["content"]["text/plain"] = {"schema": {"type": "string"}}
    return responses


def _content(
    endpoint: Endpoint, model: type[ResponseModel] | None, brief: type[ResponseModel] | None
) -> dict[str, Any]:
    """The content of a successful response; for a stream, that of each event."""
    content_type = endpoint.content_type or "application/json"
    if model is None:
        return {content_type: {"schema": {"type": "string"}}}
    if endpoint.content_type is None:
        one_of = {"anyOf": [_reference(model), _reference(brief)]} if brief else _reference(model)
        return {content_type: {"schema": one_of}}
    data = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {
            "anyOf": [
                _reference(one) for one in (model, BreakerEventResponse, ResetResponse, EndResponse)
            ]
        },
    }
    event = {
        "enum": ["job", "breaker", "reset", "end"],
        "description": "reset: some are missing, read the lists; end: the token or login has ended",
    }
    return {
        content_type: {
            "schema": {
                "type": "object",
                "properties": {"event": event, "data": data, "id": {"type": "string"}},
                "required": ["event", "data"],
            }
        }
    }


def _reference(model: type[BaseModel] | type[ResponseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=component_name(model))}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", path)
    ]


def _query_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    if endpoint.query is None:
        return []
    schema = endpoint.query.model_json_schema(ref_template=_REF)
    return [_parameter(name, "query", facts) for name, facts in schema["properties"].items()]


def _parameter(name: str, location: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter. A query cannot carry null, so null is no choice of an optional one."""
    description = schema.pop("description", "")
    schema.pop("title", None)
    choices = [choice for choice in schema.pop("anyOf", []) if choice.get("type") != "null"]
    if choices:
        schema.pop("default", None)
        schema |= choices[0]
    return {
        "name": name,
        "in": location,
        "required": False,
        "description": description,
        "schema": schema,
    }


def _headers(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "description": meaning, "schema": {"type": "string"}}
        for name, meaning in endpoint.headers.items()
    ]
