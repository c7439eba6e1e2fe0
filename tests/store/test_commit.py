"""Writes: a record and its index entries in one step, if the revision is unchanged."""

import asyncio
from collections.abc import Callable

import pytest

from jobs import transitions
from jobs.indexes import Index
from jobs.job import Job
from jobs.states import Mode, State
from tests.store.redis_contents import (
    everything,
    expected_indexes,
    indexes,
    is_ledger,
    keys_of,
    records,
    sorted_set,
    transition_events,
)
from tests.unit.core import job_builders
from tests.unit.core.job_builders import FINISHED, NOW, a_job, running
from worker.store import Store, open_store
from worker.store.commit import Change, TransitionEvent, VersionedJob
from worker.store.jobs import CommitRefused
from worker.store.preconditions import canary_limit, lane_cap
from worker.store.scripts import Scripts
from worker.store.side_writes import NO_SIDE_WRITES, ArqWakeup, SideWrites

INPUTS = b'{"prompt": "rain"}'
WAKE_UP = ArqWakeup("j1:h1", b'{"f": "submit"}', 1_790_000_000_000, 60_000)


async def created(store: Store, job: Job | None = None) -> VersionedJob:
    stored = await store.jobs.create(job or a_job(), INPUTS)
    assert stored is not None
    return stored


async def committed(
    store: Store, old: VersionedJob, new: Job, extra: SideWrites = NO_SIDE_WRITES
) -> VersionedJob:
    written = await store.jobs.commit(old, new, extra)
    assert isinstance(written, VersionedJob)
    return written


def admitted(job: Job) -> Job:
    return transitions.admit(job, NOW, submit_token="h1", lease_until=NOW + 30, opening_hold_ids=())


def cancelled(job: Job) -> Job:
    return transitions.cancel(job, NOW + 1)


def parked(job: Job) -> Job:
    return transitions.park_manual(job, NOW + 1, by="ann")


# Create.


async def test_a_created_job_is_on_record_with_its_inputs_and_its_index(store: Store) -> None:
    job = a_job(tags=("a", "b"), batch="x")
    stored = await created(store, job)
    assert await store.jobs.load("j1") == stored
    assert await store.jobs.read_with_inputs(["j1"]) == [(stored, INPUTS)]
    assert await indexes(store) == expected_indexes(store, [job])
    assert await sorted_set(store, store.keys.lanes) == {"default/model/suno": NOW}
    assert await transition_events(store) == [
        [TransitionEvent("j1", "default/model/suno", None, State.QUEUED, NOW)]
    ]


async def test_an_id_is_taken_once(store: Store) -> None:
    first = await created(store)
    before = await everything(store)
    assert await store.jobs.create(a_job(target="other"), b'{"b": 2}') is None
    assert await everything(store) == before
    assert await store.jobs.load("j1") == first


async def test_of_many_that_create_one_id_at_once_one_does(store: Store) -> None:
    tried = await asyncio.gather(*(store.jobs.create(a_job(), INPUTS) for _ in range(20)))
    (winner,) = [stored for stored in tried if stored is not None]
    assert await store.jobs.load("j1") == winner


async def test_a_job_that_is_not_there_is_none(store: Store) -> None:
    assert await store.jobs.load("nobody") is None
    assert await store.jobs.read_with_inputs(["nobody"]) == [None]
    assert await store.jobs.read_with_inputs([]) == []
    assert (await store.payloads.read("nobody")).inputs is None
    assert await store.jobs.load_many([]) == []


async def test_jobs_are_loaded_in_the_order_of_their_ids(store: Store) -> None:
    a, b = await created(store, a_job(id="a")), await created(store, a_job(id="b"))
    assert await store.jobs.load_many(["b", "nobody", "a", "b"]) == [b, None, a, b]
    found = await store.jobs.read_with_inputs(["b", "nobody", "a"])
    assert found == [(b, INPUTS), None, (a, INPUTS)]


# Commit.


@pytest.mark.parametrize(
    "step",
    [admitted, cancelled, parked],
    ids=["admit", "cancel", "park"],
)
async def test_a_commit_updates_a_job_to_exactly_its_new_indexes(
    store: Store, step: Callable[[Job], Job]
) -> None:
    other = await created(store, a_job(id="other"))
    stored = await created(store)
    after = await committed(store, stored, step(stored.job))
    assert await indexes(store) == expected_indexes(store, [other.job, after.job])
    assert await store.jobs.load("j1") == after
    assert after.rev != stored.rev


async def test_who_read_an_older_version_writes_nothing(store: Store) -> None:
    stored = await created(store)
    await committed(store, stored, admitted(stored.job))
    before = await everything(store)
    extra = SideWrites(inputs=b"{}", result=b"{}")
    for late in (
        transitions.cancel(stored.job, NOW),
        transitions.park_manual(stored.job, NOW, by="ann"),
    ):
        assert await store.jobs.commit(stored, late, extra) is CommitRefused.SUPERSEDED
    assert await everything(store) == before


async def test_of_many_that_write_at_once_one_wins(store: Store) -> None:
    stored = await created(store)
    tried = await asyncio.gather(
        *(store.jobs.commit(stored, transitions.cancel(stored.job, NOW + n)) for n in range(20))
    )
    (winner,) = [written for written in tried if isinstance(written, VersionedJob)]
    assert await store.jobs.load("j1") == winner
    assert tried.count(CommitRefused.SUPERSEDED) == 19


async def test_a_commit_whose_reply_was_lost_may_be_repeated(store: Store) -> None:
    stored = await created(store)
    extra = SideWrites(limits=(lane_cap(stored.job.lane, 1),))
    change = Change(store.keys, "j1", stored.rev).write(stored.job, admitted(stored.job), extra)
    scripts = Scripts(store.client)
    assert await scripts.commit(change) == "ok"
    once = await everything(store)
    assert await scripts.commit(change) == "ok", "although its own entry fills the lane now"
    assert await everything(store) == once


async def test_a_batch_whose_reply_was_lost_may_be_repeated(store: Store) -> None:
    """A repeated call: what was written is found, what was refused stays refused."""
    one, two, three = [await created(store, a_job(id=name)) for name in ("a", "b", "c")]
    limit = SideWrites(limits=(lane_cap(one.job.lane, 1),))
    changes = [
        Change(store.keys, "a", one.rev).write(one.job, admitted(one.job), limit),
        Change(store.keys, "b", two.rev).write(two.job, admitted(two.job), limit),
        Change(store.keys, "c", "9.beef").write(three.job, cancelled(three.job), NO_SIDE_WRITES),
        Change(store.keys, "d", "").write(None, a_job(id="d"), SideWrites(inputs=INPUTS)),
        Change(store.keys, "", "").wake(WAKE_UP),
    ]
    scripts = Scripts(store.client)
    replies = ["ok", "full", "superseded", "ok", "ok"]
    assert await asyncio.gather(*map(scripts.commit, changes)) == replies
    once = await everything(store)
    assert await asyncio.gather(*map(scripts.commit, changes)) == replies
    again = await everything(store)
    key = store.keys.arq_queue
    assert again.keys() == once.keys()
    assert {name: dump for name, dump in again.items() if name != key} == {
        name: dump for name, dump in once.items() if name != key
    }
    assert await sorted_set(store, key) == {WAKE_UP.arq_id: float(WAKE_UP.score_ms)}


async def test_a_repeated_commit_that_was_overtaken_is_superseded(store: Store) -> None:
    stored = await created(store)
    change = Change(store.keys, "j1", stored.rev).write(
        stored.job, admitted(stored.job), NO_SIDE_WRITES
    )
    scripts = Scripts(store.client)
    await scripts.commit(change)
    after = await store.jobs.load("j1")
    assert after is not None
    newer = await committed(store, after, transitions.cancel(after.job, NOW))
    assert await scripts.commit(change) == "superseded"
    assert await store.jobs.load("j1") == newer


async def test_a_deleted_job_does_not_come_back(store: Store) -> None:
    stored = await created(store)
    assert await store.jobs.delete(stored)
    late = await store.jobs.commit(stored, admitted(stored.job))
    assert late is CommitRefused.SUPERSEDED
    assert await store.jobs.load("j1") is None


async def test_a_result_lies_beside_the_record_and_new_inputs_replace_the_old(
    store: Store,
) -> None:
    stored = await created(store, running())
    extra = SideWrites(result=FINISHED.result)
    stored = await committed(store, stored, transitions.succeed(stored.job, NOW, FINISHED), extra)
    found = await store.payloads.read("j1")
    assert (found.inputs, found.result) == (INPUTS, FINISHED.result)
    dead = await created(store, job_builders.dead(id="j2"))
    await committed(
        store,
        dead,
        transitions.requeue(dead.job, NOW, by="ann"),
        SideWrites(inputs=b'{"p": "sun"}'),
    )
    found = await store.payloads.read("j2")
    assert (found.inputs, found.result) == (b'{"p": "sun"}', None)
    record = await store.client.call("HGET", store.keys.job("j1"), "rec")
    assert b"images" not in record
    assert b"rain" not in record


# Limits.


async def test_a_full_lane_takes_no_more_and_nothing_is_written(store: Store) -> None:
    running_one = await created(store, running(id="other"))
    stored = await created(store)
    before = await everything(store)
    extra = SideWrites(limits=(lane_cap(stored.job.lane, 1),))
    written = await store.jobs.commit(stored, admitted(stored.job), extra)
    assert written is CommitRefused.FULL
    assert await everything(store) == before
    await committed(store, running_one, transitions.succeed(running_one.job, NOW, FINISHED))
    await committed(store, stored, admitted(stored.job), extra)


async def test_every_limit_counts(store: Store) -> None:
    await created(store, job_builders.submitted(id="other", opening_hold_ids=("g1",)))
    stored = await created(store)
    for limits in (
        (canary_limit("g1", 1), lane_cap(stored.job.lane, 9)),
        (lane_cap(stored.job.lane, 9), canary_limit("g1", 1)),
    ):
        result = await store.jobs.commit(stored, admitted(stored.job), SideWrites(limits=limits))
        assert result is CommitRefused.FULL
    roomy = (lane_cap(stored.job.lane, 2), canary_limit("g1", 2), canary_limit("g2", 1))
    await committed(store, stored, admitted(stored.job), SideWrites(limits=roomy))


@pytest.mark.parametrize("cap", [1, 3])
async def test_of_many_that_want_in_at_once_no_more_get_in_than_fit(store: Store, cap: int) -> None:
    waiting = [await created(store, a_job(id=f"j{n}")) for n in range(8)]
    tried = await asyncio.gather(
        *(
            store.jobs.commit(
                stored, admitted(stored.job), SideWrites(limits=(lane_cap(stored.job.lane, cap),))
            )
            for stored in waiting
        )
    )
    assert sum(isinstance(written, VersionedJob) for written in tried) == cap
    assert tried.count(CommitRefused.FULL) == 8 - cap
    assert await store.lanes.active_counts([waiting[0].job.lane]) == [cap]


async def test_a_limit_counts_what_the_same_batch_takes_away_and_adds(store: Store) -> None:
    """The changes of a batch count in their order."""
    gone, one, two = [
        await created(store, job) for job in (running(id="x"), a_job(id="a"), a_job(id="b"))
    ]
    full = SideWrites(limits=(lane_cap(one.job.lane, 1),))
    tried = await asyncio.gather(
        store.jobs.commit(one, admitted(one.job), full),
        store.jobs.commit(gone, transitions.succeed(gone.job, NOW, FINISHED)),
        store.jobs.commit(two, admitted(two.job), full),
        store.jobs.create(a_job(id="c"), INPUTS),
    )
    assert tried[0] is CommitRefused.FULL
    assert all(isinstance(written, VersionedJob) for written in tried[1:])
    assert await sorted_set(store, store.keys.active(one.job.lane)) == {"b": two.job.created_at}
    after = await store.jobs.load_many(["x", "a", "b", "c"])
    assert await indexes(store) == expected_indexes(
        store, [stored.job for stored in after if stored]
    )


# Batches.


async def test_a_batch_has_the_effect_of_its_changes_one_by_one(store: Store) -> None:
    """Some changes are refused; the others are written."""
    names = [f"j{n}" for n in range(12)]
    stored = [await created(store, a_job(id=name, tags=("t",), batch="b")) for name in names]
    steps = (admitted, cancelled, parked)
    tried = await asyncio.gather(
        *(
            store.jobs.commit(
                VersionedJob(old.job, "9.beef") if n % 4 == 3 else old, steps[n % 3](old.job)
            )
            for n, old in enumerate(stored)
        ),
        store.jobs.create(a_job(id="new", tags=("t",)), INPUTS),
        store.jobs.create(a_job(id="j0"), b'{"other": 1}'),
        store.jobs.wake(WAKE_UP),
    )
    assert [n for n, it in enumerate(tried[:12]) if it is CommitRefused.SUPERSEDED] == [3, 7, 11]
    assert tried[13] is None
    left = {old.job.id: old for old in stored}
    left |= {new.job.id: new for new in tried[:13] if isinstance(new, VersionedJob)}
    assert await indexes(store) == expected_indexes(store, [one.job for one in left.values()])
    assert await records(store) == {one.job.id: (one.rev, one.job) for one in left.values()}
    found = await store.payloads.read("j0")
    assert (found.inputs, found.result) == (INPUTS, None)
    assert await sorted_set(store, store.keys.arq_queue) == {"j1:h1": float(WAKE_UP.score_ms)}


# Wake-ups.


async def test_a_wake_up_is_an_entry_of_arq_that_expires(store: Store) -> None:
    stored = await created(store)
    await asyncio.gather(
        store.jobs.commit(stored, admitted(stored.job)),
        store.jobs.wake(WAKE_UP),
    )
    key = store.keys.arq_job("j1:h1")
    assert await store.client.call("GET", key) == WAKE_UP.payload
    assert 0 < await store.client.call("PTTL", key) <= WAKE_UP.ttl_ms
    assert await sorted_set(store, store.keys.arq_queue) == {"j1:h1": float(WAKE_UP.score_ms)}
    assert (await store.lanes.snapshot()).submitting_count == 1
    assert (await store.lanes.snapshot()).sync_count == 0


async def test_sync_runs_are_counted_apart_from_admission_to_their_end(store: Store) -> None:
    stored = await created(store)
    as_sync = transitions.admit(
        stored.job,
        NOW,
        submit_token="h1",
        lease_until=NOW + 30,
        opening_hold_ids=(),
        mode=Mode.SYNC,
    )
    opened = transitions.open_connection(as_sync, NOW, owner="w", lease_until=NOW + 30)
    done = transitions.succeed(opened, NOW + 9, FINISHED)
    for job, count in ((as_sync, 1), (opened, 1), (done, 0)):
        stored, queues = await committed(store, stored, job), await store.lanes.snapshot()
        assert (queues.sync_count, queues.submitting_count) == (count, 0)


# Delete.


@pytest.mark.parametrize(
    "job",
    [
        job_builders.queued(tags=("a",), batch="b"),
        job_builders.scheduled(),
        job_builders.admitted(opening_hold_ids=("g1", "g2")),
        job_builders.running(),
        job_builders.stuck(),
        job_builders.held(tags=("a", "b")),
        job_builders.dead(),
        job_builders.succeeded(),
    ],
    ids=lambda job: job.parked_as or job.state.value,
)
async def test_a_deleted_job_leaves_no_key(store: Store, job: Job) -> None:
    stored = await created(store, job)
    assert await store.jobs.delete(stored)
    registers = {store.keys.lanes, store.keys.groups, store.keys.batches, store.keys.events}
    registers |= {store.keys.batch_record("b"), store.keys.batch_changes}
    left = {key for key in await keys_of(store) if not is_ledger(store, key)}
    assert left <= registers | {store.keys.recovery}
    assert not await store.jobs.delete(stored)


async def test_a_job_that_changed_is_not_deleted(store: Store) -> None:
    stored = await created(store)
    await committed(store, stored, admitted(stored.job))
    before = await everything(store)
    assert not await store.jobs.delete(stored)
    assert await everything(store) == before


async def test_deleting_one_leaves_the_others(store: Store) -> None:
    gone = await created(store, job_builders.held(id="gone", tags=("a",)))
    kept = await created(store, job_builders.held(id="kept", tags=("a",)))
    await store.jobs.delete(gone)
    assert await indexes(store) == expected_indexes(store, [kept.job])
    assert set(await records(store)) == {"kept"}


async def test_two_namespaces_do_not_see_each_other(store: Store) -> None:
    other = open_store(store.client.redis, f"{store.keys.namespace}:other")
    await created(store)
    assert await other.jobs.load("j1") is None
    await created(other)
    assert await other.client.call("ZCARD", other.keys.index(Index.ALL)) == 1


def test_what_is_kept_beside_the_record_is_not_printed() -> None:
    assert "rain" not in repr(SideWrites(inputs=INPUTS, result=INPUTS))
