"""Gates in Redis: placed, hit, released and opened by many at once; cool-downs; sync targets."""

import asyncio

import pytest

from jobs.holds import CoolDown, Hold, HoldPhase, apply_accept, apply_release, hold_id
from jobs.lanes import Lane, Scope
from jobs.states import Kind
from tests.unit.core.job_builders import NOW
from worker.store import Store, holds, open_store
from worker.store.scripts import MAX_SWAP_ATTEMPTS, Scripts

LANE = Lane("default", Kind.MODEL, "suno")


def a_hold(scope: str = "default", code: str = "X", at: float = NOW) -> Hold:
    return Hold(
        id=hold_id(Scope(scope), code),
        scope=Scope(scope),
        code=code,
        created_at=at,
        message="balance too low",
    )


async def placed(store: Store, new: Hold) -> Hold:
    hold = await store.holds.place(new)
    assert hold is not None
    return hold


async def opening(store: Store, hold: Hold) -> None:
    await store.holds.change(hold.key, lambda found: apply_release(found or hold, NOW, by="ann"))


def with_one_more_accepted(found: Hold | None) -> Hold | None:
    return apply_accept(found) if found is not None else None


async def test_a_hold_applies_to_every_worker(store: Store) -> None:
    assert await store.holds.place(a_hold()) == a_hold()
    other = open_store(store.client.redis, store.keys.namespace)
    assert await other.holds.list_all() == [a_hold()]
    assert await other.holds.find(a_hold().id) == a_hold()
    assert await other.holds.find("nobody") is None
    assert (await other.holds.gates()).closing_hold(LANE) == a_hold()


async def test_holds_come_oldest_first(store: Store) -> None:
    for hold in (a_hold("b", at=NOW), a_hold("a", at=NOW + 5), a_hold("c", at=NOW - 5)):
        await store.holds.place(hold)
    assert [hold.scope for hold in await store.holds.list_all()] == ["c", "b", "a"]


async def test_one_cause_in_one_scope_is_one_hold(store: Store) -> None:
    for hold in (a_hold(), a_hold(code="Y"), a_hold("other"), a_hold()):
        await store.holds.place(hold)
    found = {hold.key: hold.hits for hold in await store.holds.list_all()}
    assert found == {"default|X": 2, "default|Y": 1, "other|X": 1}


@pytest.mark.parametrize("many", [2, 30, 100])
async def test_many_that_hit_a_hold_at_once_are_all_counted(store: Store, many: int) -> None:
    async with asyncio.timeout(10):
        found = await asyncio.gather(*(placed(store, a_hold()) for _ in range(many)))
    (hold,) = await store.holds.list_all()
    assert hold.hits == many
    assert sorted(one.hits for one in found) == list(range(1, many + 1))


async def test_holds_of_targets_are_bounded_and_an_account_can_always_be_stopped(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that refuses each target that apps invent, or invents a code for each refusal."""
    monkeypatch.setattr(holds, "MAX_HOLDS", 5)
    for number in range(20):
        await store.holds.place(a_hold(f"default/model/invented-{number}", "SCOPE_DENIED"))
    assert len(await store.holds.list_all()) == 5
    again = await placed(store, a_hold("default/model/invented-1", "SCOPE_DENIED"))
    assert again.hits == 2, "one that stands counts on"
    for number in range(20):
        for scope in ("default", "studio/model"):
            await store.holds.place(a_hold(scope, f"CODE_{number}"))
    found = {hold.key for hold in await store.holds.list_all()}
    assert len(found) == 7
    assert found > {"default|CODE_0", "studio/model|CODE_0"}
    await opening(store, a_hold("default", "CODE_0"))
    assert await store.holds.place(a_hold("default", "CODE_7")), "nothing stops the account now"


@pytest.mark.parametrize("field", [b"no-mark", b"\xff\xfe|X", b""])
async def test_a_field_that_names_no_hold_is_a_hold_that_can_be_removed(
    store: Store, field: bytes
) -> None:
    await store.holds.place(a_hold())
    await store.client.call("HSET", store.keys.holds, field, b"{")
    (nameless,) = [hold for hold in await store.holds.list_all() if hold.scope != "default"]
    assert not await store.holds.remove_nameless(a_hold().id)
    assert await store.holds.remove_nameless(nameless.id)
    assert [hold.scope for hold in await store.holds.list_all()] == ["default"]


async def test_a_record_under_the_name_of_another_one_cannot_be_read(store: Store) -> None:
    await store.holds.place(a_hold())
    record = await store.client.call("HGET", store.keys.holds, "default|X")
    await store.client.call("HSET", store.keys.holds, "studio|Y", record)
    (found,) = [hold for hold in await store.holds.list_all() if hold.scope == "studio"]
    assert (found.code, found.phase) == ("Y", HoldPhase.CLOSED)
    assert "it is of default|X" in found.message


async def test_cool_downs_without_a_readable_name_end(store: Store) -> None:
    await store.client.call("HSET", store.keys.cool_downs, b"\xff", b"{")
    await store.holds.remove_expired_cool_downs(NOW)
    assert await store.client.call("HLEN", store.keys.cool_downs) == 0


async def test_workers_that_hit_a_hold_at_once_are_all_counted(store: Store) -> None:
    workers = [open_store(store.client.redis, store.keys.namespace) for _ in range(12)]
    async with asyncio.timeout(10):
        await asyncio.gather(*(w.holds.place(a_hold()) for w in workers for _ in range(3)))
    assert [hold.hits for hold in await store.holds.list_all()] == [36]


async def test_canaries_accepted_at_once_open_the_gate_step_by_step(store: Store) -> None:
    workers = [open_store(store.client.redis, store.keys.namespace) for _ in range(3)]
    await store.holds.place(a_hold())
    await opening(store, a_hold())
    for submits, step in ((1, 2), (2, 4), (4, 8)):
        await asyncio.gather(
            *(
                workers[n % 3].holds.change(a_hold().key, with_one_more_accepted)
                for n in range(submits)
            )
        )
        (hold,) = await store.holds.list_all()
        assert (hold.phase, hold.step, hold.accepted) == (HoldPhase.OPENING, step, 0)


async def test_a_gate_that_is_fully_open_is_gone(store: Store) -> None:
    await store.holds.place(a_hold())
    await opening(store, a_hold())
    for _ in range(127):
        await store.holds.change(a_hold().key, with_one_more_accepted)
    assert await store.holds.list_all() == []
    assert (await placed(store, a_hold())).relapses == 0, "the next one is a new one"


async def test_a_refused_canary_closes_the_gate_again(store: Store) -> None:
    await store.holds.place(a_hold())
    await opening(store, a_hold())
    hold = await placed(store, a_hold())
    assert (hold.phase, hold.relapses, hold.hits) == (HoldPhase.CLOSED, 1, 2)


async def test_a_change_that_always_loses_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    async def overtaken(_: Scripts, key: str, field: str, expected: bytes, value: bytes) -> bool:
        assert (expected, bool(value)) == (b"", True)
        tries.append(f"{key} {field}")
        return False

    monkeypatch.setattr(Scripts, "swap", overtaken)
    with pytest.raises(RuntimeError, match=r"default\|X"):
        await store.holds.place(a_hold())
    assert tries == [f"{store.keys.holds} default|X"] * MAX_SWAP_ATTEMPTS


async def test_an_unreadable_hold_is_a_closed_one(store: Store) -> None:
    await store.holds.place(a_hold())
    await store.client.call("HSET", store.keys.holds, "default|Y", b"garbage")
    await store.client.call("HSET", store.keys.cool_downs, "default", b"garbage")
    gates = await store.holds.gates()
    assert ([one.code for one in gates.holds], gates.cool_downs) == (["X", "Y"], ())
    assert [one.code for one in await store.holds.list_all()] == ["Y", "X"]
    assert (await placed(store, a_hold(code="Y"))).hits == 1
    await store.holds.remove_expired_cool_downs(NOW)
    assert await store.client.call("EXISTS", store.keys.cool_downs) == 0


# Cool-downs.


async def test_a_longer_wait_stays(store: Store) -> None:
    for until in (NOW + 5, NOW + 60, NOW + 10):
        await store.holds.place_cool_down(CoolDown(Scope("default"), until, f"{until - NOW:g}"))
    (cool,) = (await store.holds.gates()).cool_downs
    assert cool == CoolDown(Scope("default"), NOW + 60, "60")


async def test_of_many_waits_at_once_the_longest_stays(store: Store) -> None:
    waits = [(n * 37) % 50 for n in range(50)]
    await asyncio.gather(
        *(store.holds.place_cool_down(CoolDown(Scope("default"), NOW + wait)) for wait in waits)
    )
    (cool,) = (await store.holds.gates()).cool_downs
    assert cool.until == NOW + 49


async def test_cool_downs_that_ran_out_are_forgotten(store: Store) -> None:
    await store.holds.place_cool_down(CoolDown(Scope("a"), NOW + 5))
    await store.holds.place_cool_down(CoolDown(Scope("b"), NOW + 9))
    await store.holds.remove_expired_cool_downs(NOW + 5)
    assert [cool.scope for cool in (await store.holds.gates()).cool_downs] == ["b"]


# Targets without async mode.


async def is_sync_only(store: Store, lane: Lane, now: float) -> bool:
    return (await store.holds.gates()).is_sync_only(lane, now)


async def test_a_sync_only_target_is_remembered_for_a_while(store: Store) -> None:
    assert not await is_sync_only(store, LANE, NOW)
    await store.holds.remember_sync_only(LANE, NOW + 100)
    await store.holds.remember_sync_only(LANE, NOW + 50)
    assert (await store.holds.gates()).sync_only_until == {str(LANE): NOW + 100}
    assert await is_sync_only(store, LANE, NOW + 99)
    assert not await is_sync_only(store, LANE, NOW + 100)
    assert not await is_sync_only(store, Lane("default", Kind.MODEL, "kling"), NOW)


async def test_a_sync_memory_that_ran_out_is_removed(store: Store) -> None:
    await store.holds.remember_sync_only(LANE, NOW + 100)
    await store.holds.remove_expired_sync_only(NOW + 99)
    assert await is_sync_only(store, LANE, NOW)
    await store.holds.remove_expired_sync_only(NOW + 100)
    assert (await store.holds.gates()).sync_only_until == {}
