"""The gate of a submit: no byte of it leaves unless its mark is recorded, on record and fresh."""

import asyncio
import socket
import time
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractStreamWriter

from jobs.outcomes import Lost, NotSent
from tests.contract.client_calls import SHORT_S
from tests.contract.raw_server import ServerConnection, http, in_time, serving, turn_the_loop, until
from tests.contract.test_provider_client import server_tls, trusting_tls
from tests.contract.transport_calls import body_of, echo, get, post, transport_to
from worker.provider.http import send_gate
from worker.provider.http.failures import RequestNotWritten
from worker.provider.http.options import HttpResponse, TimeLimit
from worker.provider.http.send_gate import MAX_MARK_AGE_S, GatedBody


async def silent(peer: ServerConnection) -> None:
    """Keep what comes, also if the connection is reset."""
    while chunk := await peer.reader.read(1 << 16):
        peer.server.leftovers.append(chunk)


async def answer_then_hang(peer: ServerConnection) -> None:
    await peer.request()
    await peer.answer(http(b"{}"))
    await silent(peer)


class MarkError(Exception):
    """What a mark raises."""


async def refuse() -> None:
    raise MarkError


@pytest.mark.parametrize("tls", [False, True])
async def test_without_a_mark_not_a_byte_is_written_and_the_connection_closes(*, tls: bool) -> None:
    async with (
        serving(silent, tls=server_tls() if tls else None) as server,
        transport_to(server.url, tls=trusting_tls() if tls else None) as transport,
    ):
        with pytest.raises(MarkError):
            await post(transport, record=refuse)
        await in_time(server.ended)
    assert server.leftovers == []


async def test_without_a_mark_not_a_byte_is_written_on_a_reused_connection() -> None:
    async with serving(answer_then_hang) as server, transport_to(server.url) as transport:
        await post(transport)
        with pytest.raises(MarkError):
            await post(transport, record=refuse)
        await in_time(server.ended)
    assert server.leftovers == []
    assert (len(server.connections), len(server.requests)) == (1, 1)


async def test_a_head_is_held_back_until_the_body_is_allowed() -> None:
    """What aiohttp does, and the tests above rely on: the head alone would start no run either."""
    async with (
        serving(silent) as server,
        aiohttp.ClientSession() as session,
    ):

        class NeverWritten(GatedBody):
            async def write(self, writer: AbstractStreamWriter) -> None:
                await turn_the_loop()
                raise MarkError(writer)

        with pytest.raises(aiohttp.ClientConnectionError):
            await session.post(server.url, data=NeverWritten(b"{}", send_gate.SendGate(), "a/b"))
        await in_time(server.ended)
    assert server.leftovers == []


@pytest.mark.parametrize("reused", [False, True])
async def test_a_mark_that_is_5_s_old_sends_nothing(
    monkeypatch: pytest.MonkeyPatch, *, reused: bool
) -> None:
    """A worker that was stopped between the mark and the first byte, or whose mark took as long."""
    clock = send_gate.mark_clock
    late_s = 0.0

    async def record() -> None:
        nonlocal late_s
        late_s = MAX_MARK_AGE_S

    script = answer_then_hang if reused else silent
    async with serving(script) as server, transport_to(server.url) as transport:
        if reused:
            await post(transport)
        monkeypatch.setattr(send_gate, "mark_clock", lambda: clock() + late_s)
        answer = await post(transport, record=record)
        assert isinstance(answer, NotSent)
        assert "more than 5 s" in answer.why
        await in_time(server.ended)
    assert server.leftovers == []


async def test_a_mark_that_is_fresh_enough_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = send_gate.mark_clock
    late_s = 0.0

    async def record() -> None:
        nonlocal late_s
        late_s = MAX_MARK_AGE_S - 1

    monkeypatch.setattr(send_gate, "mark_clock", lambda: clock() + late_s)
    async with serving(echo) as server, transport_to(server.url) as transport:
        assert body_of(await post(transport, "/a", record)) == b"/a"


async def test_no_other_task_runs_between_the_check_and_the_first_byte(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[int] = []
    open_gate, write = send_gate.SendGate.open, GatedBody.write
    writers: list[Any] = []

    def watched_open(gate: send_gate.SendGate, protocol: Any) -> None:
        open_gate(gate, protocol)
        asyncio.get_running_loop().call_soon(lambda: written.append(writers[0].output_size))

    async def watched_write(body: GatedBody, writer: AbstractStreamWriter) -> None:
        writers.append(writer)
        assert writers[0].output_size == 0
        await write(body, writer)

    monkeypatch.setattr(send_gate.SendGate, "open", watched_open)
    monkeypatch.setattr(GatedBody, "write", watched_write)
    async with serving(echo) as server, transport_to(server.url) as transport:
        await post(transport, body=b"x" * 1000)
    assert written[0] > 1000


async def test_a_gate_opens_only_once() -> None:
    """Even if the library sent a submit again, not a byte of it would leave."""
    async with serving(echo) as server, transport_to(server.url) as transport:
        gates: list[send_gate.SendGate] = []
        record_mark = send_gate.SendGate.record_mark

        async def watched(gate: send_gate.SendGate, *, is_reused: bool) -> None:
            gates.append(gate)
            await record_mark(gate, is_reused=is_reused)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(send_gate.SendGate, "record_mark", watched)
            await post(transport)
        with pytest.raises(RequestNotWritten):
            gates[0].open(gates[0].protocol)  # type: ignore[arg-type]
    assert len(server.requests) == 1


async def test_a_post_is_not_repeated_by_the_library_and_a_get_is() -> None:
    async def once(peer: ServerConnection) -> None:
        await peer.request()
        await peer.answer(http(b"{}"))
        await peer.request()

    async with serving(once) as server, transport_to(server.url) as transport:
        await post(transport)
        assert await post(transport) == Lost("sent, then the server closed the connection")
        await get(transport)
        assert body_of(await get(transport)) == b"{}"
    methods = [head.split(" ")[0] for head in server.requests]
    assert methods == ["POST", "POST", "GET", "GET", "GET"]


# Answers that nobody asked for, and 408.


@pytest.mark.parametrize("tls", [False, True])
async def test_a_408_on_an_idle_connection_is_not_the_answer_to_the_next_submit(
    *, tls: bool
) -> None:
    async def time_out(peer: ServerConnection) -> None:
        await peer.request()
        await peer.answer(http(b"{}"))
        if peer.number == 1:
            await peer.answer(http(b"idle", 408))
        await peer.hang()

    async with (
        serving(time_out, tls=server_tls() if tls else None) as server,
        transport_to(server.url, tls=trusting_tls() if tls else None) as transport,
    ):
        await post(transport)
        await turn_the_loop()
        assert body_of(await post(transport)) == b"{}"
    assert (len(server.connections), len(server.requests)) == (2, 2)


async def test_a_408_before_the_request_is_written_says_so_and_nothing_more_is_sent() -> None:
    async def refuse_early(peer: ServerConnection) -> None:
        await peer.head()
        await peer.answer(http(b"slow", 408))
        await silent(peer)

    async with serving(refuse_early) as server, transport_to(server.url) as transport:
        answer = await post(transport, body=b"x" * 20_000_000)
        assert isinstance(answer, HttpResponse)
        assert (answer.status, answer.body_sent) == (408, False)
        await in_time(server.ended)
    assert len(server.requests) == 1
    assert sum(map(len, server.leftovers)) < 20_000_000


async def test_a_408_after_the_request_was_written_is_an_answer() -> None:
    async def refuse_late(peer: ServerConnection) -> None:
        await peer.request()
        await peer.answer(http(b"slow", 408))

    async with serving(refuse_late) as server, transport_to(server.url) as transport:
        answer = await post(transport)
    assert isinstance(answer, HttpResponse)
    assert (answer.status, answer.body_sent) == (408, True)


async def test_nothing_of_a_submit_arrives_after_it_was_given_up() -> None:
    """Bytes that wait here or in the kernel are dropped: the submit may look like not started."""
    read: list[int] = []
    given_up = asyncio.Event()

    async def read_late(peer: ServerConnection) -> None:
        await peer.head()
        await in_time(given_up)
        while chunk := await peer.reader.read(1 << 20):
            read.append(len(chunk))

    async with serving(read_late) as server, transport_to(server.url) as transport:
        answer = await post(transport, body=b"x" * 20_000_000, limit=TimeLimit(SHORT_S))
        assert isinstance(answer, Lost)
        given_up.set()
        await in_time(server.ended)
    assert sum(read) < 20_000_000


# How long connections are kept, and what notices a dead peer.


@pytest.mark.parametrize(
    ("header", "passed_s", "connections"),
    [
        ("X-None: 1", 3.9, 1),
        ("X-None: 1", 4.1, 2),
        ("Keep-Alive: timeout=3, max=100", 1.9, 1),
        ("Keep-Alive: timeout=3", 2.1, 2),
        ("Keep-Alive: timeout=1", 0.0, 2),
        ("Keep-Alive: max=9, timeout=60", 50, 1),
        ("Keep-Alive: timeout=soon", 4.1, 2),
    ],
)
async def test_a_submit_uses_a_connection_that_its_server_still_keeps(
    monkeypatch: pytest.MonkeyPatch, header: str, passed_s: float, connections: int
) -> None:
    async def keep(peer: ServerConnection) -> None:
        while True:
            await peer.request()
            await peer.answer(http(b"{}", 200, header))

    async with serving(keep) as server, transport_to(server.url) as transport:
        await post(transport)
        await turn_the_loop()
        then = time.monotonic() + passed_s
        monkeypatch.setattr("worker.provider.http.connector.time.monotonic", lambda: then)
        await post(transport)
    assert len(server.connections) == connections


async def test_sockets_notice_a_peer_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[socket.socket] = []
    usual = socket.socket

    def watched(*args: Any, **kwargs: Any) -> socket.socket:
        opened.append(usual(*args, **kwargs))
        return opened[-1]

    async with serving(echo) as server, transport_to(server.url) as transport:
        monkeypatch.setattr("worker.provider.http.connector.socket.socket", watched)
        await post(transport)
        monkeypatch.undo()
        sock = opened[0]
        option = {
            name: sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
            for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        }
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert option["TCP_KEEPIDLE"] <= 60
    noticed_s = option["TCP_KEEPIDLE"] + option["TCP_KEEPINTVL"] * option["TCP_KEEPCNT"]
    assert noticed_s <= 120
    assert 0 < option["TCP_USER_TIMEOUT"] < 120_000


async def test_open_runs_hold_up_no_other_call() -> None:
    """A sync run is an open connection for its whole time; a worker holds hundreds of them."""
    over = asyncio.Event()

    async def script(peer: ServerConnection) -> None:
        while True:
            await peer.request()
            path = peer.server.requests[-1].split(" ")[1]
            if path == "/sync":
                await over.wait()
            await peer.answer(http(path.encode()))

    async with serving(script) as server, transport_to(server.url, connect_s=30) as transport:
        runs = [
            asyncio.create_task(post(transport, "/sync", limit=TimeLimit(60))) for _ in range(300)
        ]
        await until(lambda: len(server.requests) == 300)
        assert body_of(await post(transport, "/async")) == b"/async"
        assert body_of(await get(transport, "/poll")) == b"/poll"
        over.set()
        assert {body_of(answer) for answer in await asyncio.gather(*runs)} == {b"/sync"}
    assert len(server.requests) == 302
