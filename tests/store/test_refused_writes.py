"""Writes that Redis refuses: nothing is half written, and a refused wake-up fails nothing."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from redis.exceptions import RedisError
from structlog.testing import capture_logs

from config.settings import Settings
from jobs import transitions
from jobs.job import Job
from jobs.states import State
from tests.refusing_redis import USER, RefusingRedis, refused
from tests.refusing_redis import server as server  # noqa: PLC0414
from tests.store.redis_contents import everything, expected_indexes, indexes, keys_of
from tests.unit.core.job_builders import NOW, a_job
from worker.redis.connect import connect
from worker.store import Store, open_store
from worker.store.commit import Change, VersionedJob
from worker.store.refusals import redis_refusal
from worker.store.scripts import CommitResult, Scripts
from worker.store.side_writes import NewAuditEntry, SideWrites


@pytest.fixture
async def store(server: RefusingRedis, namespace: str) -> AsyncGenerator[Store]:
    """A store under the user that is refused."""
    client = connect(Settings(namespace=namespace), server.url, fail_fast=True)
    opened = open_store(client, namespace)
    yield opened
    if keys := await keys_of(opened):
        await opened.client.call("DEL", *keys)
    await client.aclose(close_connection_pool=True)


async def created(store: Store, job: Job) -> VersionedJob:
    stored = await store.jobs.create(job, b"{}")
    assert stored is not None
    return stored


@pytest.mark.parametrize("deletes_first", [True, False])
async def test_a_full_redis_writes_each_change_of_a_call_wholly_or_not_at_all(
    server: RefusingRedis,
    redis_url: str,
    store: Store,
    deletes_first: bool,  # noqa: FBT001
) -> None:
    """It allows deletions, and once a call has deleted something, every write of that call."""
    old = await created(store, a_job(id="old"))
    kept = await created(store, a_job(id="kept"))
    scripts = Scripts(store.client)
    deletion = Change(store.keys, "old", old.rev).delete(old.job)
    parked = transitions.park_manual(kept.job, NOW + 1, by="ann")
    write = Change(store.keys, "kept", kept.rev).write(kept.job, parked, SideWrites())
    changes = [deletion, write] if deletes_first else [write, deletion]
    async with refused(server, "oom", redis_url):
        results = await asyncio.gather(*map(scripts.commit, changes), return_exceptions=True)
    refusals = [redis_refusal(one) for one in results if isinstance(one, RedisError)]
    codes = [found.code for found in refusals if found is not None]
    assert codes == ([] if deletes_first else ["OOM"])
    assert results.count(CommitResult.OK) == 2 - len(codes)
    expected = parked if deletes_first else kept.job
    (found,) = await store.jobs.load_many(["kept"])
    assert found is not None
    assert found.job == expected
    assert await store.jobs.load("old") is None
    assert await indexes(store) == expected_indexes(store, [expected])


@pytest.mark.parametrize("name", ["oom", "noreplicas", "readonly", "misconf", "no right to write"])
async def test_a_refused_change_writes_nothing(
    server: RefusingRedis, redis_url: str, store: Store, name: str
) -> None:
    stored = await created(store, a_job())
    entry = NewAuditEntry(NOW, "ann", "cancel", "j1", "", 1)
    before = await everything(store)
    async with refused(server, name, redis_url) as code:
        with pytest.raises(RedisError) as caught:
            await store.jobs.create(a_job(id="new"), b"{}")
        found = redis_refusal(caught.value)
        assert found is not None
        assert found.code == code
        if name == "no right to write":
            return
        cancelled = transitions.cancel(stored.job, NOW + 1)
        with pytest.raises(RedisError):
            await store.jobs.commit(stored, cancelled, SideWrites(audit_entry=entry))
    assert await everything(store) == before


async def test_a_refused_wake_up_or_notice_fails_no_change(
    server: RefusingRedis, store: Store
) -> None:
    """Neither the job that is announced nor those of the same call."""
    await server.run(("ACL SETUSER", USER, "resetchannels"))
    await store.client.call("SET", store.keys.events, "no stream")
    with capture_logs() as logs:
        stored = await created(store, a_job())
        cancelled = await store.jobs.commit(stored, transitions.cancel(stored.job, NOW + 1))
    assert isinstance(cancelled, VersionedJob)
    assert cancelled.job.state is State.CANCELLED
    assert await indexes(store) == expected_indexes(store, [cancelled.job])
    words = [line["error"] for line in logs if line["event"] == "wakeups.refused"]
    assert sorted(words) == sorted(set(words)), "each cause is logged once"


async def test_an_action_whose_audit_entry_cannot_be_written_is_not_done(store: Store) -> None:
    """Every act is on record: the entry is written first."""
    stored = await created(store, a_job())
    await store.client.call("SET", store.keys.audit, "no stream")
    entry = NewAuditEntry(NOW, "ann", "cancel", "j1", "", 1)
    with pytest.raises(RedisError, match="WRONGTYPE"):
        await store.jobs.commit(
            stored, transitions.cancel(stored.job, NOW + 1), SideWrites(audit_entry=entry)
        )
    assert await store.jobs.load("j1") == stored
    assert await indexes(store) == expected_indexes(store, [stored.job])


async def test_a_delivery_is_stored_where_its_message_is_refused(
    server: RefusingRedis, store: Store
) -> None:
    await server.run(("ACL SETUSER", USER, "resetchannels"))
    with capture_logs() as logs:
        received = await store.webhooks.receive("ex-1", "run.completed", b"{}", NOW)
    assert received.value == "new"
    assert [line["error"] for line in logs] == ["NOPERM"]
