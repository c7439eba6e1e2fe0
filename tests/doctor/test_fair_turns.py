"""Damage of the turns of fair keys is found, named and repaired."""

import pytest

from jobs import transitions
from jobs.fairness import AT_CAP, KEYLESS, FairTurn
from jobs.indexes import Index
from tests.doctor.integrity_runs import check_integrity, damage_of
from tests.store.redis_contents import sorted_set
from tests.store.test_commit import committed, created
from tests.unit.core.job_builders import NOW, a_job
from worker.store import Store
from worker.store.client import Argument
from worker.store.side_writes import SideWrites

LANE = a_job().lane


async def fill(store: Store) -> None:
    """Two keys with waiting jobs, one of them at its cap with a run, and a job without a key."""
    for name, key in (("a1", "ann"), ("a2", "ann"), ("b1", "bob"), ("c1", None)):
        await created(store, a_job(id=name, fair_key=key))
    stored = await store.jobs.load("a1")
    assert stored is not None
    job = transitions.admit(
        stored.job, NOW, submit_token="h", lease_until=NOW + 9e9, opening_hold_ids=()
    )
    await committed(store, stored, job, SideWrites(fair_turn=FairTurn(NOW, 1)))


async def test_keys_that_take_turns_are_no_damage(store: Store) -> None:
    await fill(store)
    assert (await sorted_set(store, store.keys.key_turns(str(LANE))))["ann"] == AT_CAP
    report = await check_integrity(store)
    assert damage_of(report) == []


DAMAGES: dict[str, tuple[tuple[Argument, ...], str]] = {
    "a key without a turn": (("ZREM", "TURNS", "bob"), "unregistered"),
    "jobs without a key that have no turn": (("ZREM", "TURNS", KEYLESS), "unregistered"),
    "a turn of nobody": (("ZADD", "TURNS", 1, "gone"), "stray"),
    "a key that waits for no run": (("ZADD", "TURNS", "+inf", "bob"), "misplaced"),
}


@pytest.mark.parametrize("what", DAMAGES)
async def test_each_damage_is_found_and_repaired(store: Store, what: str) -> None:
    await fill(store)
    turns, (command, kind) = store.keys.key_turns(str(LANE)), DAMAGES[what]
    await store.client.call(*(turns if part == "TURNS" else part for part in command))
    report = await check_integrity(store)
    assert damage_of(report) == [(kind, "", "left")]
    assert damage_of(await check_integrity(store, repair=True)) == [(kind, "", "repaired")]
    assert damage_of(await check_integrity(store)) == []
    found = await sorted_set(store, turns)
    assert set(found) == {"ann", "bob", KEYLESS}
    assert found["bob"] < AT_CAP


async def test_all_turns_may_be_gone(store: Store) -> None:
    await fill(store)
    turns = store.keys.key_turns(str(LANE))
    await store.client.call("DEL", turns)
    report = await check_integrity(store, repair=True)
    assert {kind for kind, _, _ in damage_of(report)} == {"unregistered"}
    await check_integrity(store, repair=True)
    assert set(await sorted_set(store, turns)) == {"ann", "bob", KEYLESS}


async def test_turns_of_another_type_are_reported(store: Store) -> None:
    await store.client.call("SET", store.keys.key_turns(str(LANE)), "x")
    assert damage_of(await check_integrity(store)) == [("wrong_type", "", "left")]


async def test_a_job_that_its_key_does_not_know_is_parked(store: Store) -> None:
    await fill(store)
    name = store.keys.index(Index.KEY_QUEUE, f"{LANE}|bob")
    await store.client.call("ZREM", name, "b1")
    assert ("unlisted", "b1", "repaired") in damage_of(await check_integrity(store, repair=True))
    stored = await store.jobs.load("b1")
    assert stored is not None
    assert stored.job.state == "parked"
    assert damage_of(await check_integrity(store)) == []
