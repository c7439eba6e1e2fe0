"""The API as a client sees it. Every response is checked against the schema that it publishes."""

import asyncio
import io
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import aiohttp
import msgspec
from jsonschema import Draft202012Validator

from worker.api.endpoints import Endpoint
from worker.api.openapi import build_document
from worker.api.openapi_schemas import component_name
from worker.compose.api import ENDPOINTS
from worker.store import Store

DOCUMENT = build_document(ENDPOINTS)

REQUEST: dict[str, Any] = {"kind": "model", "target": "gpt-image-2", "inputs": {"prompt": "a cat"}}
"""The fields that a job request needs."""


@dataclass(frozen=True, slots=True)
class ApiReply:
    """A response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def field(self) -> str:
        """The field that a problem names."""
        return str(self.json["field"])

    @property
    def detail(self) -> str:
        return str(self.json["detail"])


class CheckedApi:
    """Calls the API over real HTTP."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self._http = http

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str | float] | None = None,
    ) -> ApiReply:
        """One call; raises where its response does not match the schema."""
        async with self._http.request(
            method, self.url + path, data=body and io.BytesIO(body), headers=headers, params=params
        ) as answer:
            reply = ApiReply(answer.status, dict(answer.headers), await answer.read())
        if method != "HEAD":
            check_against_schema(method, path, reply)
        return reply

    async def get(self, path: str, **params: str | float) -> ApiReply:
        return await self.call("GET", path, params=params)

    async def post(
        self, path: str, data: object = None, *, headers: Mapping[str, str] | None = None
    ) -> ApiReply:
        """Post JSON, or nothing at all."""
        if data is None:
            return await self.call("POST", path, headers=headers)
        return await self.post_text(path, msgspec.json.encode(data), headers=headers)

    async def put(self, path: str, data: object) -> ApiReply:
        """Put JSON."""
        return await self.put_text(path, msgspec.json.encode(data))

    async def put_text(self, path: str, text: bytes) -> ApiReply:
        """Put a body as it is, with the content type of JSON."""
        headers = {"Content-Type": "application/json"}
        return await self.call("PUT", path, body=text, headers=headers)

    async def delete(self, path: str, data: object = None) -> ApiReply:
        """Delete, with a body of JSON or none."""
        body = None if data is None else msgspec.json.encode(data)
        headers = {"Content-Type": "application/json"}
        return await self.call("DELETE", path, body=body, headers=headers)

    async def post_text(
        self, path: str, text: bytes, *, headers: Mapping[str, str] | None = None
    ) -> ApiReply:
        """Post a body as it is, with the content type of JSON."""
        named = {"Content-Type": "application/json", **(headers or {})}
        return await self.call("POST", path, body=text, headers=named)

    async def enqueue(self, **facts: object) -> ApiReply:
        """Enqueue one job, which must be accepted."""
        reply = await self.post("/v1/jobs", {**REQUEST, **facts})
        assert reply.status in (200, 202), reply.body
        return reply

    async def job(self, job_id: str) -> Any:
        """A job as JSON."""
        reply = await self.get(f"/v1/jobs/{job_id}")
        assert reply.status == 200, reply.body
        return reply.json


async def until(is_true: Callable[[], Awaitable[bool]], within_s: float = 5.0) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(within_s):
        while not await is_true():  # noqa: ASYNC110 - what is watched has no event to wait for
            await asyncio.sleep(0.005)


async def is_subscribed(store: Store) -> bool:
    """Whether exactly one process listens for jobs that settle or park."""
    counted: list[int] = await store.client.call("PUBSUB", "NUMSUB", store.keys.settled)
    return counted[1] == 1


async def keys_like(store: Store, pattern: str) -> list[bytes]:
    """The keys of Redis that match a pattern."""
    found: set[bytes] = set()
    cursor = b"0"
    while True:
        cursor, page = await store.client.call("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
        found |= set(page)
        if int(cursor) == 0:
            return sorted(found)


def check_against_schema(method: str, path: str, reply: ApiReply) -> None:
    """Raise where a response is not as the document describes it."""
    if reply.status >= 400:
        assert reply.headers["Content-Type"].startswith("application/problem+json")
        _require("Problem", reply.json)
        assert reply.json["status"] == reply.status
    endpoint = endpoint_of(method, path)
    if endpoint is None:
        assert reply.status in (403, 404, 405), f"{method} {path} is not in the document"
        return
    promised = DOCUMENT["paths"][endpoint.path][method.lower()]["responses"]
    assert str(reply.status) in promised, f"{method} {path} never promised {reply.status}"
    if reply.status < 400:
        wanted = endpoint.content_type or "application/json"
        assert reply.headers["Content-Type"].startswith(wanted.partition(";")[0])
    if reply.status < 400 and endpoint.content_type is None:
        model = endpoint.responses[reply.status]
        assert model is not None
        brief = endpoint.brief.get(reply.status)
        is_brief = brief is not None and set(reply.json) <= set(brief.__struct_fields__)
        _require(component_name(brief if brief and is_brief else model), reply.json)


def endpoint_of(method: str, path: str) -> Endpoint | None:
    """The endpoint that serves a request; None where there is none."""
    parts = path.partition("?")[0].split("/")
    for endpoint in ENDPOINTS:
        wanted = endpoint.path.split("/")
        if endpoint.method == method and len(wanted) == len(parts):
            pairs = zip(wanted, parts, strict=True)
            if all(part.startswith("{") or part == given for part, given in pairs):
                return endpoint
    return None


def _require(schema: str, value: Any) -> None:
    fault = next(cast("Any", _validator(schema)).iter_errors(value), None)
    assert fault is None, f"not a {schema}: {fault.message} at {fault.json_path}"


@cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(
        {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]},
        format_checker=Draft202012Validator.FORMAT_CHECKER,
    )
