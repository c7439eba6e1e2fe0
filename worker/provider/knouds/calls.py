"""The provider's calls as values: method, path, headers, body. Source: docs/provider.md."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlsplit

from jobs.states import Kind, Mode

_PATH_SEGMENTS: Final[Mapping[Kind, str]] = {Kind.MODEL: "models", Kind.WORKFLOW: "workflows"}

_UNQUOTED: Final = re.compile(r"[A-Za-z0-9_-]+")
"""Names that need no quotes: all that are documented."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One call. `path` is below the base URL, already quoted."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)


def submit(kind: Kind, target: str, inputs: bytes, mode: Mode, key: str) -> HttpRequest:
    """Ask for a run; `inputs` is a JSON object as text and is passed on byte for byte."""
    path = f"/api/{_PATH_SEGMENTS[kind]}/{_quoted(target)}/run"
    return HttpRequest(
        method="POST",
        path=path + "?async=true" if mode is Mode.ASYNC else path,
        headers={**_headers(key), "content-type": "application/json"},
        body=b'{"inputs":' + inputs + b"}",
    )


def poll(execution_id: str, key: str) -> HttpRequest:
    """Ask how a run stands."""
    return HttpRequest("GET", f"/api/executions/{_quoted(execution_id)}", _headers(key))


def cancel(execution_id: str, key: str) -> HttpRequest:
    """Ask to cancel a run."""
    return HttpRequest("POST", f"/api/executions/{_quoted(execution_id)}/cancel", _headers(key))


def whoami(key: str) -> HttpRequest:
    """Ask whose key it is."""
    return HttpRequest("GET", "/api/whoami", _headers(key))


def schema(slug: str, key: str) -> HttpRequest:
    """Ask what a workflow takes and costs."""
    return HttpRequest("GET", f"/api/workflows/{_quoted(slug)}/schema", _headers(key))


class Origin:
    """Where requests go, and how they are spelled for it: HTTP/1.1, with nothing left to decide."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        host = parts.hostname or ""
        host = f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")
        if parts.port is not None:
            host = f"{host}:{parts.port}"
        self._base_path = parts.path.rstrip("/")
        usual = (f"host: {host}", "user-agent: knouds-worker", "accept-encoding: identity", "")
        self._fixed_head = " HTTP/1.1\r\n" + "\r\n".join(usual)

    def encode(self, request: HttpRequest) -> bytes:
        """The bytes of a request; ValueError for a header that would not travel as it is."""
        lines = [f"{request.method} {self._base_path}{request.path}{self._fixed_head}"]
        for name, value in request.headers.items():
            if not value.isprintable():
                raise ValueError(f"the header {name} has a line break in it")
            lines.append(f"{name}: {value}\r\n")
        body = request.body or b""
        if request.method == "POST":
            lines.append(f"content-length: {len(body)}\r\n")
        lines.append("\r\n")
        return "".join(lines).encode() + body


def _headers(key: str) -> dict[str, str]:
    return {"x-api-key": key, "accept": "application/json"}


def _quoted(name: str) -> str:
    """Quote a name into one segment of a path; a segment of dots would be another path."""
    if _UNQUOTED.fullmatch(name):
        return name
    return quote(name, safe="") if name.strip(".") else name.replace(".", "%2E")
