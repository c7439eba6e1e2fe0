"""The books: the ledger, the list of executions, keys, and a fresh start."""

import pytest

from tests.sandbox.sandbox_http_client import SandboxHttpClient


async def test_the_ledger_proves_that_each_job_was_submitted_once(desk: SandboxHttpClient) -> None:
    for n in range(5):
        run = await desk.start(label=f"job-{n}", duration_s=0)
        await desk.poll(run)
    ledger = await desk.admin_get("ledger")
    assert len(ledger["labels"]) == 5
    for entry in ledger["labels"].values():
        assert entry["posts"] == entry["started"] == entry["charged"] == entry["polls"] == 1
        assert entry["cancels"] == 0
    assert ledger["requests"] == {"run.model": {"200": 5}, "poll": {"200": 5}}
    assert ledger["totals"]["started"] == 5


async def test_refused_posts_are_counted_but_not_started(desk: SandboxHttpClient) -> None:
    await desk.submit(label="x", key="nobody")
    await desk.submit("no-such-model", label="x")
    entry = await desk.label("x")
    assert (entry["posts"], entry["started"], entry["charged"]) == (2, 0, 0)
    assert (await desk.admin_get("ledger"))["requests"]["run.model"] == {"401": 1, "404": 1}


async def test_executions_are_listed_by_label_and_start(desk: SandboxHttpClient) -> None:
    first = await desk.start(label="a", duration_s=1)
    desk.clock.advance(10)
    since = desk.clock.now()
    second = await desk.start(label="a", duration_s=5)
    await desk.start(label="b")
    listed = (await desk.admin_get("executions?label=a"))["items"]
    assert [item["id"] for item in listed] == [first, second]
    assert [item["state"] for item in listed] == ["completed", "processing"]
    assert listed[0]["finished_at"] == listed[0]["started_at"] + 1
    newer = (await desk.admin_get(f"executions?label=a&since={since}"))["items"]
    assert [item["id"] for item in newer] == [second]


async def test_the_first_poll_that_sees_the_end_is_on_record(desk: SandboxHttpClient) -> None:
    run = await desk.start(duration_s=1, label="a")
    await desk.poll(run)
    desk.clock.advance(3)
    await desk.poll(run)
    desk.clock.advance(3)
    await desk.poll(run)
    item = (await desk.admin_get("executions?label=a"))["items"][0]
    assert item["seen_completed_at"] == item["started_at"] + 3
    assert item["polls"] == 3


async def test_a_key_can_be_revoked_narrowed_and_restored(desk: SandboxHttpClient) -> None:
    key = "knouds_live_sandbox"
    await desk.admin_post("keys", key=key, valid=False)
    assert (await desk.submit()).status == 401
    await desk.admin_post("keys", key=key, valid=True, capabilities=["execution:read"])
    assert (await desk.submit()).json["required"] == "model:run"
    await desk.admin_post("keys", key=key, capabilities=None)
    assert (await desk.submit()).status == 200
    await desk.admin_post("keys", key=key, standing="legacy")
    assert (await desk.submit()).code == "LEGACY_KEY_RETIRED"


async def test_a_new_key_comes_with_a_new_user_or_an_old_one(desk: SandboxHttpClient) -> None:
    await desk.admin_post("keys", key="k1", tier="enterprise")
    assert (await desk.submit("veo-4-ultra", key="k1")).status == 200
    await desk.admin_post("keys", key="k2", user="user_sandbox")
    await desk.start("suno")
    assert (await desk.call("GET", "/api/whoami", key="k2")).json["userId"] == "user_sandbox"


async def test_a_tier_upgrade_fixes_a_missing_capability(desk: SandboxHttpClient) -> None:
    key = "knouds_live_pro"
    assert (await desk.submit(key=key)).code == "CAPABILITY_DENIED"
    await desk.admin_post("tier", key=key, tier="business")
    assert (await desk.submit(key=key)).status == 200


async def test_a_reset_forgets_everything(desk: SandboxHttpClient) -> None:
    run = await desk.start(label="x")
    await desk.admin_post("faults", fault="HTTP_503")
    await desk.admin_post("topup", balance=0)
    await desk.admin_post("reset")
    assert (await desk.poll(run)).status == 404
    assert (await desk.user())["credits"] == 15_000
    state = await desk.admin_get("state")
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
    desk: SandboxHttpClient, path: str, raw: bytes
) -> None:
    got = await desk.call("POST", f"/_sandbox/{path}", key=None, data=raw)
    assert got.status == 400
    assert got.json["error"]
