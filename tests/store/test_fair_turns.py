"""Fair keys of a lane: who is in the turns, in which order, and who is not."""

import asyncio

import pytest

from jobs import transitions
from jobs.fairness import AT_CAP, KEYLESS, FairTurn
from jobs.indexes import Index
from jobs.job import Job
from jobs.lanes import Lane, has_fair_key, queue_score
from tests.store.redis_contents import Scores, everything, keys_of, sorted_set
from tests.store.test_commit import committed, created
from tests.unit.core.job_builders import FINISHED, NOW, a_job, admitted, running
from worker.engine.fair_lanes import FairLanes
from worker.store import Store
from worker.store.commit import VersionedJob
from worker.store.jobs import CommitRefused
from worker.store.preconditions import key_cap
from worker.store.side_writes import SideWrites

LANE = a_job().lane


async def waiting(store: Store, job_id: str, key: str | None, **facts: object) -> VersionedJob:
    return await created(store, a_job(id=job_id, fair_key=key, **facts))


async def turns(store: Store) -> Scores:
    return await sorted_set(store, store.keys.key_turns(str(LANE)))


async def admit(store: Store, stored: VersionedJob, at: float, cap: int = 0) -> VersionedJob:
    job = transitions.admit(
        stored.job, NOW, submit_token="h", lease_until=NOW + 9, opening_hold_ids=()
    )
    limits = (key_cap(job, cap),) if cap else ()
    return await committed(
        store, stored, job, SideWrites(limits=limits, fair_turn=FairTurn(at, cap))
    )


async def test_a_lane_without_keys_has_no_turns(store: Store) -> None:
    stored = await waiting(store, "j", None)
    await admit_plainly(store, stored)
    found = await keys_of(store)
    assert not [key for key in found if "key-" in key]


async def admit_plainly(store: Store, stored: VersionedJob) -> VersionedJob:
    job = transitions.admit(
        stored.job, NOW, submit_token="h", lease_until=NOW + 9, opening_hold_ids=()
    )
    return await committed(store, stored, job)


async def test_a_key_joins_behind_the_others_and_jobs_without_one_share_a_turn(
    store: Store,
) -> None:
    await waiting(store, "a1", "ann", updated_at=NOW + 1)
    await waiting(store, "b1", "bob", updated_at=NOW + 2)
    await waiting(store, "a2", "ann", updated_at=NOW + 3)
    assert await turns(store) == {KEYLESS: NOW + 1, "ann": NOW + 1, "bob": NOW + 2}


async def test_an_admission_takes_the_turn_and_the_last_job_takes_its_key_away(
    store: Store,
) -> None:
    a1, a2, b1 = [
        await waiting(store, name, key)
        for name, key in (("a1", "ann"), ("a2", "ann"), ("b1", "bob"))
    ]
    await admit(store, a1, NOW + 5)
    assert await turns(store) == {KEYLESS: NOW, "bob": NOW, "ann": NOW + 5}
    await admit(store, a2, NOW + 6)
    assert await turns(store) == {KEYLESS: NOW, "bob": NOW}
    await committed(store, b1, transitions.cancel(b1.job, NOW))
    assert await turns(store) == {}, "with the last key the turn of the others goes"


async def test_a_key_at_its_cap_has_no_turn_until_a_run_of_it_ends(store: Store) -> None:
    jobs = [await waiting(store, f"a{n}", "ann") for n in range(3)]
    first = await admit(store, jobs[0], NOW + 1, cap=2)
    assert (await turns(store))["ann"] == NOW + 1
    await admit(store, jobs[1], NOW + 2, cap=2)
    assert (await turns(store))["ann"] == AT_CAP
    await waiting(store, "a9", "ann", updated_at=NOW + 3)
    assert (await turns(store))["ann"] == AT_CAP, "more jobs do not bring it back"
    assert await store.lanes.fair_queues.next_keys([LANE], [9]) == [[KEYLESS]]
    assert (
        await store.jobs.commit(
            jobs[2],
            admitted(id="a2", fair_key="ann"),
            SideWrites(limits=(key_cap(jobs[2].job, 2),)),
        )
        is CommitRefused.FULL
    )
    await committed(store, first, transitions.return_to_queue(first.job, NOW + 4, why="w"))
    assert (await turns(store))["ann"] == NOW + 4


@pytest.mark.parametrize("cap", [0, 1])
async def test_a_parked_run_does_not_block_the_cap_of_its_key(store: Store, cap: int) -> None:
    one, _ = [await waiting(store, name, "ann") for name in ("a1", "a2")]
    stored = await admit(store, one, NOW + 1, cap=cap)
    assert (await turns(store))["ann"] == (AT_CAP if cap else NOW + 1)
    sent = await committed(
        store, stored, transitions.send(stored.job, NOW, owner="w", lease_until=NOW + 9)
    )
    await committed(store, sent, transitions.park_uncertain(sent.job, NOW + 7, why="m"))
    assert (await turns(store))["ann"] == (NOW + 7 if cap else NOW + 1)
    name = store.keys.index(Index.KEY_ACTIVE, f"{LANE}|ann")
    assert await store.client.call("EXISTS", name) == 0


async def test_a_run_that_ends_gives_no_key_a_turn_that_has_no_jobs(store: Store) -> None:
    stored = await created(store, running(id="j", fair_key="ann"))
    await committed(store, stored, transitions.succeed(stored.job, NOW, FINISHED))
    assert await turns(store) == {}


async def test_tenants_may_use_one_key_for_two(store: Store) -> None:
    await waiting(store, "studio~a", "ann")
    await waiting(store, "a", "ann")
    assert set(await turns(store)) == {KEYLESS, "studio~ann", "ann"}


async def test_in_a_lane_jobs_with_a_key_come_first_with_the_same_priority_and_age(
    store: Store,
) -> None:
    await waiting(store, "old", None, queued_at=NOW - 999, priority=100)
    await waiting(store, "b", "ann", queued_at=NOW - 5, priority=-7)
    (head,) = await store.lanes.heads([LANE], [9])
    assert [job_id for job_id, _ in head] == ["b", "old"]
    assert [has_fair_key(score) for _, score in head] == [True, False]
    assert head[0][1] == queue_score(-7, NOW - 5) - 2**45


async def test_the_oldest_jobs_are_those_with_a_key_and_those_without(store: Store) -> None:
    await waiting(store, "free", None, queued_at=NOW - 9)
    assert [job_id for job_id, _ in await store.lanes.oldest(LANE, 2)] == ["free"]
    for number in range(3):
        await waiting(store, f"a{number}", "ann", queued_at=NOW + number)
    assert [job_id for job_id, _ in await store.lanes.oldest(LANE, 2)] == ["a0", "a1", "free"]


# What admission reads.


async def in_turn(store: Store, count: int, **caps: int) -> list[str]:
    lanes = FairLanes(store, {"*": caps["cap"]} if caps else {})
    heads = await store.lanes.heads([LANE], [count])
    (head,) = await lanes.in_turn([LANE], heads, [count], NOW + 50)
    return [job_id for job_id, _ in head]


async def test_keys_take_turns_one_job_each_and_within_a_key_priority_then_age_count(
    store: Store,
) -> None:
    for number in range(5):
        await waiting(store, f"a{number}", "ann", queued_at=NOW + number, updated_at=NOW)
    await waiting(store, "b0", "bob", queued_at=NOW + 9, updated_at=NOW + 1)
    await waiting(store, "b1", "bob", queued_at=NOW + 10, priority=5, updated_at=NOW + 1)
    await waiting(store, "free", None, queued_at=NOW + 20, updated_at=NOW + 2, priority=100)
    assert await in_turn(store, 20) == ["free", "a0", "b1", "a1", "b0", "a2", "a3", "a4"]


async def test_only_as_many_keys_as_slots_are_read_however_many_wait(store: Store) -> None:
    for number in range(30):
        await waiting(store, f"j{number:02}", f"k{number:02}", updated_at=NOW + number)
    assert await in_turn(store, 4) == ["j00", "j01", "j02"], "and the turn of jobs without a key"


async def test_a_key_gets_what_its_cap_leaves(store: Store) -> None:
    for number in range(4):
        await waiting(store, f"a{number}", "ann")
        await waiting(store, f"b{number}", "bob")
    one = await store.jobs.load("a0")
    assert one is not None
    await admit(store, one, NOW + 1)
    assert await in_turn(store, 20, cap=2) == ["b0", "a1", "b1"]


async def test_keys_that_admit_nothing_give_their_turn_away(store: Store) -> None:
    for number in range(2):
        await waiting(store, f"a{number}", "ann")
    one = await store.jobs.load("a0")
    assert one is not None
    await admit(store, one, NOW + 1)
    ghost = await waiting(store, "g", "gone")
    await store.client.call("DEL", store.keys.index(Index.KEY_QUEUE, f"{LANE}|gone"))
    lanes = FairLanes(store, {str(LANE): 1})
    heads = await store.lanes.heads([LANE], [9])
    assert await lanes.in_turn([LANE], heads, [9], NOW + 50) == [[]]
    assert lanes.has_moved
    assert await turns(store) == {KEYLESS: NOW, "ann": AT_CAP}
    assert lanes.turn(ghost.job, NOW) is not None


async def test_a_lane_without_keys_is_read_as_before(store: Store) -> None:
    await waiting(store, "j", None)
    lanes, other = FairLanes(store, {"*": 1}), Lane.parse("default/model/kling")
    heads = await store.lanes.heads([LANE, other], [9, 9])
    before = await everything(store)
    asked = await commands_of(store, lanes.in_turn([LANE, other], heads, [9, 9], NOW))
    assert asked == 0
    assert await everything(store) == before
    assert lanes.turn(a_job(), NOW) is None
    assert lanes.limits(a_job()) == ()


async def commands_of(store: Store, work: "asyncio.Future[object] | object") -> int:
    """How many commands Redis handles for some work."""
    before = await store.client.call("INFO", "stats")
    await work  # type: ignore[misc]
    after = await store.client.call("INFO", "stats")
    return int(after["total_commands_processed"] - before["total_commands_processed"]) - 1


async def test_turns_of_one_moment_keep_their_order(store: Store) -> None:
    lanes = FairLanes(store, {})
    job: Job = (await waiting(store, "a", "ann")).job
    await lanes.in_turn([LANE], await store.lanes.heads([LANE], [1]), [1], NOW)
    found = [lanes.turn(job, NOW) for _ in range(3)]
    ats = [turn.at for turn in found if turn]
    assert len(set(ats)) == 3
    assert ats == sorted(ats)


async def test_a_tick_that_reads_no_lane_says_of_no_key_that_it_gave_its_turn_away(
    store: Store,
) -> None:
    lanes = FairLanes(store, {})
    lanes.has_moved = True
    lanes.begin()
    assert not lanes.has_moved
