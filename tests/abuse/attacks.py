"""The attacks: each opens bounded numbers of connections on loopback, for a bounded time."""

import asyncio
import contextlib
import gzip
import json
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, cast

from redis.asyncio import Redis

from tests.abuse.api_process import SECRETS, AttackedApi
from worker.store.keys import Keys

ATTACK_S: Final = 15.0
"""How long an attack is held; it is the window of what is measured."""

Attack = Callable[[AttackedApi], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class AbuseCase:
    """One line of the table."""

    name: str
    attack: Attack
    max_files: int = 1_024


def _head(api: AttackedApi, method: str, path: str, *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {api.host}:{api.port}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def _bearer(role: str) -> str:
    return f"Authorization: Bearer {SECRETS[role]}"


async def _send_and_hold(
    api: AttackedApi, parts: list[bytes], hold_s: float = ATTACK_S, receive_bytes: int = 0
) -> None:
    """Send, and keep the connection open without reading, until the server closes it or the end."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(hold_s):
            client = socket.socket()
            client.setblocking(False)
            if receive_bytes:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            await asyncio.get_running_loop().sock_connect(client, (api.host, api.port))
            _, writer = await asyncio.open_connection(sock=client)
            with contextlib.closing(writer):
                if receive_bytes:
                    writer.transport.pause_reading()  # type: ignore[attr-defined]
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                await asyncio.sleep(hold_s)


async def _exchange(api: AttackedApi, request: bytes) -> int:
    """Send a request and read its status; 0 where there was none."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        reader, writer = await asyncio.open_connection(api.host, api.port)
        with contextlib.closing(writer):
            writer.write(request)
            return int((await reader.readline()).split()[1])
    return 0


async def _together(count: int, one: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    await asyncio.gather(*(one() for _ in range(count)))


async def stalled_gzip_logins(api: AttackedApi) -> None:
    """12 logins with 61 KB of gzip each, of which the last byte never comes."""
    packed = gzip.compress(b"token=" + b"\0" * 62_000_000)
    form = "Content-Type: application/x-www-form-urlencoded"
    length = f"Content-Length: {len(packed)}"
    head = _head(api, "POST", "/login", form, "Content-Encoding: gzip", length)
    await _together(12, lambda: _send_and_hold(api, [head, packed[:-1]]))


async def stalled_logins(api: AttackedApi) -> None:
    """100 logins that announce a megabyte and send most of it."""
    form = "Content-Type: application/x-www-form-urlencoded"
    head = _head(api, "POST", "/login", form, "Content-Length: 1000000")
    await _together(100, lambda: _send_and_hold(api, [head, b"token=" + b"a" * 900_000]))


def _signed_head(api: AttackedApi, *headers: str) -> bytes:
    invented = f"X-Knouds-Signature: t={int(time.time())},v1={'0' * 64}"
    return _head(api, "POST", "/webhooks/knouds", invented, *headers)


async def stalled_gzip_deliveries(api: AttackedApi) -> None:
    """60 deliveries with an invented signature and 4 KB of gzip each."""
    packed = gzip.compress(b"\0" * 4_000_000)
    length = f"Content-Length: {len(packed)}"
    head = _signed_head(api, "Content-Encoding: gzip", length)
    await _together(60, lambda: _send_and_hold(api, [head, packed[:-1]]))


async def stalled_deliveries(api: AttackedApi) -> None:
    """60 deliveries with an invented signature and 4 MB each, of which the end never comes."""
    head = _signed_head(api, "Content-Length: 4500000")
    await _together(60, lambda: _send_and_hold(api, [head, b"0" * 4_000_000]))


async def half_heads(api: AttackedApi) -> None:
    """300 connections that send half a head."""
    half = _head(api, "GET", "/livez")[:-2]
    await _together(300, lambda: _send_and_hold(api, [half]))


async def header_storm(api: AttackedApi) -> None:
    """200 connections that send 1 MB of headers each, and never end."""
    start = _head(api, "GET", "/livez")[:-2]
    storm = b"".join(b"x-%d: %s\r\n" % (n, b"a" * 8_000) for n in range(125))
    await _together(200, lambda: _send_and_hold(api, [start, storm]))


async def connection_flood(api: AttackedApi) -> None:
    """20 clients connect and go away, as fast as they can."""
    until = time.monotonic() + ATTACK_S

    async def one() -> None:
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(api.host, api.port)
                writer.close()
            await asyncio.sleep(0.005)

    await _together(20, one)


async def unreadable_requests(api: AttackedApi) -> None:
    """20 clients send what is not HTTP, as fast as they can."""
    until = time.monotonic() + ATTACK_S

    async def one() -> None:
        while time.monotonic() < until:
            await _exchange(api, b"GET / HTTP/9\r\n\r\n")
            await asyncio.sleep(0.005)

    await _together(20, one)


def _enqueue_head(api: AttackedApi, path: str, size: int, *headers: str) -> bytes:
    length = f"Content-Length: {size}"
    json_type = "Content-Type: application/json"
    return _head(api, "POST", path, _bearer("enqueue"), json_type, length, *headers)


async def wide_json(api: AttackedApi) -> None:
    """8 MiB of small objects to POST /v1/jobs, by one token, four times."""
    objects = b",".join([b'{"a":1}'] * 1_040_000)
    body = b'{"kind":"model","target":"suno","inputs":{"a":[' + objects + b"]}}"
    request = _enqueue_head(api, "/v1/jobs", len(body)) + body
    for _ in range(4):
        await _exchange(api, request)


async def wide_bulk(api: AttackedApi) -> None:
    """8 MiB of small objects to POST /v1/jobs/bulk, by one token, four times."""
    body = b'{"jobs":[' + b",".join([b'{"a":1}'] * 1_040_000) + b"]}"
    request = _enqueue_head(api, "/v1/jobs/bulk", len(body)) + body
    for _ in range(4):
        await _exchange(api, request)


async def largest_bulks(api: AttackedApi) -> None:
    """1,000 jobs of 4 KB each, by four senders at once, three times."""
    inputs = {"prompt": "x" * 3_000, "steps": list(range(100))}
    job = {"kind": "model", "target": "suno", "inputs": inputs}
    body = json.dumps({"jobs": [job] * 1_000}).encode()
    request = _enqueue_head(api, "/v1/jobs/bulk", len(body)) + body

    async def one() -> None:
        for _ in range(3):
            await _exchange(api, request)

    await _together(4, one)


async def gzip_bomb(api: AttackedApi) -> None:
    """85 KB of gzip that unpack to 60 MB of small objects."""
    packed = gzip.compress(b'{"jobs":[' + b",".join([b'{"a":1}'] * 7_500_000) + b"]}")
    head = _enqueue_head(api, "/v1/jobs/bulk", len(packed), "Content-Encoding: gzip")
    await _exchange(api, head + packed)


async def many_streams(api: AttackedApi) -> None:
    """One `watch` token opens 300 event streams."""
    head = _head(api, "GET", "/v1/events", _bearer("watch"))
    await _together(300, lambda: _send_and_hold(api, [head]))


async def many_long_polls(api: AttackedApi) -> None:
    """One `watch` token waits 800 times for a job."""
    body = b'{"id":"j1","kind":"model","target":"suno","inputs":{},"delay_s":3600}'
    await _exchange(api, _enqueue_head(api, "/v1/jobs", len(body)) + body)
    head = _head(api, "GET", "/v1/jobs/j1/wait?timeout_s=100", _bearer("watch"))
    await _together(800, lambda: _send_and_hold(api, [head]))


async def pipelined_requests(api: AttackedApi) -> None:
    """300 connections send 200 requests each at once, and read nothing."""
    request = _head(api, "GET", "/v1/jobs?limit=1", _bearer("watch"))
    await _together(300, lambda: _send_and_hold(api, [request * 200]))


LARGE_RESULT: Final = b'{"text":"%s"}' % (b"x" * 4_190_000)


async def _large_job(api: AttackedApi) -> None:
    """A job whose inputs and result have 5 MB."""
    inputs = json.dumps({"prompt": "x" * 1_000_000}).encode()
    body = b'{"id":"big","kind":"model","target":"suno","inputs":%s,"delay_s":3600}' % inputs
    await _exchange(api, _enqueue_head(api, "/v1/jobs", len(body)) + body)
    async with cast("Any", Redis).from_url(api.redis_url) as redis:
        await redis.execute_command("HSET", Keys("knouds").job("big"), "result", LARGE_RESULT)


async def unread_responses(api: AttackedApi) -> None:
    """100 connections of one token ask for 5 MB each, and read nothing."""
    await _large_job(api)
    head = _head(api, "GET", "/v1/jobs/big", _bearer("read"))
    await _together(100, lambda: _send_and_hold(api, [head], receive_bytes=4_096))


async def large_responses(api: AttackedApi) -> None:
    """60 clients of one token read 5 MB each, all at once."""
    await _large_job(api)
    request = _head(api, "GET", "/v1/jobs/big", _bearer("read"), "Connection: close")

    async def one() -> None:
        reader, writer = await asyncio.open_connection(api.host, api.port)
        with contextlib.closing(writer):
            writer.write(request)
            size = 0
            while part := await reader.read(1 << 20):
                size += len(part)
            if size < len(LARGE_RESULT):
                raise AssertionError(f"a reader got {size} bytes")

    await _together(60, one)


CASES: Final = (
    AbuseCase("1: 12 stalled logins, 61 KB of gzip each", stalled_gzip_logins),
    AbuseCase("1: 100 stalled logins, 0.9 MB each", stalled_logins),
    AbuseCase("1: 60 deliveries, 4 KB of gzip each", stalled_gzip_deliveries),
    AbuseCase("1: 60 stalled deliveries, 4 MB each", stalled_deliveries),
    AbuseCase("4: 300 half heads, 256 files", half_heads, 256),
    AbuseCase("4: 200 storms of headers, 1 MB each", header_storm),
    AbuseCase("4: connections that go away", connection_flood),
    AbuseCase("4: requests that are not HTTP", unreadable_requests),
    AbuseCase("10: 8 MiB of small objects, one job", wide_json),
    AbuseCase("10: 8 MiB of small objects, a bulk", wide_bulk),
    AbuseCase("10: 12 bulks of 1,000 jobs", largest_bulks),
    AbuseCase("10: 85 KB of gzip, 60 MB unpacked", gzip_bomb),
    AbuseCase("14: 300 connections with 200 requests each", pipelined_requests),
    AbuseCase("14: 100 responses of 5 MB that nobody reads", unread_responses),
    AbuseCase("14: 60 readers of 5 MB at once", large_responses),
    AbuseCase("13: 300 event streams of one token", many_streams),
    AbuseCase("13: 800 long polls of one token", many_long_polls),
)
