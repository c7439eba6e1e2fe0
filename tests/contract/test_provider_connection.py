"""One HTTP/1.1 connection: what counts as a response, and whether a request may follow."""

import asyncio

import pytest

from tests.contract.event_loops import on_both_loops
from tests.contract.http_connections import (
    GET,
    MAX_BODY_BYTES,
    ConnectionEnd,
    answering_with,
    connected_to,
    failed,
    outcome_at,
    outcome_of,
    pool_at,
)
from tests.contract.raw_server import ServerConnection, http, in_time, serving, until
from tests.contract.test_provider_client import server_tls, trusting_tls
from worker.provider.http.failures import (
    InvalidHttpResponse,
    ResponseTruncated,
    ServerDisconnected,
    TransportError,
)

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
WHOLE = http(b"{}")


# Complete responses after which the connection is reused.


@pytest.mark.parametrize(
    ("parts", "status", "body"),
    [
        ([WHOLE], 200, b"{}"),
        ([bytes([byte]) for byte in WHOLE], 200, b"{}"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", WHOLE], 200, b"{}"),
        ([b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + WHOLE], 200, b"{}"),
        (
            [b"HTTP/1.1 102 P\r\n\r\nHTTP/1.1 103 E\r\n\r\n", b"HTTP/1.1 100 C\r\n\r\n" + WHOLE],
            200,
            b"{}",
        ),
        ([CHUNKED + b"1\r\n{\r\n", b"1;ext=1\r\n}\r\n0\r\n\r\n"], 200, b"{}"),
        ([CHUNKED + b"2\r\n{}\r\n0\r\nX-Sum: 1\r\nX-", b"More: 2\r\n\r\n"], 200, b"{}"),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], 204, b""),
        ([b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"], 304, b""),
        ([http(b"", 502)], 502, b""),
        ([b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}"], 200, b"{}"),
        ([b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}"], 200, b"{}"),
        ([http(b"{}", 200, "Upgrade: h2,h2c", "Connection: Upgrade")], 200, b"{}"),
        ([http(b"{}", 200, "X-Long: " + "x" * (64 << 10))], 200, b"{}"),
        ([http(b"{}", 200, "X-None:", "X-Some: 1")], 200, b"{}"),
        ([http(b"x" * MAX_BODY_BYTES)], 200, b"x" * MAX_BODY_BYTES),
    ],
    ids=[
        "whole",
        "byte by byte",
        "100",
        "103",
        "several 1xx",
        "chunks",
        "trailers",
        "204",
        "304",
        "no body",
        "no reason",
        "1.0 kept",
        "upgrade offered",
        "long header",
        "empty header",
        "at the limit",
    ],
)
@on_both_loops
async def test_an_answer_is_read_completely(parts: list[bytes], status: int, body: bytes) -> None:
    outcome = await outcome_at(*parts)
    assert (outcome.answer.status, outcome.answer.body, outcome.is_reusable) == (status, body, True)


@on_both_loops
async def test_equal_headers_are_read_by_the_first_and_names_in_any_case() -> None:
    raw = http(b"{}", 200, "RETRY-after: 1", "Retry-After: 2", "x-nAme:  \u00e9")
    answer = (await outcome_at(raw)).answer
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["x-name"].encode("latin-1").decode() == "\u00e9"
    assert all(name == name.lower() for name in answer.headers)


@on_both_loops
async def test_trailers_are_ignored() -> None:
    trailers = b"2\r\n{}\r\n0\r\nContent-Encoding: gzip\r\nRetry-After: 9\r\n\r\n"
    answer = (await outcome_at(CHUNKED + trailers)).answer
    assert (answer.body, list(answer.headers)) == (b"{}", ["transfer-encoding"])


@on_both_loops
async def test_headers_of_a_1xx_response_are_ignored() -> None:
    answer = (await outcome_at(b"HTTP/1.1 103 E\r\nRetry-After: 9\r\n\r\n" + WHOLE)).answer
    assert list(answer.headers) == ["content-length"]


# Complete responses that end the connection.


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@on_both_loops
async def test_an_answer_without_length_ends_with_its_connection(version: bytes) -> None:
    outcome = await outcome_at(b"HTTP/" + version + b" 200 OK\r\n\r\n", b"{", b"}", end="close")
    assert (outcome.answer.body, outcome.is_reusable) == (b"{}", False)


@pytest.mark.parametrize(
    "raw",
    [
        http(b"{}", 200, "Connection: close"),
        http(b"{}", 200, "Connection: keep-alive, CLOSE"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
@on_both_loops
async def test_a_response_that_closes_is_accepted_and_nothing_follows(raw: bytes) -> None:
    outcome = await outcome_at(raw)
    assert (outcome.answer.body, outcome.is_reusable) == (b"{}", False)


@pytest.mark.parametrize("more", [b"H", b"x", WHOLE, b"HTTP/1.1 100 C\r\n\r\n", b"\r\nx", b"\0"])
@pytest.mark.parametrize("raw", [WHOLE, CHUNKED + b"2\r\n{}\r\n0\r\n\r\n"])
@on_both_loops
async def test_a_response_with_bytes_after_it_is_accepted_and_nothing_follows(
    raw: bytes, more: bytes
) -> None:
    outcome = await outcome_at(raw + more)
    assert (outcome.answer.body, outcome.is_reusable) == (b"{}", False)


@on_both_loops
async def test_a_second_answer_adds_nothing_to_the_first() -> None:
    answer = (await outcome_at(WHOLE + http(b"[]", 500, "Retry-After: 9"))).answer
    assert (answer.status, answer.body, list(answer.headers)) == (200, b"{}", ["content-length"])


@pytest.mark.parametrize("tls", [False, True])
@on_both_loops
async def test_a_response_before_the_request_is_read_is_accepted_and_nothing_follows(
    *, tls: bool
) -> None:
    async def refuse(peer: ServerConnection) -> None:
        await peer.head()
        await peer.answer(http(b"{}", 413))
        await in_time(over)

    over = asyncio.Event()
    trusted = trusting_tls() if tls else None
    async with (
        serving(refuse, tls=server_tls() if tls else None) as server,
        pool_at(server.url, tls=trusted) as pool,
    ):
        connection = await pool.acquire()
        long = b"POST / HTTP/1.1\r\ncontent-length: 20000000\r\n\r\n" + b"x" * 20_000_000
        outcome = await outcome_of(connection, long)
        pool.release(connection)
        over.set()
    assert (outcome.answer.status, outcome.is_reusable) == (413, False)


@on_both_loops
async def test_a_close_is_noticed_though_the_request_is_not_read() -> None:
    async def refuse(peer: ServerConnection) -> None:
        await peer.head()
        await peer.answer(b"HTTP/1.1 413 Too Large\r\n\r\n{}")
        peer.writer.write_eof()
        await in_time(over)

    over = asyncio.Event()
    async with serving(refuse) as server, connected_to(server) as connection:
        outcome = await outcome_of(connection, GET + b"x" * 20_000_000)
        over.set()
    assert (outcome.answer.status, outcome.answer.body, outcome.is_reusable) == (413, b"{}", False)


# Bytes that are no response, or an incomplete one.


@pytest.mark.parametrize(
    ("parts", "end", "failure", "status"),
    [
        ([], "close", ServerDisconnected, None),
        ([], "reset", ServerDisconnected, None),
        ([WHOLE[:20]], "close", ServerDisconnected, None),
        ([b"HTTP/1.1 100 C\r\n\r\n"], "close", ServerDisconnected, None),
        ([WHOLE[:-1]], "close", ResponseTruncated, 200),
        ([WHOLE[:-1]], "reset", ResponseTruncated, 200),
        (
            [OK + b"Connection: close\r\nContent-Length: 9\r\n\r\n{}"],
            "close",
            ResponseTruncated,
            200,
        ),
        ([CHUNKED + b"9\r\n{}"], "close", ResponseTruncated, 200),
        ([CHUNKED + b"2\r\n{}\r\n"], "close", ResponseTruncated, 200),
        ([CHUNKED + b"2\r\n{}\r\n0\r\nX: 1\r\n"], "close", ResponseTruncated, 200),
        ([OK + b"\r\n{}"], "reset", ResponseTruncated, 200),
        ([OK + b"Transfer-Encoding: gzip\r\n\r\n{}"], "close", ResponseTruncated, 200),
    ],
)
@on_both_loops
async def test_an_incomplete_response_is_cut_off(
    parts: list[bytes], end: ConnectionEnd, failure: type[TransportError], status: int | None
) -> None:
    assert failed(await outcome_at(*parts, end=end)) == (failure, status)


@on_both_loops
async def test_a_response_without_length_is_cut_off_if_we_close() -> None:
    async with (
        serving(answering_with(OK + b"\r\n", b"{}")) as server,
        connected_to(server) as connection,
    ):
        sending = asyncio.ensure_future(outcome_of(connection))
        await until(lambda: connection.status is not None)
        connection.abort()
        assert failed(await sending) == (ResponseTruncated, 200)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"220 mail.example ESMTP ready\r\n", None),
        (b"SSH-2.0-OpenSSH_9.6\r\n", None),
        (b"\x15\x03\x03\x00\x02\x02\x46", None),
        (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", None),
        (b"ICY 200 OK\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\n\r\n", None),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + WHOLE, None),
        (b"HTTP/1.1 101 Switching\r\n\r\n" + WHOLE, None),
        (b"HTTP/1.1 000 No\r\nContent-Length: 0\r\n\r\n" + WHOLE, None),
        (b"HTTP/1.1 099 No\r\n\r\n", None),
        (b"HTTP/1.1 2000 OK\r\n\r\n", None),
        (OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", None),
        (OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", None),
        (OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", None),
        (OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", None),
        (OK + b"Content-Length: 2, 2\r\n\r\n{}", None),
        (OK + b"Content-Length: -2\r\n\r\n{}", None),
        (OK + b"Content-Length: +2\r\n\r\n{}", None),
        (OK + b"Content-Length: 99999999999999999999\r\n\r\n{}", None),
        (OK + b"Content-Length : 2\r\n\r\n{}", None),
        (OK + b"Content-Length: 2\r\nX-Nul: a\0b\r\n\r\n{}", None),
        (OK + b"Content-Length: 2\r\nX-Folded: a\r\n b\r\n\r\n{}", None),
        (WHOLE.replace(b"\r\n", b"\n"), None),
        (CHUNKED + b"-2\r\n", 200),
        (CHUNKED + b"2\r\n{}}\r\n", 200),
        (CHUNKED + b"fffffffffffffffffff\r\n", 200),
    ],
)
@on_both_loops
async def test_bytes_that_are_not_http_are_refused(raw: bytes, status: int | None) -> None:
    """Among them: lengths that disagree, folded headers, lines that end with LF alone."""
    assert failed(await outcome_at(raw)) == (InvalidHttpResponse, status)
