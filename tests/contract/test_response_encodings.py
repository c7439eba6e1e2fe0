"""Responses that are too large, and compressed ones."""

import gzip
import zlib

import pytest

from tests.contract.event_loops import on_both_loops
from tests.contract.http_connections import MAX_BODY_BYTES, failed, outcome_at
from tests.contract.raw_server import http
from worker.provider.http.connection import MAX_HEAD_BYTES
from worker.provider.http.failures import ResponseTooLarge, ResponseTruncated

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

# Too large.


ENDLESS = b"x" * (MAX_HEAD_BYTES + 70_000)
GZIPPED = "Content-Encoding: gzip"


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([OK + b"X-Long: ", ENDLESS, ENDLESS], None),
        (
            [
                OK,
                *[
                    b"X-Many: %d\r\n" % number + b"X: " + b"x" * 9000 + b"\r\n"
                    for number in range(60)
                ],
            ],
            None,
        ),
        ([http(b"x" * (MAX_BODY_BYTES + 1))], 200),
        ([CHUNKED, b"%x\r\n" % (MAX_BODY_BYTES + 1) + b"x" * (MAX_BODY_BYTES + 1)], 200),
        ([OK + b"\r\n", b"x" * (MAX_BODY_BYTES + 1)], 200),
        ([http(gzip.compress(b"x" * (MAX_BODY_BYTES + 1)), 200, GZIPPED)], 200),
        ([http(gzip.compress(b"x" * 50_000_000, mtime=0), 200, GZIPPED)], 200),
        ([CHUNKED + b"0\r\nX-Long: ", ENDLESS, ENDLESS], 200),
        ([CHUNKED + b"2;ext=", ENDLESS, ENDLESS], 200),
    ],
    ids=["head", "heads", "length", "chunk", "no length", "gzip", "bomb", "trailer", "extension"],
)
@on_both_loops
async def test_a_response_that_is_too_large_is_not_read(
    parts: list[bytes], status: int | None
) -> None:
    assert failed(await outcome_at(*parts)) == (ResponseTooLarge, status)


# Compressed.


@pytest.mark.parametrize(
    ("compressed", "coding"),
    [
        (gzip.compress(b"{}", mtime=0), "gzip"),
        (gzip.compress(b"{}", mtime=0), " GZIP "),
        (zlib.compress(b"{}"), "deflate"),
        (b"{}", "identity"),
    ],
)
@on_both_loops
async def test_a_compressed_body_is_decompressed(compressed: bytes, coding: str) -> None:
    outcome = await outcome_at(http(compressed, 200, f"Content-Encoding: {coding}"))
    assert (outcome.answer.body, outcome.is_reusable) == (b"{}", True)


@pytest.mark.parametrize(
    "compressed",
    [
        gzip.compress(b"{}", mtime=0)[:-1],
        gzip.compress(b"{}", mtime=0)[:5],
        b"",
        b"{}",
        gzip.compress(b"{}", mtime=0)[:-5] + b"xxxxx",
    ],
)
@on_both_loops
async def test_a_body_that_does_not_decompress_is_cut_off(compressed: bytes) -> None:
    assert failed(await outcome_at(http(compressed, 200, GZIPPED))) == (ResponseTruncated, 200)
