"""The outbox in Redis: written with the transition, claimed under leases, bounded, never silent."""

import msgspec
import pytest

from jobs.callback_breaker import CallbackBreaker
from jobs.callbacks import (
    CallbackFailure,
    CallbackState,
    CallbackSubject,
    after_delivery,
    after_failure,
    sent_again,
)
from jobs.job import Job, JobEvent
from jobs.lanes import JobId
from jobs.states import State
from tests.unit.core.job_builders import NOW, a_job, changed
from worker.store import Store
from worker.store.callback_filter import CallbackFilter
from worker.store.callbacks import StoredCallback
from worker.store.client import BadCursor
from worker.store.commit import VersionedJob
from worker.store.jobs import CommitRefused
from worker.store.side_writes import SideWrites

URL = "https://hooks.example.com/x"
HOST = "https://hooks.example.com:443"


async def settled(store: Store, job_id: str, state: State = State.DEAD, url: str = URL) -> Job:
    """A job that has come to a state, with its event."""
    job = a_job(id=JobId(job_id), callback_url=url)
    created = await store.jobs.create(job, b"{}")
    assert created is not None
    after = changed(job, state=state, since=NOW + 1, updated_at=NOW + 1)
    written = await store.jobs.commit(created, after)
    assert isinstance(written, VersionedJob)
    return written.job


async def only(store: Store, job_id: str) -> StoredCallback:
    (found,) = await store.callbacks.of_subject(CallbackSubject.JOB, job_id)
    stored = await store.callbacks.find(found.id)
    assert stored is not None
    return stored


async def test_the_callback_is_written_with_the_transition(store: Store) -> None:
    job = await settled(store, "j1")
    found = (await only(store, "j1")).callback
    assert (found.host, found.sequence, found.created_at) == (HOST, 2, NOW + 1)
    assert msgspec.json.decode(found.record)["state"] == "dead"
    assert b"inputs" not in bytes(found.record)
    due, _ = await store.callbacks.due_hosts(NOW + 2, 10)
    assert due == [HOST]
    use = await store.callbacks.read_use()
    assert use == len((await only(store, "j1")).data)
    assert job.callback_url == URL


async def test_a_refused_transition_writes_no_callback(store: Store) -> None:
    job = a_job(callback_url=URL)
    created = await store.jobs.create(job, b"{}")
    assert created is not None
    assert isinstance(await store.jobs.commit(created, changed(job, priority=1)), VersionedJob)
    refused = await store.jobs.commit(created, changed(job, state=State.DEAD))
    assert refused is CommitRefused.SUPERSEDED
    assert not await store.callbacks.of_subject(CallbackSubject.JOB, job.id)
    assert await store.callbacks.due_hosts(NOW + 9, 10) == ([], None)


async def test_a_claim_is_a_lease(store: Store) -> None:
    for number in range(3):
        await settled(store, f"j{number}")
    claim = await store.callbacks.claim(HOST, NOW + 2, NOW + 30, 2)
    assert len(claim.ids) == 2
    other = await store.callbacks.claim(HOST, NOW + 2, NOW + 31, 5)
    assert len(other.ids) == 1
    assert not (await store.callbacks.claim(HOST, NOW + 29, NOW + 60, 5)).ids
    assert await store.callbacks.due_hosts(NOW + 29, 5) == ([], NOW + 30)
    again = await store.callbacks.claim(HOST, NOW + 30, NOW + 60, 5)
    assert sorted(again.ids) == sorted(claim.ids), "those of a worker that died come due again"


async def test_one_of_two_writers_of_a_callback_wins(store: Store) -> None:
    await settled(store, "j1")
    stored = await only(store, "j1")
    done = after_delivery(stored.callback, NOW + 5, 200)
    assert await store.callbacks.amend(stored, done)
    failed = after_failure(stored.callback, NOW + 6, 0.5, CallbackFailure("x"))
    assert not await store.callbacks.amend(stored, failed)
    counts = await store.callbacks.counts()
    assert counts.by_state == {
        CallbackState.PENDING: 0,
        CallbackState.DELIVERED: 1,
        CallbackState.FAILED: 0,
    }
    assert not (await store.callbacks.claim(HOST, NOW + 99, NOW + 120, 5)).ids
    assert await store.callbacks.due_hosts(NOW + 999, 5) == ([], None), "the host is forgotten"


async def test_a_failed_one_waits_and_one_that_is_sent_again_is_due(store: Store) -> None:
    await settled(store, "j1")
    stored = await only(store, "j1")
    await store.callbacks.claim(HOST, NOW + 2, NOW + 30, 2)
    later = after_failure(stored.callback, NOW + 3, 0.99, CallbackFailure("x"))
    assert await store.callbacks.amend(stored, later)
    assert (await store.callbacks.due_hosts(NOW + 3, 5))[1] == pytest.approx(later.next_at)
    gone = after_failure(later, NOW + 4, 0.5, CallbackFailure("410", 410, is_final=True))
    assert await store.callbacks.amend(await only(store, "j1"), gone)
    assert not (await store.callbacks.claim(HOST, NOW + 99, NOW + 120, 5)).ids
    assert await store.callbacks.amend(await only(store, "j1"), sent_again(gone, NOW + 200))
    assert (await store.callbacks.due_hosts(NOW + 200, 5))[0] == [HOST]
    assert (await store.callbacks.claim(HOST, NOW + 200, NOW + 220, 5)).ids == [gone.id]


async def test_an_open_breaker_lets_one_probe_through_when_it_is_due(store: Store) -> None:
    for number in range(3):
        await settled(store, f"j{number}")
    breaker = CallbackBreaker(until=NOW + 50, failures=5, since=NOW)
    assert await store.callbacks.set_breaker(HOST, b"", breaker)
    assert not (await store.callbacks.claim(HOST, NOW + 10, NOW + 40, 8)).ids
    assert await store.callbacks.due_hosts(NOW + 10, 5) == ([], NOW + 50)
    probe = await store.callbacks.claim(HOST, NOW + 50, NOW + 80, 8)
    assert len(probe.ids) == 1
    assert probe.breaker == msgspec.structs.replace(breaker, until=NOW + 80)
    assert await store.callbacks.due_hosts(NOW + 51, 5) == ([], NOW + 80), "no second probe"
    await settled(store, "j9")  # a new event makes the host due
    assert not (await store.callbacks.claim(HOST, NOW + 52, NOW + 90, 8)).ids, "nor by that"
    assert await store.callbacks.set_breaker(HOST, probe.breaker_data, None)
    assert len((await store.callbacks.claim(HOST, NOW + 81, NOW + 99, 8)).ids) == 4


async def test_events_without_room_are_counted_and_change_nothing_else(store: Store) -> None:
    store.callbacks.outbox.max_bytes = 100
    store.callbacks.outbox.used_bytes = 100
    job = await settled(store, "j1")
    assert job.state is State.DEAD, "the transition does not fail"
    assert not await store.callbacks.of_subject(CallbackSubject.JOB, "j1")
    counted = await store.client.call("HGET", store.keys.counters, "callbacks|lost")
    assert int(counted) == 1


async def test_a_long_history_is_shortened(store: Store) -> None:
    base = a_job(callback_url=URL)
    events = tuple(JobEvent(NOW, "promote", "", "n" * 200) for _ in range(190))
    job = changed(base, events=events)
    created = await store.jobs.create(job, b"{}")
    assert created is not None
    dead = changed(job, state=State.DEAD)
    assert isinstance(await store.jobs.commit(created, dead), VersionedJob)
    record = msgspec.json.decode((await only(store, job.id)).callback.record)
    assert len(record["events"]) == 50
    assert record["events_dropped"] == 140


async def test_a_restored_version_repeats_its_event_under_the_same_id(store: Store) -> None:
    """Redis lost the write, and a worker writes it back: the receiver sees a duplicate."""
    job = a_job(callback_url=URL)
    created = await store.jobs.create(job, b"{}")
    assert created is not None
    dead = changed(job, state=State.DEAD, since=NOW + 1)
    written = await store.jobs.commit(created, dead)
    assert isinstance(written, VersionedJob)
    first = await only(store, job.id)
    await store.client.call("DEL", store.keys.job(job.id))
    await store.callbacks.delete(first)
    await store.jobs.restore(None, written, SideWrites(inputs=b"{}"))
    assert (await only(store, job.id)).callback.id == first.callback.id


async def test_pages_filter_by_state_host_job_and_tenant(store: Store) -> None:
    for number in range(5):
        await settled(store, f"j{number}", url=f"https://h{number % 2}.example.com/")
    await settled(store, "studio~j9", url="https://h0.example.com/")
    stored = await only(store, "j0")
    await store.callbacks.amend(stored, after_delivery(stored.callback, NOW + 9, 200))

    async def jobs(wanted: CallbackFilter) -> set[str]:
        return {one.subject_id for one in (await store.callbacks.page(wanted, 50)).items}

    assert len(await jobs(CallbackFilter())) == 6
    assert await jobs(CallbackFilter(state=CallbackState.DELIVERED)) == {"j0"}
    assert await jobs(CallbackFilter(host="h1.example.com")) == {"j1", "j3"}
    assert await jobs(CallbackFilter(host="h1.example.com:443")) == {"j1", "j3"}
    assert await jobs(CallbackFilter(subject_id="j2")) == {"j2"}
    assert await jobs(CallbackFilter(tenant="studio")) == {"studio~j9"}
    seen: list[str] = []
    cursor = None
    while True:
        page = await store.callbacks.page(CallbackFilter(), 2, cursor)
        seen += [one.subject_id for one in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(seen) == ["j0", "j1", "j2", "j3", "j4", "studio~j9"]
    with pytest.raises(BadCursor):
        await store.callbacks.page(CallbackFilter(), 2, "nonsense")


async def test_one_that_cannot_be_read_is_left_alone(store: Store) -> None:
    """A newer version may have written it."""
    await settled(store, "j1")
    stored = await only(store, "j1")
    key = store.keys.callback(stored.callback.id)
    newer = stored.data.replace(b'"schema":1', b'"schema":2')
    await store.client.call("SET", key, newer)
    assert await store.callbacks.read([stored.callback.id]) == [None]
    assert await store.callbacks.missing([stored.callback.id, "msg_0"]) == {"msg_0"}
    assert await store.callbacks.older_than(CallbackState.PENDING, NOW + 9e9, 5) == []
    assert (await store.callbacks.counts()).by_state[CallbackState.PENDING] == 1


async def test_deleting_the_last_callback_leaves_no_key(store: Store) -> None:
    await settled(store, "j1")
    await store.callbacks.delete(await only(store, "j1"))
    await store.callbacks.claim(HOST, NOW + 9, NOW + 20, 1)
    keys = await store.client.call("KEYS", f"{store.keys.namespace}:callback*")
    assert keys == [store.keys.callback_use.encode()]
    assert await store.callbacks.read_use() == 0
