"""Many requests over kept connections: each gets its own answer or none, and is made once."""

import asyncio
import random

import pytest

from jobs.outcomes import Accepted, Lost, PollFailed, StillRunning
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
    """Answers `/late` when it is told to, in two parts; all else at once."""

    def __init__(self) -> None:
        self.first, self.second = asyncio.Event(), asyncio.Event()

    async def script(self, line: ServerConnection) -> None:
        while True:
            path = (await line.head()).split(" ")[1].encode()
            answer = http(path)
            if path == b"/late":
                await in_time(self.first)
                await line.answer(answer[:25])
                await in_time(self.second)
                answer = answer[25:]
            await line.answer(answer)


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
            asking = asyncio.ensure_future(request_path(pool, "/late"))
            await in_time(server.request_seen)
            if how == "cancelled half read":
                late.first.set()
                await turn_the_loop()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        following = asyncio.ensure_future(request_path(pool, "/next"))
        await asyncio.sleep(0)
        late.first.set()
        late.second.set()
        assert (await following).body == b"/next"
        assert (await request_path(pool, "/more")).body == b"/more"
    assert len(server.connections) == 2


@pytest.mark.parametrize("apart", [False, True], ids=["in one segment", "on its own"])
@on_both_loops
async def test_an_answer_to_nothing_never_reaches_the_next_request(*, apart: bool) -> None:
    async def answer_twice(line: ServerConnection) -> None:
        while True:
            path = (await line.head()).split(" ")[1].encode()
            if path == b"/twice":
                parts = [http(path), http(b"/nothing")]
                await line.answer(*(parts if apart else [b"".join(parts)]))
            else:
                await line.answer(http(path))

    async with serving(answer_twice) as server, pool_at(server.url, connections=1) as pool:
        for _ in range(3):
            assert (await request_path(pool, "/twice")).body == b"/twice"
            await turn_the_loop()
            assert (await request_path(pool, "/next")).body == b"/next"
    assert len(server.connections) == 4


@on_both_loops
async def test_an_idle_connection_that_is_spoken_to_is_not_used() -> None:
    async with serving(echo) as server, pool_at(server.url, connections=1) as pool:
        await request_path(pool)
        await server.connections[0].answer(http(b"/nothing"))
        await turn_the_loop()
        assert (await request_path(pool, "/next")).body == b"/next"
    assert len(server.connections) == 2


def unreliable(dice: random.Random) -> Script:
    """Answer each request with its path, in pieces, too often, in part or not at all."""

    async def script(line: ServerConnection) -> None:
        while True:
            answer = http((await line.head()).split(" ")[1].encode())
            await turn_the_loop(dice.randrange(6))
            cut = dice.randrange(len(answer))
            match dice.randrange(12):
                case 0:
                    return
                case 1:
                    await line.answer(answer[:cut])
                    return
                case 2:
                    line.reset()
                case 3:
                    await line.answer(answer, http(b"/nothing"))
                case _:
                    await line.answer(answer[:cut])
                    await turn_the_loop(dice.randrange(3))
                    await line.answer(answer[cut:])

    return script


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tls", [False, True])
@on_both_loops
async def test_in_any_disorder_each_request_gets_its_own_answer(seed: int, *, tls: bool) -> None:
    dice = random.Random(seed)  # noqa: S311
    answered = 0

    async def one(number: int) -> None:
        nonlocal answered
        try:
            async with asyncio.timeout(dice.choice((0.001, 0.003, 5))):
                answer = await request_path(pool, f"/{number}")
        except (TransportError, TimeoutError, ConnectionError):
            return
        assert answer.body == f"/{number}".encode()
        answered += 1

    async with (
        serving(unreliable(dice), tls=server_tls() if tls else None) as server,
        pool_at(server.url, connections=4, tls=trusting_tls() if tls else None) as pool,
    ):
        tasks: list[asyncio.Task[None]] = []
        for number in range(150):
            tasks.append(asyncio.create_task(one(number)))
            await turn_the_loop(dice.randrange(3))
            if dice.randrange(8) == 0:
                dice.choice(tasks).cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(end) for end in ended} <= {type(None), asyncio.CancelledError}
        async with asyncio.timeout(5):
            taken = [await pool.acquire() for _ in range(4)]
        for connection in taken:
            pool.release(connection)
    made = [head.split(" ")[1] for head in server.requests]
    assert len(made) == len(set(made))
    assert answered > 10


# Made again, or not.


async def keep_two_connections(server: RawServer, provider: KnoudsClient) -> None:
    """Have two connections that were used, and will close when they are used again."""
    await asyncio.gather(provider.poll("default", "a"), provider.poll("default", "b"))
    assert (len(server.connections), len(server.requests)) == (2, 2)


def answering(times: int, answer: bytes = b'{"status": "processing"}') -> Script:
    """Answer so often on a connection, and close it over the request that comes then."""

    async def script(line: ServerConnection) -> None:
        for _ in range(times):
            await line.request()
            await line.answer(http(answer))
        await line.request()

    return script


@on_both_loops
async def test_a_poll_is_made_again_once_and_never_twice() -> None:
    async with serving(answering(1)) as server, provider_at(server.url) as provider:
        await keep_two_connections(server, provider)
        assert await provider.poll("default", "c") == PollFailed("the server closed the connection")
        assert (len(server.connections), len(server.requests)) == (2, 4)
        assert await provider.poll("default", "d") == StillRunning("processing")
    assert (len(server.connections), len(server.requests)) == (3, 5)


@on_both_loops
async def test_a_poll_on_a_fresh_connection_is_not_made_again() -> None:
    async with serving(answering(0)) as server, provider_at(server.url) as provider:
        assert await provider.poll("default", "a") == PollFailed("the server closed the connection")
    assert (len(server.connections), len(server.requests)) == (1, 1)


@on_both_loops
async def test_a_submit_is_never_made_again_once_it_was_written() -> None:
    async with serving(answering(1)) as server, provider_at(server.url) as provider:
        await keep_two_connections(server, provider)
        assert await submit(provider) == Lost("sent, then the server closed the connection")
        assert await submit(provider) == Lost("sent, then the server closed the connection")
    assert [head.split(" ")[0] for head in server.requests] == ["GET", "GET", "POST", "POST"]


@on_both_loops
async def test_a_submit_whose_answer_broke_off_is_never_made_again() -> None:
    async def tear(line: ServerConnection) -> None:
        await line.request()
        await line.answer(http(ACCEPTED))
        await line.request()
        await line.answer(http(ACCEPTED)[:-1])

    async with serving(tear) as server, provider_at(server.url) as provider:
        assert await submit(provider) == Accepted("run-1", "req-1")
        assert await submit(provider) == Lost("sent, then the response was cut off", 200)
    assert (len(server.connections), len(server.requests)) == (1, 2)


@on_both_loops
async def test_a_submit_is_not_sent_once_the_client_is_closed_around_its_hook() -> None:
    async def hook() -> None:
        await provider.close()

    timeouts = Timeouts(submit_s=1)
    async with (
        serving(ServerConnection.hang) as server,
        provider_at(server.url, timeouts=timeouts, connect_s=1) as provider,
    ):
        assert type(await submit(provider, hook)).__name__ == "NotSent"
        await in_time(server.ended)
    assert server.leftovers == [b""]
