"""The request of a callback, against real receivers: what answers mean, and what is bounded."""

import asyncio
import socket
from collections.abc import AsyncGenerator

import msgspec
import pytest
from aiohttp import web

from config.callback_hosts import CallbackHosts
from jobs.callbacks import Callback, CallbackFailure, CallbackSubject, CallbackType
from tests.engine.callback_receiver import OLD_SECRET, SECRET, Receiver, always, receiving
from worker.clock import SystemClock
from worker.engine.callbacks import poster as poster_module
from worker.engine.callbacks.poster import CallbackPoster

TIMEOUT_S = 5.0
BODY = b'{"type":"job.dead","sequence":3,"data":{"id":"j1","result":"\xc3\xa4"}}'


def to(url: str) -> Callback:
    return Callback(
        id="msg_1",
        type=CallbackType.JOB_DEAD,
        subject=CallbackSubject.JOB,
        subject_id="j1",
        url=url,
        host="h",
        created_at=0.0,
        sequence=3,
        record=msgspec.Raw(b"null"),
        since=0.0,
    )


@pytest.fixture
async def receiver() -> AsyncGenerator[Receiver]:
    async with receiving() as found:
        yield found


async def post(
    url: str, hosts: tuple[str, ...], timeout_s: float = TIMEOUT_S
) -> int | CallbackFailure:
    poster = CallbackPoster(CallbackHosts(hosts), [SECRET, OLD_SECRET], timeout_s)
    try:
        return await poster.post(to(url), BODY, SystemClock().now())
    finally:
        await poster.close()


async def failure(url: str, *hosts: str, timeout_s: float = TIMEOUT_S) -> CallbackFailure:
    found = await post(url, hosts, timeout_s)
    assert isinstance(found, CallbackFailure)
    return found


async def test_a_receiver_verifies_it_with_the_library_of_the_specification(
    receiver: Receiver,
) -> None:
    assert await post(f"{receiver.url}/x?y=1", (receiver.url,)) == 204
    (found,) = receiver.received
    assert (found.id, found.raw, found.path) == ("msg_1", BODY, "/x?y=1")
    assert len(found.signatures) == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure_and_nobody_follows_it(
    receiver: Receiver, status: int
) -> None:
    async with receiving() as elsewhere:
        there = {"Location": f"{elsewhere.url}/secret"}
        receiver.answer = always(status, headers=there)
        found = await failure(receiver.url, receiver.url, elsewhere.url)
        assert not elsewhere.requests
    assert found.status == status
    assert "redirects are not followed" in found.error
    assert elsewhere.url not in found.error
    assert not found.is_final
    assert not found.is_host_down


@pytest.mark.parametrize(
    ("status", "headers", "is_final", "is_host_down", "wait_s"),
    [
        (410, {}, True, False, None),
        (400, {}, False, False, None),
        (404, {}, False, False, None),
        (500, {}, False, True, None),
        (503, {"Retry-After": "7"}, False, True, 7.0),
        (429, {"Retry-After": "120"}, False, True, 120.0),
        (503, {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}, False, True, 0.0),
        (503, {"Retry-After": "soon"}, False, True, None),
    ],
)
async def test_what_a_status_means(  # noqa: PLR0917  a row of the table above
    receiver: Receiver,
    status: int,
    headers: dict[str, str],
    is_final: bool,  # noqa: FBT001
    is_host_down: bool,  # noqa: FBT001
    wait_s: float | None,
) -> None:
    receiver.answer = always(status, headers=headers, text="private words")
    found = await failure(receiver.url, receiver.url)
    assert (found.status, found.is_final, found.is_host_down) == (status, is_final, is_host_down)
    assert found.retry_after_s == wait_s
    assert "private" not in found.error


async def test_a_receiver_that_never_answers_is_cut_off(receiver: Receiver) -> None:
    receiver.hangs = True
    found = await failure(receiver.url, receiver.url, timeout_s=0.3)
    assert "within 0.3 s (KNOUDS_CALLBACK_TIMEOUT_S)" in found.error
    assert found.is_host_down


async def test_a_body_that_drips_for_ever_is_cut_off_too() -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"x")
            await asyncio.sleep(0.01)

    app = web.Application()
    app.router.add_post("/", drip)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        found = await failure(url, url[:-1], timeout_s=0.4)
    finally:
        await runner.cleanup()
    assert found.is_host_down


async def test_a_large_answer_is_not_read_to_its_end(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poster_module, "MAX_RESPONSE_BYTES", 1_000)
    receiver.answer = always(body=b"x" * (32 << 20))
    assert await post(receiver.url, (receiver.url,)) == 200


async def test_a_name_that_leads_to_this_machine_is_refused(receiver: Receiver) -> None:
    """Checked on the address that is connected to, which a name server chooses."""
    port = receiver.url.rpartition(":")[2]
    url = f"http://localhost:{port}/"
    found = await failure(url, f"http://localhost:{port}")
    assert "no public address" in found.error
    assert "KNOUDS_CALLBACK_HOSTS" in found.error
    assert not receiver.requests
    assert await post(url, (f"http://localhost:{port}", "127.0.0.0/8", "::1/128")) == 204


async def test_the_socket_is_checked_as_well_as_the_name(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver that lies, or a second answer of a name server, does not help."""
    port = receiver.url.rpartition(":")[2]

    async def resolve(_self: object, host: str, port: int, **_: object) -> list[object]:
        one = {"hostname": host, "host": "127.0.0.1", "port": port, "proto": 0, "flags": 0}
        return [one | {"family": socket.AF_INET}]

    monkeypatch.setattr(poster_module.CheckedResolver, "resolve", resolve)
    found = await failure(f"http://hooks.example.com:{port}/", f"http://hooks.example.com:{port}")
    assert "leads to 127.0.0.1" in found.error
    assert not receiver.requests


async def test_no_proxy_is_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert await post(receiver.url, (receiver.url,)) == 204
        assert not proxy.requests


async def test_a_host_that_is_not_listed_any_more_is_not_called(receiver: Receiver) -> None:
    found = await failure(receiver.url, "hooks.example.com")
    assert found.is_final
    assert not receiver.requests


async def test_what_cannot_be_reached_is_said_without_secrets() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        found = await failure(f"{url}/path?token=secret", url)
    assert "cannot connect to 127.0.0.1" in found.error
    assert "secret" not in found.error
    assert found.is_host_down


async def test_cookies_of_a_receiver_are_not_kept(receiver: Receiver) -> None:
    seen: list[str | None] = []

    def answer(request: web.Request, _: int) -> web.Response:
        seen.append(request.headers.get("Cookie"))
        return web.Response(headers={"Set-Cookie": "a=b"})

    receiver.answer = answer
    poster = CallbackPoster(CallbackHosts((receiver.url,)), [SECRET], TIMEOUT_S)
    for _ in range(2):
        assert await poster.post(to(receiver.url), BODY, SystemClock().now()) == 200
    await poster.close()
    assert seen == [None, None]
