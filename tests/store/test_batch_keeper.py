"""Completions and stalls of batches are announced once, by whichever of several workers."""

import asyncio

import pytest

from jobs import transitions
from jobs.batches import BatchEvent, BatchRecord
from jobs.job import Job
from jobs.lanes import JobId
from jobs.states import State
from tests.unit.core import job_builders
from tests.unit.core.job_builders import NOW
from worker.engine.services import pruner as pruner_module
from worker.engine.services.batch_keeper import LEASE_S, BatchKeeper, batch_notice
from worker.engine.services.pruner import Pruner
from worker.store import Store
from worker.store.batch import ANNOUNCED
from worker.store.commit import VersionedJob
from worker.store.events import START, BatchNotice


async def notices(store: Store) -> list[tuple[BatchEvent, int]]:
    found = [one for entry in await store.events.after(START, 1_000) for one in entry.notices]
    return [(one.event, one.completion) for one in found if isinstance(one, BatchNotice)]


async def add(store: Store, job: Job) -> VersionedJob:
    stored = await store.jobs.create(job, b"{}")
    assert stored is not None
    return stored


async def created(store: Store) -> None:
    await store.batches.create("", BatchRecord(name="b", created_at=NOW))


async def test_a_completion_is_announced_once_over_all_workers(store: Store) -> None:
    await created(store)
    await add(store, job_builders.dead(batch="b"))
    await store.batches.seal("b", NOW)
    keepers = [BatchKeeper(store, f"w{n}") for n in range(3)]
    await asyncio.gather(*(keeper.tick(NOW) for keeper in keepers))
    for keeper in keepers:
        await keeper.tick(NOW)
    assert await notices(store) == [(BatchEvent.COMPLETED, 1)]
    assert await store.batches.changed(10) == []


async def test_every_completion_is_announced_also_two_since_the_last_look(store: Store) -> None:
    await created(store)
    dead = await add(store, job_builders.dead(batch="b"))
    await store.batches.seal("b", NOW)
    requeued = await store.jobs.commit(dead, transitions.requeue(dead.job, NOW, by="ann"))
    assert isinstance(requeued, VersionedJob)
    await store.jobs.commit(requeued, transitions.cancel(requeued.job, NOW, by="ann"))
    await BatchKeeper(store, "w").tick(NOW)
    assert await notices(store) == [(BatchEvent.COMPLETED, 1), (BatchEvent.COMPLETED, 2)]


async def test_a_worker_that_died_before_it_announced_leaves_it_to_the_next(store: Store) -> None:
    await created(store)
    await add(store, job_builders.dead(batch="b"))
    await store.batches.seal("b", NOW)
    assert await store.batches.claim("dead", LEASE_S)
    await BatchKeeper(store, "w").tick(NOW)
    assert await notices(store) == []
    await store.client.call("DEL", store.keys.batch_lease)  # it expires
    await BatchKeeper(store, "w").tick(NOW)
    assert await notices(store) == [(BatchEvent.COMPLETED, 1)]


async def test_of_two_workers_at_once_one_announces(store: Store) -> None:
    """As after a lease that ended while its worker hung."""
    await created(store)
    batch = await store.batches.find("b", NOW)
    assert batch is not None
    notice = batch_notice(batch, BatchEvent.COMPLETED, NOW, 1)
    said = [store.batches.announce(batch, notice, ANNOUNCED, 1) for _ in range(2)]
    assert sorted(await asyncio.gather(*said)) == [False, True]
    assert await notices(store) == [(BatchEvent.COMPLETED, 1)]


async def test_a_batch_stalls_when_all_its_open_jobs_are_parked(store: Store) -> None:
    await created(store)
    keeper = BatchKeeper(store, "w")
    running = await add(store, job_builders.running(id=JobId("r"), batch="b"))
    held = await add(store, job_builders.held(id=JobId("h"), batch="b"))
    await keeper.tick(NOW)
    assert await notices(store) == []
    stuck = transitions.park_stuck(running.job, NOW, next_poll_at=NOW)
    parked = await store.jobs.commit(running, stuck)
    assert isinstance(parked, VersionedJob)
    await keeper.tick(NOW)
    assert await notices(store) == [(BatchEvent.STALLED, 0)]
    for one in (held, parked):
        discarded = transitions.discard(one.job, NOW, by="ann")
        assert isinstance(await store.jobs.commit(one, discarded), VersionedJob)
    await keeper.tick(NOW)
    await add(store, job_builders.held(id=JobId("h2"), batch="b"))
    await keeper.tick(NOW)
    assert await notices(store) == [(BatchEvent.STALLED, 0)] * 2


async def test_a_batch_that_only_jobs_name_announces_nothing(store: Store) -> None:
    await add(store, job_builders.held(batch="b"))
    await BatchKeeper(store, "w").tick(NOW)
    assert await notices(store) == []


async def test_jobs_of_an_open_batch_are_not_pruned(store: Store) -> None:
    await created(store)
    kept = await add(store, job_builders.succeeded(id=JobId("kept"), batch="b"))
    await add(store, job_builders.succeeded(id=JobId("old")))
    pruner = Pruner(store, retention_s=60.0)
    await pruner.tick(NOW + 3_600)
    assert await store.jobs.load("old") is None
    assert await store.jobs.load("kept") == kept
    await store.batches.seal("b", NOW)
    await pruner.tick(NOW + 3_600)
    assert await store.jobs.load("kept") is None
    batch = await store.batches.find("b", NOW)
    assert batch is not None
    assert (batch.states[State.SUCCEEDED], batch.pruned) == (1, 1)


async def test_jobs_that_are_kept_keep_no_others_from_being_pruned(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await created(store)
    for n in range(6):
        await add(store, job_builders.succeeded(id=JobId(f"k{n}"), batch="b", since=NOW - 10 + n))
    await add(store, job_builders.succeeded(id=JobId("old"), since=NOW))
    monkeypatch.setattr(pruner_module, "BATCH", 2)
    pruner = Pruner(store, retention_s=60.0)
    while not await pruner.tick(NOW + 3_600):
        pass
    assert await store.jobs.load("old") is None
    assert await store.jobs.load("k0") is not None
