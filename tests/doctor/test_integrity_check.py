"""Every kind of damage is found, named, and put right where one place is right."""

from collections.abc import Callable
from itertools import count

import msgspec
import pytest

from jobs.indexes import Index, entries
from jobs.job import Job
from jobs.lanes import JobId
from jobs.states import State
from tests.doctor.integrity_runs import LEASE_S, check_integrity, damage_of
from tests.store.redis_contents import (
    everything,
    expected_indexes,
    indexes,
    latest_audit_entries,
    records,
)
from tests.unit.core import job_builders
from worker.clock import SystemClock
from worker.doctor.integrity_findings import DamageKind
from worker.doctor.repair import RepairOutcome
from worker.store import Store
from worker.store.commit import VersionedJob

LANE = "default/model/suno"

JOB_BUILDERS: list[Callable[..., Job]] = [
    job_builders.scheduled,
    job_builders.queued,
    job_builders.admitted,
    job_builders.submitted,
    job_builders.running,
    job_builders.sync_run,
    job_builders.retrying,
    job_builders.cancelling,
    job_builders.held,
    job_builders.uncertain,
    job_builders.stuck,
    job_builders.manual,
    job_builders.dead,
    job_builders.succeeded,
    job_builders.cancelled,
]


async def fill(store: Store) -> dict[str, Job]:
    """A job in each state there is, by the name of what made it."""
    jobs = {
        build.__name__: build(id=JobId(build.__name__), tags=("red",), batch="b1", **gated(build))
        for build in JOB_BUILDERS
    }
    jobs["passed"] = job_builders.a_job(id=JobId("passed"), bypass_hold=True)
    for job in jobs.values():
        assert await store.jobs.create(job, b"{}")
    return jobs


def gated(build: Callable[..., Job]) -> dict[str, tuple[str, ...]]:
    return (
        {"opening_hold_ids": ("g1",)}
        if build in (job_builders.admitted, job_builders.submitted)
        else {}
    )


async def remove(store: Store, key: str, job_id: str) -> None:
    assert await store.client.call("ZREM", key, job_id) == 1


async def add(store: Store, key: str, job_id: str, score: float = 1.0) -> None:
    assert await store.client.call("ZADD", key, score, job_id) == 1


async def indexes_match_records(store: Store) -> bool:
    """Whether the indexes are exactly what the records say; moving scores aside."""
    found = await indexes(store)
    wanted = expected_indexes(store, [job for _, job in (await records(store)).values()])
    return {key: set(row) for key, row in found.items()} == {
        key: set(row) for key, row in wanted.items()
    }


async def test_a_sound_store_is_clean_and_counted(store: Store) -> None:
    jobs = await fill(store)
    before = await everything(store)
    report = await check_integrity(store, repair=True)
    assert damage_of(report) == []
    assert report.is_clean
    assert report.jobs == len(jobs)
    assert report.states[State.PARKED] == 4
    assert report.unfinished == len(jobs) - 3
    assert report.entries_compared == sum(len(entries(job)) for job in jobs.values())
    assert await everything(store) == before


async def test_an_empty_store_is_clean(store: Store) -> None:
    report = await check_integrity(store, repair=True)
    assert (report.jobs, damage_of(report)) == (0, [])


def every_entry() -> list[tuple[str, Index]]:
    found = [
        (build.__name__, build(id=JobId("x"), tags=("red",), batch="b1")) for build in JOB_BUILDERS
    ]
    listed = [(name, entry.kind) for name, job in found for entry in entries(job)]
    return list(dict.fromkeys(listed))


@pytest.mark.parametrize(("name", "kind"), every_entry())
async def test_each_missing_entry_is_found_and_put_back(
    store: Store, name: str, kind: Index
) -> None:
    job = (await fill(store))[name]
    entry = next(entry for entry in entries(job) if entry.kind is kind)
    key = store.keys.entry(entry)
    record = await store.jobs.load(job.id)
    await remove(store, key, job.id)

    watched = kind in (Index.DUE, Index.LANE, Index.LEASE, Index.INFLIGHT)
    by_people = kind is Index.STATE and job.state in (State.PARKED, State.DEAD)
    what = DamageKind.LOST if watched or by_people else DamageKind.UNLISTED
    found = await check_integrity(store)
    assert (what.value, name, "left") in damage_of(found)
    assert {d.kind for d, _ in found.reported} <= {what, DamageKind.COUNTS}
    assert not found.is_clean

    assert damage_of(await check_integrity(store, repair=True)) == [(what.value, name, "repaired")]
    assert damage_of(await check_integrity(store)) == []
    assert await indexes_match_records(store)
    now = await store.jobs.load(job.id)
    if kind in (Index.DUE, Index.LANE, Index.BYPASS):
        assert now is not None
        assert (now.job.state, now.job.parked_as) == (State.PARKED, "manual")
        assert "may be older than its run" in now.job.events[-1].note
    else:
        assert now == record


MISPLACED_ENTRIES = [
    (Index.DUE, "", DamageKind.SECOND_INDEX),
    (Index.LANE, "default/model/other", DamageKind.SECOND_INDEX),
    (Index.LANE, "no lane at all", DamageKind.SECOND_INDEX),
    (Index.BYPASS, "", DamageKind.SECOND_INDEX),
    (Index.LEASE, "", DamageKind.SECOND_INDEX),
    (Index.INFLIGHT, "", DamageKind.SECOND_INDEX),
    (Index.INFLIGHT, "odd", DamageKind.SECOND_INDEX),
    (Index.STATE, "dead", DamageKind.STRAY),
    (Index.STATE, "unheard-of", DamageKind.STRAY),
    (Index.TARGET, "model/other", DamageKind.STRAY),
    (Index.TAG, "a:b", DamageKind.STRAY),
    (Index.BATCH, "b2", DamageKind.STRAY),
    (Index.START_BY, "", DamageKind.STRAY),
    (Index.EVIDENCE, "studio", DamageKind.STRAY),
    (Index.FINDING, "started", DamageKind.STRAY),
    (Index.EXECUTION, "ex-9", DamageKind.STRAY),
    (Index.ACTIVE, LANE, DamageKind.STRAY),
    (Index.GATE, "g2", DamageKind.STRAY),
    (Index.HELD, "h2", DamageKind.STRAY),
    (Index.GROUP, f"dead|X|{LANE}", DamageKind.STRAY),
]


@pytest.mark.parametrize(("kind", "name", "what"), MISPLACED_ENTRIES)
async def test_a_job_in_an_index_that_is_not_its_own_is_removed(
    store: Store, kind: Index, name: str, what: DamageKind
) -> None:
    await fill(store)
    await add(store, store.keys.index(kind, name), "queued")
    seen = await check_integrity(store)
    assert (what.value, "queued", "left") in damage_of(seen)
    repaired = damage_of(await check_integrity(store, repair=True))
    assert (what.value, "queued", "repaired") in repaired
    assert damage_of(await check_integrity(store)) == []
    assert await indexes_match_records(store)


@pytest.mark.parametrize(("kind", "name", "what"), MISPLACED_ENTRIES)
async def test_an_entry_without_a_job_is_removed(
    store: Store, kind: Index, name: str, what: DamageKind
) -> None:
    del what
    await fill(store)
    await add(store, store.keys.index(kind, name), "nobody")
    assert (DamageKind.ORPHAN.value, "nobody", "left") in damage_of(await check_integrity(store))
    assert ("orphan", "nobody", "repaired") in damage_of(await check_integrity(store, repair=True))
    assert damage_of(await check_integrity(store)) == []
    assert await indexes_match_records(store)


async def test_members_that_are_no_text_are_removed_too(store: Store) -> None:
    await fill(store)
    await store.client.call("ZADD", store.keys.index(Index.DUE), 1, b"\xff\xfe:x")
    report = await check_integrity(store, repair=True)
    assert [d.kind for d, _ in report.reported] == [DamageKind.ORPHAN]
    assert damage_of(await check_integrity(store)) == []


@pytest.mark.parametrize(
    ("name", "kind", "score"),
    [
        ("queued", Index.LANE, 5.0),
        ("scheduled", Index.DUE, job_builders.NOW + 10**9),
        ("running", Index.INFLIGHT, job_builders.NOW + 10**9),
        ("submitted", Index.LEASE, float("inf")),
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
    assert damage_of(await check_integrity(store)) == [("misplaced", name, "left")]
    assert damage_of(await check_integrity(store, repair=True)) == [("misplaced", name, "repaired")]
    right = float(await store.client.call("ZSCORE", store.keys.entry(entry), job.id))
    now = SystemClock().now()
    assert right <= max(entry.score, now + LEASE_S)
    assert damage_of(await check_integrity(store)) == []


async def test_polls_and_leases_that_were_extended_are_no_damage(store: Store) -> None:
    await fill(store)
    soon = SystemClock().now() + 3_600
    await store.client.call("ZADD", store.keys.index(Index.INFLIGHT), "XX", soon, "running")
    await store.client.call("ZADD", store.keys.index(Index.LEASE), "XX", soon, "submitted")
    assert damage_of(await check_integrity(store)) == []


async def test_a_repaired_lease_leaves_its_worker_time_to_beat(store: Store) -> None:
    await fill(store)
    await remove(store, store.keys.index(Index.LEASE), "submitted")
    await check_integrity(store, repair=True)
    until = float(await store.client.call("ZSCORE", store.keys.index(Index.LEASE), "submitted"))
    assert until >= SystemClock().now() + LEASE_S - 5


async def test_a_lane_and_a_group_that_nobody_knows_are_registered_again(store: Store) -> None:
    await fill(store)
    await store.client.call("DEL", store.keys.lanes, store.keys.groups)
    found = await check_integrity(store)
    assert set(found.counts_by_kind) == {DamageKind.UNREGISTERED, DamageKind.COUNTS}
    repaired = await check_integrity(store, repair=True)
    assert repaired.is_clean
    assert (
        repaired.counts_by_kind[DamageKind.UNREGISTERED]
        == repaired.outcomes[RepairOutcome.REPAIRED]
    )
    assert damage_of(await check_integrity(store)) == []
    assert [str(lane) for lane in (await store.lanes.snapshot()).lanes] == [LANE]


async def test_names_that_are_none_leave_the_registers(store: Store) -> None:
    await fill(store)
    await add(store, store.keys.lanes, "no lane")
    await add(store, store.keys.groups, "running|x|default/model/suno")
    await add(store, store.keys.groups, "parked|x")
    assert [kind for kind, _, _ in damage_of(await check_integrity(store, repair=True))] == [
        "bad_name"
    ] * 3
    assert damage_of(await check_integrity(store)) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"rec": b"{"},
        {"rec": b'{"id": 3}'},
        {"rec": b"\xff"},
    ],
)
async def test_an_unreadable_record_is_reported_and_left_alone(
    store: Store, fields: dict[str, bytes]
) -> None:
    await fill(store)
    for field, value in fields.items():
        await store.client.call("HSET", store.keys.job("running"), field, value)
    before = await everything(store)
    report = await check_integrity(store, repair=True)
    assert damage_of(report) == [("unreadable", "running", "left")]
    assert await everything(store) == before
    assert "jobs get running" in report.reported[0][0].fix


async def test_a_record_without_its_half_or_of_another_job_is_reported(store: Store) -> None:
    await fill(store)
    await store.client.call("HDEL", store.keys.job("running"), "rec")
    await store.client.call("HDEL", store.keys.job("submitted"), "rev")
    rec = await store.client.call("HGET", store.keys.job("dead"), "rec")
    await store.client.call("HSET", store.keys.job("queued"), "rec", rec)
    report = await check_integrity(store, repair=True)
    assert damage_of(report) == [
        ("unreadable", name, "left") for name in ("queued", "running", "submitted")
    ]


async def test_a_key_of_another_type_is_reported_and_left_alone(store: Store) -> None:
    await fill(store)
    tag = store.keys.index(Index.TAG, "red")
    await store.client.call("DEL", tag, store.keys.job("dead"))
    await store.client.call("SET", tag, "mine")
    await store.client.call("SET", store.keys.job("dead"), "mine")
    report = await check_integrity(store, repair=True)
    assert damage_of(report) == [("unreadable", "dead", "left"), ("wrong_type", "", "left")]
    assert await store.client.call("GET", tag) == b"mine"


async def test_a_register_of_another_type_stops_no_integrity_check(store: Store) -> None:
    job = (await fill(store))["queued"]
    await store.client.call("DEL", store.keys.lanes)
    await store.client.call("SET", store.keys.lanes, "mine")
    await remove(store, store.keys.lane(job.lane), job.id)
    assert damage_of(await check_integrity(store, repair=True)) == [("lost", "queued", "repaired")]


async def test_everything_at_once_is_repaired_in_one_go(store: Store) -> None:
    """Every index is gone and every place has a stranger: the records are enough."""
    jobs = await fill(store)
    await store.client.call("DEL", *(await indexes(store)), store.keys.lanes, store.keys.groups)
    number = count()
    for job in jobs.values():
        for kind, name, _ in MISPLACED_ENTRIES:
            if next(number) % 3 == 0:
                await store.client.call("ZADD", store.keys.index(kind, name), 1, job.id)
    report = await check_integrity(store, repair=True)
    assert report.is_clean
    assert report.outcomes[RepairOutcome.REPAIRED] > len(jobs)
    assert damage_of(await check_integrity(store)) == []
    assert await indexes_match_records(store)
    found = {name: job for name, (_, job) in (await records(store)).items()}
    waiting = {
        n for n, j in jobs.items() if j.state in (State.QUEUED, State.SCHEDULED, State.RETRYING)
    }
    assert {name: job for name, job in found.items() if name not in waiting} == {
        name: job for name, job in jobs.items() if name not in waiting
    }
    for name in waiting:
        assert found[name] == jobs[name] or found[name].state is State.PARKED


async def test_an_older_record_is_not_submitted_after_a_repair(store: Store) -> None:
    """Somebody restored a record from before its run: in its lane it would be paid for twice."""
    job = job_builders.a_job()
    stored = await store.jobs.create(job, b"{}")
    assert stored is not None
    older = await store.client.call("DUMP", store.keys.job(job.id))
    submitted = msgspec.structs.replace(job_builders.running(), id=job.id)
    assert isinstance(await store.jobs.commit(stored, submitted), VersionedJob)
    await store.client.call("RESTORE", store.keys.job(job.id), 0, older, "REPLACE")
    await check_integrity(store, repair=True)
    found = await store.jobs.load(job.id)
    assert found is not None
    assert found.job.state is State.PARKED
    assert await indexes_match_records(store)


async def test_every_repair_is_on_record(store: Store) -> None:
    await fill(store)
    await remove(store, store.keys.index(Index.LANE, LANE), "queued")
    await add(store, store.keys.index(Index.DUE), "nobody")
    await check_integrity(store, repair=True, note="after the restore")
    acts = await latest_audit_entries(store, 10)
    assert {(act["on"], act["act"], act["by"], act["jobs"]) for act in acts} == {
        ("queued", "doctor.repair", "ann", "1"),
        ("nobody", "doctor.repair", "ann", "1"),
    }
    assert all("(after the restore)" in act["note"] for act in acts)


async def test_a_check_without_repair_writes_nothing(store: Store) -> None:
    await fill(store)
    await remove(store, store.keys.index(Index.LANE, LANE), "queued")
    await add(store, store.keys.index(Index.DUE), "dead")
    before = await everything(store)
    assert not (await check_integrity(store)).is_clean
    assert await everything(store) == before
