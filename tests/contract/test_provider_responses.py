"""What the client reads from responses: refusals, polls, rate limits, other calls."""

import asyncio
import gzip
import socket

import pytest

from jobs.lanes import Scope
from jobs.outcomes import (
    Accepted,
    CallFailure,
    Finished,
    Lost,
    ProviderError,
    Refused,
    RunMissing,
    StillRunning,
)
from tests.contract.client_calls import SHORT_S, no_answer, provider_at, submit
from tests.contract.raw_server import ACCEPTED, Script, ServerConnection, http, in_time, serving
from worker.provider.knouds.client import KnoudsClient, Timeouts
from worker.provider.port import CancelAccepted, Identity, ReportedRateLimit

RUN = Accepted("run-1", "req-1")
NOW = 1_790_000_000.0
RATE_LIMIT_HEADERS = (
    "X-RateLimit-Limit: 100",
    "X-RateLimit-Remaining: 4",
    f"X-RateLimit-Reset: {NOW + 30:.0f}",
)
SHORT_TIMEOUTS = Timeouts(submit_s=SHORT_S, sync_s=SHORT_S, poll_s=SHORT_S)


def always(*answers: bytes) -> Script:
    """Answer each request with the next of `answers`; close after the last one."""
    left = list(answers)

    async def script(peer: ServerConnection) -> None:
        while left:
            await peer.request()
            await peer.answer(left.pop(0))

    return script


# Refused.


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (
            http(b'{"error": "no", "code": "grant_exhausted"}', 402),
            ProviderError("grant_exhausted", "no", 402),
        ),
        (
            http(b'{"error": "bad key knouds_live_top-secret"}', 401),
            ProviderError(None, "bad key knouds_live_…", 401),
        ),
        (
            http(b'{"error": "slow", "code": "X"}', 429, "retry-AFTER: 7"),
            ProviderError("X", "slow", 429, retry_after_s=7.0),
        ),
        (http(b"<h1>Bad gateway</h1>", 502), ProviderError(None, "", 502, is_readable=False)),
        (http(b"", 504), ProviderError(None, "", 504, is_readable=False)),
    ],
)
async def test_a_refusal_is_reported_as_it_was(answer: bytes, error: ProviderError) -> None:
    async with serving(always(answer)) as server, provider_at(server.url) as provider:
        assert await submit(provider) == Refused(error)
    assert len(server.requests) == 1


async def test_a_redirect_is_not_followed() -> None:
    async with serving(always(http(ACCEPTED))) as elsewhere:
        moved = http(b"", 307, f"Location: {elsewhere.url}/")
        async with serving(always(moved)) as server, provider_at(server.url) as provider:
            assert await submit(provider) == Refused(
                ProviderError(None, "", 307, is_readable=False, location=elsewhere.url)
            )
    assert elsewhere.connections == []


@pytest.mark.parametrize("status", [301, 400, 402, 403, 404, 413, 422, 429])
@pytest.mark.parametrize("fault", ["cut short", "an unknown encoding"])
async def test_a_refusal_whose_body_cannot_be_read_is_decided_by_its_head(
    status: int, fault: str
) -> None:
    headers = ("Content-Type: application/json",)
    answer = http(b'{"error": "no"}', status, *headers)[:-4]
    if fault == "an unknown encoding":
        answer = http(b'{"error": "no"}', status, *headers, "Content-Encoding: gzip")
    async with serving(always(answer)) as server, provider_at(server.url) as provider:
        outcome = await submit(provider)
    assert isinstance(outcome, Refused)
    assert (outcome.error.http_status, outcome.error.is_readable) == (status, False)
    assert not outcome.error.is_page


@pytest.mark.parametrize("status", [200, 500, 502, 504])
async def test_any_other_answer_that_breaks_off_is_lost(status: int) -> None:
    cut = http(b'{"error": "no"}', status)[:-4]
    async with serving(always(cut)) as server, provider_at(server.url) as provider:
        outcome = await submit(provider)
    assert isinstance(outcome, Lost)
    assert outcome.http_status == status


async def test_a_refusal_that_comes_before_the_inputs_are_read_is_reported() -> None:
    async def refuse_at_once(peer: ServerConnection) -> None:
        await peer.head()
        await peer.answer(http(b'{"error": "no", "code": "X"}', 401))
        await peer.hang()

    async with serving(refuse_at_once) as server, provider_at(server.url) as provider:
        answer = await submit(provider, inputs=b'"' + b"x" * 20_000_000 + b'"')
    assert answer == Refused(ProviderError("X", "no", 401, body_sent=False))
    assert len(server.requests) == 1


# Responses of all shapes.


@pytest.mark.parametrize(
    "parts",
    [
        [http(gzip.compress(ACCEPTED), 200, "Content-Encoding: gzip")],
        [http(ACCEPTED, 202, "Content-Type: text/plain")],
        [http(ACCEPTED, 200, "X-Long: " + "x" * 60_000)],
        [http(ACCEPTED, 200, "Set-Cookie: a=b; Domain=elsewhere", "Connection: close")],
        [http(ACCEPTED)[:30], http(ACCEPTED)[30:70], http(ACCEPTED)[70:]],
        [b"HTTP/1.1 103 Early Hints\r\n\r\n", http(ACCEPTED)],
        [b"HTTP/1.0 200 OK\r\n\r\n" + ACCEPTED],
        [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"%x\r\n%b\r\n0\r\n\r\n" % (len(ACCEPTED), ACCEPTED),
        ],
    ],
    ids=["gzip", "text", "long header", "cookie", "in parts", "hints", "until close", "chunks"],
)
async def test_an_accepted_run_is_read_in_any_encoding(parts: list[bytes]) -> None:
    async def script(peer: ServerConnection) -> None:
        await peer.request()
        await peer.answer(*parts)

    async with serving(script) as server, provider_at(server.url) as provider:
        assert await submit(provider) == RUN


async def test_a_slow_answer_within_the_time_is_read() -> None:
    ready = asyncio.Event()

    async def script(peer: ServerConnection) -> None:
        await peer.request()
        await in_time(ready)
        await peer.answer(http(ACCEPTED))

    async with serving(script) as server, provider_at(server.url) as provider:
        asked = asyncio.create_task(submit(provider))
        await in_time(server.request_seen)
        ready.set()
        assert await asked == RUN


async def test_a_result_of_several_mib_is_read_untouched() -> None:
    result = b'{"text":  "' + b"y" * 5_000_000 + b'"}'
    body = b'{"success": true, "result": ' + result + b"}"
    async with (
        serving(always(http(body))) as server,
        provider_at(server.url, max_answer_bytes=64 << 20) as provider,
    ):
        answer = await submit(provider)
    assert isinstance(answer, Finished)
    assert answer.result == result


async def test_no_cookie_is_kept() -> None:
    answer = http(ACCEPTED, 200, "Set-Cookie: a=b")
    async with (
        serving(always(answer, answer)) as server,
        provider_at(server.url.replace("127.0.0.1", "localhost")) as provider,
    ):
        await submit(provider)
        await submit(provider)
    assert "cookie" not in server.requests[1].lower()


# Polls.


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (http(b'{"status": "processing"}'), StillRunning("processing")),
        (http(b'{"status": "completed", "result": [1]}'), Finished(b"[1]")),
        (http(b'{"error": "none"}', 404), RunMissing(ProviderError(None, "none", 404))),
        (http(b"{}", 503, "Retry-After: 9"), CallFailure("HTTP_503", 503, 9.0)),
        (http(b'{"status": "completed"}')[:-4], CallFailure("the response was cut off")),
        (b"nonsense\r\n\r\n", CallFailure("the response was not HTTP")),
        (http(b"x" * 2_000_000), CallFailure("the response was too large to read")),
    ],
)
async def test_a_poll_returns_the_state_of_the_run(answer: bytes, expected: object) -> None:
    async with serving(always(answer)) as server, provider_at(server.url) as provider:
        assert await provider.poll("default", "run-1") == expected
    assert server.requests[0].startswith("GET /api/executions/run-1 HTTP/1.1\r\n")
    assert "content-length" not in server.requests[0].lower()


async def test_a_poll_without_a_connection_says_nothing_about_the_run() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        async with provider_at(url) as provider:
            answer = await provider.poll("default", "run-1")
    assert isinstance(answer, CallFailure)
    assert answer.why.startswith("cannot connect to 127.0.0.1:")
    assert answer.http_status is None


async def test_a_poll_that_is_not_answered_ends_in_time() -> None:
    async with (
        serving(ServerConnection.hang) as server,
        provider_at(server.url, timeouts=SHORT_TIMEOUTS, connect_s=SHORT_S) as provider,
    ):
        failure = CallFailure(no_answer(server.url, "KNOUDS_POLL_TIMEOUT_S"))
        assert await provider.poll("default", "run-1") == failure
        assert await provider.cancel("default", "run-1") == failure
        assert await provider.whoami("default") == failure


async def test_the_other_calls_are_made_as_documented() -> None:
    script = always(
        http(b'{"status": "cancel_requested"}'),
        http(b'{"error": "none"}', 404),
        http(b'{"user": {"tier": "pro"}}'),
    )
    async with serving(script) as server, provider_at(server.url) as provider:
        assert await provider.cancel("default", "run-1") == CancelAccepted("cancel_requested")
        assert await provider.cancel("default", "r") == RunMissing(ProviderError(None, "none", 404))
        assert await provider.whoami("default") == Identity(tier="pro")
    assert [head.split(" HTTP/")[0] for head in server.requests] == [
        "POST /api/executions/run-1/cancel",
        "POST /api/executions/r/cancel",
        "GET /api/whoami",
    ]
    assert all("x-api-key: knouds_live_top-secret" in head for head in server.requests)


# Rate limits.


class RecordingObserver:
    """A `RateLimitObserver` that keeps what it is given."""

    def __init__(self) -> None:
        self.responses: list[tuple[Scope, ReportedRateLimit | None, int]] = []

    def record_response(
        self, route: Scope, reported: ReportedRateLimit | None, status: int
    ) -> None:
        self.responses.append((route, reported, status))


async def test_rate_limit_headers_are_passed_on_by_route() -> None:
    observer = RecordingObserver()
    script = always(
        http(ACCEPTED, 200, *RATE_LIMIT_HEADERS),
        http(b'{"status": "processing"}', 200, *RATE_LIMIT_HEADERS),
        http(b'{"error": "slow"}', 429, "X-RateLimit-Remaining: 0"),
        http(b"{}", 200, *RATE_LIMIT_HEADERS),
        http(ACCEPTED),
    )
    async with (
        serving(script) as server,
        provider_at(server.url, rate_limit_observer=observer, clock=lambda: NOW) as provider,
    ):
        await submit(provider)
        await provider.poll("default", "run-1")
        await submit(provider)
        await provider.whoami("default")
        await submit(provider)
    reported = ReportedRateLimit(100, 4, NOW + 30)
    assert observer.responses == [
        ("default/model", reported, 200),
        ("default/executions", reported, 200),
        ("default/model", ReportedRateLimit(None, 0, None), 429),
        ("default/model", None, 200),
    ]


async def test_a_rate_limit_observer_that_fails_costs_no_answer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class FailingObserver:
        def record_response(self, route: Scope, reported: object, status: int) -> None:
            raise RuntimeError(f"cannot note {route}, {reported}, {status}")

    script = always(http(ACCEPTED, 200, *RATE_LIMIT_HEADERS))
    async with (
        serving(script) as server,
        provider_at(server.url, rate_limit_observer=FailingObserver()) as provider,
    ):
        assert await submit(provider) == RUN
    assert "rate_limit.not_recorded" in capsys.readouterr().out


async def test_many_calls_at_once_are_each_sent_once() -> None:
    async def accept_all(peer: ServerConnection) -> None:
        while True:
            await peer.request()
            await peer.answer(http(ACCEPTED))

    async with serving(accept_all) as server, provider_at(server.url) as provider:
        answers = await asyncio.gather(*(submit(provider) for _ in range(100)))
    assert set(answers) == {RUN}
    assert len(server.requests) == 100


def test_a_client_is_made_outside_of_a_loop() -> None:
    assert isinstance(provider_at("http://127.0.0.1"), KnoudsClient)
