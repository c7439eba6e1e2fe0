"""A request before it is sent, and what its answer means."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from .decoding import encode, rfc3339

Query = Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    """One call of the API."""

    method: str
    path: str
    query: Query = field(default_factory=dict[str, Any])
    body: Mapping[str, Any] | None = None
    is_repeatable: bool = False
    """Whether it may be sent again when its answer was lost: that changes nothing."""

    @property
    def wait_s(self) -> float:
        """How long the server is asked to wait with its answer."""
        return float(self.query.get("timeout_s") or 0)

    @property
    def parameters(self) -> dict[str, str]:
        """The query without what is None."""
        return {name: _text(one) for name, one in self.query.items() if one is not None}

    @property
    def content(self) -> bytes | None:
        """The body as JSON; arguments that are None are omitted."""
        if self.body is None:
            return None
        given = {name: encode(one) for name, one in self.body.items() if one is not None}
        return json.dumps(given, allow_nan=False).encode()


def path(template: str, **names: str) -> str:
    """The path of an operation with its names filled in."""
    return template.format(**{name: quote(one, safe="") for name, one in names.items()})


def new_job_id() -> str:
    """An id for a job, made before the first try: so a second try never makes a second job."""
    return uuid.uuid4().hex


def with_job_ids(request: Request) -> Request:
    """An enqueue whose jobs all carry an id; other requests as they are."""
    if request.method != "POST" or request.body is None:
        return request
    if request.path == "/v1/jobs":
        return replace(request, body={**request.body, "id": request.body["id"] or new_job_id()})
    if request.path == "/v1/jobs/bulk":
        jobs = [encode(one) for one in request.body["jobs"]]
        named = [{**one, "id": one.get("id") or new_job_id()} for one in jobs]
        return replace(request, body={"jobs": named})
    return request


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
