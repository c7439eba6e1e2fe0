"""Answers that come late, early, cut off, in an unknown encoding, or from a proxy on the way."""

import asyncio
import gzip

import pytest

from jobs.error_table import Disposition, ErrorTable
from jobs.outcomes import Accepted, CallFailure, Lost, LostCause, Refused
from tests.contract.client_calls import SHORT_S, no_answer, provider_at, submit
from tests.contract.proxy_server import refusing_with
from tests.contract.raw_server import (
    ACCEPTED,
    Script,
    ServerConnection,
    http,
    in_time,
    serving,
)
from worker.provider.http.network_path import NetworkPath
from worker.provider.knouds.client import Timeouts
from worker.provider.knouds.error_rows import ERROR_RULES

RUN = Accepted("run-1", "req-1")
ERROR_TABLE = ErrorTable(ERROR_RULES)
LARGE = b'"' + b"x" * 20_000_000 + b'"'
"""Inputs that no kernel buffers whole."""


# Late and early.


async def test_an_answer_after_the_timeout_is_lost_and_not_taken_for_the_next_submit() -> None:
    late = asyncio.Event()
    other = ACCEPTED.replace(b"run-1", b"run-2").replace(b"req-1", b"req-2")

    async def script(peer: ServerConnection) -> None:
        await peer.request()
        if peer.number == 1:
            await in_time(late)
            await peer.answer(http(ACCEPTED))
        await peer.answer(http(other))

    timeouts = Timeouts(submit_s=SHORT_S)
    async with serving(script) as server, provider_at(server.url, timeouts=timeouts) as provider:
        assert await submit(provider) == Lost(
            f"sent, then {no_answer(server.url)}", cause=LostCause.TIMEOUT
        )
        late.set()
        assert await submit(provider) == Accepted("run-2", "req-2")
    assert len(server.connections) == len(server.requests) == 2


def meaning(outcome: object) -> Disposition:
    """What the error table makes of a refused submit."""
    assert isinstance(outcome, Refused), outcome
    return ERROR_TABLE.rule_for_submit(outcome.error).disposition


@pytest.mark.parametrize("body", [b'{"error": "slow"}', b"<h1>Request Timeout</h1>"])
async def test_a_408_before_the_request_was_written_is_not_sent(body: bytes) -> None:
    async def impatient(peer: ServerConnection) -> None:
        await peer.head()
        await peer.answer(http(body, 408, "Connection: close"))
        await peer.hang()

    async with serving(impatient) as server, provider_at(server.url) as provider:
        outcome = await submit(provider, inputs=LARGE)
    assert meaning(outcome) is Disposition.NOT_SENT


@pytest.mark.parametrize("body", [b'{"error": "slow"}', b"<h1>Request Timeout</h1>"])
async def test_a_408_after_the_request_was_written_is_uncertain(body: bytes) -> None:
    async def slow(peer: ServerConnection) -> None:
        await peer.request()
        await peer.answer(http(body, 408, "Connection: close"))

    async with serving(slow) as server, provider_at(server.url) as provider:
        outcome = await submit(provider)
    assert meaning(outcome) is Disposition.UNCERTAIN


# In an encoding that cannot be read.

UNKNOWN = "has the encoding 'xyz', which this worker cannot read"


def encoded(encoding: str, status: int = 200, body: bytes = ACCEPTED) -> Script:
    async def script(peer: ServerConnection) -> None:
        while True:
            await peer.request()
            await peer.answer(http(body, status, f"Content-Encoding: {encoding}"))

    return script


async def test_an_unknown_encoding_of_an_accepted_submit_is_lost_and_named() -> None:
    async with serving(encoded("xyz")) as server, provider_at(server.url) as provider:
        assert await submit(provider) == Lost(f"sent, then the answer {UNKNOWN}", 200)
    assert len(server.requests) == 1


async def test_an_unknown_encoding_of_a_refusal_is_named_and_its_head_decides() -> None:
    async with serving(encoded("xyz", 402)) as server, provider_at(server.url) as provider:
        outcome = await submit(provider)
    assert isinstance(outcome, Refused)
    assert outcome.error.http_status == 402
    assert UNKNOWN in outcome.error.message


@pytest.mark.parametrize(
    ("status", "seen", "prefix"), [(200, None, ""), (403, 403, "HTTP_403: "), (500, None, "")]
)
async def test_an_unknown_encoding_of_other_calls_is_named(
    status: int, seen: int | None, prefix: str
) -> None:
    """A 403 is one whatever its body says: such polls hold the submits."""
    async with serving(encoded("xyz", status)) as server, provider_at(server.url) as provider:
        outcomes = [
            await provider.poll("default", "run-1"),
            await provider.whoami("default"),
            await provider.usage("default", limit=50, offset=0),
            await provider.workflows("default"),
            await provider.workflow_schema("default", "my-pipeline"),
            await provider.cancel("default", "run-1"),
        ]
    for outcome in outcomes:
        assert isinstance(outcome, CallFailure)
        assert (outcome.why, outcome.http_status) == (f"{prefix}the answer {UNKNOWN}", seen)
        assert outcome.is_refused == (status == 403)


async def test_a_cut_403_to_a_poll_is_a_refused_poll() -> None:
    async def cut(peer: ServerConnection) -> None:
        await peer.request()
        await peer.answer(http(b'{"error": "no"}', 403)[:-4])

    async with serving(cut) as server, provider_at(server.url) as provider:
        polled = await provider.poll("default", "run-1")
    assert isinstance(polled, CallFailure)
    assert polled.is_refused
    assert polled.why == "HTTP_403: the response was cut off"


@pytest.mark.parametrize(("status", "refused"), [(401, True), (403, True), (404, False)])
async def test_a_refusal_of_a_poll_whose_body_never_ends_is_one(
    status: int, *, refused: bool
) -> None:
    async def stalls(peer: ServerConnection) -> None:
        await peer.request()
        await peer.answer(http(b'{"error": "no"}', status)[:-4])
        await peer.hang()

    timeouts = Timeouts(poll_s=SHORT_S)
    async with serving(stalls) as server, provider_at(server.url, timeouts=timeouts) as provider:
        polled = await provider.poll("default", "run-1")
    assert isinstance(polled, CallFailure)
    assert (polled.is_refused, polled.is_unsent) == (refused, False)
    assert "no answer from" in polled.why


async def test_several_encodings_are_undone_from_the_last_to_the_first() -> None:
    body = gzip.compress(gzip.compress(ACCEPTED))
    script = encoded("gzip, gzip", 200, body)
    async with serving(script) as server, provider_at(server.url) as provider:
        assert await submit(provider) == RUN


async def test_an_endless_name_of_an_encoding_is_cut() -> None:
    async with serving(encoded("y" * 5_000)) as server, provider_at(server.url) as provider:
        lost = await submit(provider)
    assert isinstance(lost, Lost)
    assert f"'{'y' * 60}'" in lost.why


# Without a length: the end of the connection ends the body.


def unframed(body: bytes, *, reset: bool, status: int = 200) -> Script:
    async def script(peer: ServerConnection) -> None:
        await peer.request()
        await peer.answer(f"HTTP/1.1 {status} Whatever\r\n\r\n".encode(), body)
        if reset:
            peer.reset()

    return script


@pytest.mark.parametrize("reset", [False, True])
async def test_a_whole_json_without_a_length_is_complete(*, reset: bool) -> None:
    """JSON says itself where it ends, so a reset after it took nothing away."""
    script = unframed(ACCEPTED, reset=reset)
    async with serving(script) as server, provider_at(server.url) as provider:
        assert await submit(provider) == RUN


@pytest.mark.parametrize("status", [200, 202, 500, 502])
async def test_an_answer_without_a_length_that_a_reset_cuts_is_lost(status: int) -> None:
    script = unframed(ACCEPTED[:-9], reset=True, status=status)
    async with serving(script) as server, provider_at(server.url) as provider:
        outcome = await submit(provider)
    assert outcome == Lost("sent, then the response was cut off by a reset", status)
    assert len(server.requests) == 1


async def test_an_error_page_without_a_length_that_ends_in_order_is_whole() -> None:
    script = unframed(b"<h1>Oops</h1>", reset=False, status=500)
    async with serving(script) as server, provider_at(server.url) as provider:
        outcome = await submit(provider)
    assert isinstance(outcome, Refused)


async def test_the_status_of_a_refusal_decides_if_a_reset_cuts_it() -> None:
    script = unframed(b'{"error": "n', reset=True, status=402)
    async with serving(script) as server, provider_at(server.url) as provider:
        outcome = await submit(provider)
    assert isinstance(outcome, Refused)
    assert outcome.error.http_status == 402


async def test_a_reset_after_a_whole_answer_with_a_length_takes_nothing_away() -> None:
    async def script(peer: ServerConnection) -> None:
        await peer.request()
        await peer.answer(http(b"<h1>Oops</h1>", 500))
        peer.reset()

    async with serving(script) as server, provider_at(server.url) as provider:
        assert isinstance(await submit(provider), Refused)


# From a proxy on the way, which reads what goes to http://.


@pytest.mark.parametrize(("status", "reason"), [(502, "Bad"), (503, "No"), (504, "Slow")])
async def test_a_gateway_error_through_a_plain_proxy_proves_nothing(
    status: int, reason: str
) -> None:
    async with serving(refusing_with(status, reason)) as proxy:
        path = NetworkPath(proxy.url, "HTTP_PROXY")
        async with provider_at("http://knouds.invalid", path=path) as provider:
            submitted = await submit(provider)
            polled = await provider.poll("default", "run-1")
    said = (
        f"{status} from the proxy {proxy.url} or from the provider: the response does not say which"
    )
    assert submitted == Lost(said, status)
    assert polled == CallFailure(said, status)


async def test_the_providers_own_json_through_a_plain_proxy_counts() -> None:
    async def busy(peer: ServerConnection) -> None:
        await peer.request()
        await peer.answer(http(b'{"error": "busy", "code": "BUSY"}', 503))

    async with serving(busy) as proxy:
        path = NetworkPath(proxy.url, "HTTP_PROXY")
        async with provider_at("http://knouds.invalid", path=path) as provider:
            assert meaning(await submit(provider)) is Disposition.COOL


async def test_a_503_page_without_a_proxy_is_the_providers() -> None:
    async with serving(refusing_with(503, "No")) as server, provider_at(server.url) as provider:
        assert meaning(await submit(provider)) is Disposition.COOL
