"""However many connections there are: who sends a whole request is served."""

import contextlib
import errno
import logging
import os
import socket

import pytest

from tests.abuse.raw_client import RawClient, raw_client
from worker.api.edge import acceptor
from worker.api.edge.connection_table import ConnectionLimits, ConnectionTable
from worker.api.edge.repeated_lines import PERIOD_S, RepeatedLines, RepeatedRecords

TOTAL = 8


class FakeConnection:
    """A connection that only knows whether it was closed."""

    def __init__(self, network: str, *, is_sending: bool = False) -> None:
        self.network = network
        self.is_sending = is_sending
        self.is_closed = False

    def end_if_overdue(self, now: float) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        self.is_closed = True


def table_with(
    *connections: FakeConnection, total: int = 4, per_client: int = 4
) -> ConnectionTable:
    table = ConnectionTable(ConnectionLimits(total, per_client))
    for one in connections:
        table.add(one)
    return table


def test_below_the_limits_nobody_is_closed() -> None:
    waiting = [FakeConnection("a") for _ in range(3)]
    assert table_with(*waiting).make_room("b", is_proxy=False)
    assert not any(one.is_closed for one in waiting)


def test_the_longest_waiting_of_the_client_with_most_is_closed() -> None:
    quiet, *many = FakeConnection("b"), *(FakeConnection("a") for _ in range(3))
    table = table_with(quiet, *many)
    assert table.make_room("c", is_proxy=False)
    assert [one.is_closed for one in (quiet, *many)] == [False, True, False, False]
    assert len(table) == 3


def test_a_client_over_its_share_loses_its_own() -> None:
    first, second, other = FakeConnection("a"), FakeConnection("a"), FakeConnection("b")
    table = table_with(other, first, second, total=100, per_client=2)
    assert table.make_room("a", is_proxy=False)
    assert (other.is_closed, first.is_closed, second.is_closed) == (False, True, False)


def test_a_proxy_has_the_connections_of_many_clients() -> None:
    waiting = [FakeConnection("proxy") for _ in range(3)]
    assert table_with(*waiting, total=100, per_client=2).make_room("proxy", is_proxy=True)
    assert not any(one.is_closed for one in waiting)


def test_a_request_that_is_served_is_never_closed_for_another() -> None:
    serving = [FakeConnection("a") for _ in range(4)]
    table = table_with(*serving)
    for one in serving:
        table.set_busy(one)
    assert not table.make_room("b", is_proxy=False)
    table.set_waiting(serving[2])
    assert table.make_room("b", is_proxy=False)
    assert [one.is_closed for one in serving] == [False, False, True, False]


def test_a_response_that_is_still_being_sent_is_not_cut_off() -> None:
    sending, idle = FakeConnection("a", is_sending=True), FakeConnection("a")
    table = table_with(sending, idle, total=2, per_client=2)
    assert table.make_room("a", is_proxy=False)
    assert (sending.is_closed, idle.is_closed) == (False, True)


def test_who_was_served_last_waits_shortest() -> None:
    first, second = FakeConnection("a"), FakeConnection("a")
    table = table_with(first, second, total=2, per_client=2)
    table.set_busy(first)
    table.set_waiting(first)
    assert table.make_room("a", is_proxy=False)
    assert (first.is_closed, second.is_closed) == (False, True)


def test_a_closed_connection_leaves_no_trace() -> None:
    one = FakeConnection("a")
    table = table_with(one)
    table.remove(one)
    table.remove(one)
    table.set_waiting(one)
    assert len(table) == 0
    assert table.close_waiting(9) == 0


# Over sockets.


@pytest.fixture
def connection_limits() -> ConnectionLimits:
    return ConnectionLimits(TOTAL, TOTAL)


async def assert_served(url: str) -> None:
    async with raw_client(url) as client:
        await client.send_head("GET", "/livez")
        assert (await client.answer())[0] == 200


async def half_sent(stack: contextlib.AsyncExitStack, url: str) -> RawClient:
    client = await stack.enter_async_context(raw_client(url))
    await client.send(b"GET /livez HTTP/1.1\r\n")
    return client


async def test_half_sent_heads_keep_nobody_out(url: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        held = [await half_sent(stack, url) for _ in range(3 * TOTAL)]
        for _ in range(5):
            await assert_served(url)
        for one in held[:TOTAL]:
            assert await one.is_closed()


async def test_where_every_place_is_taken_a_connection_is_refused(url: str) -> None:
    """Requests that are being served are not closed for others."""
    headers = (
        "Authorization: Bearer enqueue-0123456789abcdef",
        "Content-Type: application/json",
        "Content-Length: 2",
        "Expect: 100-continue",
    )
    async with contextlib.AsyncExitStack() as stack:
        senders = [await stack.enter_async_context(raw_client(url)) for _ in range(TOTAL)]
        for one in senders:
            await one.send_head("POST", "/v1/jobs", *headers)
            await one.reader.readuntil(b"100 Continue\r\n\r\n")
        async with raw_client(url) as late:
            await late.send_head("GET", "/livez")
            assert await late.is_closed()
        await senders[0].send(b"{}")
        assert (await senders[0].answer())[0] == 422
        await assert_served(url)


async def test_without_file_descriptors_the_server_waits_and_logs_one_line(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(acceptor, "RETRY_DELAY_S", 0.001)
    real, failures = socket.socket.accept, iter(range(100))

    def accept(listener: socket.socket) -> object:
        if next(failures, None) is not None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(listener)

    monkeypatch.setattr(socket.socket, "accept", accept)
    await assert_served(url)
    written = capsys.readouterr().out
    assert written.count("connection.not_accepted") == 1
    assert "Too many open files" in written


# Lines that anyone can cause.


def test_one_line_a_period_says_how_many_were_left_out() -> None:
    now = 0.0
    lines = RepeatedLines(lambda: now)
    assert [lines.admit("a") for _ in range(4)] == [0, None, None, None]
    assert lines.admit("b") == 0
    now = PERIOD_S
    assert (lines.admit("a"), lines.admit("a"), lines.admit("b")) == (3, None, 0)


def test_many_causes_take_no_memory() -> None:
    lines = RepeatedLines(lambda: 0.0)
    for cause in range(10_000):
        lines.admit(cause)
    assert len(lines) <= 256


def test_records_of_libraries_are_counted_by_how_they_begin() -> None:
    now = 0.0
    admitted = RepeatedRecords(RepeatedLines(lambda: now))

    def record(text: str) -> logging.LogRecord:
        return logging.LogRecord("asyncio", logging.ERROR, "", 0, text, None, None)

    begin = "socket.accept() out of system resource"
    texts = [f"{begin}\nsocket: <fd={number}>" for number in range(5)]
    assert [admitted.filter(record(text)) for text in texts] == [True, *[False] * 4]
    now = PERIOD_S
    later = record(texts[0])
    assert admitted.filter(later)
    assert "4 more like it" in later.getMessage()
