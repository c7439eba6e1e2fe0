"""What the doctor says of callbacks, and what retention does with them."""

import msgspec
import pytest
from pydantic import SecretStr

from config.callback_hosts import CallbackHosts
from config.settings import Settings
from jobs.callback_breaker import CallbackBreaker
from jobs.callbacks import (
    GIVE_UP_AFTER_S,
    CallbackFailure,
    CallbackState,
    CallbackSubject,
    after_delivery,
    after_failure,
)
from jobs.lanes import JobId
from jobs.states import State
from tests.engine.callback_receiver import SECRET
from tests.unit.core.job_builders import NOW, a_job, changed
from worker.doctor.callbacks import check_callbacks
from worker.doctor.findings import Finding, Level
from worker.engine.callback_retention import DELIVERED_KEPT_S, prune_callbacks
from worker.engine.services.pruner import Pruner
from worker.store import Store
from worker.store.callbacks import StoredCallback
from worker.store.commit import VersionedJob

URL = "https://hooks.example.com/x"
HOST = "https://hooks.example.com:443"
ON = Settings(
    callback_hosts=CallbackHosts(("hooks.example.com",)), callback_secret=SecretStr(SECRET)
)
WEEK_S = 604_800.0


async def a_callback(store: Store, job_id: str = "j1") -> StoredCallback:
    """A pending callback whose event happened at `NOW`."""
    await store.recovery.until_ready()
    job = a_job(id=JobId(job_id), callback_url=URL)
    created = await store.jobs.create(job, b"{}")
    assert created is not None
    assert isinstance(
        await store.jobs.commit(created, changed(job, state=State.DEAD)), VersionedJob
    )
    (found,) = await store.callbacks.of_subject(CallbackSubject.JOB, job_id)
    stored = await store.callbacks.find(found.id)
    assert stored is not None
    return stored


async def levels(store: Store, settings: Settings = ON, now: float = NOW + 60) -> dict[str, Level]:
    return {one.name: one.level for one in await check_callbacks(store, settings, now)}


async def finding(store: Store, name: str, settings: Settings = ON) -> Finding:
    (found,) = [one for one in await check_callbacks(store, settings, NOW + 60) if one.name == name]
    return found


async def test_without_callbacks_there_is_nothing_to_say(store: Store) -> None:
    assert await check_callbacks(store, Settings(), NOW) == []


async def test_what_is_where_it_belongs_is_ok(store: Store) -> None:
    await a_callback(store)
    assert await levels(store) == {"callbacks.outbox": Level.OK, "callbacks.indexes": Level.OK}


async def test_what_waits_long_fails_or_is_sent_by_nobody_is_said(store: Store) -> None:
    stored = await a_callback(store)
    assert (await levels(store, now=NOW + 7_200))["callbacks.outbox"] is Level.WARN
    assert (await levels(store, Settings()))["callbacks.outbox"] is Level.FAIL
    gone = CallbackFailure("410", 410, is_final=True)
    await store.callbacks.amend(stored, after_failure(stored.callback, NOW, 0.5, gone))
    assert (await levels(store))["callbacks.outbox"] is Level.WARN
    await store.client.call("HSET", store.keys.callback_use, "bytes", 1 << 40)
    assert (await levels(store))["callbacks.outbox"] is Level.FAIL


async def test_hosts_that_are_down_and_lost_events_are_said(store: Store) -> None:
    await store.callbacks.set_breaker(HOST, b"", CallbackBreaker(until=1, failures=5, since=1))
    await store.client.call("HSET", store.keys.counters, "callbacks|lost", 3)
    assert (await levels(store))["callbacks.hosts"] is Level.WARN
    assert "3 events had no room" in (await finding(store, "callbacks.lost")).text


@pytest.mark.parametrize("removed", ["queue", "host"])
async def test_a_pending_callback_that_nobody_looks_at_is_found_and_a_resend_repairs_it(
    store: Store, removed: str
) -> None:
    stored = await a_callback(store)
    keys = {"queue": store.keys.callback_queue(HOST), "host": store.keys.callback_hosts}
    await store.client.call("DEL", keys[removed])
    found = await finding(store, "callbacks.indexes")
    assert found.level is Level.FAIL
    assert found.fix.startswith(f"knouds-worker callbacks resend {stored.callback.id}")
    again = msgspec.structs.replace(stored.callback, since=NOW + 1, next_at=NOW + 1)
    assert await store.callbacks.amend(stored, again)
    assert (await levels(store))["callbacks.indexes"] is Level.OK


async def test_ids_without_a_callback_are_found_and_retention_removes_them(store: Store) -> None:
    stored = await a_callback(store)
    await store.client.call("DEL", store.keys.callback(stored.callback.id))
    assert (await levels(store))["callbacks.indexes"] is Level.WARN
    await prune(store, NOW + 10 * WEEK_S)
    assert await levels(store) == {"callbacks.outbox": Level.OK, "callbacks.indexes": Level.OK}


async def prune(store: Store, now: float) -> None:
    await prune_callbacks(store.callbacks, store.metrics.buffer, now, WEEK_S)


async def test_delivered_ones_are_kept_for_a_day_and_failed_ones_as_long_as_jobs(
    store: Store,
) -> None:
    delivered, failed = await a_callback(store, "j1"), await a_callback(store, "j2")
    await store.callbacks.amend(delivered, after_delivery(delivered.callback, NOW, 200))
    gone = CallbackFailure("410", 410, is_final=True)
    await store.callbacks.amend(failed, after_failure(failed.callback, NOW, 0.5, gone))
    await prune(store, NOW + DELIVERED_KEPT_S - 1)
    assert await kept(store) == {"j1", "j2"}
    await prune(store, NOW + DELIVERED_KEPT_S + 1)
    assert await kept(store) == {"j2"}
    await Pruner(store, WEEK_S).tick(NOW + WEEK_S - 1)
    assert await kept(store) == {"j2"}
    await Pruner(store, WEEK_S).tick(NOW + WEEK_S + 1)
    assert await kept(store) == set()


async def kept(store: Store) -> set[str]:
    found = await store.callbacks.stored_of_jobs(["j1", "j2"])
    return {one.callback.subject_id for one in found}


async def test_delivered_ones_make_room_where_it_is_tight(store: Store) -> None:
    stored = await a_callback(store)
    await store.callbacks.amend(stored, after_delivery(stored.callback, NOW, 200))
    store.callbacks.outbox.max_bytes = 10
    await prune(store, NOW + 1)
    assert await kept(store) == set()
    assert await store.callbacks.read_use() == 0


async def test_what_no_worker_ever_sends_fails_after_its_three_days(store: Store) -> None:
    stored = await a_callback(store)
    await prune(store, NOW + GIVE_UP_AFTER_S + 1)
    await prune(store, NOW + GIVE_UP_AFTER_S + 86_401)
    left = await store.callbacks.find(stored.callback.id)
    assert left is not None
    assert left.callback.state is CallbackState.FAILED
    assert "KNOUDS_CALLBACK_HOSTS" in left.callback.error
