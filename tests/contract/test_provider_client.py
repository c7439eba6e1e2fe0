"""The client over real sockets: never sent, refused and unknown are never confused.

Every server counts its requests: the claim is that no submit is ever sent twice.
"""

import asyncio
import re
import socket
import ssl
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import pytest

from jobs.outcomes import Accepted, CallFailure, Finished, Lost, NotSent, ProviderError, Refused
from jobs.states import Mode
from tests.contract.client_calls import INPUTS, NOT_RECORDED, SHORT_S, provider_at, submit
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
from worker.provider.knouds.client import KnoudsClient, Timeouts
from worker.provider.port import UnknownAccount

RUN = Accepted("run-1", "req-1")
PEM = Path(__file__).with_name("loopback.pem")
SHORT_TIMEOUTS = Timeouts(submit_s=SHORT_S, sync_s=SHORT_S, poll_s=SHORT_S)


async def accept_all(peer: ServerConnection) -> None:
    """Accept every submit on one connection."""
    while True:
        await peer.request()
        await peer.answer(http(ACCEPTED))


async def say_nothing(peer: ServerConnection) -> None:
    await peer.hang()


def free_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


# Sent, and answered.


async def test_a_request_arrives_byte_for_byte_as_documented() -> None:
    async with serving(accept_all) as server, provider_at(server.url + "/") as provider:
        assert await submit(provider) == RUN
    head = server.requests[0].lower()
    assert head.startswith("post /api/models/suno/run?async=true http/1.1\r\n")
    assert "\r\nx-api-key: knouds_live_top-secret\r\n" in head
    assert "\r\ncontent-type: application/json\r\n" in head
    assert "authorization" not in head
    assert "transfer-encoding" not in head
    assert server.bodies == [b'{"inputs":' + INPUTS + b"}"]


async def test_submits_share_a_reused_connection() -> None:
    async with serving(accept_all) as server, provider_at(server.url) as provider:
        for _ in range(3):
            assert await submit(provider) == RUN
    assert (len(server.connections), len(server.requests)) == (1, 3)


async def test_a_sync_run_may_take_longer_than_an_async_submit() -> None:
    async def finish_late(peer: ServerConnection) -> None:
        await peer.request()
        await in_time(gate)
        await peer.answer(http(b'{"success": true, "result": {"text": "output-of-the-run"}}'))

    gate = asyncio.Event()
    timeouts = Timeouts(submit_s=SHORT_S, sync_s=5, poll_s=SHORT_S)
    async with (
        serving(finish_late) as server,
        provider_at(server.url, timeouts=timeouts, connect_s=SHORT_S) as provider,
    ):
        running = asyncio.create_task(submit(provider, mode=Mode.SYNC))
        assert isinstance(await submit(provider, mode=Mode.ASYNC), Lost)
        gate.set()
        assert await running == Finished(b'{"text": "output-of-the-run"}')
    assert sum("?async" in head for head in server.requests) == 1


# Never sent.


async def test_a_refused_connection_is_not_sent() -> None:
    async with provider_at(free_url()) as provider:
        answer = await submit(provider)
    assert isinstance(answer, NotSent)
    assert answer.why.startswith("cannot connect to 127.0.0.1:")
    assert "(Connection refused)" in answer.why


async def test_a_host_that_does_not_resolve_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    async with provider_at("https://knouds.invalid") as provider:
        answer = await submit(provider)
    assert isinstance(answer, NotSent)
    assert "knouds.invalid" in answer.why


async def test_a_server_that_does_not_speak_tls_is_not_sent() -> None:
    async def answer_without_tls(peer: ServerConnection) -> None:
        await peer.reader.read(1)
        await peer.answer(http(ACCEPTED))

    async with (
        serving(answer_without_tls) as server,
        provider_at(server.url.replace("http:", "https:")) as provider,
    ):
        assert isinstance(await submit(provider), NotSent)
    assert server.requests == []


async def test_a_certificate_that_is_not_trusted_is_not_sent() -> None:
    async with (
        serving(accept_all, tls=server_tls()) as server,
        provider_at(server.url) as provider,
    ):
        answer = await submit(provider)
    assert isinstance(answer, NotSent)
    assert re.search(r"certificate of 127.0.0.1:\d+ is not trusted \(self.signed", answer.why)
    assert "KNOUDS_CA_FILE" in answer.why
    assert server.requests == []


async def test_a_handshake_that_never_ends_is_not_sent() -> None:
    async with (
        serving(say_nothing) as server,
        provider_at(
            server.url.replace("http:", "https:"), timeouts=SHORT_TIMEOUTS, connect_s=SHORT_S
        ) as provider,
    ):
        answer = await submit(provider)
    assert isinstance(answer, NotSent)
    assert answer.why.startswith("no connection to 127.0.0.1:")
    assert answer.why.endswith(f" within {SHORT_S:g} s (KNOUDS_CONNECT_TIMEOUT_S)")


@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_closed_before_the_first_byte_is_not_sent(*, reset: bool) -> None:
    async def close_at_once(peer: ServerConnection) -> None:
        if reset:
            peer.reset()

    async def once_closed() -> None:
        await in_time(server.ended)
        await turn_the_loop()

    async with serving(close_at_once) as server, provider_at(server.url) as provider:
        assert isinstance(await submit(provider, once_closed), NotSent)
    assert server.requests == []


async def test_a_close_that_only_the_kernel_knows_of_is_not_sent() -> None:
    async def record() -> None:
        await in_time(server.request_seen)
        server.connections[0].close_in_kernel()

    async with serving(say_nothing) as server, provider_at(server.url) as provider:
        assert isinstance(await submit(provider, record), NotSent)
        await in_time(server.ended)
    assert server.leftovers == [b""]


# The mark right before the first byte.


async def test_the_mark_runs_once_when_the_connection_is_open_and_nothing_is_written() -> None:
    found: list[tuple[int, int]] = []

    async def record() -> None:
        await in_time(server.request_seen)
        await turn_the_loop()
        found.append((len(server.connections), len(server.requests)))

    async def accept_one(peer: ServerConnection) -> None:
        server.request_seen.set()
        await peer.request()
        await peer.answer(http(ACCEPTED))

    async with serving(accept_one) as server, provider_at(server.url) as provider:
        assert await submit(provider, record) == RUN
    assert found == [(1, 0)]


class LeaseLostError(Exception):
    """What a caller's mark raises."""


@pytest.mark.parametrize("error", [LeaseLostError("a"), TimeoutError("b"), OSError(5, "c")])
async def test_a_mark_that_raises_sends_nothing_and_its_error_comes_out(error: Exception) -> None:
    async def record() -> None:
        raise error

    async with serving(say_nothing) as server, provider_at(server.url) as provider:
        with pytest.raises(type(error)) as caught:
            await submit(provider, record)
        await in_time(server.ended)
    assert caught.value is error
    assert server.leftovers == [b""]


async def test_a_mark_that_takes_too_long_is_not_sent_then_or_later() -> None:
    async def record() -> None:
        await asyncio.Event().wait()

    async with (
        serving(say_nothing) as server,
        provider_at(server.url, timeouts=SHORT_TIMEOUTS, connect_s=SHORT_S) as provider,
    ):
        assert await submit(provider, record) == NotSent(NOT_RECORDED)
        await in_time(server.ended)
    assert server.leftovers == [b""]
    assert len(server.connections) == 1


async def test_a_mark_that_takes_too_long_on_a_reused_connection_is_not_given_another() -> None:
    records = 0

    async def record() -> None:
        nonlocal records
        records += 1
        await asyncio.Event().wait()

    async with (
        serving(accept_all) as server,
        provider_at(server.url, timeouts=SHORT_TIMEOUTS, connect_s=SHORT_S) as provider,
    ):
        assert await submit(provider) == RUN
        assert await submit(provider, record) == NotSent(NOT_RECORDED)
    assert (records, len(server.connections), len(server.requests)) == (1, 1, 1)


async def test_a_mark_is_not_run_without_a_connection() -> None:
    async def record() -> None:
        raise AssertionError("there is no connection")

    async with provider_at(free_url()) as provider:
        assert isinstance(await submit(provider, record), NotSent)


# Sent, outcome unknown.


async def read_a_byte_and_close(peer: ServerConnection) -> None:
    await peer.reader.readexactly(1)
    peer.server.requests.append("a byte")


async def read_the_head_and_close(peer: ServerConnection) -> None:
    await peer.head()


async def read_all_and_close(peer: ServerConnection) -> None:
    await peer.request()


async def read_all_and_reset(peer: ServerConnection) -> None:
    await peer.request()
    peer.reset()


async def answer_half_a_head(peer: ServerConnection) -> None:
    await peer.request()
    await peer.answer(http(ACCEPTED)[:25])


async def answer_half_a_body(peer: ServerConnection) -> None:
    await peer.request()
    await peer.answer(http(ACCEPTED)[:-9])


async def answer_half_a_refusal(peer: ServerConnection) -> None:
    await peer.request()
    await peer.answer(http(b'{"error": "no"}', 400)[:-3])


async def answer_half_a_chunk(peer: ServerConnection) -> None:
    await peer.request()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    await peer.answer(head, b"ff\r\n", ACCEPTED)


async def answer_in_another_protocol(peer: ServerConnection) -> None:
    await peer.request()
    await peer.answer(b"220 output-of-the-run ESMTP ready\r\n\r\n")


async def answer_bytes_that_do_not_decompress(peer: ServerConnection) -> None:
    await peer.request()
    await peer.answer(http(ACCEPTED, 200, "Content-Encoding: gzip"))


async def answer_without_end(peer: ServerConnection) -> None:
    await peer.request()
    await peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n")
    await peer.answer(b"output-of-the-run" * 120_000)
    await peer.hang()


async def never_answer(peer: ServerConnection) -> None:
    await peer.request()
    await peer.hang()


async def answer_half_and_hang(peer: ServerConnection) -> None:
    await peer.request()
    await peer.answer(http(ACCEPTED)[:-9])
    await peer.hang()


@pytest.mark.parametrize(
    ("script", "why", "http_status"),
    [
        (read_a_byte_and_close, None, None),
        (read_the_head_and_close, None, None),
        (read_all_and_close, "sent, then the server closed the connection", None),
        (read_all_and_reset, None, None),
        (answer_half_a_head, "sent, then the server closed the connection", None),
        (answer_half_a_body, "sent, then the response was cut off", 200),
        (answer_half_a_chunk, "sent, then the response was cut off", 200),
        (answer_in_another_protocol, "sent, then the response was not HTTP", None),
        (
            answer_bytes_that_do_not_decompress,
            "sent, then the answer says that it has the encoding 'gzip', and it has not",
            200,
        ),
        (answer_without_end, "sent, then the response was too large to read", 200),
        (never_answer, "sent, then no answer from {host} within 0.3 s ({setting})", None),
        (answer_half_and_hang, "sent, then no answer from {host} within 0.3 s ({setting})", 200),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_what_happens_after_the_first_byte_is_lost_and_never_sent_again(
    script: Script, why: str | None, http_status: int | None
) -> None:
    timeouts = Timeouts(submit_s=2 * SHORT_S)
    async with serving(script) as server, provider_at(server.url, timeouts=timeouts) as provider:
        answer = await submit(provider)
    assert isinstance(answer, Lost)
    assert answer.http_status == http_status
    if why is not None:
        host = urlsplit(server.url).netloc
        assert answer.why == why.format(host=host, setting="KNOUDS_SUBMIT_TIMEOUT_S")
    assert (len(server.connections), len(server.requests)) == (1, 1)


async def test_the_status_of_a_refusal_decides_if_its_body_is_cut_off() -> None:
    async with serving(answer_half_a_refusal) as server, provider_at(server.url) as provider:
        answer = await submit(provider)
    assert answer == Refused(
        ProviderError(None, "sent, then the response was cut off", 400, is_readable=False)
    )
    assert len(server.requests) == 1


async def test_inputs_that_were_only_half_read_are_lost() -> None:
    async with serving(read_the_head_and_close) as server, provider_at(server.url) as provider:
        answer = await submit(provider, inputs=b'"' + b"x" * 20_000_000 + b'"')
    assert isinstance(answer, Lost)
    assert (len(server.connections), len(server.requests)) == (1, 1)


async def test_a_cancelled_submit_is_raised_as_such() -> None:
    async with serving(never_answer) as server, provider_at(server.url) as provider:
        task = asyncio.create_task(submit(provider))
        await in_time(server.request_seen)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(server.requests) == 1


async def test_a_submit_cancelled_in_its_mark_sends_nothing() -> None:
    reached = asyncio.Event()

    async def record() -> None:
        reached.set()
        await asyncio.Event().wait()

    async with serving(say_nothing) as server, provider_at(server.url) as provider:
        task = asyncio.create_task(submit(provider, record))
        await in_time(reached)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await in_time(server.ended)
    assert server.leftovers == [b""]


# Connections reused from an earlier call.


async def answer_once_then_read_and_close(peer: ServerConnection) -> None:
    await peer.request()
    await peer.answer(http(ACCEPTED))
    await peer.request()


async def test_a_submit_on_a_reused_connection_that_closes_is_lost_and_not_repeated() -> None:
    async with (
        serving(answer_once_then_read_and_close) as server,
        provider_at(server.url) as provider,
    ):
        assert await submit(provider) == RUN
        assert await submit(provider) == Lost("sent, then the server closed the connection")
    assert (len(server.connections), len(server.requests)) == (1, 2)


async def test_a_poll_in_the_same_position_is_repeated() -> None:
    """Shows that the test above could fail: a call that starts no run is repeated."""
    async with (
        serving(answer_once_then_read_and_close) as server,
        provider_at(server.url) as provider,
    ):
        await provider.poll("default", "run-1")
        await provider.poll("default", "run-1")
    assert (len(server.connections), len(server.requests)) == (2, 3)


async def stale(server: RawServer, how: str) -> None:
    """Make the first connection of `server` unusable from its side."""
    peer = server.connections[0]
    match how:
        case "closed":
            peer.writer.close()
            await turn_the_loop()
        case "reset":
            peer.reset()
            await turn_the_loop()
        case "closed, unread":
            peer.close_in_kernel()
        case "timed out by the server":
            await peer.answer(http(b'{"error": "idle"}', 408))
            await turn_the_loop()
        case _:
            raise AssertionError(how)


STALE = ["closed", "reset", "closed, unread", "timed out by the server"]


@pytest.mark.parametrize("how", STALE)
async def test_a_reused_connection_that_went_stale_before_the_submit_costs_nothing(
    how: str,
) -> None:
    async with serving(accept_all) as server, provider_at(server.url) as provider:
        assert await submit(provider) == RUN
        await stale(server, how)
        assert await submit(provider) == RUN
    assert (len(server.connections), len(server.requests)) == (2, 2)


@pytest.mark.parametrize("how", STALE)
async def test_a_reused_connection_that_went_stale_in_the_mark_costs_nothing(how: str) -> None:
    records = 0

    async def record() -> None:
        nonlocal records
        records += 1
        await stale(server, how)

    async with serving(accept_all) as server, provider_at(server.url) as provider:
        assert await submit(provider) == RUN
        assert await submit(provider, record) == RUN
    assert (len(server.connections), len(server.requests)) == (2, 2)
    assert records == 1


# TLS, as in production.


def server_tls() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(PEM)
    return context


def trusting_tls() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(PEM))


async def test_the_same_holds_over_tls() -> None:
    async with (
        serving(answer_once_then_read_and_close, tls=server_tls()) as server,
        provider_at(server.url, tls=trusting_tls()) as provider,
    ):
        assert await submit(provider) == RUN
        assert await submit(provider) == Lost("sent, then the server closed the connection")
        assert await submit(provider) == RUN
    assert (len(server.connections), len(server.requests)) == (2, 3)


async def test_a_reused_connection_closed_over_tls_costs_nothing() -> None:
    async with (
        serving(accept_all, tls=server_tls()) as server,
        provider_at(server.url, tls=trusting_tls()) as provider,
    ):
        assert await submit(provider) == RUN
        server.connections[0].reset()
        await turn_the_loop()
        assert await submit(provider) == RUN
    assert (len(server.connections), len(server.requests)) == (2, 2)


# Misuse.


async def test_an_account_without_a_key_is_named() -> None:
    async with provider_at(free_url()) as provider:
        with pytest.raises(UnknownAccount, match="'studio' has no API key"):
            await provider.poll("studio", "run-1")


async def test_a_closed_client_sends_nothing() -> None:
    async with serving(accept_all) as server:
        async with provider_at(server.url) as provider:
            pass
        assert isinstance(await submit(provider), NotSent)
        assert isinstance(await provider.poll("default", "run-1"), CallFailure)
    assert server.connections == []


def test_a_client_shows_no_key() -> None:
    assert "top-secret" not in repr(vars(KnoudsClient("http://x", {})))
    assert "top-secret" not in repr(vars(provider_at("http://x")))
