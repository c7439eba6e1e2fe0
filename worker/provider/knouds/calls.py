"""The calls of the Knouds API as values. Source: docs/provider.md."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from jobs.states import Kind, Mode
from worker.provider.http.request import HttpRequest

_PATH_SEGMENTS: Final[Mapping[Kind, str]] = {Kind.MODEL: "models", Kind.WORKFLOW: "workflows"}

_UNQUOTED: Final = re.compile(r"[A-Za-z0-9_-]+")
"""Names that need no quoting: all documented ones."""


def submit(kind: Kind, target: str, inputs: bytes, mode: Mode, key: str) -> HttpRequest:
    """Start a run; `inputs` is a JSON object as text, sent byte for byte."""
    path = f"/api/{_PATH_SEGMENTS[kind]}/{_quoted(target)}/run"
    return HttpRequest(
        method="POST",
        path=path + "?async=true" if mode is Mode.ASYNC else path,
        headers={**_headers(key), "content-type": "application/json"},
        body=b'{"inputs":' + inputs + b"}",
    )


def poll(execution_id: str, key: str) -> HttpRequest:
    """Get the state of a run."""
    return HttpRequest("GET", f"/api/executions/{_quoted(execution_id)}", _headers(key))


def cancel(execution_id: str, key: str) -> HttpRequest:
    """Cancel a run."""
    return HttpRequest("POST", f"/api/executions/{_quoted(execution_id)}/cancel", _headers(key))


def whoami(key: str) -> HttpRequest:
    """Get whose API key it is."""
    return HttpRequest("GET", "/api/whoami", _headers(key))


def workflows(key: str) -> HttpRequest:
    """List the account's workflows."""
    return HttpRequest("GET", "/api/workflows", _headers(key))


def workflow_schema(slug: str, key: str) -> HttpRequest:
    """Get what a workflow takes."""
    return HttpRequest("GET", f"/api/workflows/{_quoted(slug)}/schema", _headers(key))


def usage(key: str, limit: int, offset: int) -> HttpRequest:
    """Get a page of the account's runs, unfiltered."""
    return HttpRequest("GET", f"/api/usage?limit={limit}&offset={offset}", _headers(key))


def _headers(key: str) -> dict[str, str]:
    return {"x-api-key": key, "accept": "application/json"}


def _quoted(name: str) -> str:
    """Quote a name as one path segment; unquoted, a segment of dots would be another path."""
    if _UNQUOTED.fullmatch(name):
        return name
    return quote(name, safe="") if name.strip(".") else name.replace(".", "%2E")
