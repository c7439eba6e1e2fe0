"""Streams and long polls end with the access of their caller: token, login, or single sign-on."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from pydantic import SecretStr

from config.settings import Settings
from config.trusted_proxies import TrustedProxies
from config.values import ApiToken, Role
from tests.api.checked_api import ApiReply, CheckedApi
from tests.api.conftest import OpenApi
from tests.api.cookie_browser import browsing
from tests.api.event_stream_client import EventStreamClient, StreamedEvent, streaming
from tests.api.job_factory import JobFactory
from tests.api.test_token_file import TokenFile, bearer, entry, secret_of
from worker.api.auth import access, continued_access
from worker.api.streams import long_poll
from worker.store import Store

END = ("end", {"why": "access"})
USER = {"X-Forwarded-Email": "ann", "X-Forwarded-Groups": "ops", "X-Forwarded-For": "10.1.1.1"}


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (continued_access, long_poll):
        monkeypatch.setattr(module, "RECHECK_INTERVAL_S", 0.05)


@pytest.fixture
def token_file(tmp_path: Path) -> TokenFile:
    found = TokenFile(tmp_path / "tokens.json")
    found.write(entry("app", "read"), entry("ops", "operate"))
    return found


@pytest.fixture
async def api(
    store: Store, namespace: str, open_api: OpenApi, token_file: TokenFile
) -> AsyncGenerator[CheckedApi]:
    settings = Settings(
        namespace=namespace,
        http_port=0,
        api_tokens=(ApiToken("env", Role.OPERATE, SecretStr("operator-0123456789")),),
        api_tokens_file=token_file.path,
        auth_header="X-Forwarded-Email",
        auth_groups={"ops": Role.OPERATE},
        trusted_proxies=TrustedProxies(hops=1),
    )
    async with open_api(store, settings) as opened:
        yield opened


async def last_event(stream: EventStreamClient) -> tuple[str, object]:
    found: StreamedEvent | None = None
    while (heard := await stream.next_event()) is not None:
        found = heard
    assert found is not None
    return found.event, found.data


async def test_a_stream_ends_with_its_token(api: CheckedApi, token_file: TokenFile) -> None:
    async with streaming(api.url, bearer("app")) as stream:
        await stream.until_begun()
        token_file.write(entry("ops", "operate"))
        assert await last_event(stream) == END
    assert (await api.call("GET", "/v1/jobs", headers=bearer("app"))).status == 401


@pytest.mark.parametrize(
    "changed",
    [
        entry("app", "read", expires_at="2020-01-01T00:00:00Z"),
        entry("app", "enqueue"),
        entry("app", "operate"),
        entry("app", "read", tenant="shop"),
    ],
)
async def test_a_stream_ends_where_its_token_has_other_rights(
    api: CheckedApi, token_file: TokenFile, changed: dict[str, object]
) -> None:
    async with streaming(api.url, bearer("app")) as stream:
        await stream.until_begun()
        token_file.write(changed)
        assert await last_event(stream) == END


async def test_a_stream_goes_on_while_its_token_is_the_same(
    api: CheckedApi, token_file: TokenFile, job_factory: JobFactory
) -> None:
    async with streaming(api.url, bearer("app")) as stream:
        await stream.until_begun()
        token_file.write(entry("app", "read"), entry("another"))
        await asyncio.sleep(0.3)  # several looks
        job = await job_factory.queued()
        assert await stream.transitions(1) == [(job.id, None, "queued")]


async def test_a_stream_ends_with_its_login(api: CheckedApi) -> None:
    async with browsing(api.url) as browser:
        await browser.log_in(secret_of("ops"))
        cookie = {"Cookie": f"knouds_session={browser.session}"}
        async with streaming(api.url, cookie) as stream:
            await stream.until_begun()
            listed = await api.call("GET", "/v1/sessions", headers=bearer("ops"))
            (session,) = listed.json["items"]
            path = f"/v1/sessions/{session['id']}/revoke"
            assert (await api.post(path, {}, headers=bearer("ops"))).status == 200
            assert await last_event(stream) == END


async def test_a_stream_of_single_sign_on_ends_after_a_while(
    api: CheckedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "SIGN_ON_MAX_S", 0.1)
    monkeypatch.setattr(access, "_SIGN_ON_MARGIN_S", 0.1)
    async with streaming(api.url, USER) as stream:
        await stream.until_begun()
        assert await last_event(stream) == END
    wait = await api.call("GET", "/v1/jobs/none/wait?timeout_s=100", headers=USER)
    assert wait.status == 404


async def waited(api: CheckedApi, job_id: str, headers: dict[str, str]) -> "asyncio.Task[ApiReply]":
    """A long poll that has begun, and would last a minute."""
    path = f"/v1/jobs/{job_id}/wait?timeout_s=60"
    task = asyncio.create_task(api.call("GET", path, headers=headers))
    await asyncio.sleep(0.2)  # several looks
    assert not task.done()
    return task


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        (None, 401),
        (entry("app", "read", secret="another-secret-0123456789"), 401),
        (entry("app", "read", expires_at="2020-01-01T00:00:00Z"), 401),
        (entry("app", "read", tenant="shop"), 404),
        (entry("app", "watch"), 200),
    ],
)
async def test_a_long_poll_ends_at_once_where_its_token_has_other_rights(
    api: CheckedApi,
    token_file: TokenFile,
    job_factory: JobFactory,
    changed: dict[str, object] | None,
    status: int,
) -> None:
    job = await job_factory.queued()
    poll = await waited(api, job.id, bearer("app"))
    token_file.write(entry("ops", "operate"), *([changed] if changed else []))
    reply = await asyncio.wait_for(poll, 10)
    assert reply.status == status, reply.body
    if status == 200:
        assert reply.json["payloads_hidden"]
    token_file.write(entry("app", "read"))
    again = await api.call("GET", "/v1/jobs", headers=bearer("app"))
    assert again.status == 200, "no attempt to guess was counted"


async def test_a_long_poll_answers_no_job_to_a_token_that_ended_meanwhile(
    api: CheckedApi,
    token_file: TokenFile,
    job_factory: JobFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(long_poll, "RECHECK_INTERVAL_S", 60.0)
    job = await job_factory.running("j1")
    poll = await waited(api, job.id, bearer("app"))
    token_file.write(entry("ops", "operate"))
    await job_factory.succeed("j1", b"{}")
    assert (await asyncio.wait_for(poll, 10)).status == 401


async def test_a_long_poll_ends_with_its_login(api: CheckedApi, job_factory: JobFactory) -> None:
    job = await job_factory.queued()
    async with browsing(api.url) as browser:
        await browser.log_in(secret_of("ops"))
        poll = await waited(api, job.id, {"Cookie": f"knouds_session={browser.session}"})
        listed = await api.call("GET", "/v1/sessions", headers=bearer("ops"))
        path = f"/v1/sessions/{listed.json['items'][0]['id']}/revoke"
        assert (await api.post(path, {}, headers=bearer("ops"))).status == 200
        assert (await asyncio.wait_for(poll, 10)).status == 401


async def test_an_open_stream_does_not_keep_a_login_alive(
    api: CheckedApi, store: Store, namespace: str
) -> None:
    async with browsing(api.url) as browser:
        await browser.log_in(secret_of("ops"))
        (key,) = await store.client.call("KEYS", f"{namespace}:session:*")
        async with streaming(api.url, {"Cookie": f"knouds_session={browser.session}"}) as stream:
            await stream.until_begun()
            await store.client.call("EXPIRE", key, 100)
            await asyncio.sleep(0.3)  # several looks
            assert await store.client.call("TTL", key) <= 100
