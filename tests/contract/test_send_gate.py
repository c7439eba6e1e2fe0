"""The send gate alone: when it opens, and that nothing is written once it is closed."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from tests.contract.client_calls import CallingMark, provider_at, submit
from tests.contract.event_loops import on_both_loops
from tests.contract.http_connections import (
    GET,
    NullTransport,
    connected_to,
    outcome_of,
    pool_at,
    short_deadline,
)
from tests.contract.raw_server import (
    RawServer,
    ServerConnection,
    http,
    in_time,
    serving,
    turn_the_loop,
)
from worker.provider.http.connection import Connection, HttpResponse
from worker.provider.http.failures import RequestNotWritten
from worker.provider.http.send_gate import SendGate


async def answer_then_hang(peer: ServerConnection) -> None:
    await peer.request()
    await peer.answer(http(b"{}"))
    await peer.hang()


@asynccontextmanager
async def connected() -> AsyncGenerator[tuple[RawServer, Connection]]:
    """Open a connection to a silent server; afterwards all it was sent is known."""
    async with serving(ServerConnection.hang) as server:
        async with connected_to(server) as connection:
            await in_time(server.request_seen)
            yield server, connection
        await in_time(server.ended)


async def send(gate: SendGate, connection: Connection) -> None:
    """Send through a gate, as the transport does, and cancel the wait for a response."""
    gate.open(connection)
    sending = asyncio.ensure_future(connection.send(b"bytes", short_deadline()))
    await turn_the_loop()
    sending.cancel()


@on_both_loops
async def test_a_gate_opens_on_an_established_connection() -> None:
    async with connected() as (server, connection):
        gate = SendGate()
        await send(gate, connection)
        assert gate.close() is False
    assert server.leftovers == [b"bytes"]


@on_both_loops
async def test_nothing_is_written_through_a_closed_gate() -> None:
    async with connected() as (server, connection):
        gate = SendGate()
        assert gate.close() is True
        with pytest.raises(RequestNotWritten):
            await send(gate, connection)
        assert gate.close() is True
    assert server.leftovers == [b""]


@on_both_loops
async def test_a_gate_opens_only_once() -> None:
    async with connected() as (server, connection):
        gate = SendGate()
        await send(gate, connection)
        with pytest.raises(RequestNotWritten):
            await send(gate, connection)
        assert gate.close() is False
    assert server.leftovers == [b"bytes"]


@on_both_loops
async def test_a_gate_that_did_not_open_once_never_does() -> None:
    async with connected() as (_, closing), connected() as (server, standing):
        closing.abort()
        gate = SendGate()
        for connection in (closing, standing):
            with pytest.raises(RequestNotWritten):
                await send(gate, connection)
        assert gate.close() is True
    assert server.leftovers == [b""]


@on_both_loops
async def test_an_answer_that_was_there_before_the_request_keeps_the_gate_closed() -> None:
    async with connected() as (server, connection):
        await server.connections[0].answer(http(b"{}", 408))
        await turn_the_loop()
        with pytest.raises(RequestNotWritten):
            await send(SendGate(), connection)
    assert server.leftovers == [b""]


@on_both_loops
async def test_bytes_that_only_the_kernel_holds_keep_the_gate_of_a_reused_connection_closed() -> (
    None
):
    async with serving(answer_then_hang) as server, pool_at(server.url) as pool:
        connection = await pool.acquire()
        assert isinstance((await outcome_of(connection)).result, HttpResponse)
        pool.release(connection)
        await turn_the_loop()
        server.connections[0].send_in_kernel(http(b'{"status": "completed"}'))
        gate = SendGate()
        with pytest.raises(RequestNotWritten):
            gate.open(connection)
        assert gate.reused
    assert server.requests == [GET.decode()]


@on_both_loops
async def test_a_close_that_only_the_kernel_knows_of_keeps_the_gate_closed() -> None:
    async with connected() as (server, connection):
        server.connections[0].close_in_kernel()
        gate = SendGate()
        with pytest.raises(RequestNotWritten):
            gate.open(connection)
        assert gate.close() is True
    assert server.leftovers == [b""]


@on_both_loops
async def test_a_connection_that_ends_keeps_the_gate_closed() -> None:
    async with connected() as (server, connection):
        server.connections[0].writer.write_eof()
        await turn_the_loop()
        with pytest.raises(RequestNotWritten):
            SendGate().open(connection)
    assert server.leftovers == [b""]


@on_both_loops
async def test_a_gate_knows_the_status_once_the_head_came() -> None:
    ready = asyncio.Event()

    async def half(peer: ServerConnection) -> None:
        await peer.request()
        await in_time(ready)
        await peer.answer(http(b"{}", 402)[:-1])

    async with serving(half) as server, connected_to(server) as connection:
        gate = SendGate()
        assert gate.status is None
        gate.open(connection)
        sending = asyncio.ensure_future(outcome_of(connection))
        await in_time(server.request_seen)
        assert gate.status is None
        ready.set()
        await sending
    assert gate.status == 402


async def test_a_request_is_written_before_anything_is_awaited() -> None:
    connection, wire = Connection(9), NullTransport()
    connection.connection_made(wire)
    sending = connection.send(b"bytes", short_deadline())
    sending.send(None)
    assert wire.written == [b"bytes"]
    sending.close()


@on_both_loops
async def test_no_other_task_runs_between_opening_and_writing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns: list[str] = []
    open_gate, send_bytes = SendGate.open, Connection.send

    def watched_open(gate: SendGate, connection: Connection) -> None:
        open_gate(gate, connection)
        asyncio.get_running_loop().call_soon(turns.append, "another task")

    async def watched_send(connection: Connection, request: bytes, deadline: float) -> HttpResponse:
        turns.append("sent")
        return await send_bytes(connection, request, deadline)

    monkeypatch.setattr(SendGate, "open", watched_open)
    monkeypatch.setattr(Connection, "send", watched_send)
    async with serving(answer_then_hang) as server, provider_at(server.url) as provider:
        await submit(provider)
    assert turns == ["sent", "another task"]


async def test_the_mark_is_recorded_once_and_its_error_is_kept() -> None:
    ran: list[int] = []

    async def record() -> None:
        ran.append(1)

    async def failing() -> None:
        raise OSError(5, "no")

    gate = SendGate(CallingMark(record))
    await gate.record_mark()
    await gate.record_mark()
    assert (ran, gate.mark, gate.mark_error) == ([1], None, None)
    gate = SendGate(CallingMark(failing))
    with pytest.raises(RequestNotWritten):
        await gate.record_mark()
    assert isinstance(gate.mark_error, OSError)
    assert gate.close() is True
