"""The recovery state in Redis, and what it keeps from being written."""

import asyncio
from typing import Any, cast

import pytest
from redis.exceptions import ResponseError

from config.settings import Settings
from jobs.data_recovery import DataOrigin
from tests.unit.core.job_builders import NOW, a_job, admitted
from worker.redis.connect import connect
from worker.store import Store, open_store
from worker.store.client import Client
from worker.store.commit import VersionedJob
from worker.store.recovery import STATE_FIELD, last_alive
from worker.store.refusals import RefusalCode, is_recovering, redis_refusal
from worker.store.side_writes import ANY_EPOCH, SideWrites
from worker.store.workers import Heartbeat


def beat(worker_id: str, seen_at: float = NOW) -> Heartbeat:
    return Heartbeat(id=worker_id, host="h", pid=1, started_at=NOW, seen_at=seen_at)


async def state_text(store: Store) -> bytes:
    found: bytes = await store.client.call("HGET", store.keys.recovery, STATE_FIELD)
    return found


async def set_state(store: Store, text: str) -> None:
    await store.client.call("HSET", store.keys.recovery, STATE_FIELD, text)


async def identity(store: Store) -> str:
    info, replication = await store.client.many([("INFO", "server"), ("INFO", "replication")])
    return f"{info['run_id']}{replication['master_replid']}"


async def test_the_state_names_the_server_and_stays(store: Store) -> None:
    state = await store.recovery.advance()
    assert (state.is_ready, state.server) == (True, await identity(store))
    assert await store.recovery.advance(["w1"]) == state
    word, epoch, *_ = (await state_text(store)).split()
    assert (word, epoch) == (b"ready", state.epoch.encode())


async def test_workers_of_another_database_are_not_waited_for(
    store: Store, redis_url: str, namespace: str
) -> None:
    """Channels are those of the whole server, and a new database looked like an emptied one."""
    client = connect(Settings(namespace=namespace), f"{redis_url.removesuffix('/0')}/1")
    listener: Any = cast("Any", store.client.redis).pubsub()
    await listener.subscribe(store.keys.wake)
    await listener.get_message(timeout=5)
    try:
        state = await open_store(client, namespace).recovery.advance()
        assert (state.is_ready, state.origin) == (True, DataOrigin.NEW)
    finally:
        await listener.aclose()
        await Client(client).call("FLUSHDB")
        await client.aclose(close_connection_pool=True)


@pytest.mark.parametrize(
    "what",
    ["emptied", "of another server", "of another replication", "recovering", "unreadable"],
)
async def test_nothing_is_created_and_no_operator_acts_on_data_that_is_not_ready(
    store: Store, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.store.recovery.READY_WITHIN_S", 0.1)
    stored = await store.jobs.create(a_job(id="before"), b"{}")
    assert stored is not None
    await store.workers.record_heartbeat(beat("w1"))
    if what == "emptied":
        await store.client.call("DEL", store.keys.recovery)
    else:
        own = await identity(store)
        await set_state(
            store,
            {
                "of another server": f"ready e1 {'0' * 40}{own[40:]} 5.0 older",
                "of another replication": f"ready e1 {own[:40]}{'0' * 40} 5.0 older",
                "recovering": f"recovering e1 {own} {2e9:.3f} older",
                "unreadable": "what is this",
            }[what],
        )
    with pytest.raises(ResponseError) as refused:
        await store.jobs.create(a_job(id="new"), b"{}")
    refusal = redis_refusal(refused.value)
    assert refusal is not None
    assert refusal.code is RefusalCode.RECOVERING
    with pytest.raises(ResponseError, match="RECOVERING"):
        await store.jobs.commit(stored, admitted(id="before"), SideWrites(data_epoch=ANY_EPOCH))
    assert await store.jobs.load("new") is None
    assert await store.jobs.load("before") == stored
    assert isinstance(await store.jobs.commit(stored, admitted(id="before")), VersionedJob), (
        "an outcome is written in any case"
    )


async def test_a_send_mark_has_to_find_the_epoch_that_its_worker_reconciled(store: Store) -> None:
    stored = await store.jobs.create(a_job(), b"{}")
    assert stored is not None
    epoch = (await store.recovery.advance()).epoch
    with pytest.raises(ResponseError) as refused:
        await store.jobs.commit(stored, admitted(), SideWrites(data_epoch="another"))
    assert is_recovering(refused.value)
    written = await store.jobs.commit(stored, admitted(), SideWrites(data_epoch=epoch))
    assert isinstance(written, VersionedJob)


async def test_a_create_goes_through_when_the_recovery_ends_within_a_moment(store: Store) -> None:
    await store.workers.record_heartbeat(beat("w1"))
    await store.client.call("DEL", store.keys.recovery)
    begun = await store.recovery.advance()
    creating = asyncio.create_task(store.jobs.create(a_job(), b"{}"))
    await store.recovery.report("w1", begun.epoch, ())
    assert await creating is not None


async def test_whom_one_worker_knows_every_process_waits_for(store: Store) -> None:
    await store.workers.record_heartbeat(beat("w1"))
    await set_state(store, f"ready e1 {'0' * 40} 5.0 older")
    begun = await store.recovery.advance()
    assert not begun.is_ready
    await store.recovery.report("w1", begun.epoch, ["w1", "w2"])
    assert not (await store.recovery.advance()).is_ready
    await store.recovery.report("w2", begun.epoch, ["w1", "w2"])
    assert (await store.recovery.advance()).is_ready


async def test_a_worker_that_left_is_not_waited_for(store: Store) -> None:
    for name in ("w1", "w2"):
        await store.workers.record_heartbeat(beat(name))
    await set_state(store, f"ready e1 {'0' * 40} 5.0 older")
    begun = await store.recovery.advance()
    await store.recovery.report("w1", begun.epoch, ["w2"])
    await store.workers.remove("w2")
    assert (await store.recovery.advance()).is_ready


async def test_a_connected_worker_is_waited_for_though_redis_forgot_it(store: Store) -> None:
    await store.client.call("DEL", store.keys.recovery)
    async with store.client.subscribe(store.keys.wake):
        begun = await store.recovery.advance()
        assert (begun.is_ready, begun.origin) == (False, DataOrigin.EMPTIED)
        await store.recovery.report("w1", begun.epoch, ["w1"])
        assert (await store.recovery.advance()).is_ready


async def test_two_processes_begin_one_recovery(store: Store) -> None:
    await store.workers.record_heartbeat(beat("w1"))
    await store.client.call("DEL", store.keys.recovery)
    other = open_store(store.client.redis, store.keys.namespace)
    first, second = await asyncio.gather(store.recovery.advance(), other.recovery.advance())
    assert first.epoch == second.epoch
    assert not first.is_ready


async def test_a_process_that_has_seen_the_data_corrects_one_that_has_not(store: Store) -> None:
    await store.client.call("DEL", store.keys.recovery)
    newcomer = open_store(store.client.redis, store.keys.namespace)
    mistaken = await newcomer.recovery.advance()
    assert (mistaken.is_ready, mistaken.origin) == (True, DataOrigin.NEW)
    begun = await store.recovery.advance()
    assert (begun.is_ready, begun.origin) == (False, DataOrigin.EMPTIED)
    assert not (await newcomer.recovery.advance()).is_ready


async def test_a_worker_that_is_still_writing_back_has_all_wait_longer(store: Store) -> None:
    now = await identity(store)
    await store.workers.record_heartbeat(beat("w1"))
    await set_state(store, f"recovering e1 {now} 5.0 older")
    await store.recovery.extend("another")
    assert (await state_text(store)).split()[3] == b"5.0"
    await store.recovery.extend("e1")
    assert not (await store.recovery.advance()).is_ready, "its 15 s have begun anew"
    await set_state(store, f"ready e1 {now} 5.0 older")
    await store.recovery.extend("e1")
    assert (await state_text(store)).split()[0] == b"ready"


def test_who_was_alive_is_judged_by_the_newest_heartbeat() -> None:
    beats = [beat("a", NOW), beat("b", NOW - 59), beat("c", NOW - 61)]
    assert last_alive(beats) == ["a", "b"]
    assert last_alive([]) == []


async def test_an_older_state_of_the_same_server_is_found_by_the_count(store: Store) -> None:
    """As after `SWAPDB` or `DEBUG RELOAD`, which leave the state and the server as they were."""
    other = open_store(store.client.redis, store.keys.namespace)
    for each in (store, other):
        assert (await each.recovery.advance(counts=True)).is_ready
    older = await store.client.call("DUMP", store.keys.recovery)
    states = [await each.recovery.advance(counts=True) for each in (store, other, store)]
    assert all(state == states[0] and state.is_ready for state in states)
    mark = store.recovery.data_mark(states[0].epoch)
    await store.client.call("RESTORE", store.keys.recovery, 0, older, "REPLACE")

    stored = await store.jobs.create(a_job(), b"{}")
    assert stored is not None
    with pytest.raises(ResponseError) as refused:
        await store.jobs.commit(stored, admitted(), SideWrites(data_epoch=mark))
    assert is_recovering(refused.value)
    begun = await store.recovery.advance(["w1"], counts=True)
    assert (begun.is_ready, begun.origin) == (False, DataOrigin.OLDER)
    assert begun.epoch != states[0].epoch
    again = await other.recovery.advance(["w1"], counts=True)
    assert again.epoch == begun.epoch, "one recovery for all"


async def test_a_full_redis_does_not_look_like_an_older_state(store: Store) -> None:
    state = await store.recovery.advance(counts=True)
    await store.recovery.advance(counts=True)
    await store.client.call("CONFIG SET", "maxmemory", 1)
    try:
        assert await store.recovery.advance(counts=True) == state
    finally:
        await store.client.call("CONFIG SET", "maxmemory", 0)
    assert await store.recovery.advance(counts=True) == state
