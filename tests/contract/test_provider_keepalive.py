"""Many requests over reused connections: each gets its own response or none, and is sent once."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import pytest

from jobs.outcomes import Accepted, CallFailure, Lost, NotSent, StillRunning
from tests.contract.client_calls import provider_at, submit
from tests.contract.raw_server import (
    ACCEPTED,
    Script,
    ServerConnection,
    http,
    in_time,
    serving,
    turn_the_loop,
)
from tests.contract.test_provider_client import server_tls, trusting_tls
from tests.contract.transport_calls import body_of, echo, get, post, transport_to
from worker.provider.http.options import HttpResponse
from worker.provider.http.transport import HttpTransport
from worker.provider.knouds.client import Timeouts

CALLS: dict[str, Callable[..., Awaitable[HttpResponse | NotSent | Lost | CallFailure]]] = {
    "submit": post,
    "poll": get,
}


class LateServer:
    """Answers `/late` when a test says so, in two parts; all else at once."""

    def __init__(self) -> None:
        self.first, self.second = asyncio.Event(), asyncio.Event()

    async def script(self, peer: ServerConnection) -> None:
        while True:
            await peer.request()
            path = peer.server.requests[-1].split(" ")[1].encode()
            answer = http(path)
            if path == b"/late":
                await in_time(self.first)
                await peer.answer(answer[:25])
                await in_time(self.second)
                answer = answer[25:]
            await peer.answer(answer)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("how", ["cancelled", "timed out", "cancelled half read"])
@pytest.mark.parametrize("tls", [False, True])
async def test_a_late_answer_never_reaches_the_next_request(
    how: str, call: str, *, tls: bool
) -> None:
    late, ask = LateServer(), CALLS[call]
    async with (
        serving(late.script, tls=server_tls() if tls else None) as server,
        transport_to(server.url, tls=trusting_tls() if tls else None) as transport,
    ):
        assert body_of(await ask(transport, "/early")) == b"/early"
        server.request_seen.clear()
        if how == "timed out":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await ask(transport, "/late")
        else:
            sending = asyncio.ensure_future(ask(transport, "/late"))
            await in_time(server.request_seen)
            if how == "cancelled half read":
                late.first.set()
                await turn_the_loop()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        following = asyncio.ensure_future(ask(transport, "/next"))
        await asyncio.sleep(0)
        late.first.set()
        late.second.set()
        assert body_of(await following) == b"/next"
        assert body_of(await ask(transport, "/more")) == b"/more"
    assert len(server.connections) == 2


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("apart", [False, True], ids=["in one segment", "on its own"])
@pytest.mark.parametrize("tls", [False, True])
async def test_a_response_to_no_request_never_reaches_the_next_request(
    call: str, *, apart: bool, tls: bool
) -> None:
    async def answer_twice(peer: ServerConnection) -> None:
        while True:
            await peer.request()
            path = peer.server.requests[-1].split(" ")[1].encode()
            if path == b"/twice":
                parts = [http(path), http(b"/nothing")]
                await peer.answer(*(parts if apart else [b"".join(parts)]))
            else:
                await peer.answer(http(path))

    ask = CALLS[call]
    async with (
        serving(answer_twice, tls=server_tls() if tls else None) as server,
        transport_to(server.url, tls=trusting_tls() if tls else None) as transport,
    ):
        for _ in range(3):
            assert body_of(await ask(transport, "/twice")) == b"/twice"
            await turn_the_loop()
            assert body_of(await ask(transport, "/next")) == b"/next"
    assert len(server.connections) == 4


async def test_a_second_response_that_comes_late_is_not_taken_for_that_of_the_next_submit() -> None:
    is_next_waiting = asyncio.Event()

    async def answer_twice(peer: ServerConnection) -> None:
        await peer.request()
        await peer.answer(http(b"/first"))
        if peer.number == 1:
            await in_time(is_next_waiting)
            await peer.answer(http(b"/first"))
            await peer.hang()

    async with serving(answer_twice) as server, transport_to(server.url, quiet_s=1.0) as transport:
        assert body_of(await post(transport, "/first")) == b"/first"
        following = asyncio.create_task(post(transport, "/next"))
        await turn_the_loop()
        is_next_waiting.set()
        await following
    assert [len(server.connections), len(server.requests)] == [2, 2]
    assert server.leftovers == [b""], "nothing was written to the first connection"


@pytest.mark.parametrize("call", CALLS)
async def test_bytes_that_only_the_kernel_holds_never_reach_the_next_request(call: str) -> None:
    ask = CALLS[call]
    async with serving(echo) as server, transport_to(server.url) as transport:
        await ask(transport)
        await turn_the_loop()
        server.connections[0].send_in_kernel(http(b"/nothing"))
        assert body_of(await ask(transport, "/next")) == b"/next"
    assert len(server.connections) == 2


def unreliable(rng: random.Random) -> Script:
    """Answer each request with its path, in pieces, too often, in part or not at all."""

    async def script(peer: ServerConnection) -> None:
        while True:
            await peer.request()
            answer = http(peer.server.requests[-1].split(" ")[1].encode())
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


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("tls", [False, True])
async def test_whatever_goes_wrong_each_request_gets_its_own_response(
    call: str, *, tls: bool
) -> None:
    rng = random.Random(call)  # noqa: S311
    ask, answered, lost, not_sent = CALLS[call], 0, 0, 0

    async def one(transport: HttpTransport, number: int) -> None:
        nonlocal answered, lost, not_sent
        try:
            async with asyncio.timeout(rng.choice((0.001, 0.003, 5))):
                answer = await ask(transport, f"/{number}")
        except TimeoutError:
            return
        match answer:
            case HttpResponse():
                assert answer.body == f"/{number}".encode()
                answered += 1
            case NotSent():
                not_sent += 1
                assert f"/{number}" not in paths(server.requests)
            case Lost() | CallFailure():
                lost += 1

    def paths(heads: list[str]) -> list[str]:
        return [head.split(" ")[1] for head in heads]

    async with (
        serving(unreliable(rng), tls=server_tls() if tls else None) as server,
        transport_to(server.url, tls=trusting_tls() if tls else None) as transport,
    ):
        tasks: list[asyncio.Task[None]] = []
        for number in range(150):
            tasks.append(asyncio.create_task(one(transport, number)))
            await turn_the_loop(rng.randrange(3))
            if rng.randrange(8) == 0:
                rng.choice(tasks).cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(end) for end in ended} <= {type(None), asyncio.CancelledError}
    made = paths(server.requests)
    most = 1 if call == "submit" else 2
    assert max(map(made.count, made)) <= most
    assert answered > 10


# Repeated, or not.


def answering(times: int, answer: bytes = b'{"status": "processing"}') -> Script:
    """Answer `times` requests of a connection, and close it on the next one."""

    async def script(peer: ServerConnection) -> None:
        for _ in range(times):
            await peer.request()
            await peer.answer(http(answer))
        await peer.request()

    return script


async def test_a_poll_is_repeated_once_and_never_twice() -> None:
    async with serving(answering(0)) as server, provider_at(server.url) as provider:
        assert await provider.poll("default", "a") == CallFailure(
            "the server closed the connection"
        )
        assert await provider.cancel("default", "a") == CallFailure(
            "the server closed the connection"
        )
    assert [head.split(" ")[0] for head in server.requests] == ["GET", "GET", "POST", "POST"]


async def test_a_poll_finds_a_connection_that_works() -> None:
    async with serving(answering(1)) as server, provider_at(server.url) as provider:
        for name in ("a", "b"):
            assert await provider.poll("default", name) == StillRunning("processing")
    assert (len(server.connections), len(server.requests)) == (2, 3)


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


async def test_a_submit_is_not_sent_if_the_client_closes_while_its_mark_is_recorded() -> None:
    async def record() -> None:
        await provider.close()

    async def keep(peer: ServerConnection) -> None:
        while chunk := await peer.reader.read(1 << 16):
            peer.server.leftovers.append(chunk)

    async with (
        serving(keep) as server,
        provider_at(server.url, timeouts=Timeouts(submit_s=1), connect_s=1) as provider,
    ):
        assert isinstance(await submit(provider, record), NotSent)
        await in_time(server.ended)
    assert server.leftovers == []


async def test_many_idle_connections_that_ended_cost_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A restart of the provider while connections are idle; and connections that are too old."""
    together = asyncio.Event()

    async def wait_for_all(peer: ServerConnection) -> None:
        await peer.request()
        if len(peer.server.requests) >= 20:
            together.set()
        await in_time(together)
        await peer.answer(http(b"{}"))
        await echo(peer)

    for how in ("ended", "too old"):
        together.clear()
        async with serving(wait_for_all) as server, transport_to(server.url) as transport:
            await asyncio.gather(*(post(transport) for _ in range(20)))
            assert len(server.connections) == 20
            if how == "ended":
                for peer in server.connections:
                    peer.close_in_kernel()
            else:
                later = time.monotonic() + 5
                monkeypatch.setattr("worker.provider.http.connector.time.monotonic", lambda: later)  # noqa: B023
            assert body_of(await post(transport)) == b"{}"
            monkeypatch.undo()
        assert len(server.connections) == 21
