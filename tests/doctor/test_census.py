"""Every kind of damage is found, named, and put right where one place is right."""

from collections.abc import Callable
from itertools import count

import pytest

from jobs.indexes import Index, entries
from jobs.job import Job
from jobs.lanes import JobId
from jobs.states import State
from tests.doctor.counting import LEASE_S, census, told
from tests.store.contents import everything, expected, indexes, records
from tests.unit.core import make
from worker.clock import SystemClock
from worker.doctor.integrity_findings import Kind
from worker.doctor.repair import Outcome
from worker.store import Store

LANE = "default/model/suno"

ROAD: list[Callable[..., Job]] = [
    make.scheduled,
    make.queued,
    make.admitted,
    make.sent,
    make.running,
    make.sync_run,
    make.retrying,
    make.cancelling,
    make.held,
    make.uncertain,
    make.stuck,
    make.manual,
    make.dead,
    make.succeeded,
    make.cancelled,
]


async def fill(store: Store) -> dict[str, Job]:
    """A job in each state there is, by the name of what made it."""
    jobs = {
        build.__name__: build(id=JobId(build.__name__), tags=("red",), batch="b1", **gated(build))
        for build in ROAD
    }
    jobs["passed"] = make.a_job(id=JobId("passed"), free_pass=True)
    for job in jobs.values():
        assert await store.jobs.create(job, b"{}")
    return jobs


def gated(build: Callable[..., Job]) -> dict[str, tuple[str, ...]]:
    return {"gates": ("g1",)} if build in (make.admitted, make.sent) else {}


async def remove(store: Store, key: str, job_id: str) -> None:
    assert await store.client.call("ZREM", key, job_id) == 1


async def add(store: Store, key: str, job_id: str, score: float = 1.0) -> None:
    assert await store.client.call("ZADD", key, score, job_id) == 1


async def is_as_it_should_be(store: Store) -> bool:
    """Whether the indexes are exactly what the records say; moving scores aside."""
    found = await indexes(store)
    wanted = expected(store, [job for _, job in (await records(store)).values()])
    return {key: set(row) for key, row in found.items()} == {
        key: set(row) for key, row in wanted.items()
    }


async def test_a_sound_store_is_clean_and_counted(store: Store) -> None:
    jobs = await fill(store)
    before = await everything(store)
    report = await census(store, repair=True)
    assert told(report) == []
    assert report.clean
    assert report.jobs == len(jobs)
    assert report.states[State.PARKED] == 4
    assert report.unfinished == len(jobs) - 3
    assert report.entries == sum(len(entries(job)) for job in jobs.values())
    assert await everything(store) == before


async def test_an_empty_store_is_clean(store: Store) -> None:
    report = await census(store, repair=True)
    assert (report.jobs, told(report)) == (0, [])


def every_entry() -> list[tuple[str, Index]]:
    found = [(build.__name__, build(id=JobId("x"), tags=("red",), batch="b1")) for build in ROAD]
    return [(name, entry.kind) for name, job in found for entry in entries(job)]


@pytest.mark.parametrize(("name", "kind"), every_entry())
async def test_each_missing_entry_is_found_and_put_back(
    store: Store, name: str, kind: Index
) -> None:
    job = (await fill(store))[name]
    (entry,) = (entry for entry in entries(job) if entry.kind is kind)
    key = store.keys.entry(entry)
    record = await store.jobs.load(job.id)
    await remove(store, key, job.id)

    watched = kind in (Index.DUE, Index.LANE, Index.LEASE, Index.INFLIGHT)
    by_people = kind is Index.STATE and job.state in (State.PARKED, State.DEAD)
    what = Kind.LOST if watched or by_people else Kind.UNLISTED
    found = await census(store)
    assert (what.value, name, "left") in told(found)
    assert {d.kind for d, _ in found.told} <= {what, Kind.COUNTS}
    assert not found.clean

    assert told(await census(store, repair=True)) == [(what.value, name, "mended")]
    assert told(await census(store)) == []
    assert await is_as_it_should_be(store)
    assert await store.jobs.load(job.id) == record


STRAYS = [
    (Index.DUE, "", Kind.SECOND_PLACE),
    (Index.LANE, "default/model/other", Kind.SECOND_PLACE),
    (Index.LANE, "no lane at all", Kind.SECOND_PLACE),
    (Index.PASS, "", Kind.SECOND_PLACE),
    (Index.LEASE, "", Kind.SECOND_PLACE),
    (Index.INFLIGHT, "", Kind.SECOND_PLACE),
    (Index.INFLIGHT, "odd", Kind.SECOND_PLACE),
    (Index.STATE, "dead", Kind.STRAY),
    (Index.STATE, "unheard-of", Kind.STRAY),
    (Index.TARGET, "model/other", Kind.STRAY),
    (Index.TAG, "a:b", Kind.STRAY),
    (Index.BATCH, "b2", Kind.STRAY),
    (Index.EXECUTION, "ex-9", Kind.STRAY),
    (Index.ACTIVE, LANE, Kind.STRAY),
    (Index.GATE, "g2", Kind.STRAY),
    (Index.HELD, "h2", Kind.STRAY),
    (Index.GROUP, f"dead|X|{LANE}", Kind.STRAY),
]


@pytest.mark.parametrize(("kind", "name", "what"), STRAYS)
async def test_a_job_in_a_place_that_is_not_its_own_is_taken_out(
    store: Store, kind: Index, name: str, what: Kind
) -> None:
    await fill(store)
    await add(store, store.keys.index(kind, name), "queued")
    seen = await census(store)
    assert (what.value, "queued", "left") in told(seen)
    mended = told(await census(store, repair=True))
    assert (what.value, "queued", "mended") in mended
    assert told(await census(store)) == []
    assert await is_as_it_should_be(store)


@pytest.mark.parametrize(("kind", "name", "what"), STRAYS)
async def test_an_entry_without_a_job_is_taken_out(
    store: Store, kind: Index, name: str, what: Kind
) -> None:
    del what
    await fill(store)
    await add(store, store.keys.index(kind, name), "nobody")
    assert (Kind.ORPHAN.value, "nobody", "left") in told(await census(store))
    assert ("orphan", "nobody", "mended") in told(await census(store, repair=True))
    assert told(await census(store)) == []
    assert await is_as_it_should_be(store)


async def test_members_that_are_no_text_are_taken_out_too(store: Store) -> None:
    await fill(store)
    await store.client.call("ZADD", store.keys.index(Index.DUE), 1, b"\xff\xfe:x")
    report = await census(store, repair=True)
    assert [d.kind for d, _ in report.told] == [Kind.ORPHAN]
    assert told(await census(store)) == []


@pytest.mark.parametrize(
    ("name", "kind", "score"),
    [
        ("queued", Index.LANE, 5.0),
        ("scheduled", Index.DUE, make.NOW + 10**9),
        ("running", Index.INFLIGHT, make.NOW + 10**9),
        ("sent", Index.LEASE, float("inf")),
        ("dead", Index.STATE, 0.0),
        ("queued", Index.ALL, 0.0),
    ],
)
async def test_a_time_that_never_comes_is_set_right(
    store: Store, name: str, kind: Index, score: float
) -> None:
    job = (await fill(store))[name]
    (entry,) = (entry for entry in entries(job) if entry.kind is kind)
    await store.client.call("ZADD", store.keys.entry(entry), score, job.id)
    assert told(await census(store)) == [("misplaced", name, "left")]
    assert told(await census(store, repair=True)) == [("misplaced", name, "mended")]
    right = float(await store.client.call("ZSCORE", store.keys.entry(entry), job.id))
    now = SystemClock().now()
    assert right <= max(entry.score, now + LEASE_S)
    assert told(await census(store)) == []


async def test_polls_and_leases_that_moved_ahead_are_no_damage(store: Store) -> None:
    await fill(store)
    soon = SystemClock().now() + 3_600
    await store.client.call("ZADD", store.keys.index(Index.INFLIGHT), "XX", soon, "running")
    await store.client.call("ZADD", store.keys.index(Index.LEASE), "XX", soon, "sent")
    assert told(await census(store)) == []


async def test_a_mended_lease_leaves_its_worker_time_to_beat(store: Store) -> None:
    await fill(store)
    await remove(store, store.keys.index(Index.LEASE), "sent")
    await census(store, repair=True)
    until = float(await store.client.call("ZSCORE", store.keys.index(Index.LEASE), "sent"))
    assert until >= SystemClock().now() + LEASE_S - 5


async def test_a_lane_and_a_group_that_nobody_knows_are_registered_again(store: Store) -> None:
    await fill(store)
    await store.client.call("DEL", store.keys.lanes, store.keys.groups)
    found = await census(store)
    assert set(found.found) == {Kind.UNREGISTERED, Kind.COUNTS}
    mended = await census(store, repair=True)
    assert mended.clean
    assert mended.found[Kind.UNREGISTERED] == mended.outcomes[Outcome.MENDED]
    assert told(await census(store)) == []
    assert [str(lane) for lane in (await store.lanes.queues()).lanes] == [LANE]


async def test_names_that_are_none_leave_the_registers(store: Store) -> None:
    await fill(store)
    await add(store, store.keys.lanes, "no lane")
    await add(store, store.keys.groups, "running|x|default/model/suno")
    await add(store, store.keys.groups, "parked|x")
    assert [kind for kind, _, _ in told(await census(store, repair=True))] == ["bad_name"] * 3
    assert told(await census(store)) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"rec": b"{"},
        {"rec": b'{"id": 3}'},
        {"rec": b"\xff"},
    ],
)
async def test_an_unreadable_record_is_told_and_left_alone(
    store: Store, fields: dict[str, bytes]
) -> None:
    await fill(store)
    for field, value in fields.items():
        await store.client.call("HSET", store.keys.job("running"), field, value)
    before = await everything(store)
    report = await census(store, repair=True)
    assert told(report) == [("unreadable", "running", "left")]
    assert await everything(store) == before
    assert "jobs get running" in report.told[0][0].fix


async def test_a_record_without_its_half_or_of_another_job_is_told(store: Store) -> None:
    await fill(store)
    await store.client.call("HDEL", store.keys.job("running"), "rec")
    await store.client.call("HDEL", store.keys.job("sent"), "rev")
    rec = await store.client.call("HGET", store.keys.job("dead"), "rec")
    await store.client.call("HSET", store.keys.job("queued"), "rec", rec)
    report = await census(store, repair=True)
    assert told(report) == [("unreadable", name, "left") for name in ("queued", "running", "sent")]


async def test_a_key_of_another_type_is_told_and_left_alone(store: Store) -> None:
    await fill(store)
    tag = store.keys.index(Index.TAG, "red")
    await store.client.call("DEL", tag, store.keys.job("dead"))
    await store.client.call("SET", tag, "mine")
    await store.client.call("SET", store.keys.job("dead"), "mine")
    report = await census(store, repair=True)
    assert told(report) == [("unreadable", "dead", "left"), ("wrong_type", "", "left")]
    assert await store.client.call("GET", tag) == b"mine"


async def test_a_register_of_another_type_stops_no_census(store: Store) -> None:
    job = (await fill(store))["queued"]
    await store.client.call("DEL", store.keys.lanes)
    await store.client.call("SET", store.keys.lanes, "mine")
    await remove(store, store.keys.lane(job.lane), job.id)
    assert told(await census(store, repair=True)) == [("lost", "queued", "left")]


async def test_everything_at_once_is_mended_in_one_go(store: Store) -> None:
    """Every index is gone and every place has a stranger: the records are enough."""
    jobs = await fill(store)
    await store.client.call("DEL", *(await indexes(store)), store.keys.lanes, store.keys.groups)
    number = count()
    for job in jobs.values():
        for kind, name, _ in STRAYS:
            if next(number) % 3 == 0:
                await store.client.call("ZADD", store.keys.index(kind, name), 1, job.id)
    report = await census(store, repair=True)
    assert report.clean
    assert report.outcomes[Outcome.MENDED] > len(jobs)
    assert told(await census(store)) == []
    assert await is_as_it_should_be(store)
    assert {name: job for name, (_, job) in (await records(store)).items()} == jobs


async def test_every_repair_is_on_record(store: Store) -> None:
    await fill(store)
    await remove(store, store.keys.index(Index.LANE, LANE), "queued")
    await add(store, store.keys.index(Index.DUE), "nobody")
    await census(store, repair=True, note="after the restore")
    acts = await store.audit.latest(10)
    assert {(act["on"], act["act"], act["by"], act["jobs"]) for act in acts} == {
        ("queued", "doctor.repair", "ann", "1"),
        ("nobody", "doctor.repair", "ann", "1"),
    }
    assert all("(after the restore)" in act["note"] for act in acts)


async def test_a_look_alone_writes_nothing(store: Store) -> None:
    await fill(store)
    await remove(store, store.keys.index(Index.LANE, LANE), "queued")
    await add(store, store.keys.index(Index.DUE), "dead")
    before = await everything(store)
    assert not (await census(store)).clean
    assert await everything(store) == before
