"""Credits and trial grants: who is charged, when, and what is given back."""

import asyncio

from tests.sandbox.conftest import OpenSandbox
from tests.sandbox.sandbox_http_client import SandboxHttpClient, wait_until
from worker.sandbox import SandboxConfig


async def test_an_async_run_is_charged_when_it_is_accepted(caller: SandboxHttpClient) -> None:
    await caller.start("suno", label="a")
    assert (await caller.user())["credits"] == 14_990
    entry = await caller.label("a")
    assert (entry["started"], entry["charged"], entry["credits"]) == (1, 1, 10)


async def test_a_sync_run_is_charged_when_it_ends_and_holds_its_price_till_then(
    open_sandbox: OpenSandbox,
) -> None:
    async with open_sandbox(SandboxConfig(credits=40)) as caller:
        first = asyncio.create_task(caller.submit("kling-2-5", mode="sync", duration_s=9))

        async def held() -> bool:
            return bool((await caller.user())["held"] == 35)

        await wait_until(held)
        assert (await caller.user())["credits"] == 40
        second = await caller.submit("kling-2-5", mode="sync")
        assert second.code == "INSUFFICIENT_CREDITS"
        caller.clock.advance(9)
        assert (await first).status == 200
        user = await caller.user()
        assert (user["credits"], user["held"]) == (5, 0)


async def test_a_sync_run_is_charged_though_the_caller_hung_up(caller: SandboxHttpClient) -> None:
    call = asyncio.create_task(caller.submit("kling-2-5", mode="sync", duration_s=9, label="gone"))

    async def started() -> bool:
        return bool((await caller.admin_get("ledger"))["totals"]["started"])

    await wait_until(started)
    call.cancel()

    async def left() -> bool:
        requests = (await caller.admin_get("ledger"))["requests"]
        return bool(requests.get("run.model") == {"left": 1})

    await wait_until(left)
    caller.clock.advance(9)

    async def charged() -> bool:
        return bool((await caller.label("gone"))["charged"])

    await wait_until(charged)


async def test_no_credits_no_run_until_somebody_tops_up(open_sandbox: OpenSandbox) -> None:
    async with open_sandbox(SandboxConfig(credits=15)) as caller:
        assert (await caller.submit("suno")).status == 200
        got = await caller.submit("suno", label="poor")
        assert (got.status, got.code) == (402, "INSUFFICIENT_CREDITS")
        assert (await caller.label("poor"))["started"] == 0
        await caller.admin_post("topup", credits=5)
        assert (await caller.submit("suno")).status == 200
        assert (await caller.admin_post("topup", balance=3))["credits"] == 3


async def test_a_price_can_be_asked_for(caller: SandboxHttpClient) -> None:
    run = await caller.start(cost=2.5, duration_s=0)
    assert (await caller.poll(run)).json["cost"] == 2.5
    assert (await caller.user())["credits"] == 14_997.5


async def test_an_incomplete_response_gives_the_credits_back(caller: SandboxHttpClient) -> None:
    run = await caller.start(
        fault="fails", code="PROVIDER_RESPONSE_INCOMPLETE", duration_s=3, label="i"
    )
    assert (await caller.user())["credits"] == 14_990
    caller.clock.advance(3)
    assert (await caller.poll(run)).json["error"]["code"] == "PROVIDER_RESPONSE_INCOMPLETE"
    assert (await caller.user())["credits"] == 15_000
    entry = await caller.label("i")
    assert (entry["charged"], entry["refunded"], entry["credits"]) == (1, 1, 0)


async def test_any_other_failure_keeps_the_credits(caller: SandboxHttpClient) -> None:
    run = await caller.start(fault="fails", duration_s=0)
    assert (await caller.poll(run)).json["error"]["code"] == "EXECUTION_FAILED"
    assert (await caller.user())["credits"] == 14_990


async def test_a_failed_sync_run_is_a_500_and_costs_nothing(caller: SandboxHttpClient) -> None:
    got = await caller.submit(
        "kling-2-5", mode="sync", fault="fails", code="EXECUTION_FAILED", duration_s=0
    )
    assert (got.status, got.code) == (500, "EXECUTION_FAILED")
    user = await caller.user()
    assert (user["credits"], user["held"]) == (15_000, 0)


async def test_a_trial_grant_is_used_up_and_a_top_up_does_not_help(
    caller: SandboxHttpClient,
) -> None:
    runs = [await caller.submit("hailuo-trial") for _ in range(4)]
    assert [got.status for got in runs] == [200, 200, 200, 402]
    assert runs[-1].code == "grant_exhausted"
    await caller.admin_post("topup", credits=1_000)
    assert (await caller.submit("hailuo-trial")).code == "grant_exhausted"
    assert (await caller.user())["credits"] == 16_000


async def test_a_higher_tier_or_a_new_grant_does_help(caller: SandboxHttpClient) -> None:
    await caller.admin_post("grants", model="hailuo-trial", runs=0)
    assert (await caller.submit("hailuo-trial")).code == "grant_exhausted"
    await caller.admin_post("grants", model="hailuo-trial", runs=1)
    assert (await caller.submit("hailuo-trial")).status == 200
    await caller.admin_post("tier", tier="enterprise")
    assert (await caller.submit("hailuo-trial")).status == 200
    assert (await caller.user())["credits"] == 15_000 - 25
