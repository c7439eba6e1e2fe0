"""Who is slow, or sends half of something, is let go, and costs nobody else anything."""

import asyncio
import contextlib
import time

import pytest

from tests.abuse.raw_client import RawClient, raw_client
from worker.api.edge import acceptor, bodies, connection

FORM = "Content-Type: application/x-www-form-urlencoded"
BEARER = "Authorization: Bearer enqueue-0123456789abcdef"


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.2)
    monkeypatch.setattr(acceptor, "OVERDUE_CHECK_INTERVAL_S", 0.05)
    monkeypatch.setattr(acceptor, "DEFER_S", 1)
    monkeypatch.setattr(bodies, "STALL_TIMEOUT_S", 0.2)
    monkeypatch.setattr(bodies, "UNKNOWN_CLIENT_TIMEOUT_S", 0.3)


async def test_half_a_head_is_answered_408_and_closed(url: str) -> None:
    async with raw_client(url) as client:
        await client.send(client.head("GET", "/livez")[:-2])
        status, text = await client.answer()
        assert status == 408
        assert b"urn:knouds-worker:problem:slow-request" in text
        assert await client.is_closed()


async def test_a_head_that_drips_has_no_more_time(url: str) -> None:
    async with raw_client(url) as client:
        with contextlib.suppress(ConnectionError):
            for byte in client.head("GET", "/livez")[:-2]:
                await client.send(bytes([byte]))
                await asyncio.sleep(0.02)
        assert await client.is_closed()


async def test_a_connection_without_a_request_is_closed_without_a_word(url: str) -> None:
    async with raw_client(url) as client:
        async with asyncio.timeout(5):
            assert await client.reader.read() == b""


async def test_empty_lines_do_not_keep_a_connection(url: str) -> None:
    async with raw_client(url) as client:
        await client.send(b"\r\n\r\n")
        assert await client.is_closed()


async def test_the_next_head_has_the_same_time(url: str) -> None:
    async with raw_client(url) as client:
        await client.send_head("GET", "/livez")
        assert (await client.answer())[0] == 200
        await asyncio.sleep(0.3)  # longer than a head may take: an idle connection may stay
        await client.send_head("GET", "/livez")
        assert (await client.answer())[0] == 200
        await client.send(b"GET /livez")
        assert (await client.answer())[0] == 408


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/login", [FORM]),
        ("POST", "/v1/jobs", [BEARER, "Content-Type: application/json"]),
        ("POST", "/webhooks/knouds", ["X-Knouds-Signature: t={now},v1=" + "0" * 64]),
    ],
)
async def test_a_body_that_stalls_is_answered_408(
    url: str, method: str, path: str, headers: list[str]
) -> None:
    async with raw_client(url) as client:
        filled = [header.format(now=int(time.time())) for header in headers]
        await client.send_head(method, path, *filled, "Content-Length: 100")
        await client.send(b"x")
        assert (await client.answer())[0] == 408


async def test_a_body_of_an_unknown_client_that_drips_has_no_more_time(url: str) -> None:
    async with raw_client(url) as client:
        await client.send_head("POST", "/login", FORM, "Content-Length: 100")
        dripping = asyncio.create_task(drip(client))
        assert (await client.answer())[0] == 408
        dripping.cancel()


async def drip(client: RawClient) -> None:
    for _ in range(100):
        await client.send(b"x")
        await asyncio.sleep(0.05)


async def test_a_response_that_nobody_takes_is_given_up(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SEND_TIMEOUT_S", 0.3)
    async with raw_client(url) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(10):
                while True:
                    await client.send_head("GET", "/openapi.json")
        assert client.writer.is_closing() or await client.is_closed()
