"""`/openapi.json`: OpenAPI 3.1, made of the models that read requests and encode responses."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final

from worker.api.auth.access import COOKIE
from worker.api.auth.origin import CSRF_HEADER
from worker.api.auth.principal import Visibility
from worker.api.endpoints import JSON_LINES, Endpoint
from worker.api.models.events import EVENT_MODELS
from worker.api.models.problems import ProblemResponse
from worker.api.models.response import ResponseModel
from worker.api.openapi_examples import example_of_request, example_of_response
from worker.api.openapi_schemas import REF, component_schemas, reference
from worker.api.problems import CONTENT_TYPE

_COMMON_STATUSES: Final = (400, 500, 503)
_AUTH_STATUSES: Final = (401, 403, 429)

_VISIBILITY: Final = {
    Visibility.SYSTEM: ", without a tenant",
    Visibility.TENANT: "",
    Visibility.OWN: ", or one with `own`",
}
"""What else a token needs."""

_SYSTEM_TAG: Final = "system"

_TAGS: Final = {
    "jobs": "Enqueue, read, wait for and act on single jobs.",
    "bulk": "Actions on every job that a filter matches.",
    "whoami": "Who a token is, and what it may do.",
    "events": "What changes, as it happens.",
    _SYSTEM_TAG: "Probes, metrics and this document.",
}
"""What some groups of operations are for; a group is the first part of a path after /v1."""

_HEADERS: Final[dict[int, dict[str, Any]]] = {
    202: {
        "Location": {"description": "the path of the job", "schema": {"type": "string"}},
    },
    429: {
        "Retry-After": {
            "description": "seconds until it may be tried again",
            "schema": {"type": "integer"},
        }
    },
}
"""Headers of responses, by status."""
_HEADERS[503] = _HEADERS[429]

_DESCRIPTION: Final = """\
Paid, long-running jobs on Knouds: never paid twice, never lost. Errors are RFC 9457 problems, times
RFC 3339 in UTC. Without KNOUDS_API_TOKENS only this machine is served, and no token is needed.
"""


def build_document(endpoints: Sequence[Endpoint], prefix: str = "") -> dict[str, Any]:
    """The OpenAPI document of `endpoints`, served under `prefix`, as JSON values."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    tags = dict.fromkeys(_tag(endpoint.path) for endpoint in endpoints)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "knouds-worker",
            "version": version("knouds-worker"),
            "description": _DESCRIPTION,
        },
        "servers": [{"url": prefix or "/"}],
        "tags": [
            {"name": tag, "description": _TAGS.get(tag, f"{tag.capitalize()}.")} for tag in tags
        ],
        "paths": paths,
        "components": {
            "schemas": component_schemas(endpoints),
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


def _tag(path: str) -> str:
    """The group of a path."""
    match = re.match(r"/v1/([a-z]+)", path)
    return match[1] if match else _SYSTEM_TAG


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    named = endpoint.operation
    operation: dict[str, Any] = {
        "operationId": named.id,
        "tags": [_tag(endpoint.path)],
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
    else:
        operation["security"] = []
    if description:
        operation["description"] = " ".join(description)
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": endpoint.is_body_required,
            "content": {
                "application/json": {
                    "schema": reference(endpoint.body),
                    **example_of_request(named.id),
                }
            },
        }
    return operation


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    responses: dict[str, Any] = {
        str(status): {
            "description": HTTPStatus(status).phrase,
            "headers": _HEADERS.get(status, {}),
            "content": _content(endpoint, model, endpoint.brief.get(status)),
        }
        for status, model in endpoint.responses.items()
    }
    auth_statuses = _AUTH_STATUSES if endpoint.role is not None else (403,)
    for status in sorted({*_COMMON_STATUSES, *auth_statuses, *endpoint.problem_statuses}):
        responses[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "headers": _HEADERS.get(status, {}),
            "content": {CONTENT_TYPE: {"schema": reference(ProblemResponse)}},
        }
    for status, response in responses.items():
        for content_type in response["content"].keys() & {"application/json", CONTENT_TYPE}:
            response["content"][content_type] |= example_of_response(endpoint.operation.id, status)
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
        one_of = {"anyOf": [reference(model), reference(brief)]} if brief else reference(model)
        return {content_type: {"schema": one_of}}
    if content_type == JSON_LINES:
        lines = {"contentMediaType": "application/json", "contentSchema": reference(model)}
        text = {"type": "string", "description": "a JSON object a line, as contentSchema says"}
        return {content_type: {"schema": text | lines}}
    data = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"anyOf": [reference(one) for one in EVENT_MODELS.values()]},
    }
    event = {
        "type": "string",
        "enum": list(EVENT_MODELS),
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


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", path)
    ]


def _query_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    if endpoint.query is None:
        return []
    schema = endpoint.query.model_json_schema(ref_template=REF)
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
