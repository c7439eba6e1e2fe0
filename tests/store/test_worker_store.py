"""Heartbeats of workers, reported costs, and the audit log."""

from tests.store.redis_contents import latest_audit_entries
from tests.unit.core.job_builders import NOW
from worker.store import Store
from worker.store.commit import NewAuditEntry
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


async def test_costs_are_as_they_were_last_reported(store: Store) -> None:
    await store.costs.record("model/suno", 1.5)
    await store.costs.record("model/suno", 2.25)
    assert await store.costs.last() == {"model/suno": 2.25}


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
