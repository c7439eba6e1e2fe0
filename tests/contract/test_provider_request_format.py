"""The bytes of a request for its origin."""

import pytest

from jobs.outcomes import NotSent
from jobs.states import Kind, Mode
from tests.contract.client_calls import provider_at, submit
from tests.contract.raw_server import ServerConnection, serving
from worker.provider.http.request import HttpRequest, Origin
from worker.provider.knouds import calls
from worker.provider.knouds.client import USER_AGENT

USUAL = "user-agent: knouds-worker\r\naccept-encoding: identity\r\n"


def head(base_url: str, request: HttpRequest) -> str:
    return Origin(base_url, USER_AGENT).encode(request).decode().split("\r\n\r\n")[0] + "\r\n"


@pytest.mark.parametrize(
    ("base_url", "line", "host"),
    [
        ("http://knouds.ai", "/p", "knouds.ai"),
        ("http://knouds.ai/", "/p", "knouds.ai"),
        ("http://knouds.ai:8080", "/p", "knouds.ai:8080"),
        ("https://Knouds.AI/pre/fix/", "/pre/fix/p", "knouds.ai"),
        ("http://127.0.0.1:80", "/p", "127.0.0.1:80"),
        ("http://[::1]", "/p", "[::1]"),
        ("http://[2001:db8::1]:8080/v1", "/v1/p", "[2001:db8::1]:8080"),
        ("http://bücher.example", "/p", "xn--bcher-kva.example"),
        ("http://bücher.example:8080", "/p", "xn--bcher-kva.example:8080"),
        ("http://bücher:8080", "/p", "xn--bcher-kva:8080"),
        ("http://example.рф:8080", "/p", "example.xn--p1ai:8080"),
        ("http://me:secret@knouds.ai", "/p", "knouds.ai"),
    ],
)
def test_a_request_names_its_host_and_its_path(base_url: str, line: str, host: str) -> None:
    assert head(base_url, HttpRequest("GET", "/p", {})) == (
        f"GET {line} HTTP/1.1\r\nhost: {host}\r\n{USUAL}"
    )


def test_only_what_may_have_a_body_says_how_long_it_is() -> None:
    assert "content-length" not in head("http://h", calls.poll("run-1", "key"))
    assert "\r\ncontent-length: 0\r\n" in head("http://h", calls.cancel("run-1", "key"))
    encoded = Origin("http://h", USER_AGENT).encode(
        calls.submit(Kind.MODEL, "a", b"{}", Mode.SYNC, "key")
    )
    assert b"\r\ncontent-length: 13\r\n" in encoded
    assert encoded.endswith(b'\r\n\r\n{"inputs":{}}')


@pytest.mark.parametrize("name", ["..", ".", "a/b", "a b", "a\r\nb", "a?b#c", "ü", ""])
def test_a_name_stays_one_segment_of_the_path(name: str) -> None:
    line = head("http://h", calls.poll(name, "key")).split("\r\n")[0]
    method, path, version = line.split(" ")
    assert (method, version) == ("GET", "HTTP/1.1")
    folder, _, segment = path.rpartition("/")
    assert folder == "/api/executions"
    assert not set(segment) & set("/?# \r\n")
    assert segment not in (".", "..")


@pytest.mark.parametrize("bad", ["a\r\nx-other: b", "a\nb", "a\rb", "a\0b", "a\tb", "a\u2028b"])
def test_a_header_that_would_not_travel_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="x-api-key"):
        Origin("http://h", USER_AGENT).encode(calls.poll("run-1", bad))


async def test_a_key_with_a_line_break_sends_nothing() -> None:
    async with (
        serving(ServerConnection.hang) as server,
        provider_at(server.url, key="a\r\nb: c") as provider,
    ):
        assert isinstance(await submit(provider), NotSent)
    assert server.connections == []
