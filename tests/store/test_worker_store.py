"""Heartbeats of workers, and the audit log."""

import msgspec
import pytest

from tests.store.redis_contents import latest_audit_entries
from tests.unit.core.job_builders import NOW
from worker.engine.eviction import EVICTION_FIX, eviction_problem
from worker.engine.worker_problems import worker_problems
from worker.store import Store
from worker.store.side_writes import NewAuditEntry
from worker.store.workers import FORGET_AFTER_S, Heartbeat


def a_heartbeat(worker: str, *, started_at: float = NOW, seen_at: float = NOW) -> Heartbeat:
    return Heartbeat(id=worker, host="h", pid=1, started_at=started_at, seen_at=seen_at)


async def test_workers_are_known_by_their_last_heartbeat_oldest_first(store: Store) -> None:
    for beat in (
        a_heartbeat("b", started_at=NOW + 1),
        a_heartbeat("a"),
        a_heartbeat("a", seen_at=NOW + 5),
    ):
        await store.workers.record_heartbeat(beat)
    assert await store.workers.heartbeats() == [
        a_heartbeat("a", seen_at=NOW + 5),
        a_heartbeat("b", started_at=NOW + 1),
    ]
    await store.workers.remove("a")
    assert [beat.id for beat in await store.workers.heartbeats()] == ["b"]


async def test_a_worker_that_was_silent_for_long_is_forgotten(store: Store) -> None:
    await store.workers.record_heartbeat(a_heartbeat("gone", seen_at=NOW - FORGET_AFTER_S - 1))
    await store.workers.record_heartbeat(a_heartbeat("silent", seen_at=NOW - FORGET_AFTER_S))
    await store.workers.remove_silent(NOW)
    assert [beat.id for beat in await store.workers.heartbeats()] == ["silent"]


async def test_what_cannot_be_read_is_skipped(store: Store) -> None:
    await store.workers.record_heartbeat(a_heartbeat("a"))
    await store.client.call("HSET", store.keys.workers, "bad", b"garbage")
    assert await store.workers.heartbeats() == [a_heartbeat("a")]


async def test_operator_actions_are_on_record_newest_first(store: Store) -> None:
    for n, act in enumerate(("park", "release", "discard")):
        await store.audit.record(
            NewAuditEntry(at=NOW + n, by="ann", action=act, on="j1", note="why", jobs=n)
        )
    first, second = await latest_audit_entries(store, 2)
    assert (first["act"], second["act"]) == ("discard", "release")
    assert {name: first[name] for name in ("at", "by", "on", "note", "jobs")} == {
        "at": str(NOW + 2),
        "by": "ann",
        "on": "j1",
        "note": "why",
        "jobs": "2",
    }
    assert first["id"] > second["id"]


@pytest.mark.parametrize(
    ("maxmemory", "policy", "found"),
    [(0, "allkeys-lru", ""), (1 << 30, "noeviction", ""), (1 << 30, "allkeys-lru", "allkeys-lru")],
)
async def test_a_worker_finds_out_that_redis_would_evict_jobs(
    store: Store, maxmemory: int, policy: str, found: str
) -> None:
    call = store.client.call
    try:
        await call("CONFIG SET", "maxmemory", maxmemory)
        await call("CONFIG SET", "maxmemory-policy", policy)
        assert (await store.workers.surroundings("w")).eviction_policy == found
    finally:
        await call("CONFIG SET", "maxmemory-policy", "noeviction")
        await call("CONFIG SET", "maxmemory", 0)


def test_eviction_is_a_problem_of_every_worker() -> None:
    beat = msgspec.structs.replace(a_heartbeat("w"), failures=eviction_problem("allkeys-lru"))
    (problem,) = worker_problems(beat)
    assert "allkeys-lru" in problem.text
    assert problem.fix == EVICTION_FIX
    assert not problem.stops_submits
    assert eviction_problem("") == {}
