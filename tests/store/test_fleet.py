"""Workers beside each other, what they learned, and the record of what people did."""

from tests.unit.core.make import NOW
from worker.store import Store
from worker.store.workers import GONE_AFTER_S, Heartbeat


def a_beat(worker: str, *, started_at: float = NOW, seen_at: float = NOW) -> Heartbeat:
    return Heartbeat(id=worker, host="h", pid=1, started_at=started_at, seen_at=seen_at)


async def test_workers_are_known_by_their_last_heartbeat_oldest_first(store: Store) -> None:
    for beat in (a_beat("b", started_at=NOW + 1), a_beat("a"), a_beat("a", seen_at=NOW + 5)):
        await store.fleet.beat(beat)
    assert await store.fleet.workers() == [
        a_beat("a", seen_at=NOW + 5),
        a_beat("b", started_at=NOW + 1),
    ]
    await store.fleet.leave("a")
    assert [beat.id for beat in await store.fleet.workers()] == ["b"]


async def test_a_worker_that_was_silent_for_long_is_forgotten(store: Store) -> None:
    await store.fleet.beat(a_beat("gone", seen_at=NOW - GONE_AFTER_S - 1))
    await store.fleet.beat(a_beat("silent", seen_at=NOW - GONE_AFTER_S))
    await store.fleet.forget_gone(NOW)
    assert [beat.id for beat in await store.fleet.workers()] == ["silent"]


async def test_costs_are_as_they_were_last_seen(store: Store) -> None:
    await store.fleet.saw_cost("model", "suno", 1.5)
    await store.fleet.saw_cost("model", "suno", 2.25)
    assert await store.fleet.costs() == {"model/suno": 2.25}


async def test_what_cannot_be_read_is_skipped(store: Store) -> None:
    await store.fleet.beat(a_beat("a"))
    await store.client.call("HSET", store.keys.workers, "bad", b"garbage")
    assert await store.fleet.workers() == [a_beat("a")]


async def test_acts_of_people_are_on_record_newest_first(store: Store) -> None:
    for n, act in enumerate(("park", "release", "discard")):
        await store.audit.record(at=NOW + n, by="ann", act=act, on="j1", note="why", jobs=n)
    first, second = await store.audit.latest(2)
    assert (first["act"], second["act"]) == ("discard", "release")
    assert {name: first[name] for name in ("at", "by", "on", "note", "jobs")} == {
        "at": str(NOW + 2),
        "by": "ann",
        "on": "j1",
        "note": "why",
        "jobs": "2",
    }
    assert first["id"] > second["id"]
