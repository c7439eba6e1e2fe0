"""The books: the ledger, the list of executions, keys, and a fresh start."""

import pytest

from tests.sandbox.sandbox_http_client import SandboxHttpClient


async def test_the_ledger_proves_that_each_job_was_submitted_once(
    caller: SandboxHttpClient,
) -> None:
    for n in range(5):
        run = await caller.start(label=f"job-{n}", duration_s=0)
        await caller.poll(run)
    ledger = await caller.admin_get("ledger")
    assert len(ledger["labels"]) == 5
    for entry in ledger["labels"].values():
        assert entry["posts"] == entry["started"] == entry["charged"] == entry["polls"] == 1
        assert entry["cancels"] == 0
    assert ledger["requests"] == {"run.model": {"200": 5}, "poll": {"200": 5}}
    assert ledger["totals"]["started"] == 5


async def test_refused_posts_are_counted_but_not_started(caller: SandboxHttpClient) -> None:
    await caller.submit(label="x", key="nobody")
    await caller.submit("no-such-model", label="x")
    entry = await caller.label("x")
    assert (entry["posts"], entry["started"], entry["charged"]) == (2, 0, 0)
    assert (await caller.admin_get("ledger"))["requests"]["run.model"] == {"401": 1, "404": 1}


async def test_executions_are_listed_by_label_and_start(caller: SandboxHttpClient) -> None:
    first = await caller.start(label="a", duration_s=1)
    caller.clock.advance(10)
    since = caller.clock.now()
    second = await caller.start(label="a", duration_s=5)
    await caller.start(label="b")
    listed = (await caller.admin_get("executions?label=a"))["items"]
    assert [item["id"] for item in listed] == [first, second]
    assert [item["state"] for item in listed] == ["completed", "processing"]
    assert listed[0]["finished_at"] == listed[0]["started_at"] + 1
    newer = (await caller.admin_get(f"executions?label=a&since={since}"))["items"]
    assert [item["id"] for item in newer] == [second]


async def test_the_first_poll_that_sees_the_end_is_on_record(caller: SandboxHttpClient) -> None:
    run = await caller.start(duration_s=1, label="a")
    await caller.poll(run)
    caller.clock.advance(3)
    await caller.poll(run)
    caller.clock.advance(3)
    await caller.poll(run)
    item = (await caller.admin_get("executions?label=a"))["items"][0]
    assert item["seen_completed_at"] == item["started_at"] + 3
    assert item["polls"] == 3


async def test_a_key_can_be_revoked_narrowed_and_restored(caller: SandboxHttpClient) -> None:
    key = "knouds_live_sandbox"
    await caller.admin_post("keys", key=key, valid=False)
    assert (await caller.submit()).status == 401
    await caller.admin_post("keys", key=key, valid=True, capabilities=["execution:read"])
    assert (await caller.submit()).json["required"] == "model:run"
    await caller.admin_post("keys", key=key, capabilities=None)
    assert (await caller.submit()).status == 200
    await caller.admin_post("keys", key=key, standing="legacy")
    assert (await caller.submit()).code == "LEGACY_KEY_RETIRED"


async def test_a_new_key_comes_with_a_new_user_or_an_old_one(caller: SandboxHttpClient) -> None:
    await caller.admin_post("keys", key="k1", tier="enterprise")
    assert (await caller.submit("veo-4-ultra", key="k1")).status == 200
    await caller.admin_post("keys", key="k2", user="user_sandbox")
    await caller.start("suno")
    assert (await caller.call("GET", "/api/whoami", key="k2")).json["user"]["id"] == "user_sandbox"


async def test_a_tier_upgrade_fixes_a_missing_capability(caller: SandboxHttpClient) -> None:
    key = "knouds_live_pro"
    assert (await caller.submit(key=key)).code == "CAPABILITY_DENIED"
    await caller.admin_post("tier", key=key, tier="business")
    assert (await caller.submit(key=key)).status == 200


async def test_a_reset_forgets_everything(caller: SandboxHttpClient) -> None:
    run = await caller.start(label="x")
    await caller.admin_post("faults", fault="HTTP_503")
    await caller.admin_post("topup", balance=0)
    await caller.admin_post("reset")
    assert (await caller.poll(run)).status == 404
    assert (await caller.user())["credits"] == 15_000
    state = await caller.admin_get("state")
    assert (state["faults"], state["runs"], state["totals"]["posts"]) == ([], {}, 0)


@pytest.mark.parametrize(
    ("path", "raw"),
    [
        ("topup", b'{"key": "nobody"}'),
        ("topup", b'{"credit": 5}'),
        ("tier", b'{"tier": "gold"}'),
        ("limits", b'{"route": "nowhere"}'),
        ("webhook", b'{"lost": 1}'),
        ("webhook", b'{"url": "http://x", "secret": "short"}'),
        ("grants", b"not json"),
    ],
)
async def test_an_admin_call_that_makes_no_sense_says_why(
    caller: SandboxHttpClient, path: str, raw: bytes
) -> None:
    got = await caller.call("POST", f"/_sandbox/{path}", key=None, data=raw)
    assert got.status == 400
    assert got.json["error"]
