"""What a connection reads from bytes, without sockets: in any pieces, with any end."""

import asyncio
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.http_connections import (
    GET,
    NullTransport,
    RequestOutcome,
    outcome_of,
    short_deadline,
)
from tests.contract.raw_server import http, turn_the_loop
from worker.provider.http.connection import Connection
from worker.provider.http.failures import ResponseTruncated, ServerDisconnected, TransportError

MAX_BODY_BYTES = 500
RESET = ConnectionResetError(104, "reset")
EXAMPLES = settings(max_examples=150, database=None, deadline=None)

LossCause = ConnectionResetError | str | None
"""How a connection ends: reset, an end of the stream, or lost without either."""


@dataclass(frozen=True)
class RawResponse:
    """The bytes of a response, and what they say."""

    head: bytes
    rest: bytes
    status: int
    headers: dict[str, str]
    body: bytes
    framed: bool
    """It says where it ends."""

    @property
    def all_bytes(self) -> bytes:
        return self.head + self.rest


names = st.from_regex(r"\A[A-Za-z][A-Za-z0-9-]{0,8}\Z").map("x-{}".format)
values = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12)
bodies = st.binary(max_size=MAX_BODY_BYTES) | st.just(b"{}")
cuts = st.lists(st.integers(0, 900), max_size=8)
ends: st.SearchStrategy[LossCause] = st.sampled_from([None, "eof", RESET])
announcements = st.lists(
    st.sampled_from([b"HTTP/1.1 100 C\r\n\r\n", b"HTTP/1.1 103 E\r\nLink: a\r\n\r\n"]), max_size=2
)


@st.composite
def raws(draw: st.DrawFn) -> RawResponse:
    status, body = draw(st.sampled_from([200, 202, 400, 429, 500])), draw(bodies)
    pairs = draw(st.lists(st.tuples(names, values), max_size=4))
    sent = body
    if draw(st.booleans()):
        pairs.append(("Content-Encoding", "gzip"))
        sent = gzip.compress(body)
    match draw(st.sampled_from(["length", "chunks", "end"])):
        case "length":
            pairs.append(("Content-Length", str(len(sent))))
            rest, framed = sent, True
        case "chunks":
            pairs.append(("Transfer-Encoding", "chunked"))
            trailer = draw(st.sampled_from([b"", b"X-Sum: 1\r\n", b"Content-Encoding: br\r\n"]))
            parts = split(sent, draw(cuts))
            chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
            rest, framed = chunks + b"0\r\n" + trailer + b"\r\n", True
        case _:
            rest, framed = sent, False
    lines = "".join(f"{name}: {value}\r\n" for name, value in pairs)
    head = b"".join(draw(announcements)) + f"HTTP/1.1 {status} Any\r\n{lines}\r\n".encode()
    headers: dict[str, str] = {}
    for name, value in pairs:
        headers.setdefault(name.lower(), value)
    return RawResponse(head, rest, status, headers, body, framed)


def split(data: bytes, at: Sequence[int]) -> list[bytes]:
    """Cut into parts, none of them empty."""
    offsets = sorted({0, len(data), *(offset for offset in at if offset < len(data))})
    return [data[a:b] for a, b in pairwise(offsets)]


async def fed(connection: Connection, parts: Sequence[bytes], end: LossCause) -> RequestOutcome:
    """Send a request, receive parts of a response, and lose the connection."""
    sending = asyncio.ensure_future(outcome_of(connection))
    await turn_the_loop(3)
    for part in parts:
        connection.data_received(part)
    if end == "eof":
        connection.eof_received()
    connection.connection_lost(end if isinstance(end, Exception) else None)
    await turn_the_loop(5)
    assert sending.done()
    assert not connection.is_free()
    return sending.result()


def exchange(parts: Sequence[bytes], end: LossCause = None) -> RequestOutcome:
    """Run one request on a connection of its own; no callback may raise."""
    errors: list[dict[str, Any]] = []

    async def run_exchange() -> RequestOutcome:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        connection = Connection(MAX_BODY_BYTES)
        connection.connection_made(NullTransport(connection))
        return await fed(connection, parts, end)

    with asyncio.Runner() as runner:
        outcome = runner.run(run_exchange())
    assert not errors, errors
    return outcome


def failure(outcome: RequestOutcome) -> type[TransportError]:
    assert isinstance(outcome.result, TransportError)
    return type(outcome.result)


@EXAMPLES
@given(raws(), cuts, ends)
def test_an_answer_is_the_same_in_any_pieces(
    raw: RawResponse, at: list[int], end: LossCause
) -> None:
    outcome = exchange(split(raw.all_bytes, at), end if raw.framed else None)
    answer = outcome.answer
    assert (answer.status, answer.body) == (raw.status, raw.body)
    assert dict(answer.headers) == raw.headers


@EXAMPLES
@given(raws(), st.floats(0, 1, exclude_max=True), cuts, ends)
def test_a_truncated_answer_is_none_and_its_status_is_known_once_its_head_arrived(
    raw: RawResponse, share: float, at: list[int], end: LossCause
) -> None:
    kept = int(len(raw.all_bytes) * share)
    outcome = exchange(split(raw.all_bytes[:kept], at), end if raw.framed else RESET)
    headed = kept >= len(raw.head)
    assert failure(outcome) is (ResponseTruncated if headed else ServerDisconnected)
    assert outcome.status == (raw.status if headed else None)


@EXAMPLES
@given(raws().filter(lambda raw: raw.framed), raws(), cuts)
def test_a_second_answer_is_never_read(
    first: RawResponse, second: RawResponse, at: list[int]
) -> None:
    """Not into the first one, and not as the answer to the next request."""

    async def played() -> None:
        connection = Connection(MAX_BODY_BYTES)
        connection.connection_made(NullTransport(connection))
        sending = asyncio.ensure_future(outcome_of(connection))
        await turn_the_loop(3)
        for part in split(first.all_bytes + second.all_bytes, at):
            connection.data_received(part)
        assert not connection.is_free()
        assert not connection.is_usable()
        assert (await outcome_of(connection)).result.__class__ is ServerDisconnected
        answer = (await sending).answer
        assert (answer.status, answer.body) == (first.status, first.body)
        assert dict(answer.headers) == first.headers

    asyncio.run(played())


@EXAMPLES
@given(raws().filter(lambda raw: raw.framed), st.integers(0, 900), cuts)
def test_a_cancelled_request_leaves_nothing_behind(
    raw: RawResponse, kept: int, at: list[int]
) -> None:
    kept = min(kept, len(raw.all_bytes) - 1)

    async def played() -> None:
        connection, wire = Connection(MAX_BODY_BYTES), NullTransport()
        connection.connection_made(wire)
        sending = asyncio.ensure_future(connection.send(GET, short_deadline()))
        await turn_the_loop(3)
        for part in split(raw.all_bytes[:kept], at):
            connection.data_received(part)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        assert not connection.is_free()
        connection.data_received(raw.all_bytes[kept:])
        assert wire.aborted
        assert (await outcome_of(connection)).result.__class__ is ServerDisconnected

    asyncio.run(played())


LINES = (
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 101 S",
    b"HTTP/1.1 103 E",
    b"HTTP/1.0 204 N",
    b"HTTP/1.1 099 X",
    b"RTSP/1.0 200 OK",
    b"HTTP/2.0 200 OK",
    b"Content-Length: 3",
    b"Content-Length: 0",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip",
    b"Connection: close",
    b"Connection: upgrade",
    b"Upgrade: x",
    b"Content-Encoding: gzip",
    b"X:",
    b" folded",
    b": x",
    b"3\r\nabc",
    b"0\r\n",
    b"0",
    b"ffffffffffffffff",
    b"",
)
WORDS = (b"\n", b"\r", b"abc", b"\0", b"H", b"HTTP/", b"x" * (MAX_BODY_BYTES + 1), http(b"{}"))
tokens = st.sampled_from([*(line + b"\r\n" for line in LINES), *WORDS, gzip.compress(b"{}")])
junk = st.lists(st.one_of(tokens, st.binary(max_size=20)), max_size=14).map(b"".join)


@settings(EXAMPLES, max_examples=500)
@given(junk, cuts, ends)
def test_any_bytes_give_a_response_or_a_failure_and_never_a_wait(
    data: bytes, at: list[int], end: LossCause
) -> None:
    outcome = exchange(split(data, at), end)
    if not isinstance(outcome.result, TransportError):
        assert outcome.status is not None
        assert outcome.result.status >= 200


@EXAMPLES
@given(raws(), st.integers(0, 900), st.binary(min_size=1, max_size=3))
def test_a_damaged_answer_gives_an_answer_or_a_failure(
    raw: RawResponse, place: int, new: bytes
) -> None:
    exchange([raw.all_bytes[:place] + new + raw.all_bytes[place + len(new) :]], RESET)


@pytest.mark.parametrize("end", [None, "eof", RESET])
def test_a_connection_that_is_lost_before_a_request_fails_at_once(end: LossCause) -> None:
    async def played() -> None:
        connection = Connection(MAX_BODY_BYTES)
        connection.connection_made(NullTransport(connection))
        if end == "eof":
            connection.eof_received()
        connection.connection_lost(end if isinstance(end, Exception) else None)
        assert (connection.is_usable(), connection.is_free()) == (False, False)
        assert failure(await outcome_of(connection)) is ServerDisconnected

    asyncio.run(played())


def test_a_connection_that_opens_after_it_was_given_up_is_closed() -> None:
    connection, wire = Connection(MAX_BODY_BYTES), NullTransport()
    connection.abort()
    connection.connection_made(wire)
    assert wire.aborted


@pytest.mark.parametrize("answered", [False, True])
def test_a_socket_that_is_closed_under_its_transport_is_not_used(*, answered: bool) -> None:
    """As over TLS, for one turn of the loop."""

    class ClosedSocket:
        def fileno(self) -> int:
            return -1

    class ClosedUnderTransport(NullTransport):
        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return ClosedSocket() if name == "socket" else default

    connection = Connection(MAX_BODY_BYTES)
    connection.connection_made(ClosedUnderTransport())
    if answered:
        connection.mark_idle(0)
    assert not connection.is_usable()
