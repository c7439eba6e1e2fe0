"""The bytes of a request, name lookup, and encodings of a response."""

import gzip
import zlib

import pytest

from jobs.outcomes import CallFailure, NotSent
from jobs.states import Kind, Mode
from tests.contract.client_calls import provider_at, submit
from tests.contract.fake_name_lookup import FakeNameLookup, refusing
from tests.contract.raw_server import ServerConnection, http, serving
from tests.contract.transport_calls import MAX_BODY_BYTES, body_of, echo, get, post, transport_to
from worker.provider.http.encodings import decoded
from worker.provider.http.failures import ResponseTooLarge, UnreadableEncoding
from worker.provider.http.options import MAX_HEADER_BYTES, HttpResponse
from worker.provider.http.request import HttpRequest, Origin, check_headers
from worker.provider.knouds import calls

# The address.


@pytest.mark.parametrize(
    ("base_url", "url", "name"),
    [
        ("http://knouds.ai", "http://knouds.ai/p", "knouds.ai:80"),
        ("http://knouds.ai/", "http://knouds.ai/p", "knouds.ai:80"),
        ("http://knouds.ai:8080", "http://knouds.ai:8080/p", "knouds.ai:8080"),
        ("https://Knouds.AI/pre/fix/", "https://knouds.ai/pre/fix/p", "knouds.ai:443"),
        ("http://[2001:db8::1]:81/v1", "http://[2001:db8::1]:81/v1/p", "[2001:db8::1]:81"),
        ("http://bücher.example:81", "http://xn--bcher-kva.example:81/p", "bücher.example:81"),
        ("http://me:secret@knouds.ai", "http://knouds.ai/p", "knouds.ai:80"),
    ],
)
def test_a_request_names_its_host_and_its_path(base_url: str, url: str, name: str) -> None:
    origin = Origin(base_url)
    assert str(origin.url(HttpRequest("GET", "/p", {}))) == url
    assert origin.name == name


@pytest.mark.parametrize("name", ["..", ".", "a/b", "a b", "a\r\nb", "a?b#c", "ü", "%2E", ""])
async def test_a_name_stays_one_segment_of_the_path(name: str) -> None:
    request = calls.poll(name, "key")
    async with serving(echo) as server, transport_to(server.url) as transport:
        await get(transport, request.path)
    method, path, version = server.requests[0].split("\r\n")[0].split(" ")
    assert (method, path, version) == ("GET", request.path, "HTTP/1.1")
    folder, _, segment = path.rpartition("/")
    assert folder == "/api/executions"
    assert not set(segment) & set("/?# \r\n")
    assert segment not in (".", "..")


# The head.


async def test_a_head_says_what_the_server_needs_and_no_more() -> None:
    async with serving(echo) as server, provider_at(server.url) as provider:
        await submit(provider)
        await provider.poll("default", "run-1")
        await provider.cancel("default", "run-1")
    heads = [
        dict(line.lower().split(": ", 1) for line in head.strip().split("\r\n")[1:])
        for head in server.requests
    ]
    common = {
        "host": server.url[7:],
        "user-agent": "knouds-worker",
        "accept": "application/json",
        "accept-encoding": "identity",
        "x-api-key": "knouds_live_top-secret",
    }
    length = str(len(server.bodies[0]))
    assert heads[0] == {**common, "content-type": "application/json", "content-length": length}
    assert heads[1] == common
    assert heads[2] == {**common, "content-length": "0"}


@pytest.mark.parametrize("bad", ["a\r\nx-other: b", "a\nb", "a\rb", "a\0b", "a\tb", "a\u2028b"])
def test_a_header_that_would_not_travel_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="x-api-key"):
        check_headers(calls.submit(Kind.MODEL, "a", b"{}", Mode.SYNC, bad).headers)


async def test_a_key_with_a_line_break_sends_nothing() -> None:
    async with (
        serving(ServerConnection.hang) as server,
        provider_at(server.url, key="a\r\nb: c") as provider,
    ):
        assert isinstance(await submit(provider), NotSent)
    assert server.connections == []


# Names.


async def test_addresses_are_looked_up_once_and_again_after_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(echo) as server, transport_to("http://knouds.invalid") as transport:
        lookup = FakeNameLookup(monkeypatch, refusing())
        assert isinstance(await get(transport), CallFailure)
        lookup.urls = [server.url]
        for _ in range(2):
            assert body_of(await get(transport, "/a")) == b"/a"
            server.connections[-1].close_in_kernel()
        assert (lookup.lookups, len(server.connections)) == (2, 2)


async def test_another_address_is_tried_if_the_first_refuses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(echo) as server, transport_to("http://knouds.invalid") as transport:
        FakeNameLookup(monkeypatch, refusing(), server.url)
        assert body_of(await post(transport, "/a")) == b"/a"


async def test_a_name_that_is_not_found_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async with provider_at("https://knouds.invalid") as provider:
        FakeNameLookup(monkeypatch)
        answer = await submit(provider)
    assert answer == NotSent(
        "the host name knouds.invalid is not found (Name or service not known): check"
        " KNOUDS_BASE_URL and the name servers of this machine"
    )


# Encodings and sizes.


GZIP = gzip.compress(b"{}", mtime=0)
RAW_DEFLATE = zlib.compressobj(wbits=-zlib.MAX_WBITS)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (GZIP, "gzip"),
        (GZIP, " GZIP "),
        (GZIP, "x-gzip"),
        (zlib.compress(b"{}"), "deflate"),
        (RAW_DEFLATE.compress(b"{}") + RAW_DEFLATE.flush(), "deflate"),
        (b"{}", "identity"),
    ],
)
async def test_a_compressed_body_is_decompressed(body: bytes, encoding: str) -> None:
    async def script(peer: ServerConnection) -> None:
        await peer.request()
        await peer.answer(http(body, 200, f"Content-Encoding: {encoding}"))

    async with serving(script) as server, transport_to(server.url) as transport:
        assert body_of(await post(transport)) == b"{}"


@pytest.mark.parametrize("body", [GZIP[:-1], GZIP[:5], b"", b"{}", GZIP[:-5] + b"xxxxx"])
def test_a_body_that_does_not_decompress_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableEncoding, match="'gzip'"):
        decoded(body, "gzip", 100)


def test_an_encoding_that_nobody_asked_for_is_unreadable() -> None:
    with pytest.raises(UnreadableEncoding, match="'br'"):
        decoded(b"{}", "br", 100)


@pytest.mark.parametrize("size", [101, 50_000_000])
def test_a_compressed_body_is_no_way_around_the_limit(size: int) -> None:
    with pytest.raises(ResponseTooLarge):
        decoded(gzip.compress(b"x" * size), "gzip", 100)


@pytest.mark.parametrize(
    ("answer", "fits"),
    [
        (http(b"x" * MAX_BODY_BYTES), True),
        (http(b"x" * (MAX_BODY_BYTES + 1)), False),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_BODY_BYTES + 1), False),
        (http(b"{}", 200, "X-Long: " + "x" * (MAX_HEADER_BYTES - 100)), True),
        (http(b"{}", 200, "X-Long: " + "x" * (MAX_HEADER_BYTES + 1)), False),
        (http(b"{}", 200, *(f"X-{number}: 1" for number in range(200))), True),
        (http(b"{}", 200, *(f"X-{number}: 1" for number in range(300))), False),
    ],
    ids=["body", "long body", "endless body", "header", "long header", "headers", "many headers"],
)
async def test_a_response_that_is_too_large_is_not_read(answer: bytes, *, fits: bool) -> None:
    async def script(peer: ServerConnection) -> None:
        await peer.request()
        await peer.answer(answer)

    async with serving(script) as server, transport_to(server.url) as transport:
        read = await get(transport)
    if fits:
        assert isinstance(read, HttpResponse)
    else:
        assert isinstance(read, CallFailure)
        assert read.why == "the response was too large to read"


async def test_equal_headers_are_joined_and_names_are_in_lower_case() -> None:
    async def script(peer: ServerConnection) -> None:
        await peer.request()
        await peer.answer(http(b"{}", 200, "RETRY-after: 1", "Retry-After: 2"))

    async with serving(script) as server, transport_to(server.url) as transport:
        answer = await get(transport)
    assert isinstance(answer, HttpResponse)
    assert answer.headers == {"content-length": "2", "retry-after": "1, 2"}
