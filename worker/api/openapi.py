"""`/openapi.json`: OpenAPI 3.1, made of the models that check requests and describe answers."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from worker.api.auth.access import COOKIE, CSRF_HEADER
from worker.api.endpoints import Endpoint
from worker.api.models import answers
from worker.api.problems import CONTENT_TYPE

_REF: Final = "#/components/schemas/{model}"

_COMMON_STATUSES: Final = (400, 500, 503)
_AUTH_STATUSES: Final = (401, 403)

_DESCRIPTION: Final = """\
Paid, long-running runs on Knouds: never paid twice, never lost. Errors are RFC 9457 problems, times
RFC 3339 in UTC. Without KNOUDS_API_TOKENS only this machine is served, and no token is asked for.
"""


_RESET_SCHEMA: Final = {
    "type": "object",
    "properties": {"why": {"type": "string"}},
    "required": ["why"],
    "additionalProperties": False,
}
"""The data of an event `reset`."""


def build_document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The document."""
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
        "paths": paths,
        "components": {
            "schemas": _schemas(endpoints),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": COOKIE,
                    "description": "of a browser that logged in; acts need the header"
                    f" `{CSRF_HEADER}` besides",
                },
            },
        },
    }


def _schemas(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    models: dict[type[BaseModel], None] = {answers.Problem: None}
    for endpoint in endpoints:
        models |= dict.fromkeys(endpoint.responses.values())
        if endpoint.body is not None:
            models[endpoint.body] = None
    _, found = models_json_schema([(m, "validation") for m in models], ref_template=_REF)
    schemas: dict[str, Any] = found["$defs"]
    return schemas


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "parameters": [
            *_path_parameters(endpoint.path),
            *_query_parameters(endpoint),
            *_headers(endpoint),
        ],
        "responses": _responses(endpoint),
    }
    if endpoint.role is not None:
        operation["description"] = f"Takes a token of the role `{endpoint.role}` or above."
        operation["security"] = [{"token": []}, {"session": []}, {}]
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": endpoint.is_body_required,
            "content": {"application/json": {"schema": _reference(endpoint.body)}},
        }
    return operation


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    found: dict[str, Any] = {
        str(status): {
            "description": HTTPStatus(status).phrase,
            "content": _content(endpoint, model),
        }
        for status, model in endpoint.responses.items()
    }
    behind_a_role = _AUTH_STATUSES if endpoint.role is not None else (403,)
    for status in sorted({*_COMMON_STATUSES, *behind_a_role, *endpoint.problem_statuses}):
        found[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {CONTENT_TYPE: {"schema": _reference(answers.Problem)}},
        }
    # Of aiohttp itself: a request line or header that is too long, or no HTTP at all.
    found["400"]["content"]["text/plain"] = {"schema": {"type": "string"}}
    return found


def _content(endpoint: Endpoint, model: type[BaseModel]) -> dict[str, Any]:
    """What a good answer holds; of a stream, what each of its events does."""
    if endpoint.content_type is None:
        return {"application/json": {"schema": _reference(model)}}
    if model is answers.Text:
        return {endpoint.content_type: {"schema": {"type": "string"}}}
    data = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"anyOf": [_reference(model), _RESET_SCHEMA]},
    }
    event = {"enum": ["job", "reset"], "description": "reset: some are missing, read the lists"}
    return {
        endpoint.content_type: {
            "schema": {
                "type": "object",
                "properties": {"event": event, "data": data, "id": {"type": "string"}},
                "required": ["event", "data"],
            }
        }
    }


def _reference(model: type[Any]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}


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
    """A parameter. One that may be left away is never null in a query, so null is dropped."""
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
