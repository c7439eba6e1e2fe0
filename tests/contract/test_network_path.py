"""The way to the provider: which proxy is taken, and what it means if one refuses."""

import socket
from pathlib import Path

import pytest

from config.environment import load
from config.settings import Settings, SettingsError
from jobs.outcomes import Accepted, CallFailure, NotSent, Refused
from tests.contract.client_calls import SHORT_S, provider_at, submit
from tests.contract.proxy_server import AUTHORIZATION, LOGIN, forward, refusing_with, tunnel
from tests.contract.raw_server import ACCEPTED, ServerConnection, http, in_time, serving
from tests.contract.test_provider_client import PEM, accept_all, server_tls, trusting_tls
from worker.compose.provider import build_provider
from worker.provider.http.network_path import (
    DIRECT,
    InvalidProxy,
    NetworkPath,
    choose_path,
)

RUN = Accepted("run-1", "req-1")


def chosen(base_url: str, setting: str | None = None, **environ: str) -> str:
    return choose_path(base_url, setting, "KNOUDS_PROXY_URL", environ).describe()


def through(url: str, login: str = "") -> NetworkPath:
    return NetworkPath(url.replace("://", f"://{login}@") if login else url, "KNOUDS_PROXY_URL")


# Which one is taken.


AT_P = {"HTTPS_PROXY": "http://p:1"}


@pytest.mark.parametrize(
    ("base_url", "environ", "variable"),
    [
        ("https://knouds.ai", AT_P, "HTTPS_PROXY"),
        ("https://knouds.ai", {"https_proxy": "http://p:1"}, "https_proxy"),
        ("https://knouds.ai", {"HTTPS_PROXY": "p:1"}, "HTTPS_PROXY"),
        ("https://knouds.ai", {"HTTPS_PROXY": "http://me:secret@p:1"}, "HTTPS_PROXY"),
        ("http://knouds.ai", {"HTTP_PROXY": "http://p:1"}, "HTTP_PROXY"),
        ("https://knouds.ai", {"ALL_PROXY": "http://p:1"}, "ALL_PROXY"),
        ("https://notknouds.ai", {**AT_P, "NO_PROXY": "knouds.ai"}, "HTTPS_PROXY"),
    ],
)
def test_the_environment_names_the_proxy(
    base_url: str, environ: dict[str, str], variable: str
) -> None:
    assert chosen(base_url, **environ) == f"through proxy http://p:1 ({variable})"


@pytest.mark.parametrize(
    ("base_url", "environ"),
    [
        ("https://knouds.ai", {}),
        ("https://knouds.ai", {"HTTP_PROXY": "http://p:1"}),
        ("https://knouds.ai", {"HTTPS_PROXY": " "}),
        ("https://knouds.ai", {**AT_P, "NO_PROXY": "knouds.ai"}),
        ("https://knouds.ai", {**AT_P, "NO_PROXY": "*"}),
        ("https://api.knouds.ai", {**AT_P, "no_proxy": "a, .knouds.ai"}),
        ("https://api.knouds.ai:8443", {**AT_P, "NO_PROXY": "api.knouds.ai:8443"}),
        ("https://10.1.2.3", {**AT_P, "NO_PROXY": "10.0.0.0/8"}),
        ("http://127.0.0.1:9000", {"HTTP_PROXY": "http://p:1"}),
        ("http://localhost:9000", {"HTTP_PROXY": "http://p:1"}),
    ],
)
def test_the_environment_names_exceptions(base_url: str, environ: dict[str, str]) -> None:
    assert chosen(base_url, **environ) == "direct"


def test_the_setting_comes_before_the_environment_and_its_exceptions() -> None:
    path = chosen("https://knouds.ai", "https://q:1", HTTPS_PROXY="http://p:1", NO_PROXY="*")
    assert path == "through proxy https://q:1 (KNOUDS_PROXY_URL)"


@pytest.mark.parametrize("url", ["socks5://p:1080", "http://", "http://p:x", "ftp://p"])
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(url: str) -> None:
    url = url.replace("://", "://me:secret@")
    with pytest.raises(InvalidProxy, match=r"^HTTPS_PROXY: .*http://host:port") as error:
        chosen("https://knouds.ai", HTTPS_PROXY=url)
    assert "secret" not in str(error.value)
    with pytest.raises(SettingsError, match=r"^KNOUDS_PROXY_URL: ") as wrong:
        load({"KNOUDS_PROXY_URL": url}, None)
    assert "secret" not in str(wrong.value)


def test_a_start_fails_in_one_line_for_a_proxy_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://p:1080")
    with pytest.raises(SettingsError, match=r"^HTTPS_PROXY: .*SOCKS is not supported"):
        build_provider(Settings())


def test_the_password_of_a_proxy_is_a_secret() -> None:
    settings = load({"KNOUDS_PROXY_URL": f"http://{LOGIN}@p:1"}, None)
    assert {"pass-word%40", "pass-word@"} <= settings.secret_values
    assert "pass-word" not in repr(settings)
    assert "pass-word" not in repr(through("http://p:1", LOGIN))


async def test_a_provider_says_how_it_is_reached() -> None:
    settings = load({"KNOUDS_PROXY_URL": f"http://{LOGIN}@p:1"}, None)
    assert build_provider(settings).network_path == "through proxy http://p:1 (KNOUDS_PROXY_URL)"
    assert (
        build_provider(load({"KNOUDS_BASE_URL": "http://localhost"}, None)).network_path == "direct"
    )


# Whom to trust.


def test_a_file_without_certificates_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "ca.pem"
    with pytest.raises(SettingsError, match=r"^KNOUDS_CA_FILE: cannot be read"):
        load({"KNOUDS_CA_FILE": str(empty)}, None)
    empty.write_text("nothing")
    with pytest.raises(SettingsError, match=r"^KNOUDS_CA_FILE: holds no certificate"):
        build_provider(load({"KNOUDS_CA_FILE": str(empty)}, None))


@pytest.mark.parametrize("variable", ["KNOUDS_CA_FILE", "SSL_CERT_FILE"])
async def test_a_certificate_of_an_own_authority_is_trusted(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(PEM))
    async with serving(accept_all, tls=server_tls()) as server:
        monkeypatch.setenv("KNOUDS_BASE_URL", server.url)
        monkeypatch.setenv("KNOUDS_API_KEY", "knouds_live_x")
        provider = build_provider(load(env_file=None))
        try:
            await provider.whoami("default")
        finally:
            await provider.close()
    assert [head.split(" ")[1] for head in server.requests] == ["/api/whoami"]


# Through it.


async def test_a_submit_goes_through_a_tunnel_that_sees_nothing_of_it() -> None:
    marks: list[int] = []

    async def record() -> None:
        marks.append(len(server.requests))

    async with (
        serving(accept_all, tls=server_tls()) as server,
        serving(tunnel) as proxy,
        provider_at(server.url, tls=trusting_tls(), path=through(proxy.url, LOGIN)) as provider,
    ):
        for _ in range(2):
            assert await submit(provider, record) == RUN
    head = proxy.requests[0].lower()
    assert head.startswith(f"connect {server.url[8:]} http/1.1\r\n")
    assert AUTHORIZATION.lower() in head
    assert "x-api-key" not in head
    assert marks == [0, 1]
    assert (len(proxy.requests), len(server.connections), len(server.requests)) == (1, 1, 2)
    assert not any("proxy-authorization" in request.lower() for request in server.requests)


async def test_without_a_mark_nothing_goes_through_the_tunnel() -> None:
    async def refuse() -> None:
        raise LookupError

    async def keep(peer: ServerConnection) -> None:
        while chunk := await peer.reader.read(1 << 16):
            peer.server.leftovers.append(chunk)

    async with (
        serving(keep, tls=server_tls()) as server,
        serving(tunnel) as proxy,
        provider_at(server.url, tls=trusting_tls(), path=through(proxy.url)) as provider,
    ):
        with pytest.raises(LookupError):
            await submit(provider, refuse)
        await in_time(server.ended)
    assert server.leftovers == []


async def test_a_plain_request_is_sent_to_the_proxy_as_a_whole_address() -> None:
    async with (
        serving(accept_all) as server,
        serving(forward) as proxy,
        provider_at(server.url, path=through(proxy.url, LOGIN)) as provider,
    ):
        assert await submit(provider) == RUN
    head = proxy.requests[0].lower()
    assert head.startswith(f"post {server.url}/api/models/suno/run?async=true http/1.1\r\n")
    assert AUTHORIZATION.lower() in head


# Refused by it.


@pytest.mark.parametrize(
    ("status", "reason", "said", "advice"),
    [
        (407, "Proxy Authentication Required", "407 Proxy Auth", "password@… in KNOUDS_"),
        (403, "Forbidden", "403 Forbidden", "allow it there, or change KNOUDS_PROXY_URL"),
        (502, "Bad Gateway", "502 Bad Gateway", "change KNOUDS_PROXY_URL"),
    ],
)  # fmt: skip
async def test_what_the_proxy_refuses_is_not_sent_and_no_word_of_the_provider(
    status: int, reason: str, said: str, advice: str
) -> None:
    async def record() -> None:
        raise AssertionError("there is no connection")

    async with (
        serving(accept_all, tls=server_tls()) as server,
        serving(refusing_with(status, reason)) as proxy,
        provider_at(server.url, tls=trusting_tls(), path=through(proxy.url, LOGIN)) as provider,
    ):
        answer = await submit(provider, record)
        polled = await provider.poll("default", "run-1")
    assert isinstance(answer, NotSent)
    assert answer.why.startswith(f"the proxy {proxy.url} refused to connect to {server.url[8:]}")
    assert said in answer.why
    assert advice in answer.why
    assert "pass-word" not in answer.why
    assert polled == CallFailure(answer.why)
    assert isinstance(polled, CallFailure)
    assert polled.is_unsent
    assert server.connections == []


async def test_a_407_to_a_plain_request_is_of_the_proxy() -> None:
    async with (
        serving(refusing_with(407, "Proxy Authentication Required")) as proxy,
        provider_at("http://knouds.invalid", path=through(proxy.url)) as provider,
    ):
        answer = await submit(provider)
        polled = await provider.poll("default", "run-1")
    assert isinstance(answer, NotSent)
    assert "refused the request (407)" in answer.why
    assert polled == CallFailure(answer.why)
    assert isinstance(polled, CallFailure)
    assert polled.is_unsent


async def test_a_proxy_that_is_not_there_is_named() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        async with provider_at("https://knouds.invalid", path=through(url, LOGIN)) as provider:
            answer = await submit(provider)
            polled = await provider.poll("default", "run-1")
    assert isinstance(polled, CallFailure)
    assert polled.is_unsent
    assert answer == NotSent(
        f"cannot connect to the proxy {url} (Connection refused): check KNOUDS_PROXY_URL"
    )


async def test_a_proxy_whose_name_is_not_found_is_named() -> None:
    path = through("http://proxy.invalid:3128", LOGIN)
    async with provider_at("https://knouds.ai", path=path) as provider:
        answer = await submit(provider)
    assert isinstance(answer, NotSent)
    assert answer.why.startswith(
        "the host name of the proxy http://proxy.invalid:3128 is not found"
    )


async def test_a_proxy_that_does_not_answer_is_not_sent_in_time() -> None:
    async def silent(peer: ServerConnection) -> None:
        await peer.head()
        await peer.hang()

    async with (
        serving(silent) as proxy,
        provider_at(
            "https://knouds.invalid", path=through(proxy.url), connect_s=SHORT_S
        ) as provider,
    ):
        answer = await submit(provider)
        await in_time(proxy.ended)
    assert answer == NotSent(
        f"no connection to knouds.invalid:443 through proxy {proxy.url} (KNOUDS_PROXY_URL) within"
        f" {SHORT_S:g} s (KNOUDS_CONNECT_TIMEOUT_S)"
    )


# Texts of what goes wrong without a proxy.


async def test_plain_http_to_a_tls_port_is_named_if_the_server_says_so() -> None:
    page = b"<center>The plain HTTP request was sent to HTTPS port</center>"

    async def nginx(peer: ServerConnection) -> None:
        await peer.request()
        await peer.answer(http(page, 400))

    async with serving(nginx) as server, provider_at(server.url) as provider:
        answer = await submit(provider)
        polled = await provider.poll("default", "run-1")
    assert isinstance(answer, Refused)
    assert answer.error.wants_tls
    assert isinstance(polled, CallFailure)
    assert polled.is_page
    assert polled.why.endswith("speaks TLS: KNOUDS_BASE_URL must start with https://")


async def test_plain_http_to_a_tls_port_is_named_if_it_answers_in_tls() -> None:
    async def alert(peer: ServerConnection) -> None:
        await peer.request()
        await peer.answer(b"\x15\x03\x03\x00\x02\x02\x46")

    async with serving(alert) as server, provider_at(server.url) as provider:
        polled = await provider.poll("default", "run-1")
    assert isinstance(polled, CallFailure)
    assert "speaks TLS: KNOUDS_BASE_URL must start with https://" in polled.why


async def test_a_server_without_tls_is_named() -> None:
    async def plain(peer: ServerConnection) -> None:
        await peer.reader.read(1)
        await peer.answer(http(ACCEPTED))

    async with (
        serving(plain) as server,
        provider_at(server.url.replace("http:", "https:")) as provider,
    ):
        answer = await submit(provider)
    assert isinstance(answer, NotSent)
    assert answer.why.startswith(f"no TLS with {server.url[7:]} (")
    assert "KNOUDS_BASE_URL" in answer.why


def test_the_default_is_direct() -> None:
    assert DIRECT.describe() == "direct"
    assert DIRECT.secrets == ()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://knouds.invalid"])
async def test_a_poll_without_a_connection_was_not_sent(url: str) -> None:
    async with provider_at(url) as provider:
        polled = await provider.poll("default", "run-1")
    assert isinstance(polled, CallFailure)
    assert polled.is_unsent


async def test_a_poll_whose_connection_ends_without_an_answer_was_sent() -> None:
    async def silent(peer: ServerConnection) -> None:
        await peer.request()

    async with serving(silent) as server, provider_at(server.url) as provider:
        polled = await provider.poll("default", "run-1")
    assert isinstance(polled, CallFailure)
    assert not polled.is_unsent
