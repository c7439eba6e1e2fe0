"""Many requests over reused connections: each gets its own response or none, and is sent once."""

import asyncio
import random

import pytest

from jobs.outcomes import Accepted, CallFailure, Lost, StillRunning
from tests.contract.client_calls import provider_at, submit
from tests.contract.event_loops import on_both_loops
from tests.contract.http_connections import echo, pool_at, request_path
from tests.contract.raw_server import (
    ACCEPTED,
    RawServer,
    Script,
    ServerConnection,
    http,
    in_time,
    serving,
    turn_the_loop,
)
from tests.contract.test_provider_client import server_tls, trusting_tls
from worker.provider.http.failures import TransportError
from worker.provider.knouds.client import KnoudsClient, Timeouts


class LateServer:
    """Answers `/late` when a test says so, in two parts; all else at once."""

    def __init__(self) -> None:
        self.first, self.second = asyncio.Event(), asyncio.Event()

    async def script(self, peer: ServerConnection) -> None:
        while True:
            path = (await peer.head()).split(" ")[1].encode()
            answer = http(path)
            if path == b"/late":
                await in_time(self.first)
                await peer.answer(answer[:25])
                await in_time(self.second)
                answer = answer[25:]
            await peer.answer(answer)


@pytest.mark.parametrize("how", ["cancelled", "timed out", "cancelled half read"])
@pytest.mark.parametrize("tls", [False, True])
@on_both_loops
async def test_a_late_answer_never_reaches_the_next_request(how: str, *, tls: bool) -> None:
    late = LateServer()
    async with (
        serving(late.script, tls=server_tls() if tls else None) as server,
        pool_at(server.url, connections=1, tls=trusting_tls() if tls else None) as pool,
    ):
        assert (await request_path(pool, "/early")).body == b"/early"
        server.request_seen.clear()
        if how == "timed out":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await request_path(pool, "/late")
        else:
            sending = asyncio.ensure_future(request_path(pool, "/late"))
            await in_time(server.request_seen)
            if how == "cancelled half read":
                late.first.set()
                await turn_the_loop()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        following = asyncio.ensure_future(request_path(pool, "/next"))
        await asyncio.sleep(0)
        late.first.set()
        late.second.set()
        assert (await following).body == b"/next"
        assert (await request_path(pool, "/more")).body == b"/more"
    assert len(server.connections) == 2


@pytest.mark.parametrize("apart", [False, True], ids=["in one segment", "on its own"])
@on_both_loops
async def test_a_response_to_no_request_never_reaches_the_next_request(*, apart: bool) -> None:
    async def answer_twice(peer: ServerConnection) -> None:
        while True:
            path = (await peer.head()).split(" ")[1].encode()
            if path == b"/twice":
                parts = [http(path), http(b"/nothing")]
                await peer.answer(*(parts if apart else [b"".join(parts)]))
            else:
                await peer.answer(http(path))

    async with serving(answer_twice) as server, pool_at(server.url, connections=1) as pool:
        for _ in range(3):
            assert (await request_path(pool, "/twice")).body == b"/twice"
            await turn_the_loop()
            assert (await request_path(pool, "/next")).body == b"/next"
    assert len(server.connections) == 4


@on_both_loops
async def test_an_idle_connection_that_receives_bytes_is_not_used() -> None:
    async with serving(echo) as server, pool_at(server.url, connections=1) as pool:
        await request_path(pool)
        await server.connections[0].answer(http(b"/nothing"))
        await turn_the_loop()
        assert (await request_path(pool, "/next")).body == b"/next"
    assert len(server.connections) == 2


def unreliable(rng: random.Random) -> Script:
    """Answer each request with its path, in pieces, too often, in part or not at all."""

    async def script(peer: ServerConnection) -> None:
        while True:
            answer = http((await peer.head()).split(" ")[1].encode())
            await turn_the_loop(rng.randrange(6))
            cut = rng.randrange(len(answer))
            match rng.randrange(12):
                case 0:
                    return
                case 1:
                    await peer.answer(answer[:cut])
                    return
                case 2:
                    peer.reset()
                case 3:
                    await peer.answer(answer, http(b"/nothing"))
                case _:
                    await peer.answer(answer[:cut])
                    await turn_the_loop(rng.randrange(3))
                    await peer.answer(answer[cut:])

    return script


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tls", [False, True])
@on_both_loops
async def test_whatever_goes_wrong_each_request_gets_its_own_response(
    seed: int, *, tls: bool
) -> None:
    rng = random.Random(seed)  # noqa: S311
    answered = 0

    async def one(number: int) -> None:
        nonlocal answered
        try:
            async with asyncio.timeout(rng.choice((0.001, 0.003, 5))):
                answer = await request_path(pool, f"/{number}")
        except (TransportError, TimeoutError, ConnectionError):
            return
        assert answer.body == f"/{number}".encode()
        answered += 1

    async with (
        serving(unreliable(rng), tls=server_tls() if tls else None) as server,
        pool_at(server.url, connections=4, tls=trusting_tls() if tls else None) as pool,
    ):
        tasks: list[asyncio.Task[None]] = []
        for number in range(150):
            tasks.append(asyncio.create_task(one(number)))
            await turn_the_loop(rng.randrange(3))
            if rng.randrange(8) == 0:
                rng.choice(tasks).cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(end) for end in ended} <= {type(None), asyncio.CancelledError}
        async with asyncio.timeout(5):
            taken = [await pool.acquire() for _ in range(4)]
        for connection in taken:
            pool.release(connection)
    made = [head.split(" ")[1] for head in server.requests]
    assert len(made) == len(set(made))
    assert answered > 10


# Repeated, or not.


async def keep_two_connections(server: RawServer, provider: KnoudsClient) -> None:
    """Open two connections that will close when they are used again."""
    await asyncio.gather(provider.poll("default", "a"), provider.poll("default", "b"))
    assert (len(server.connections), len(server.requests)) == (2, 2)


def answering(times: int, answer: bytes = b'{"status": "processing"}') -> Script:
    """Answer `times` requests of a connection, and close it on the next one."""

    async def script(peer: ServerConnection) -> None:
        for _ in range(times):
            await peer.request()
            await peer.answer(http(answer))
        await peer.request()

    return script


@on_both_loops
async def test_a_poll_is_repeated_once_and_never_twice() -> None:
    async with serving(answering(1)) as server, provider_at(server.url) as provider:
        await keep_two_connections(server, provider)
        assert await provider.poll("default", "c") == CallFailure(
            "the server closed the connection"
        )
        assert (len(server.connections), len(server.requests)) == (2, 4)
        assert await provider.poll("default", "d") == StillRunning("processing")
    assert (len(server.connections), len(server.requests)) == (3, 5)


@on_both_loops
async def test_a_poll_on_a_new_connection_is_not_repeated() -> None:
    async with serving(answering(0)) as server, provider_at(server.url) as provider:
        assert await provider.poll("default", "a") == CallFailure(
            "the server closed the connection"
        )
    assert (len(server.connections), len(server.requests)) == (1, 1)


@on_both_loops
async def test_a_submit_is_never_repeated_once_it_was_written() -> None:
    async with serving(answering(1)) as server, provider_at(server.url) as provider:
        await keep_two_connections(server, provider)
        assert await submit(provider) == Lost("sent, then the server closed the connection")
        assert await submit(provider) == Lost("sent, then the server closed the connection")
    assert [head.split(" ")[0] for head in server.requests] == ["GET", "GET", "POST", "POST"]


@on_both_loops
async def test_a_submit_whose_response_was_cut_off_is_never_repeated() -> None:
    async def cut_off(peer: ServerConnection) -> None:
        await peer.request()
        await peer.answer(http(ACCEPTED))
        await peer.request()
        await peer.answer(http(ACCEPTED)[:-1])

    async with serving(cut_off) as server, provider_at(server.url) as provider:
        assert await submit(provider) == Accepted("run-1", "req-1")
        assert await submit(provider) == Lost("sent, then the response was cut off", 200)
    assert (len(server.connections), len(server.requests)) == (1, 2)


@on_both_loops
async def test_a_submit_is_not_sent_if_the_client_closes_while_its_mark_is_recorded() -> None:
    async def record() -> None:
        await provider.close()

    timeouts = Timeouts(submit_s=1)
    async with (
        serving(ServerConnection.hang) as server,
        provider_at(server.url, timeouts=timeouts, connect_s=1) as provider,
    ):
        assert type(await submit(provider, record)).__name__ == "NotSent"
        await in_time(server.ended)
    assert server.leftovers == [b""]
