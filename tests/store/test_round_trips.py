"""Commits asked for at once share a round trip; each gets its own reply, or its own error."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from jobs import moves
from jobs.places import Index
from tests.store.contents import wait_until
from tests.unit.core.make import NOW, a_job
from worker.store import Store, scripts
from worker.store.changes import Extra, Stored, lane_cap
from worker.store.client import Argument, Client, Command
from worker.store.jobs import JobStore, NotWritten
from worker.store.scripts import PIPELINE_MOST, Scripts


class Counted(Client):
    """Counts round trips, and fails as it is told."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.client.redis)
        self.asked: list[str] = []
        self.trips: list[int] = []
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def try_many(self, commands: Sequence[Command]) -> list[Any]:
        self.trips.append(len(commands))
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return await super().try_many(commands)


class Asked(Scripts):
    """Notes what is asked, before it is sent."""

    def __init__(self, client: Counted) -> None:
        super().__init__(client)
        self._asked = client.asked

    async def commit(self, keys: Sequence[str], args: Sequence[Argument]) -> list[bytes]:
        self._asked.append(keys[0])
        return await super().commit(keys, args)


@pytest.fixture
def client(store: Store) -> Counted:
    return Counted(store)


@pytest.fixture
def jobs(store: Store, client: Counted) -> JobStore:
    return JobStore(client, store.keys, Asked(client))


async def create(jobs: JobStore, *ids: str) -> list[Stored | None]:
    asked = (jobs.create(a_job(id=job_id), b"{}") for job_id in ids)
    async with asyncio.timeout(5):
        return await asyncio.gather(*asked)


async def warm(jobs: JobStore, client: Counted) -> None:
    """Load the script, so that every trip that follows is one of ours."""
    await create(jobs, "warm")
    client.trips.clear()
    client.asked.clear()


async def test_what_is_asked_at_once_goes_in_one_trip(jobs: JobStore, client: Counted) -> None:
    await warm(jobs, client)
    written = await create(jobs, *(f"j{n}" for n in range(100)))
    assert client.trips == [100]
    assert [stored.job.id for stored in written if stored] == [f"j{n}" for n in range(100)]


async def test_what_comes_while_a_trip_is_under_way_goes_in_the_next(
    jobs: JobStore, client: Counted
) -> None:
    await warm(jobs, client)
    client.gate.clear()
    first = asyncio.create_task(create(jobs, "a"))
    await wait_until(lambda: bool(client.trips))
    late = asyncio.create_task(create(jobs, "b", "c"))
    await wait_until(lambda: len(client.asked) == 3)
    client.gate.set()
    assert all(await first)
    assert all(await late)
    assert client.trips == [1, 2]


async def test_a_trip_carries_so_many_at_most(
    jobs: JobStore, client: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    await warm(jobs, client)
    monkeypatch.setattr(scripts, "PIPELINE_MOST", 3)
    assert all(await create(jobs, *(f"j{n}" for n in range(7))))
    assert client.trips == [3, 3, 1]
    assert PIPELINE_MOST == 500


async def test_everybody_gets_the_reply_that_is_theirs(
    store: Store, jobs: JobStore, client: Counted
) -> None:
    await warm(jobs, client)
    one, two, three = (stored for stored in await create(jobs, "a", "b", "c") if stored)
    client.trips.clear()
    later = moves.admit(one.job, NOW, hop="h", lease_until=NOW, gates=())
    stale = Stored(two.job, "9.beef")
    full = Extra(limits=(lane_cap(three.job.lane, 0),))
    replies = await asyncio.gather(
        jobs.commit(stale, moves.cancel(two.job, NOW)),
        jobs.commit(one, later),
        jobs.commit(three, moves.cancel(three.job, NOW), full),
        jobs.delete(two),
        jobs.create(a_job(id="a"), b"{}"),
    )
    assert client.trips == [5]
    assert replies[0] is NotWritten.SUPERSEDED
    assert isinstance(replies[1], Stored)
    assert (replies[2], replies[3], replies[4]) == (NotWritten.FULL, True, None)
    assert (await store.jobs.load("a")) == replies[1]


async def test_the_server_sees_one_command_a_commit(store: Store) -> None:
    await store.jobs.create(a_job(id="warm"), b"{}")
    await store.client.call("CONFIG RESETSTAT")
    await create(store.jobs, *(f"j{n}" for n in range(25)))
    stats = await store.client.call("INFO", "commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == 25


async def test_an_outage_reaches_every_caller_and_then_it_is_over(
    jobs: JobStore, client: Counted
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
    jobs: JobStore, client: Counted, failure: Exception
) -> None:
    client.failure = failure
    with pytest.raises(type(failure)):
        await create(jobs, "a", "b")


async def test_a_commit_that_redis_refuses_fails_alone(store: Store, jobs: JobStore) -> None:
    await store.client.call("SET", store.keys.index(Index.TAG, "bad"), "not a sorted set")
    tried = await asyncio.gather(
        jobs.create(a_job(id="a"), b"{}"),
        jobs.create(a_job(id="b", tags=("bad",)), b"{}"),
        jobs.create(a_job(id="c"), b"{}"),
        return_exceptions=True,
    )
    assert isinstance(tried[1], ResponseError)
    assert isinstance(tried[0], Stored)
    assert isinstance(tried[2], Stored)


async def test_who_gives_up_waiting_takes_nobody_along(jobs: JobStore, client: Counted) -> None:
    await warm(jobs, client)
    client.gate.clear()
    impatient = asyncio.create_task(create(jobs, "a"))
    patient = asyncio.create_task(create(jobs, "b"))
    await wait_until(lambda: bool(client.trips))
    await wait_until(lambda: len(client.asked) == 2)
    impatient.cancel()
    client.gate.set()
    assert all(await patient)
    with pytest.raises(asyncio.CancelledError):
        await impatient
