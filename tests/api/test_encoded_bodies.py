"""Bodies with a `Content-Encoding`: refused on every route, before a byte of them is read."""

import asyncio
import gzip
from urllib.parse import urlsplit

import msgspec
import pytest

from tests.api.checked_api import REQUEST, CheckedApi, check_against_schema
from worker.sandbox import DEFAULT_KEY, SandboxConfig, running

PATHS = [
    "/v1/jobs",
    "/v1/jobs/bulk",
    "/v1/holds",
    "/v1/bulk/release",
    "/webhooks/knouds",
    "/login",
    "/v1/nothing",
]


async def answer_to_head(url: str, path: str, encoding: str) -> tuple[int, bytes]:
    """Status and rest of the answer to a request of which only the head is sent."""
    origin = urlsplit(url)
    reader, writer = await asyncio.open_connection(origin.hostname, origin.port)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {origin.netloc}\r\nContent-Type: application/json\r\n"
        f"x-api-key: {DEFAULT_KEY}\r\nContent-Length: 400000\r\n"
        f"Content-Encoding: {encoding}\r\n\r\n"
    )
    try:
        async with asyncio.timeout(5):
            writer.write(head.encode())
            answer = await reader.readuntil(b"}")
    finally:
        writer.close()
    return int(answer.split()[1]), answer


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "made-up", "identity, gzip"])
async def test_an_encoded_body_is_refused_before_it_is_read(
    api: CheckedApi, path: str, encoding: str
) -> None:
    status, answer = await answer_to_head(api.url, path, encoding)
    assert status == 415
    assert b"application/problem+json" in answer
    assert b"without a Content-Encoding header" in answer


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
async def test_a_body_in_an_encoding_that_it_has_or_has_not_is_refused(
    api: CheckedApi, encoding: str
) -> None:
    for body in (b"not in it", gzip.compress(msgspec.json.encode(REQUEST))):
        reply = await api.post_text("/v1/jobs", body, headers={"Content-Encoding": encoding})
        check_against_schema("POST", "/v1/jobs", reply)
        assert (reply.status, reply.json["field"]) == (415, "Content-Encoding")
    assert (await api.get("/v1/jobs")).json["items"] == []


async def test_identity_is_no_encoding(api: CheckedApi) -> None:
    body = msgspec.json.encode(REQUEST)
    reply = await api.post_text("/v1/jobs", body, headers={"Content-Encoding": "Identity"})
    assert reply.status == 202


@pytest.mark.parametrize("path", ["/api/models/gpt-image-2/run", "/api/executions/x/cancel", "/no"])
async def test_the_sandbox_refuses_encoded_bodies_too(path: str) -> None:
    async with running(SandboxConfig()) as url:
        status, answer = await answer_to_head(url, path, "gzip")
    assert status == 415
    assert b"Content-Encoding" in answer
