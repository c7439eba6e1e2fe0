"""Credits and trial grants: who is charged, when, and what is given back."""

import asyncio

from tests.sandbox.conftest import OpenSandbox
from tests.sandbox.sandbox_http_client import SandboxHttpClient, wait_until
from worker.sandbox import SandboxConfig


async def test_an_async_run_is_charged_when_it_is_accepted(desk: SandboxHttpClient) -> None:
    await desk.start("suno", label="a")
    assert (await desk.user())["credits"] == 14_990
    entry = await desk.label("a")
    assert (entry["started"], entry["charged"], entry["credits"]) == (1, 1, 10)


async def test_a_sync_run_is_charged_when_it_ends_and_holds_its_price_till_then(
    open_desk: OpenSandbox,
) -> None:
    async with open_desk(SandboxConfig(credits=40)) as desk:
        first = asyncio.create_task(desk.submit("kling-2-5", mode="sync", duration_s=9))

        async def held() -> bool:
            return bool((await desk.user())["held"] == 35)

        await wait_until(held)
        assert (await desk.user())["credits"] == 40
        second = await desk.submit("kling-2-5", mode="sync")
        assert second.code == "INSUFFICIENT_CREDITS"
        desk.clock.advance(9)
        assert (await first).status == 200
        user = await desk.user()
        assert (user["credits"], user["held"]) == (5, 0)


async def test_a_sync_run_is_charged_though_the_caller_hung_up(desk: SandboxHttpClient) -> None:
    call = asyncio.create_task(desk.submit("kling-2-5", mode="sync", duration_s=9, label="gone"))

    async def started() -> bool:
        return bool((await desk.admin_get("ledger"))["totals"]["started"])

    await wait_until(started)
    call.cancel()

    async def left() -> bool:
        requests = (await desk.admin_get("ledger"))["requests"]
        return bool(requests.get("run.model") == {"left": 1})

    await wait_until(left)
    desk.clock.advance(9)

    async def charged() -> bool:
        return bool((await desk.label("gone"))["charged"])

    await wait_until(charged)


async def test_no_credits_no_run_until_somebody_tops_up(open_desk: OpenSandbox) -> None:
    async with open_desk(SandboxConfig(credits=15)) as desk:
        assert (await desk.submit("suno")).status == 200
        got = await desk.submit("suno", label="poor")
        assert (got.status, got.code) == (402, "INSUFFICIENT_CREDITS")
        assert (await desk.label("poor"))["started"] == 0
        await desk.admin_post("topup", credits=5)
        assert (await desk.submit("suno")).status == 200
        assert (await desk.admin_post("topup", balance=3))["credits"] == 3


async def test_a_price_can_be_asked_for(desk: SandboxHttpClient) -> None:
    run = await desk.start(cost=2.5, duration_s=0)
    assert (await desk.poll(run)).json["cost"] == 2.5
    assert (await desk.user())["credits"] == 14_997.5


async def test_an_incomplete_response_gives_the_credits_back(desk: SandboxHttpClient) -> None:
    run = await desk.start(
        fault="fails", code="PROVIDER_RESPONSE_INCOMPLETE", duration_s=3, label="i"
    )
    assert (await desk.user())["credits"] == 14_990
    desk.clock.advance(3)
    assert (await desk.poll(run)).json["error"]["code"] == "PROVIDER_RESPONSE_INCOMPLETE"
    assert (await desk.user())["credits"] == 15_000
    entry = await desk.label("i")
    assert (entry["charged"], entry["refunded"], entry["credits"]) == (1, 1, 0)


async def test_any_other_failure_keeps_the_credits(desk: SandboxHttpClient) -> None:
    run = await desk.start(fault="fails", duration_s=0)
    assert (await desk.poll(run)).json["error"]["code"] == "EXECUTION_FAILED"
    assert (await desk.user())["credits"] == 14_990


async def test_a_failed_sync_run_is_a_500_and_costs_nothing(desk: SandboxHttpClient) -> None:
    got = await desk.submit(
        "kling-2-5", mode="sync", fault="fails", code="EXECUTION_FAILED", duration_s=0
    )
    assert (got.status, got.code) == (500, "EXECUTION_FAILED")
    user = await desk.user()
    assert (user["credits"], user["held"]) == (15_000, 0)


async def test_a_trial_grant_is_used_up_and_a_top_up_does_not_help(desk: SandboxHttpClient) -> None:
    runs = [await desk.submit("hailuo-trial") for _ in range(4)]
    assert [got.status for got in runs] == [200, 200, 200, 402]
    assert runs[-1].code == "grant_exhausted"
    await desk.admin_post("topup", credits=1_000)
    assert (await desk.submit("hailuo-trial")).code == "grant_exhausted"
    assert (await desk.user())["credits"] == 16_000


async def test_a_higher_tier_or_a_new_grant_does_help(desk: SandboxHttpClient) -> None:
    await desk.admin_post("grants", model="hailuo-trial", runs=0)
    assert (await desk.submit("hailuo-trial")).code == "grant_exhausted"
    await desk.admin_post("grants", model="hailuo-trial", runs=1)
    assert (await desk.submit("hailuo-trial")).status == 200
    await desk.admin_post("tier", tier="enterprise")
    assert (await desk.submit("hailuo-trial")).status == 200
    assert (await desk.user())["credits"] == 15_000 - 25
