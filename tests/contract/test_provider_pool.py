"""The pool: never more connections than its limit, and no slot is leaked."""

import asyncio

import pytest

from tests.contract.event_loops import on_both_loops
from tests.contract.fake_name_lookup import FakeNameLookup, refusing
from tests.contract.http_connections import (
    GET,
    LIMIT,
    cancelled,
    echo,
    pool_at,
    request_path,
    short_deadline,
    take_all,
)
from tests.contract.raw_server import ServerConnection, http, in_time, serving, turn_the_loop, until
from tests.contract.test_provider_client import server_tls, trusting_tls
from worker.provider.http.connection import Connection
from worker.provider.http.failures import CannotConnect, ClientClosed, TransportError
from worker.provider.http.pool import ConnectionPool

# Slots.


@on_both_loops
async def test_a_request_beyond_the_limit_waits_in_order() -> None:
    served: list[int] = []

    async def one(number: int) -> None:
        connection = await pool.acquire()
        served.append(number)
        await turn_the_loop(3)
        pool.release(connection)

    async with serving(echo) as server, pool_at(server.url) as pool:
        taken = await take_all(pool)
        for connection in taken:
            await connection.send(GET, short_deadline())
        waiting = [asyncio.ensure_future(one(number)) for number in range(7)]
        await turn_the_loop()
        assert served == []
        for connection in taken:
            pool.release(connection)
        await asyncio.gather(*waiting)
        await take_all(pool)
    assert served == list(range(7))
    assert len(server.connections) == LIMIT


@on_both_loops
async def test_a_waiter_that_gives_up_frees_its_slot() -> None:
    async with serving(ServerConnection.hang) as server, pool_at(server.url) as pool:
        for how in ("cancelled", "in time", "just served") * (LIMIT + 1):
            taken = await take_all(pool)
            waiting = asyncio.ensure_future(pool.acquire())
            await turn_the_loop()
            match how:
                case "cancelled":
                    waiting.cancel()
                case "in time":
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.001):
                            await pool.acquire()
                    waiting.cancel()
                case _:
                    pool.release(taken.pop())
                    waiting.cancel()
            for connection in taken:
                pool.release(connection)
            await asyncio.gather(waiting, return_exceptions=True)
            assert waiting.cancelled()
        await take_all(pool)


@on_both_loops
async def test_a_connect_that_fails_or_is_given_up_frees_its_slot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(ServerConnection.hang) as server, pool_at("http://knouds.invalid") as pool:
        lookup = FakeNameLookup(monkeypatch)
        for urls in ([], [refusing()], [refusing(), refusing()]) * (LIMIT + 1):
            lookup.urls = urls
            with pytest.raises(CannotConnect):
                await pool.acquire()
        lookup.urls = [server.url]
        for turns in range(2 * LIMIT + 2):
            given_up = asyncio.ensure_future(pool.acquire())
            await turn_the_loop(turns)
            await cancelled(given_up)
        await take_all(pool)


@on_both_loops
async def test_a_handshake_that_is_given_up_frees_its_slot() -> None:
    async with serving(ServerConnection.hang) as server, pool_at(f"https{server.url[4:]}") as pool:
        for _ in range(LIMIT + 1):
            server.request_seen.clear()
            server.ended.clear()
            connecting = asyncio.ensure_future(pool.acquire())
            await in_time(server.request_seen)
            await cancelled(connecting)
            await in_time(server.ended)
    assert len(server.connections) == LIMIT + 1
    assert server.leftovers[-1][:2] == b"\x16\x03"


@pytest.mark.parametrize("tls", [False, True])
@on_both_loops
async def test_a_connection_that_is_given_up_at_any_moment_is_closed(*, tls: bool) -> None:
    ended: list[int] = []

    async def wait_for_the_end(peer: ServerConnection) -> None:
        await peer.reader.read()
        ended.append(peer.number)

    async with (
        serving(wait_for_the_end, tls=server_tls() if tls else None) as server,
        pool_at(server.url, tls=trusting_tls() if tls else None) as pool,
    ):
        for turns in range(20):
            taking = asyncio.ensure_future(pool.acquire())
            await turn_the_loop(turns)
            await cancelled(taking)
            if not taking.cancelled():
                pool.release(taking.result())
        connection = await pool.acquire()
        await until(lambda: len(ended) == len(server.connections) - 1)
        pool.release(connection)


@on_both_loops
async def test_a_request_that_fails_frees_its_slot() -> None:
    async def fail(peer: ServerConnection) -> None:
        await peer.request()
        if peer.number % 2:
            await peer.hang()

    async with serving(fail) as server, pool_at(server.url) as pool:
        for number in range(2 * LIMIT + 2):
            sending = asyncio.ensure_future(request_path(pool))
            server.request_seen.clear()
            await in_time(server.request_seen)
            if number % 2 == 0:
                sending.cancel()
            with pytest.raises((TransportError, asyncio.CancelledError)):
                await sending
        await take_all(pool)


# How long idle connections are kept.


@on_both_loops
async def test_an_idle_connection_is_closed_after_a_while() -> None:
    async with serving(echo) as server, pool_at(server.url, keepalive_s=0.03) as pool:
        await asyncio.gather(request_path(pool), request_path(pool))
        await in_time(server.ended)
        await until(lambda: all(peer.reader.at_eof() for peer in server.connections))
        assert (await request_path(pool, "/again")).body == b"/again"
    assert len(server.connections) == 3


async def test_an_expired_connection_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(echo) as server, pool_at(server.url, keepalive_s=1000) as pool:
        await request_path(pool)
        await request_path(pool)
        assert len(server.connections) == 1
        loop = asyncio.get_running_loop()
        later = loop.time() + 1001
        monkeypatch.setattr(loop, "time", lambda: later)
        await request_path(pool)
    assert len(server.connections) == 2


@on_both_loops
async def test_the_connection_that_was_used_last_is_used_next() -> None:
    async with serving(echo) as server, pool_at(server.url) as pool:
        first, second = await take_all(pool)
        for connection in (second, first):
            await connection.send(b"GET /a HTTP/1.1\r\n\r\n", short_deadline())
            pool.release(connection)
        assert await pool.acquire() is first
    assert len(server.connections) == LIMIT


# Closing.


@on_both_loops
async def test_closing_ends_idle_and_acquired_connections_and_gives_out_no_more() -> None:
    async def answer_once(peer: ServerConnection) -> None:
        await peer.request()
        if peer.number == 1:
            await peer.answer(http(b"{}"))
        await peer.hang()

    async with serving(answer_once) as server, pool_at(server.url) as pool:
        await request_path(pool)
        taken = [await pool.acquire() for _ in range(LIMIT)]
        pool.release(taken[0])
        sending = asyncio.ensure_future(send_on(pool, taken[1]))
        waiting = [asyncio.ensure_future(request_path(pool)) for _ in range(LIMIT + 1)]
        await turn_the_loop()
        await pool.close()
        for failing in (sending, *waiting):
            with pytest.raises(TransportError):
                await failing
        with pytest.raises(ClientClosed):
            await pool.acquire()
        await until(lambda: all(peer.reader.at_eof() for peer in server.connections))
    assert len(server.requests) == len(server.connections) == LIMIT


async def send_on(pool: ConnectionPool, connection: Connection) -> None:
    try:
        await connection.send(b"GET / HTTP/1.1\r\n\r\n", short_deadline())
    finally:
        pool.release(connection)


@on_both_loops
async def test_a_wait_for_a_slot_when_the_pool_closes_makes_no_connection() -> None:
    async with serving(ServerConnection.hang) as server, pool_at(server.url) as pool:
        taken = await take_all(pool)
        waiting = asyncio.ensure_future(pool.acquire())
        await turn_the_loop()
        await pool.close()
        for connection in taken:
            pool.release(connection)
        with pytest.raises(ClientClosed):
            await waiting
        await turn_the_loop()
    assert len(server.connections) == LIMIT


@on_both_loops
async def test_a_connection_that_opens_after_the_close_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(ServerConnection.hang) as server, pool_at("http://knouds.invalid") as pool:
        FakeNameLookup(monkeypatch, server.url)
        connecting = asyncio.ensure_future(pool.acquire())
        await asyncio.sleep(0)
        await pool.close()
        with pytest.raises(ClientClosed):
            await connecting
        await in_time(server.ended)
    assert server.leftovers == [b""]
