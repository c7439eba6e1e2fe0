"""Schedules in Redis: the job of a tick and the tick are one step, by the clock of Redis."""

import asyncio
from typing import Any

import msgspec
import pytest
from arq import ArqRedis

from jobs.job import Job
from jobs.lanes import JobId
from jobs.newer import NEWER_SCHEMA
from jobs.schedules.record import CatchUp, Overlap, Schedule, Skip, SkipCause
from jobs.states import State
from jobs.transitions import park_manual
from jobs.unreadable import UNREADABLE
from tests.store.redis_contents import everything
from tests.unit.core.job_builders import a_job, changed
from tests.unit.core.test_schedule_due import a_schedule
from worker.store import Store, open_store, schedules
from worker.store.client import unix_time
from worker.store.commit import VersionedJob
from worker.store.payload_cipher import PayloadCipher
from worker.store.schedules import TickResult, TooManySchedules

INPUTS = b'{"prompt":"a cat"}'


async def redis_time(store: Store) -> int:
    return int(unix_time(await store.client.call("TIME")))


async def set_up(store: Store, inputs: bytes | None = INPUTS, **facts: Any) -> Schedule:
    """Set a schedule; returns it as it is stored."""
    wanted = a_schedule(**facts)
    await store.schedules.change(wanted.name, lambda _: wanted, inputs)
    found = await store.schedules.find(wanted.name)
    assert found is not None
    return found


async def highest(store: Store, name: str = "nightly") -> int:
    return (await store.schedules.highest_ticks([name]))[0]


async def rewind(store: Store, tick: int, name: str = "nightly") -> None:
    """Let the highest tick of a name be one of the past."""
    await store.client.call("HSET", store.keys.schedule_ticks, name, tick)


def run_of(schedule: Schedule, job_id: str = "run", **facts: Any) -> Job:
    return a_job(id=JobId(job_id), schedule=schedule.name, **facts)


async def test_a_schedule_is_kept_found_listed_and_removed(store: Store) -> None:
    before = await store.schedules.version()
    schedule = await set_up(store)
    assert schedule == msgspec.structs.replace(a_schedule(), revision=before + 1)
    assert await store.schedules.inputs("nightly") == INPUTS
    await set_up(store, name="a")
    found = await store.schedules.read()
    assert [one.name for one in found.schedules] == ["a", "nightly"]
    assert found.version == await store.schedules.version() == before + 2
    await store.schedules.change("nightly", lambda _: None)
    assert await store.schedules.find("nightly") is None
    assert await store.schedules.inputs("nightly") is None
    assert await store.schedules.version() == before + 3


async def test_a_new_schedule_begins_now_and_so_does_one_with_other_ticks(store: Store) -> None:
    now = await redis_time(store)
    await set_up(store)
    assert await highest(store) >= now
    await rewind(store, 5)
    await set_up(store, overlap=Overlap.SKIP, job={"kind": "model", "target": "other"})
    assert await highest(store) == 5
    others: list[dict[str, Any]] = [
        {"cron": "1 * * * *"},
        {"time_zone": "Europe/Berlin"},
        {"enabled": False},
    ]
    for facts in others:
        await rewind(store, 5)
        await set_up(store, **facts)
        assert await highest(store) >= now


async def test_the_highest_tick_outlives_its_schedule_and_never_falls(store: Store) -> None:
    await set_up(store)
    ahead = await redis_time(store) + 86_400  # as where the clock of Redis was set back
    await rewind(store, ahead)
    await store.schedules.change("nightly", lambda _: None)
    assert await highest(store) == ahead
    await set_up(store)
    assert await highest(store) == ahead


async def test_a_tick_makes_its_job_and_moves_in_one_step(store: Store) -> None:
    schedule = await set_up(store)
    await rewind(store, 100)
    result = await store.schedules.enqueue_tick(schedule, 100, 160, run_of(schedule), INPUTS)
    assert result is TickResult.ENQUEUED
    assert await highest(store) == 160
    assert await store.schedules.newest_jobs("nightly", 5) == ["run"]
    assert (await store.payloads.read("run")).inputs == INPUTS
    before = await everything(store)
    again = run_of(schedule, "other")
    for known, tick in ((100, 160), (100, 220), (160, 2**40)):
        found = await store.schedules.enqueue_tick(schedule, known, tick, again, INPUTS)
        assert found is TickResult.SUPERSEDED
    assert await everything(store) == before


async def test_a_tick_that_is_not_due_by_the_clock_of_redis_makes_no_job(store: Store) -> None:
    schedule = await set_up(store)
    await rewind(store, 100)
    tomorrow = await redis_time(store) + 86_400
    before = await everything(store)
    result = await store.schedules.enqueue_tick(schedule, 100, tomorrow, run_of(schedule), INPUTS)
    assert result is TickResult.SUPERSEDED
    skip = Skip(cause=SkipCause.MISSED, tick=tomorrow, at=1.0)
    assert not await store.schedules.skip(schedule, 100, skip)
    assert await everything(store) == before


async def test_no_tick_of_a_schedule_that_was_changed_or_removed_makes_a_job(store: Store) -> None:
    old = await set_up(store)
    await set_up(store, job={"kind": "model", "target": "other"})
    await rewind(store, 100)
    skip = Skip(cause=SkipCause.MISSED, tick=160, at=1.0)
    for _ in range(2):
        result = await store.schedules.enqueue_tick(old, 100, 160, run_of(old), INPUTS)
        assert result is TickResult.SUPERSEDED
        assert not await store.schedules.skip(old, 100, skip)
        await store.schedules.change("nightly", lambda _: None)
    await set_up(store)  # with the name and the content of the first one
    await rewind(store, 100)
    result = await store.schedules.enqueue_tick(old, 100, 160, run_of(old), INPUTS)
    assert result is TickResult.SUPERSEDED
    assert await highest(store) == 100


async def test_a_pruned_tick_does_not_run_again_where_its_schedule_is_set_anew(
    store: Store,
) -> None:
    schedule = await set_up(store, catch_up=CatchUp.ALL)
    await rewind(store, 100)
    await store.schedules.enqueue_tick(schedule, 100, 160, run_of(schedule), INPUTS)
    stored = await store.jobs.load(JobId("run"))
    assert isinstance(stored, VersionedJob)
    await store.jobs.delete(stored)
    await store.schedules.change("nightly", lambda _: None)
    again = await set_up(store, catch_up=CatchUp.ALL)
    for known in (100, 160):
        result = await store.schedules.enqueue_tick(again, known, known + 60, run_of(again), INPUTS)
        assert result is TickResult.SUPERSEDED


async def test_the_id_of_a_tick_that_a_job_has_is_not_taken_over(store: Store) -> None:
    schedule = await set_up(store)
    await rewind(store, 100)
    await store.jobs.create(a_job(id=JobId("run"), target="other"), b"{}")
    result = await store.schedules.enqueue_tick(schedule, 100, 160, run_of(schedule), INPUTS)
    assert result is TickResult.ID_TAKEN
    assert await highest(store) == 100


async def test_an_unfinished_run_keeps_the_next_tick_from_making_a_job(store: Store) -> None:
    schedule = await set_up(store, overlap=Overlap.SKIP)
    other = await set_up(store, name="enqueues", overlap=Overlap.ENQUEUE)
    for one in (schedule, other):
        await rewind(store, 100, one.name)
        first = run_of(one, f"{one.name}-1")
        result = await store.schedules.enqueue_tick(one, 100, 160, first, INPUTS)
        assert result is TickResult.ENQUEUED
    second = run_of(schedule, "nightly-2")
    result = await store.schedules.enqueue_tick(schedule, 160, 220, second, INPUTS)
    assert result is TickResult.OVERLAP
    assert await highest(store) == 160
    assert await store.schedules.open_jobs("nightly", 5) == ["nightly-1"]
    result = await store.schedules.enqueue_tick(other, 160, 220, run_of(other, "e2"), INPUTS)
    assert result is TickResult.ENQUEUED


@pytest.mark.parametrize("state", [State.PARKED, State.DEAD, State.SUCCEEDED, State.CANCELLED])
async def test_a_run_that_is_parked_or_settled_keeps_no_tick_from_making_a_job(
    store: Store, state: State
) -> None:
    schedule = await set_up(store, overlap=Overlap.SKIP)
    await rewind(store, 100)
    first = run_of(schedule, "first")
    result = await store.schedules.enqueue_tick(schedule, 100, 160, first, INPUTS)
    assert result is TickResult.ENQUEUED
    stored = await store.jobs.load(JobId("first"))
    assert isinstance(stored, VersionedJob)
    ended = (
        park_manual(stored.job, 170.0, by="ann")
        if state is State.PARKED
        else changed(stored.job, state=state)
    )
    assert isinstance(await store.jobs.commit(stored, ended), VersionedJob)
    assert await store.schedules.open_jobs("nightly", 5) == []
    second = run_of(schedule, "second")
    result = await store.schedules.enqueue_tick(schedule, 160, 220, second, INPUTS)
    assert result is TickResult.ENQUEUED
    assert await store.schedules.newest_of(["nightly", "x"]) != [None, None]


async def test_of_many_workers_one_enqueues_a_tick(store: Store, redis: ArqRedis) -> None:
    schedule = await set_up(store)
    await rewind(store, 100)
    stores = [open_store(redis, store.keys.namespace) for _ in range(8)]
    results = await asyncio.gather(
        *(
            one.schedules.enqueue_tick(schedule, 100, 160, run_of(schedule, f"run-{n}"), INPUTS)
            for n, one in enumerate(stores)
        )
    )
    assert results.count(TickResult.ENQUEUED) == 1
    assert results.count(TickResult.SUPERSEDED) == 7
    assert len(await store.schedules.newest_jobs("nightly", 20)) == 1


async def test_a_skip_moves_the_tick_and_says_why(store: Store) -> None:
    schedule = await set_up(store)
    await rewind(store, 100)
    skip = Skip(cause=SkipCause.OVERLAP, tick=160, at=161.5, count=2, message="run")
    assert await store.schedules.skip(schedule, 100, skip)
    assert not await store.schedules.skip(schedule, 100, skip)
    assert await highest(store) == 160
    assert await store.schedules.skips(["nightly", "x"]) == [skip, None]
    await set_up(store, cron="5 * * * *")
    assert await store.schedules.skips(["nightly"]) == [None]


async def test_of_two_changes_at_once_both_are_made(store: Store, redis: ArqRedis) -> None:
    schedule = await set_up(store)
    stores = [open_store(redis, store.keys.namespace) for _ in range(5)]

    def noted(current: Schedule | None) -> Schedule:
        assert current is not None
        return msgspec.structs.replace(current, note=current.note + "x")

    await asyncio.gather(*(one.schedules.change("nightly", noted) for one in stores))
    found = await store.schedules.find("nightly")
    assert found is not None
    assert (found.note, found.revision) == ("xxxxx", schedule.revision + 5)


async def test_there_are_so_many_schedules_and_names_that_are_remembered(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "MAX_SCHEDULES", 2)
    monkeypatch.setattr(schedules, "MAX_REMEMBERED", 2)
    for name in ("a", "b"):
        await set_up(store, name=name)
    with pytest.raises(TooManySchedules):
        await set_up(store, name="c")
    await set_up(store, name="a", note="it may be changed")
    await store.schedules.change("b", lambda _: None)
    assert await highest(store, "b") > 0
    await set_up(store, name="c")
    await store.schedules.change("c", lambda _: None)  # three names are one too many
    assert [await highest(store, name) > 0 for name in "abc"] == [True, False, False]


async def test_inputs_are_encrypted_at_their_place(redis: ArqRedis, namespace: str) -> None:
    key = b"k" * 32
    store = open_store(redis, namespace, cipher=PayloadCipher([key]))
    await set_up(store)
    await set_up(store, name="other")
    stored = await store.client.call("HGET", store.keys.schedule_inputs, "nightly")
    assert INPUTS not in stored
    assert await store.schedules.inputs("nightly") == INPUTS
    await store.client.call("HSET", store.keys.schedule_inputs, "other", stored)
    assert await store.schedules.inputs("other") is None
    for name in ("nightly", "other"):
        await store.schedules.change(name, lambda _: None)
    await store.client.call("DEL", store.keys.schedules, store.keys.schedule_ticks)


@pytest.mark.parametrize(
    ("record", "error"),
    [
        (b"7 {", UNREADABLE),
        (b"7 ", UNREADABLE),
        (b"\xff", UNREADABLE),
        (b'7 {"schema":1,"name":"nightly"}', UNREADABLE),
        (b'7 {"schema":9,"name":"nightly"}', NEWER_SCHEMA),
    ],
)
async def test_a_record_that_cannot_be_read_is_shown_and_makes_no_jobs(
    store: Store, record: bytes, error: str
) -> None:
    await set_up(store, name="good")
    await store.client.call("HSET", store.keys.schedules, "nightly", record)
    good, broken = (await store.schedules.read()).schedules
    assert (good.name, good.error, broken.name, broken.enabled) == ("good", "", "nightly", False)
    assert broken.error.startswith(error)
    assert broken.is_newer is (error == NEWER_SCHEMA)
