"""Orphan deliveries: kept, shown as candidates for uncertain jobs, and attached."""

import asyncio
import time
from typing import Any

import pytest
from rich.console import Console

from jobs.deliveries import ORPHAN_RETENTION_S
from jobs.states import State
from tests.engine.live_system import wait_until
from tests.webhooks.webhook_system import WebhookSystem, delivery
from worker.cli.job_view import job_page, why_page
from worker.store import webhooks
from worker.store.webhooks import MAX_ORPHAN_BODY_BYTES


async def uncertain(hooked: WebhookSystem, label: str = "a", **facts: Any) -> str:
    """A job whose submit's answer was lost, while its run began."""
    played: dict[str, Any] = {"fault": "drop_after", "times": 1, "duration_s": 0.1} | facts
    job_id = await hooked.system.enqueue(label=label, **played)
    job = await hooked.system.until(job_id)
    assert job.parked_as == "uncertain"
    return job_id


async def candidates(hooked: WebhookSystem, job_id: str) -> list[str]:
    evidence = (await hooked.call("GET", f"jobs/{job_id}/why"))["evidence"]
    return [found["execution_id"] for found in evidence["executions"]]


async def test_an_uncertain_job_is_shown_the_run_it_may_have_started(hooked: WebhookSystem) -> None:
    async with hooked.worker():
        job_id = await uncertain(hooked)
        execution_id = await hooked.execution_of("a")
        await hooked.until_orphan(execution_id)
        evidence = (await hooked.call("GET", f"jobs/{job_id}/why"))["evidence"]
    (found,) = evidence["executions"]
    assert found["execution_id"] == execution_id
    assert (found["event"], found["status"]) == ("execution.completed", "completed")
    assert evidence["sent_at"] <= evidence["ended_at"] <= found["received_at"]
    assert evidence["message"]


async def test_an_attached_run_is_settled_by_its_delivery(
    hooked: WebhookSystem,
) -> None:
    """Polls cannot have done it: they are all refused."""
    system = hooked.system
    await system.sandbox_admin("faults", match={"route": "poll"}, fault="HTTP_503")
    async with hooked.worker():
        job_id = await uncertain(hooked)
        execution_id = await hooked.execution_of("a")
        await hooked.until_orphan(execution_id)
        await hooked.call("POST", f"jobs/{job_id}/resolve", execution_id=execution_id)
        done = await system.until(job_id)
        await hooked.until_empty()
    assert (done.state, done.execution_id) == (State.SUCCEEDED, execution_id)
    assert (await system.ledger("a"))["charged"] == 1
    assert await hooked.orphans() == []


async def test_an_attached_run_that_a_poll_settles_is_no_candidate(
    hooked: WebhookSystem,
) -> None:
    """Neither before its delivery comes nor after."""
    async with hooked.worker():
        job_id = await uncertain(hooked, webhook={"delay_s": 2.0})
        other = await uncertain(hooked, "b", webhook={"lost": True})
        execution_id = await hooked.execution_of("a")
        await hooked.call("POST", f"jobs/{job_id}/resolve", execution_id=execution_id)
        done = await hooked.system.until(job_id, State.SUCCEEDED)
        assert done.attempts[-1].polls > 0
        await hooked.until_delivered(1)
        await hooked.until_empty()
        assert await candidates(hooked, other) == []
        assert await hooked.orphans() == []


async def test_an_attached_run_is_no_candidate_from_then_on(hooked: WebhookSystem) -> None:
    async with hooked.worker():
        job_id = await uncertain(hooked)
        execution_id = await hooked.execution_of("a")
        await hooked.until_orphan(execution_id)
    await hooked.call("POST", f"jobs/{job_id}/resolve", execution_id=execution_id)
    assert await hooked.orphans() == []


async def test_only_runs_of_the_same_target_and_time_are_candidates(hooked: WebhookSystem) -> None:
    now = time.time()
    store = hooked.system.store.webhooks
    received: tuple[tuple[str, dict[str, Any], float], ...] = (
        ("same", {}, now + 0.2),
        ("workflow", {"workflowSlug": "gpt-image-2"}, now + 0.2),
        ("part-of-one", {"workflowSlug": "product-shots"}, now + 0.2),
        ("other", {"modelIds": ["suno"]}, now + 0.2),
        ("unnamed", {"modelIds": "gpt-image-2"}, now + 0.2),
        ("before", {}, now - 3_600),
        ("after", {}, now + 9_000),
    )
    for name, facts, moment in received:
        await store.receive(name, "execution.completed", delivery(name, **facts), moment)
    async with hooked.worker():
        job_id = await uncertain(hooked, webhook={"lost": True})
        await hooked.system.store.client.call(
            "ZADD", hooked.system.store.keys.inbox, "XX", 0, "after"
        )
        await hooked.until_orphan("before")

        async def all_kept() -> bool:
            kept = await store.orphans(0, now + 10_000, 100)
            return len(kept) == 7

        await wait_until(all_kept, "all are kept")
        assert await candidates(hooked, job_id) == ["same"]


async def test_a_job_that_is_not_uncertain_has_no_evidence(hooked: WebhookSystem) -> None:
    job_id = await hooked.system.enqueue(label="a")
    assert (await hooked.call("GET", f"jobs/{job_id}/why"))["evidence"] is None


async def test_an_orphan_delivery_is_matched_less_and_less_often_and_then_kept(
    hooked: WebhookSystem,
) -> None:
    body = delivery("ex-1", result={"text": "x" * MAX_ORPHAN_BODY_BYTES}, cost=3)
    store, keys = hooked.system.store.webhooks, hooked.system.store.keys
    await store.receive("ex-1", "execution.completed", body, time.time() - 601)
    async with hooked.worker():
        await hooked.until_orphan("ex-1")
        await hooked.until_empty()
    (kept,) = await store.orphans(0, time.time(), 10)
    assert (kept.targets, kept.status, kept.cost) == (("model/gpt-image-2",), "completed", 3.0)
    stored = await hooked.system.store.client.call("HGETALL", keys.delivery("ex-1"))
    assert sum(map(len, stored.values())) < 500
    assert await hooked.post(body) == await hooked.post(body)
    assert await hooked.inbox_size() == 0


async def test_a_large_result_comes_by_a_poll_when_its_run_is_attached(
    hooked: WebhookSystem,
) -> None:
    system = hooked.system
    async with hooked.worker():
        job_id = await uncertain(hooked, result_bytes=MAX_ORPHAN_BODY_BYTES)
        execution_id = await hooked.execution_of("a")
        await hooked.until_orphan(execution_id)
        key = system.store.keys.delivery(execution_id)
        await system.store.client.call("HSET", key, "e:execution.completed", f"{time.time()} ")
        await hooked.call("POST", f"jobs/{job_id}/resolve", execution_id=execution_id)
        assert (await system.until(job_id)).state is State.SUCCEEDED


async def test_orphan_deliveries_are_removed_after_a_week(hooked: WebhookSystem) -> None:
    system, store = hooked.system, hooked.system.store.webhooks
    await store.receive("ex-1", "execution.completed", delivery("ex-1"), time.time())
    async with hooked.worker():
        await hooked.until_orphan("ex-1")
    orphans = system.store.keys.orphans
    await store.remove_expired_orphans(time.time() + ORPHAN_RETENTION_S - 60)
    assert await system.store.client.call("ZCARD", orphans) == 1
    await store.remove_expired_orphans(time.time() + ORPHAN_RETENTION_S + 1)
    assert await system.store.client.call("ZCARD", orphans) == 0


async def test_of_too_many_orphan_deliveries_the_oldest_are_removed(
    hooked: WebhookSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, now = hooked.system.store.webhooks, time.time()
    for name, moment in (("a", now - 3), ("b", now - 2), ("c", now - 1)):
        await store.receive(name, "execution.completed", delivery(name), moment)
    monkeypatch.setattr(webhooks, "MAX_ORPHANS", 2)
    async with hooked.worker():
        await asyncio.gather(*(hooked.until_orphan(name) for name in ("b", "c")))

        async def settled() -> bool:
            await store.remove_expired_orphans(now)
            return await hooked.orphans() == ["b", "c"]

        await wait_until(settled, "the others are removed")
    ttl = await hooked.system.store.client.call("TTL", hooked.system.store.keys.delivery("b"))
    assert 0 < ttl <= ORPHAN_RETENTION_S


async def test_the_deliveries_of_orphans_take_a_bounded_number_of_bytes(
    hooked: WebhookSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, keys = hooked.system.store.client, hooked.system.store.keys
    store, now = hooked.system.store.webhooks, time.time()
    for name, age in (("a", 3), ("b", 2), ("c", 1)):
        await client.call("HSET", keys.delivery(name), "e:execution.completed", "x" * 10_000)
        await client.call("ZADD", keys.orphans, now - age, name)
    monkeypatch.setattr(webhooks, "MAX_ORPHAN_BYTES", 25_000)
    await store.remove_expired_orphans(now)
    assert await client.call("ZRANGE", keys.orphans, 0, -1) == [b"b", b"c"]
    assert await client.call("EXISTS", keys.delivery("a")) == 0


def shown(parts: Any) -> str:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(*parts)
    return captured.get()


EVIDENCE: dict[str, Any] = {
    "sent_at": "2026-01-01T00:00:00.000Z",
    "ended_at": "2026-01-01T00:00:30.000Z",
    "http_status": None,
    "message": "timeout",
    "executions": [
        {
            "execution_id": "550e8400-e29b-41d4-a716-446655440000",
            "event": "execution.completed",
            "received_at": "2026-01-01T00:01:00.000Z",
            "status": "completed",
            "cost": 8,
        }
    ],
}


def test_the_command_line_shows_the_candidates_in_full() -> None:
    job: dict[str, Any] = {"id": "j1", "kind": "model", "target": "suno", "account": "default"}
    job |= {"state": "parked", "reason": {"code": "uncertain", "message": "timeout"}}
    why = {"id": "j1", "state": "parked", "blockers": [{"kind": "person", "text": "x"}]}
    for page in (job_page(job, EVIDENCE), why_page(why | {"evidence": EVIDENCE})):
        text = shown(page)
        assert "550e8400-e29b-41d4-a716-446655440000" in text
        assert "connection lost after 30" in text
    none = shown(job_page(job, EVIDENCE | {"executions": []}))
    assert "no unmatched runs of this target" in none
    assert "possible matches" not in shown(job_page(job))
