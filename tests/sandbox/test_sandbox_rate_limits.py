"""Rate limits: per user, route and window, with the documented headers."""

from tests.sandbox.conftest import OpenSandbox
from tests.sandbox.sandbox_http_client import SandboxHttpClient
from worker.sandbox import SandboxConfig

HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")


async def test_an_accepted_run_says_what_is_left_of_the_window(caller: SandboxHttpClient) -> None:
    got = await caller.submit()
    reset = int(caller.clock.now()) + 60
    assert [got.headers[name] for name in HEADERS] == ["1000", "999", str(reset)]


async def test_over_the_limit_is_a_429_that_says_how_long_to_wait(
    open_sandbox: OpenSandbox,
) -> None:
    async with open_sandbox(SandboxConfig(limit=2)) as caller:
        assert [(await caller.submit()).status for _ in range(2)] == [200, 200]
        caller.clock.advance(12.5)
        got = await caller.submit()
        assert (got.status, got.code) == (429, "RATE_LIMIT_EXCEEDED")
        assert got.headers["Retry-After"] == "48"
        assert got.headers["X-RateLimit-Remaining"] == "0"
        assert (got.json["tier"], got.json["limit"], got.json["retryAfter"]) == ("business", 2, 48)


async def test_the_next_window_is_whole_again(open_sandbox: OpenSandbox) -> None:
    async with open_sandbox(SandboxConfig(limit=1, window_s=5)) as caller:
        await caller.submit()
        assert (await caller.submit()).status == 429
        caller.clock.advance(5)
        got = await caller.submit()
        assert (got.status, got.headers["X-RateLimit-Remaining"]) == (200, "0")


async def test_models_and_workflows_have_a_window_each(open_sandbox: OpenSandbox) -> None:
    async with open_sandbox(SandboxConfig(limit=1)) as caller:
        assert (await caller.submit("suno")).status == 200
        assert (await caller.submit("my-pipeline", kind="workflows")).status == 200
        assert (await caller.submit("suno")).status == 429


async def test_a_window_belongs_to_the_user_not_to_the_key(open_sandbox: OpenSandbox) -> None:
    async with open_sandbox(SandboxConfig(limit=1)) as caller:
        assert (await caller.submit()).status == 200
        assert (await caller.submit(key="knouds_live_sandbox_2")).status == 429
        assert (await caller.submit(key="knouds_live_business")).status == 200


async def test_sync_and_async_runs_share_a_window(open_sandbox: OpenSandbox) -> None:
    async with open_sandbox(SandboxConfig(limit=1)) as caller:
        await caller.submit()
        assert (await caller.submit(mode="sync")).status == 429


async def test_the_tier_sets_the_limit(caller: SandboxHttpClient) -> None:
    pro = await caller.submit("my-pipeline", kind="workflows", key="knouds_live_pro")
    assert pro.headers["X-RateLimit-Limit"] == "100"
    enterprise = await caller.submit(key="knouds_live_enterprise")
    assert "X-RateLimit-Limit" not in enterprise.headers


async def test_unlimited_sends_no_headers(open_sandbox: OpenSandbox) -> None:
    async with open_sandbox(SandboxConfig(limit=0)) as caller:
        assert not set(HEADERS) & set((await caller.submit()).headers)


async def test_polls_are_unlimited_by_default(
    open_sandbox: OpenSandbox, caller: SandboxHttpClient
) -> None:
    run = await caller.start()
    assert "X-RateLimit-Limit" not in (await caller.poll(run)).headers
    async with open_sandbox(SandboxConfig(poll_limit=1)) as limited:
        run = await limited.start()
        assert (await limited.poll(run)).headers["X-RateLimit-Limit"] == "1"
        assert (await limited.poll(run)).status == 429


async def test_a_limit_can_change_while_it_runs_and_admin_calls_never_count(
    caller: SandboxHttpClient,
) -> None:
    await caller.admin_post("limits", route="model", limit=1, window_s=10)
    for _ in range(5):
        await caller.admin_get("state")
    assert (await caller.submit()).status == 200
    assert (await caller.submit()).status == 429
    window = (await caller.admin_get("state"))["windows"][0]
    assert window == {
        "user": "user_sandbox",
        "route": "model",
        "used": 1,
        "limit": 1,
        "resets_in_s": 10.0,
    }
    await caller.admin_post("limits", route="model", limit=0)
    assert (await caller.submit()).status == 200
