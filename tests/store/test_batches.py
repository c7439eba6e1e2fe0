"""Batches on a real Redis: counts, seal, completion, the order of results, and what is kept."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from jobs import transitions
from jobs.batches import BatchRecord, BatchSealed, BatchState, batch_of
from jobs.job import Job
from jobs.lanes import JobId
from jobs.outcomes import Finished
from jobs.states import State
from tests.store.redis_contents import keys_of
from tests.unit.core import job_builders
from tests.unit.core.job_builders import NOW
from worker.store import Store
from worker.store import batches as batches_module
from worker.store.batch import Batch
from worker.store.commit import VersionedJob


async def found(store: Store, address: str = "b") -> Batch:
    batch = await store.batches.find(address, NOW)
    assert batch is not None
    return batch


async def add(
    store: Store, job_id: str, build: Callable[..., Job] = job_builders.running, **facts: Any
) -> VersionedJob:
    stored = await store.jobs.create(build(id=JobId(job_id), **({"batch": "b"} | facts)), b"{}")
    assert stored is not None
    return stored


async def finish(store: Store, stored: VersionedJob, cost: float = 1.0) -> VersionedJob:
    after = transitions.succeed(stored.job, NOW, Finished(b"{}", cost=cost))
    written = await store.jobs.commit(stored, after)
    assert isinstance(written, VersionedJob)
    return written


async def create(store: Store, name: str = "b", tenant: str = "") -> bool:
    return await store.batches.create(tenant, BatchRecord(name=name, created_at=NOW))


async def results(store: Store, after: float = 0.0, limit: int = 10) -> list[str]:
    return [job_id for job_id, _ in await store.batches.settled("b", after, limit)]


async def test_a_batch_counts_its_jobs_and_what_they_cost(store: Store) -> None:
    await create(store)
    one = await add(store, "j1")
    await add(store, "j2", job_builders.dead)
    await add(store, "j3", job_builders.held)
    await add(store, "other", batch="c")
    await finish(store, one, cost=2.5)
    batch = await found(store)
    counted = {state: count for state, count in batch.states.items() if count}
    assert counted == {State.SUCCEEDED: 1, State.DEAD: 1, State.PARKED: 1}
    assert (batch.total, batch.open_jobs, batch.cost) == (3, 1, 2.5)
    assert batch.state is BatchState.OPEN


async def test_a_batch_that_only_jobs_name_is_one_too(store: Store) -> None:
    await add(store, "j1")
    batch = await found(store)
    assert (batch.record, batch.total) == (None, 1)
    assert await store.batches.find("c", NOW) is None


async def test_two_tenants_use_one_name_for_two_batches(store: Store) -> None:
    await add(store, "studio~j1")
    await add(store, "j1")
    assert [(await found(store, name)).total for name in ("studio~b", "b")] == [1, 1]
    stored = await store.jobs.load("studio~j1")
    assert stored is not None
    assert batch_of(stored.job) == "studio~b"


async def test_nobody_joins_a_sealed_batch(store: Store) -> None:
    one = await add(store, "j1")
    assert await store.batches.seal("b", NOW)
    with pytest.raises(BatchSealed, match="'b' is sealed"):
        await add(store, "j2")
    again = await store.jobs.create(job_builders.running(id=JobId("j1"), batch="b"), b"{}")
    assert again is None, "one that is there already is found, not refused"
    assert not await store.batches.seal("b", NOW + 1)
    batch = await found(store)
    assert (batch.sealed_at, batch.state, batch.total) == (NOW, BatchState.SEALED, 1)
    assert one.job.batch == "b"


async def test_of_a_seal_and_joins_at_once_no_job_is_in_and_uncounted(store: Store) -> None:
    """Whoever joined before the seal counts; whoever came later has no record."""
    await create(store)
    joins = [add(store, f"j{n}") for n in range(40)]
    outcomes = await asyncio.gather(
        *joins[:20], store.batches.seal("b", NOW), *joins[20:], return_exceptions=True
    )
    joined = [one for one in outcomes if isinstance(one, VersionedJob)]
    refused = [one for one in outcomes if isinstance(one, BatchSealed)]
    assert len(joined) + len(refused) == 40
    batch = await found(store)
    assert batch.total == len(joined)
    await asyncio.gather(*(finish(store, one) for one in joined))
    assert (await found(store)).completions == 1


async def test_a_sealed_batch_completes_when_its_last_job_settles(store: Store) -> None:
    one, two = await add(store, "j1"), await add(store, "j2")
    await finish(store, one)
    await store.batches.seal("b", NOW)
    assert (await found(store)).completions == 0
    await finish(store, two)
    batch = await found(store)
    assert (batch.completions, batch.state) == (1, BatchState.COMPLETE)


async def test_a_batch_completes_when_it_is_sealed_after_its_last_job(store: Store) -> None:
    await finish(store, await add(store, "j1"))
    assert (await found(store)).completions == 0
    await store.batches.seal("b", NOW)
    assert (await found(store)).completions == 1
    await store.batches.seal("b", NOW)
    assert (await found(store)).completions == 1


async def test_an_empty_batch_completes_when_it_is_sealed(store: Store) -> None:
    await create(store)
    await store.batches.seal("b", NOW)
    batch = await found(store)
    assert (batch.completions, batch.total, batch.state) == (1, 0, BatchState.COMPLETE)


async def test_a_requeue_reopens_a_batch_and_it_completes_again(store: Store) -> None:
    dead = await add(store, "j1", job_builders.dead)
    await store.batches.seal("b", NOW)
    assert (await found(store)).completions == 1
    requeued = await store.jobs.commit(dead, transitions.requeue(dead.job, NOW, by="ann"))
    assert isinstance(requeued, VersionedJob)
    assert (await found(store)).state is BatchState.SEALED
    cancelled = transitions.cancel(requeued.job, NOW, by="ann")
    assert isinstance(await store.jobs.commit(requeued, cancelled), VersionedJob)
    assert (await found(store)).completions == 2


async def test_a_settled_job_that_is_discarded_does_not_complete_it_again(store: Store) -> None:
    dead = await add(store, "j1", job_builders.dead)
    await store.batches.seal("b", NOW)
    discarded = transitions.discard(dead.job, NOW + 1, by="ann")
    assert isinstance(await store.jobs.commit(dead, discarded), VersionedJob)
    assert (await found(store)).completions == 1


async def test_results_come_in_the_order_they_settled_whatever_the_clocks_say(
    store: Store,
) -> None:
    jobs = [await add(store, f"j{n}") for n in range(4)]
    for at, n in enumerate((2, 0, 3)):  # each by a worker whose clock is further behind
        after = transitions.succeed(jobs[n].job, NOW - at * 60, Finished(b"{}"))
        await store.jobs.commit(jobs[n], after)
    assert await results(store) == ["j2", "j0", "j3"]
    ((_, position),) = await store.batches.settled("b", 0.0, 1)
    assert await results(store, position) == ["j0", "j3"]
    (*_, (_, last)) = await store.batches.settled("b", 0.0, 10)
    assert await results(store, last) == []
    await finish(store, jobs[1])
    assert await results(store, last) == ["j1"], "nobody who reads on misses one"


async def test_a_requeued_job_is_a_result_again_when_it_settles_again(store: Store) -> None:
    dead = await add(store, "j1", job_builders.dead)
    await finish(store, await add(store, "j2"))
    requeued = await store.jobs.commit(dead, transitions.requeue(dead.job, NOW, by="ann"))
    assert isinstance(requeued, VersionedJob)
    assert await results(store) == ["j2"]
    await store.jobs.commit(requeued, transitions.cancel(requeued.job, NOW, by="ann"))
    assert await results(store) == ["j2", "j1"]


async def test_many_jobs_settle_in_one_call_each_at_a_place_of_its_own(store: Store) -> None:
    jobs = await asyncio.gather(*(add(store, f"j{n}") for n in range(100)))
    await asyncio.gather(*(finish(store, one) for one in jobs))
    rows = await store.batches.settled("b", 0.0, 200)
    assert len({position for _, position in rows}) == len(rows) == 100


async def test_counts_and_costs_outlive_the_jobs(store: Store) -> None:
    await create(store)
    written = await finish(store, await add(store, "j1"), cost=3.0)
    assert await store.jobs.delete(written)
    batch = await found(store)
    assert (batch.states[State.SUCCEEDED], batch.pruned, batch.cost) == (1, 1, 3.0)
    assert await results(store) == []


async def test_jobs_of_a_created_batch_are_kept_until_it_is_complete(store: Store) -> None:
    await create(store)
    one = await add(store, "j1")
    await add(store, "n1", batch="named")
    assert await store.batches.is_kept(["b", "named", "none"]) == [True, False, False]
    await finish(store, one)
    assert await store.batches.is_kept(["b"]) == [True], "more jobs may join"
    await store.batches.seal("b", NOW)
    assert await store.batches.is_kept(["b"]) == [False]


async def test_a_batch_is_forgotten_once_it_is_old_complete_and_without_jobs(
    store: Store,
) -> None:
    await create(store)
    written = await finish(store, await add(store, "j1"))
    await store.batches.seal("b", NOW)
    later = batch_time(await found(store)) + 1
    await store.batches.forget_old(later)
    assert (await found(store)).total == 1, "it has jobs"
    await store.jobs.delete(written)
    await store.batches.forget_old(NOW - 1)
    assert (await found(store)).total == 1, "it is not old"
    await store.batches.forget_old(later)
    assert await store.batches.find("b", NOW) is None
    assert not [key for key in await keys_of(store) if ":batch-record:" in key]


def batch_time(batch: Batch) -> float:
    assert batch.last_settled_at is not None
    return batch.last_settled_at


async def test_an_open_batch_with_jobs_is_never_forgotten(store: Store) -> None:
    await create(store)
    await finish(store, await add(store, "j1"))
    await store.batches.forget_old(NOW * 2)
    assert (await found(store)).state is BatchState.OPEN


async def test_a_batch_that_nobody_used_is_forgotten_once_it_is_old(store: Store) -> None:
    await create(store)
    await store.batches.forget_old(NOW - 1)
    assert (await found(store)).state is BatchState.OPEN
    await store.batches.forget_old(NOW + 1)
    assert await store.batches.find("b", NOW) is None


async def test_a_page_of_a_tenant_has_its_batches_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(6):
        name, tenant = f"b{n}", ("", "red")[n % 2]
        await store.batches.create(tenant, BatchRecord(name=name, created_at=NOW + n))
    monkeypatch.setattr(batches_module, "MAX_SCANNED_NAMES", 4)
    seen: list[str] = []
    first: int | None = 0
    while first is not None:
        page, first = await store.batches.page_of_tenant("red", first, 2, NOW)
        seen += [one.name for one in page]
    assert seen == ["b5", "b3", "b1"]


async def test_a_batch_that_only_jobs_name_is_forgotten_with_its_last_job(store: Store) -> None:
    stored = await add(store, "j1")
    await store.jobs.delete(stored)
    await store.batches.forget_old(NOW)
    assert await store.client.call("EXISTS", store.keys.batches) == 0


async def test_causes_of_failures_are_counted(store: Store) -> None:
    for n in range(3):
        await add(store, f"d{n}", job_builders.dead)
    await add(store, "h", job_builders.held)
    failures = await store.batches.failures("b")
    dead, held = job_builders.dead(), job_builders.held()
    assert dead.reason is not None
    assert held.reason is not None
    assert failures.codes == ((dead.reason.code, 3), (held.reason.code, 1))
    assert failures.unread == 0


async def test_the_same_batch_is_created_once(store: Store) -> None:
    assert await create(store)
    other = BatchRecord(name="b", created_at=NOW + 1, metadata='{"a":1}')
    assert not await store.batches.create("", other)
    batch = await found(store)
    assert batch.record == BatchRecord(name="b", created_at=NOW)


async def test_a_record_that_cannot_be_read_hides_no_count(store: Store) -> None:
    await add(store, "j1")
    await store.client.call("HSET", store.keys.batch_record("b"), "rec", b"{", "credits", b"x")
    batch = await found(store)
    assert (batch.record, batch.total, batch.cost) == (None, 1, 0.0)


async def test_the_eta_follows_what_succeeded_lately(store: Store) -> None:
    jobs = [await add(store, f"j{n}") for n in range(4)]
    assert (await found(store)).eta_s() is None
    await finish(store, jobs[0])
    await add(store, "h", job_builders.held)
    assert (await found(store)).eta_s() == 3 * 600.0
    for one in jobs[1:]:
        await finish(store, one)
    assert (await found(store)).eta_s() == 0.0


async def test_a_change_that_came_while_another_was_looked_at_stays(store: Store) -> None:
    await finish(store, await add(store, "j1"))
    ((name, at),) = await store.batches.changed(10)
    await store.client.call("ZADD", store.keys.batch_changes, at + 1, name)
    await store.batches.mark_seen(name, at)
    assert await store.batches.changed(10) == [(name, at + 1)]
    await store.batches.mark_seen(name, at + 1)
    assert await store.batches.changed(10) == []


def test_a_record_is_json_with_its_schema() -> None:
    record = BatchRecord(name="b", created_at=NOW, created_by="app")
    assert msgspec.json.decode(msgspec.json.encode(record)) == {
        "schema": 1,
        "name": "b",
        "created_at": NOW,
        "created_by": "app",
    }
