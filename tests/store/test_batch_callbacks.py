"""Apps hear once of each completion and stall of their batches, whatever kills the keeper."""

from typing import Any

import msgspec
import pytest

from jobs import transitions
from jobs.batches import BatchRecord
from jobs.callbacks import Callback, CallbackState, CallbackSubject, CallbackType
from jobs.job import Job
from tests.unit.core import job_builders
from tests.unit.core.job_builders import NOW
from worker.app.callback_bodies import StoredCallbackBodies
from worker.engine.services.batch_keeper import BatchKeeper
from worker.store import Store
from worker.store.callback_filter import CallbackFilter
from worker.store.callback_outbox import LOST_COUNTER
from worker.store.commit import VersionedJob

URL = "https://hooks.example.com/batches"


@pytest.fixture
async def batch(store: Store) -> str:
    """An open batch whose app hears of it."""
    record = BatchRecord(name="b", created_at=NOW, metadata='{"order":7}', callback_url=URL)
    await store.batches.create("", record)
    return "b"


async def add(store: Store, job: Job) -> VersionedJob:
    stored = await store.jobs.create(job, b"{}")
    assert stored is not None
    return stored


async def change(store: Store, stored: VersionedJob, after: Job) -> VersionedJob:
    written = await store.jobs.commit(stored, after)
    assert isinstance(written, VersionedJob)
    return written


async def callbacks(store: Store, batch: str) -> list[Callback]:
    """Those of the batch, the first event first."""
    found = await store.callbacks.of_subject(CallbackSubject.BATCH, batch)
    return sorted(found, key=lambda one: one.sequence)


async def test_each_completion_is_one_callback(store: Store, batch: str) -> None:
    dead = await add(store, job_builders.dead(batch=batch))
    await store.batches.seal(batch, NOW)
    keeper = BatchKeeper(store, "w")
    for _ in range(2):
        await keeper.tick(NOW)
    requeued = await change(store, dead, transitions.requeue(dead.job, NOW, by="ann"))
    await change(store, requeued, transitions.cancel(requeued.job, NOW, by="ann"))
    await keeper.tick(NOW + 1)
    found = await callbacks(store, batch)
    assert [(one.type, one.state, one.url) for one in found] == [
        (CallbackType.BATCH_COMPLETED, CallbackState.PENDING, URL)
    ] * 2
    assert len({one.id for one in found}) == len({one.sequence for one in found}) == 2
    body = msgspec.json.decode(await StoredCallbackBodies(store.payloads).body(found[0]))
    assert (body["type"], body["sequence"]) == ("batch.completed", 1)
    data: dict[str, Any] = body["data"]
    assert (data["name"], data["tenant"], data["state"], data["total"]) == ("b", "", "complete", 1)
    assert (data["states"], data["metadata"], data["completions"]) == ({"dead": 1}, {"order": 7}, 1)


async def test_the_body_is_that_of_the_moment(store: Store, batch: str) -> None:
    dead = await add(store, job_builders.dead(batch=batch))
    await store.batches.seal(batch, NOW)
    await BatchKeeper(store, "w").tick(NOW)
    (found,) = await callbacks(store, batch)
    await change(store, dead, transitions.discard(dead.job, NOW, by="ann"))
    body = msgspec.json.decode(await StoredCallbackBodies(store.payloads).body(found))
    assert body["data"]["states"] == {"dead": 1}


async def test_a_keeper_that_is_killed_before_it_notes_the_event_repeats_its_id(
    store: Store, batch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(store, job_builders.dead(batch=batch))
    await store.batches.seal(batch, NOW)

    async def killed(*_: object) -> bool:
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(store.batches, "announce", killed)
        with pytest.raises(ConnectionResetError):
            await BatchKeeper(store, "w").tick(NOW)
    (first,) = await callbacks(store, batch)
    await BatchKeeper(store, "w").tick(NOW + 60)
    assert await callbacks(store, batch) == [first]


async def test_a_batch_that_only_an_operator_brings_on_is_an_event_each_time(
    store: Store, batch: str
) -> None:
    """Also where a job waits for a parked one."""
    keeper = BatchKeeper(store, "w")
    parked = await add(store, job_builders.held(id="p", batch=batch))
    await add(
        store, job_builders.waiting(id="c", after=("p",), batch=batch, parents_check_at=NOW + 3_600)
    )
    await keeper.tick(NOW)
    queued = await change(store, parked, transitions.release(parked.job, NOW, by="ann"))
    await keeper.tick(NOW)
    await store.client.call("ZADD", store.keys.batch_changes, NOW, batch)
    await keeper.tick(NOW)
    await change(store, queued, transitions.park_manual(queued.job, NOW, by="ann"))
    await keeper.tick(NOW)
    found = await callbacks(store, batch)
    assert [one.type for one in found] == [CallbackType.BATCH_STALLED] * 2
    assert len({one.id for one in found}) == 2
    assert found[0].sequence < found[1].sequence


async def test_a_job_that_waits_for_a_dead_letter_stalls_its_batch(
    store: Store, batch: str
) -> None:
    """But not while the end of a job is about to queue those that wait for it."""
    keeper = BatchKeeper(store, "w")
    await add(store, job_builders.dead(id="p", batch=batch))
    due = job_builders.waiting(id="c", after=("p",), batch=batch, parents_check_at=NOW)
    child = await add(store, due)
    await keeper.tick(NOW)
    assert await callbacks(store, batch) == []
    later = transitions.check_parents_later(child.job, NOW, NOW + 3_600)
    await change(store, child, later)
    await keeper.tick(NOW)
    assert [one.type for one in await callbacks(store, batch)] == [CallbackType.BATCH_STALLED]


async def test_without_room_it_is_lost_and_counted(store: Store, batch: str) -> None:
    await add(store, job_builders.dead(batch=batch))
    await store.batches.seal(batch, NOW)
    store.callbacks.outbox.used_bytes = store.callbacks.outbox.max_bytes
    await BatchKeeper(store, "w").tick(NOW)
    assert await callbacks(store, batch) == []
    assert await store.client.call("HGET", store.keys.counters, LOST_COUNTER) == b"1"
    found = await store.batches.find(batch, NOW)
    assert found is not None
    assert found.announced == 1


async def test_a_batch_without_a_url_has_none(store: Store) -> None:
    await store.batches.create("", BatchRecord(name="b", created_at=NOW))
    await add(store, job_builders.dead(batch="b"))
    await store.batches.seal("b", NOW)
    await BatchKeeper(store, "w").tick(NOW)
    assert await callbacks(store, "b") == []


async def test_a_list_is_of_one_batch(store: Store, batch: str) -> None:
    await add(store, job_builders.dead(id="j", batch=batch, callback_url=URL))
    await store.batches.seal(batch, NOW)
    await BatchKeeper(store, "w").tick(NOW)
    assert len((await store.callbacks.page(CallbackFilter(), 9)).items) == 2
    wanted = CallbackFilter(subject=CallbackSubject.BATCH, subject_id=batch)
    (found,) = (await store.callbacks.page(wanted, 9)).items
    assert found.subject is CallbackSubject.BATCH
