"""Calls of tools: who calls, with which arguments, and how to reach the API for them."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError

from worker.app.enqueue import InvalidRequest
from worker.app.job_request_parser import as_invalid_request
from worker.cli.api_client import ApiClient
from worker.cli.exit_codes import CommandFailure
from worker.cli.mcp.confirmations import Confirmations
from worker.cli.text import Doc

M = TypeVar("M", bound=BaseModel)

ReportProgress = Callable[[float, float, str], Awaitable[None]]
"""Reports seconds waited, of how many, and a sentence; nothing where the caller wants none."""


class BadArgument(CommandFailure):
    """An argument is wrong: the message names it, and what it must be."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool."""

    api: ApiClient
    caller: str
    """Tells callers apart, and is no secret."""
    confirmations: Confirmations
    report: ReportProgress


@dataclass(frozen=True, slots=True)
class ApiConnector:
    """Connections to the API, which all callers share; each has an `Authorization` of its own."""

    base_url: str
    connector: aiohttp.BaseConnector = field(repr=False)

    def session(self, token: str | None) -> aiohttp.ClientSession:
        """HTTP with a caller's token; closing it leaves the connections open."""
        headers = {"Accept": "application/json", "User-Agent": "knouds-worker-mcp"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return aiohttp.ClientSession(
            headers=headers,
            connector=self.connector,
            connector_owner=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )


def caller_of(token: str | None) -> str:
    """What tells the caller with this token from others."""
    return hashlib.sha256((token or "").encode("utf-8", "surrogateescape")).hexdigest()


def checked(arguments: Doc, model: type[M]) -> M:
    """Arguments as a model; raises `BadArgument` with the field and the fix."""
    try:
        return model.model_validate(arguments)
    except ValidationError as error:
        invalid: InvalidRequest = as_invalid_request(error, model)
        raise BadArgument(f"{invalid.field}: {invalid}") from None
