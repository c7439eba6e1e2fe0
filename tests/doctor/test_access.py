"""What an account may do at the provider, as the doctor and the start of a worker judge it."""

import asyncio

import pytest
from arq import ArqRedis

from jobs.outcomes import CallFailure, PollOutcome, ProviderError, RunMissing
from tests.contract.client_calls import provider_at
from tests.engine.live_system import live_system, wait_until
from tests.engine.stand_in import StandIn, page, reply, stand_in
from worker.doctor.access import AccountAccess, judge_access, read_access
from worker.doctor.findings import Finding, Level
from worker.provider.port import Identity, UsagePage
from worker.sandbox import SandboxConfig, running

OURS = Identity("u1", "user", "pro", True, "example.com")
MISSING = RunMissing(ProviderError("EXECUTION_NOT_FOUND", "none", 404))
USAGE = UsagePage((), 0, is_complete=True)


def refused(status: int, code: str) -> CallFailure:
    return CallFailure(f"{code}: no", status, error=ProviderError(code, "no", status))


def judged(
    identity: Identity | CallFailure = OURS,
    poll: PollOutcome = MISSING,
    workflows: CallFailure | None = None,
    usage: UsagePage | CallFailure = USAGE,
) -> dict[str, Finding]:
    found = judge_access("studio", AccountAccess(identity, poll, workflows, usage))
    return {finding.name.removeprefix("provider.studio").lstrip("."): finding for finding in found}


def test_a_good_key_shows_tier_and_domain_and_no_address() -> None:
    found = judged()
    assert {finding.level for finding in found.values()} == {Level.OK}
    assert found[""].text == "the key is valid, tier pro, e-mail at example.com"


def test_an_account_that_is_not_approved_fails() -> None:
    found = judged(Identity(approved=False))[""]
    assert found.level is Level.FAIL
    assert "not approved" in found.text


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_cannot_poll_can_pay_but_not_fetch(status: int) -> None:
    found = judged(poll=refused(status, "CAPABILITY_DENIED"))["execution:read"]
    assert found.level is Level.FAIL
    assert "this key can pay for runs but not fetch them" in found.text
    assert "preset Custom" in found.fix
    assert "execution:read" in found.fix


async def test_a_refusal_in_a_2xx_is_a_refusal_and_no_other_server() -> None:
    async with stand_in() as server, provider_at(server.url) as provider:
        server.on_poll = lambda _: reply(200, error="no", code="CAPABILITY_DENIED")
        polled = await provider.poll("default", "run-1")
        server.on_whoami = reply(200, error="regenerate it", code="LEGACY_KEY_RETIRED")
        identity = await provider.whoami("default")
    found = judged(poll=polled)["execution:read"]
    assert found.level is Level.FAIL
    assert "this key can pay for runs but not fetch them: CAPABILITY_DENIED" in found.text
    found = judged(identity)[""]
    assert found.text == "the key is refused: LEGACY_KEY_RETIRED: regenerate it"
    assert "put a valid key into" in found.fix


def test_a_port_that_speaks_tls_names_the_setting() -> None:
    error = ProviderError(None, "", 400, is_readable=False, is_page=True, wants_tls=True)
    found = judged(CallFailure("HTTP_400: TLS", 400, error=error))[""]
    assert found.level is Level.FAIL
    assert found.fix.startswith("set KNOUDS_BASE_URL to its address with https://")


def test_other_capabilities_are_warnings_with_what_to_choose() -> None:
    denied = refused(403, "CAPABILITY_DENIED")
    found = judged(workflows=denied, usage=denied)
    assert found["workflow:read"].level is found["usage"].level is Level.WARN
    assert "Workflow Deploy" in found["workflow:read"].fix
    assert judged(poll=CallFailure("timed out"))["execution:read"].level is Level.WARN


async def test_a_base_url_that_redirects_or_is_no_knouds_is_named() -> None:
    for answer, words in (
        (
            reply(301, "Location: https://new.example/x"),
            "set KNOUDS_BASE_URL to https://new.example,",
        ),
        (page(404), "set KNOUDS_BASE_URL to the address of the Knouds API"),
        (page(200), "set KNOUDS_BASE_URL to the address of the Knouds API"),
        (reply(200, hello="world"), "set KNOUDS_BASE_URL to the address of the Knouds API"),
    ):
        async with stand_in() as server, provider_at(server.url) as provider:
            server.on_whoami = answer
            (found,) = judge_access("default", await read_access(provider, "default"))
        assert found.level is Level.FAIL
        assert words in found.fix


async def test_every_capability_is_asked_of_the_sandbox() -> None:
    async with running(SandboxConfig()) as url:
        async with provider_at(url, key="knouds_live_sandbox") as provider:
            found = judge_access("default", await read_access(provider, "default"))
            assert [finding.level for finding in found] == [Level.OK] * 4
        async with provider_at(url, key="knouds_live_revoked") as provider:
            (refusal,) = judge_access("default", await read_access(provider, "default"))
            assert refusal.level is Level.FAIL


# The start of a worker.


async def test_a_worker_holds_an_account_that_is_not_approved(
    redis: ArqRedis, redis_url: str, namespace: str
) -> None:
    async with stand_in() as server:
        server.on_whoami = reply(user={"id": "u", "approved": False})
        async with (
            live_system(redis, redis_url, namespace, server.url) as system,
            system.worker(start_check=True, api_keys={}),
        ):

            async def is_held() -> bool:
                holds = await system.store.holds.list_all()
                found = [(hold.scope, hold.code) for hold in holds]
                return found == [("default", "not_approved")]

            await wait_until(is_held, "the hold")
            await system.enqueue(job_id="j1")
        assert server.submits == []


async def test_a_worker_warns_of_a_key_that_cannot_poll_and_starts_all_the_same(
    redis: ArqRedis, redis_url: str, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with stand_in() as server:
        server.on_poll = lambda _: reply(403, error="no", code="CAPABILITY_DENIED")
        async with (
            live_system(redis, redis_url, namespace, server.url) as system,
            system.worker(start_check=True, api_keys={}),
        ):
            text = ""
            async with asyncio.timeout(5):
                while "not fetch them" not in text:
                    text += capsys.readouterr().out
                    await asyncio.sleep(0.02)
            (hold,) = await system.store.holds.list_all()
            assert (hold.scope, hold.canary) == ("default", "poll"), "nothing is paid for"
    assert text.count("provider.problem") >= 1


async def test_a_provider_that_is_down_stops_no_start(
    redis: ArqRedis, redis_url: str, namespace: str
) -> None:
    async with stand_in() as server, live_system(redis, redis_url, namespace, server.url) as system:
        async with system.worker(start_check=True, base_url="http://127.0.0.1:9"):

            async def is_alive() -> bool:
                return bool(await system.store.workers.heartbeats())

            await wait_until(is_alive, "a heartbeat")
        assert isinstance(server, StandIn)
