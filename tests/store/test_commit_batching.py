"""Commits asked for at once share a call; each gets its own reply, or its own error."""

import asyncio
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from jobs import transitions
from jobs.indexes import Index
from jobs.states import State
from tests.store.redis_contents import expected_indexes, sorted_set, state_changes_of, wait_until
from tests.store.test_scripts import parse_changes
from tests.unit.core.job_builders import NOW, a_job
from worker.store import Store, scripts
from worker.store.client import Argument, Client, Command
from worker.store.commit import Change, VersionedJob
from worker.store.jobs import CommitRefused, JobStore
from worker.store.preconditions import lane_cap
from worker.store.scripts import MAX_BATCH_CHANGES, CommitResult, Scripts
from worker.store.side_writes import ArqWakeup, SideWrites


class CountingClient(Client):
    """Counts calls of the script and the changes in each; fails as configured."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.client.redis)
        self.change_counts: list[str] = []
        self.batches: list[list[str]] = []
        self.trips: list[int] = []
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def call(self, *command: Argument) -> Any:
        if command[0] == "EVALSHA":
            self.batches.append(read_jobs(command))
            self.trips.append(len(self.batches[-1]))
            await self.gate.wait()
            if self.failure is not None:
                raise self.failure
        return await super().call(*command)


def read_jobs(command: Command) -> list[str]:
    """The keys of the jobs that a call writes; empty for a change that is operations alone."""
    count = command[2]
    assert isinstance(count, int)
    keys = [str(key) for key in command[3 : 3 + count]]
    return [change.key for change in parse_changes(keys, command[3 + count :])]


class RecordingScripts(Scripts):
    """Records each request before it is sent."""

    def __init__(self, client: CountingClient) -> None:
        super().__init__(client)
        self._asked = client.change_counts

    async def commit(self, change: Change) -> CommitResult:
        self._asked.append(change.key)
        return await super().commit(change)


@pytest.fixture
def client(store: Store) -> CountingClient:
    return CountingClient(store)


@pytest.fixture
def jobs(store: Store, client: CountingClient) -> JobStore:
    return JobStore(
        client,
        store.keys,
        RecordingScripts(client),
        store.metrics.buffer,
        store.recovery,
        payloads=store.payloads,
    )


async def create(jobs: JobStore, *ids: str) -> list[VersionedJob | None]:
    asked = (jobs.create(a_job(id=job_id), b"{}") for job_id in ids)
    async with asyncio.timeout(5):
        return await asyncio.gather(*asked)


async def warm(jobs: JobStore, client: CountingClient) -> None:
    """Load the script, so that every later round trip is a commit."""
    await create(jobs, "warm")
    client.trips.clear()
    client.batches.clear()
    client.change_counts.clear()


async def test_what_is_asked_at_once_is_one_call_of_the_script(
    jobs: JobStore, client: CountingClient
) -> None:
    await warm(jobs, client)
    written = await create(jobs, *(f"j{n}" for n in range(100)))
    assert client.trips == [100]
    assert [stored.job.id for stored in written if stored] == [f"j{n}" for n in range(100)]


async def test_what_comes_while_a_call_is_under_way_goes_in_the_next(
    jobs: JobStore, client: CountingClient
) -> None:
    await warm(jobs, client)
    client.gate.clear()
    first = asyncio.create_task(create(jobs, "a"))
    await wait_until(lambda: bool(client.trips))
    late = asyncio.create_task(create(jobs, "b", "c"))
    await wait_until(lambda: len(client.change_counts) == 3)
    client.gate.set()
    assert all(await first)
    assert all(await late)
    assert client.trips == [1, 2]


async def test_a_call_carries_so_many_at_most(jobs: JobStore, client: CountingClient) -> None:
    await warm(jobs, client)
    written = await create(jobs, *(f"j{n}" for n in range(2 * MAX_BATCH_CHANGES + 1)))
    assert all(written)
    assert client.trips == [MAX_BATCH_CHANGES, MAX_BATCH_CHANGES, 1]
    assert MAX_BATCH_CHANGES == 128


async def test_a_call_carries_so_many_bytes_unless_one_change_is_larger(
    jobs: JobStore, client: CountingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await warm(jobs, client)
    monkeypatch.setattr(scripts, "MAX_BATCH_BYTES", 10_000)
    sizes = (20_000, 10, 10, 6_000, 6_000, 10, 20_000)
    asked = (jobs.create(a_job(id=f"j{n}"), b"x" * size) for n, size in enumerate(sizes))
    assert all(await asyncio.gather(*asked))
    assert client.trips == [1, 3, 2, 1]


async def test_two_changes_of_one_job_go_in_order_in_two_calls(
    store: Store, jobs: JobStore, client: CountingClient
) -> None:
    """The second expects the revision that the first writes, so it cannot share its call."""
    await warm(jobs, client)
    job, other = a_job(id="j"), a_job(id="k")
    first = Change(store.keys, "j", "").write(None, job, SideWrites())
    second = Change(store.keys, "j", first.rev).write(
        job, transitions.cancel(job, NOW), SideWrites()
    )
    third = Change(store.keys, "k", "").write(None, other, SideWrites())
    asked = RecordingScripts(client)
    replies = await asyncio.gather(*map(asked.commit, (first, second, third)))
    assert replies == ["ok", "ok", "ok"]
    assert client.batches == [[first.key], [second.key, third.key]]
    assert await state_changes_of(store, "j") == [
        (None, State.QUEUED),
        (State.QUEUED, State.CANCELLED),
    ]


async def test_a_wake_up_goes_out_after_the_commits_that_were_asked_for_before(
    store: Store, jobs: JobStore, client: CountingClient
) -> None:
    await warm(jobs, client)
    wake_ups = [ArqWakeup(f"j{n}:h", b"{}", n, 1000) for n in range(3)]
    ids = [f"j{n}" for n in range(MAX_BATCH_CHANGES + 3)]
    created = (jobs.create(a_job(id=job_id), b"{}") for job_id in ids)
    await asyncio.gather(*created, *map(jobs.wake, wake_ups))
    assert client.trips == [MAX_BATCH_CHANGES, 6]
    assert client.batches[1] == [*map(store.keys.job, ids[-3:]), "", "", ""]
    await store.client.call("DEL", *(store.keys.arq_job(wake.arq_id) for wake in wake_ups))


async def test_everybody_gets_the_reply_that_is_theirs(
    store: Store, jobs: JobStore, client: CountingClient
) -> None:
    await warm(jobs, client)
    one, two, three = (stored for stored in await create(jobs, "a", "b", "c") if stored)
    client.batches.clear()
    later = transitions.admit(one.job, NOW, submit_token="h", lease_until=NOW, opening_hold_ids=())
    stale = VersionedJob(two.job, "9.beef")
    full = SideWrites(limits=(lane_cap(three.job.lane, 0),))
    replies = await asyncio.gather(
        jobs.commit(stale, transitions.cancel(two.job, NOW)),
        jobs.commit(one, later),
        jobs.commit(three, transitions.cancel(three.job, NOW), full),
        jobs.delete(two),
        jobs.create(a_job(id="a"), b"{}"),
    )
    ours = [[store.keys.job(name) for name in names] for names in ("bac", "ba")]
    assert client.batches == ours, "of a job one change a call"
    assert replies[0] is CommitRefused.SUPERSEDED
    assert isinstance(replies[1], VersionedJob)
    assert (replies[2], replies[3], replies[4]) == (CommitRefused.FULL, True, None)
    assert (await store.jobs.load("a")) == replies[1]


async def test_the_server_sees_one_command_for_all_that_is_asked_at_once(store: Store) -> None:
    await store.jobs.create(a_job(id="warm"), b"{}")
    await store.client.call("CONFIG RESETSTAT")
    await create(store.jobs, *(f"j{n}" for n in range(25)))
    stats = await store.client.call("INFO", "commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == 1
    per_batch = ("zadd", "publish", "xadd")
    calls = {
        name: stats[f"cmdstat_{name}"]["calls"] for name in (*per_batch, "hset", "hmget", "hget")
    }
    assert calls == {"zadd": 5, "publish": 1, "xadd": 1, "hset": 25, "hmget": 25, "hget": 2}


async def test_an_outage_reaches_every_caller_and_then_it_is_over(
    jobs: JobStore, client: CountingClient
) -> None:
    await warm(jobs, client)
    client.failure = RedisConnectionError("gone")
    asked = [asyncio.create_task(create(jobs, job_id)) for job_id in "abc"]
    async with asyncio.timeout(5):
        failed = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(error) for error in failed] == [RedisConnectionError] * 3
    client.failure = None
    assert all(await create(jobs, *"abc"))


@pytest.mark.parametrize("failure", [OSError("no route"), RuntimeError("nobody expects this")])
async def test_nobody_waits_for_ever_whatever_fails(
    jobs: JobStore, client: CountingClient, failure: Exception
) -> None:
    client.failure = failure
    with pytest.raises(type(failure)):
        await create(jobs, "a", "b")


@pytest.mark.parametrize("broken", ["tag", "record"])
async def test_a_commit_that_redis_refuses_fails_alone(
    store: Store, jobs: JobStore, client: CountingClient, broken: str
) -> None:
    """One refused commit fails alone: the others of the call are written with their entries."""
    await warm(jobs, client)
    old = next(stored for stored in await create(jobs, "old") if stored)
    bad = store.keys.index(Index.TAG, "bad") if broken == "tag" else store.keys.job("b")
    await store.client.call("RPUSH", bad, "of another type")
    client.trips.clear()
    tried = await asyncio.gather(
        jobs.create(a_job(id="a"), b"{}"),
        jobs.create(a_job(id="b", tags=("bad",)), b"{}"),
        jobs.create(a_job(id="c", tags=("good",)), b"{}"),
        jobs.commit(old, transitions.park_manual(old.job, NOW, by="ann")),
        return_exceptions=True,
    )
    assert client.trips == [4]
    assert isinstance(tried[1], ResponseError)
    assert "WRONGTYPE" in str(tried[1])
    fine = [stored for stored in tried if isinstance(stored, VersionedJob)]
    assert [stored.job.id for stored in fine] == ["a", "c", "old"]
    for stored in fine:
        assert await store.jobs.load(stored.job.id) == stored
        for key, scores in expected_indexes(store, [stored.job]).items():
            assert scores.items() <= (await sorted_set(store, key)).items()
    assert await store.client.call("TYPE", bad) == b"list"


async def test_who_gives_up_waiting_takes_nobody_along(
    jobs: JobStore, client: CountingClient
) -> None:
    await warm(jobs, client)
    client.gate.clear()
    impatient = asyncio.create_task(create(jobs, "a"))
    patient = asyncio.create_task(create(jobs, "b"))
    await wait_until(lambda: bool(client.trips))
    await wait_until(lambda: len(client.change_counts) == 2)
    impatient.cancel()
    client.gate.set()
    assert all(await patient)
    with pytest.raises(asyncio.CancelledError):
        await impatient
