"""Bodies: of whom, how large, how many at once, and what may be in them."""

import asyncio
import contextlib
import gzip
import json
import threading
import time
from typing import Any

import aiohttp
import pytest

from config.values import Role
from tests.abuse.api_process import SECRETS
from tests.abuse.raw_client import raw_client
from worker.api import parsing
from worker.api.edge import bodies
from worker.api.edge.body_budget import BodyBudget, OverBudget
from worker.api.edge.head_meter import MAX_HEAD_BYTES, HeadMeter
from worker.app.json_text import InvalidJson, decode_json
from worker.compose.api import ENDPOINTS
from worker.dashboard.routes import PAGES

FORM = "Content-Type: application/x-www-form-urlencoded"
JSON = "Content-Type: application/json"
BEARER = f"Authorization: Bearer {SECRETS[Role.ENQUEUE]}"
LARGE = "Content-Length: 1000000"

WRITING = sorted(
    {(one.method, one.path) for one in ENDPOINTS if one.method not in ("GET", "HEAD")}
    | {("POST", page.path) for page in PAGES if page.method == "POST"}
    | {("POST", "/logout")}
)


def filled(path: str) -> str:
    return path.replace("{", "").replace("}", "")


async def test_without_a_principal_no_body_is_waited_for(url: str) -> None:
    """The answer comes after the head alone: a redirect to the login, or a 401."""
    statuses: dict[tuple[str, str], int] = {}
    for method, path in WRITING:
        async with raw_client(url) as client:
            await client.send_head(method, filled(path), JSON, LARGE)
            async with asyncio.timeout(5):
                statuses[method, path], _ = await client.answer()
    assert {one: status for one, status in statuses.items() if status not in (303, 401)} == {}
    assert len(statuses) == len(WRITING) > 20


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "t=1,v1=zz",
        "t=1,v1=" + "0" * 64,
        "v1=" + "0" * 64,
        "t=9999999999,v1=" + "0" * 64,
    ],
)
async def test_no_delivery_is_read_whose_signature_cannot_be_right(
    url: str, signature: str | None
) -> None:
    headers = [] if signature is None else [f"X-Knouds-Signature: {signature}"]
    async with raw_client(url) as client:
        await client.send_head("POST", "/webhooks/knouds", LARGE, *headers)
        assert (await client.answer())[0] == 401


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [("/login", 8 << 10, 401), ("/login", (8 << 10) + 1, 413), ("/v1/jobs", 3 << 20, 413)],
)
async def test_a_body_is_as_large_as_its_route_needs(
    url: str, path: str, size: int, status: int
) -> None:
    kind, body = (FORM, b"token=") if path == "/login" else (JSON, b"{")
    for length in (f"Content-Length: {size}", "Transfer-Encoding: chunked"):
        async with raw_client(url) as client:
            await client.send_head("POST", path, BEARER, kind, length)
            text = body.ljust(size, b"a")
            with contextlib.suppress(ConnectionError):
                chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (size, text)
                await client.send(text if length.startswith("Content") else chunk)
            assert (await client.answer())[0] == status


async def test_a_stranger_gets_no_decompression(url: str) -> None:
    packed = gzip.compress(b"token=" + b"\0" * 1_000_000)
    async with raw_client(url) as client:
        length = f"Content-Length: {len(packed)}"
        await client.send_head("POST", "/login", FORM, "Content-Encoding: gzip", length)
        assert (await client.answer())[0] == 415


async def test_a_body_that_is_cut_off_is_no_error_of_ours(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for headers in ([BEARER, JSON], [FORM]):
        path = "/v1/jobs" if BEARER in headers else "/login"
        async with raw_client(url) as client:
            await client.send_head("POST", path, *headers, "Content-Length: 10")
            await client.send(b"x")
    async with raw_client(url) as client:
        await client.send_head("POST", "/login", FORM, "Transfer-Encoding: chunked")
        await client.send(b"zz\r\n")
        assert (await client.answer())[0] == 400
    assert "request.failed" not in capsys.readouterr().out


async def test_a_large_rest_of_a_refused_body_is_dropped_slowly_and_the_connection_closed(
    url: str,
) -> None:
    async with raw_client(url) as client:
        await client.send_head("POST", "/login", FORM, LARGE)
        status, text = await client.answer()
        assert (status, b"connection: close" in text.lower()) == (413, True)
        with contextlib.suppress(ConnectionError):
            await client.send(b"x" * 1_000_000)
        assert await client.is_closed()


async def test_after_a_small_rest_the_connection_serves_the_next_request(url: str) -> None:
    async with raw_client(url) as client:
        await client.send_head("POST", "/v1/jobs", JSON, "Content-Length: 10")
        assert (await client.answer())[0] == 401
        await client.send(b"0123456789")
        await client.send_head("GET", "/livez")
        assert (await client.answer())[0] == 200


# Memory.


def test_a_client_has_its_share_and_all_have_theirs() -> None:
    budget = BodyBudget(10, 6)
    budget.take("a", 6)
    with pytest.raises(OverBudget) as caught:
        budget.take("a", 1)
    assert caught.value.is_of_client
    budget.take("b", 4)
    with pytest.raises(OverBudget) as caught:
        budget.take("c", 1)
    assert not caught.value.is_of_client
    budget.give_back("a", 6)
    budget.take("c", 6)
    assert budget.used_bytes == 10


@pytest.fixture
def small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """To be used before `url`: one client may have as much as the largest delivery, 1.1 MB."""
    monkeypatch.setattr(bodies, "UNKNOWN_BUDGET_BYTES", 0)


@pytest.mark.usefixtures("small_budget")
async def test_bodies_in_memory_are_bounded_and_given_back(url: str) -> None:
    signature = f"X-Knouds-Signature: t={int(time.time())},v1={'0' * 64}"
    for _ in range(2):
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(raw_client(url)) for _ in range(3)]
            for client in clients:
                length = "Content-Length: 500001"
                await client.send_head("POST", "/webhooks/knouds", signature, length)
                await client.send(b"x" * 500_000)
            answers = [asyncio.create_task(client.answer()) for client in clients]
            done, pending = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
            assert [task.result()[0] for task in done] == [429]
            assert len(pending) == 2
            for client in clients:
                with contextlib.suppress(ConnectionError):
                    await client.send(b"x")
            assert [status for status, _ in await asyncio.gather(*pending)] == [401, 401]


# Heads.


def test_a_head_is_measured_up_to_its_end() -> None:
    for cut in range(1, 40):
        meter, head = HeadMeter(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        text = b"\r\n\r\n" + head + b"body\r\n\r\n"
        meter.feed(text[:cut])
        meter.feed(text[cut:])
        assert (meter.is_complete, meter.size_bytes) == (True, len(head))


def test_a_head_without_an_end_is_too_large_sooner_or_later() -> None:
    meter = HeadMeter()
    for _ in range(MAX_HEAD_BYTES // 1_000):
        meter.feed(b"x" * 1_000)
        assert not meter.is_too_large
    meter.feed(b"x" * 1_000)
    assert meter.is_too_large


@pytest.mark.parametrize(
    ("count", "size", "status"),
    [(90, 200, 200), (90, 400, 431), (3, 8_000, 200), (5, 8_000, 431), (120, 10, 400)],
)
async def test_a_head_has_a_size_and_a_number_of_headers(
    url: str, count: int, size: int, status: int
) -> None:
    async with raw_client(url) as client:
        with contextlib.suppress(ConnectionError):
            headers = [f"X-{number}: {'a' * size}" for number in range(count)]
            await client.send_head("GET", "/livez", *headers)
        assert (await client.answer())[0] == status


async def test_heads_that_pile_up_behind_a_stream_close_it(url: str) -> None:
    bearer = f"Authorization: Bearer {SECRETS[Role.WATCH]}"
    async with raw_client(url) as client:
        await client.send_head("GET", "/v1/events", bearer)
        assert (await client.answer())[0] == 200
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                await client.send(b"GET /livez HTTP/1.1\r\nX: " + b"a" * 8_000 + b"\r\n")
                await asyncio.sleep(0)
        assert await client.is_closed()


@pytest.mark.parametrize("path", ["/livez", "/", "/login", "/v1/jobs", "/nowhere"])
async def test_no_response_names_the_http_library(url: str, path: str) -> None:
    async with aiohttp.ClientSession() as http, http.get(url + path) as answer:
        assert "Server" not in answer.headers


@pytest.mark.parametrize("text", [b"GET / HTTP/9\r\n\r\n", b"\x16\x03\x01\r\n\r\n"])
async def test_what_is_not_http_is_a_problem_without_a_name_of_the_library(
    url: str, text: bytes
) -> None:
    async with raw_client(url) as client:
        await client.send(text)
        status, answer = await client.answer()
        assert status == 400
        assert b"urn:knouds-worker:problem:unreadable-request" in answer
        assert b"server:" not in answer.lower()


async def test_what_is_not_http_is_one_line_in_the_log(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(20):
        async with raw_client(url) as client:
            await client.send(b"nonsense secret\r\n\r\n")
            assert await client.is_closed()
    written = capsys.readouterr().out
    assert written.count("request.unreadable") == 1
    assert "secret" not in written


# JSON.


@pytest.mark.parametrize(
    "text",
    [b"[" + b"{}," * 200_000 + b"{}]", b"[" + b"[]," * 200_000 + b"[]]", b"[" + b"1," * 250_001],
)
def test_the_number_of_values_is_bounded_before_anything_is_made(text: bytes) -> None:
    with pytest.raises(InvalidJson, match="250000 values"):
        decode_json(text)


def test_a_body_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, real = list[int](), json.loads

    def counted(text: str, **facts: Any) -> object:
        calls.append(len(text))
        return real(text, **facts)

    monkeypatch.setattr(json, "loads", counted)
    assert decode_json(b'{"a": [1, 2.5, "\\u00e9", {"b": null}]}') == {
        "a": [1, 2.5, "é", {"b": None}]
    }
    assert len(calls) == 1


async def test_only_a_large_body_is_decoded_beside_the_event_loop(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = list[threading.Thread]()

    def recorded(text: bytes) -> object:
        threads.append(threading.current_thread())
        return decode_json(text)

    monkeypatch.setattr(parsing, "decode_json", recorded)
    bearer = f"Bearer {SECRETS[Role.ENQUEUE]}"
    headers = {"Authorization": bearer, "Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as http:
        for count in (1, 20_000):
            objects = b",".join([b'{"a":1}'] * count)
            body = b'{"kind":"model","target":"suno","inputs":{"a":[' + objects + b"]}}"
            async with http.post(f"{url}/v1/jobs", data=body) as answer:
                assert answer.status in (202, 422)
    inline, large = threads
    assert inline is threading.current_thread()
    assert large is not inline
