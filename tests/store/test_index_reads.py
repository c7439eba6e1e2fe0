"""The indexes that the services read: leases, due times, lanes. A removed job is skipped."""

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from jobs import transitions
from jobs.effects import PollHistory
from jobs.indexes import Index
from jobs.job import Job
from jobs.known_runs import lost_ids
from jobs.lanes import JobId, Lane, queue_score
from jobs.outcomes import Accepted
from jobs.states import Kind, State
from jobs.unreadable import unreadable_job
from tests.store.redis_contents import expected_indexes, indexes
from tests.store.test_poll_claims import claim, next_poll, put, running
from tests.unit.core import job_builders
from tests.unit.core.job_builders import NOW, changed
from worker.engine.unreadable_records import dead_letter_unreadable, load_job, load_jobs
from worker.engine.write_back import write_back
from worker.store import Store
from worker.store.commit import RestoreResult, VersionedJob, version_of
from worker.store.jobs import UnreadableRecord
from worker.store.polls import ClaimedPoll
from worker.store.read.filter import Filter
from worker.store.side_writes import SideWrites

# Due times and leases.


def retrying(job_id: str, due_at: float) -> Job:
    return changed(job_builders.retrying(id=JobId(job_id)), due_at=due_at)


async def test_what_is_due_is_returned_with_the_next_due_time(store: Store) -> None:
    for job_id, at in (("a", NOW - 5), ("b", NOW), ("c", NOW + 7), ("d", NOW + 9)):
        await put(store, retrying(job_id, at))
    assert await store.jobs.due_jobs(NOW, 10) == (["a", "b"], NOW + 7)
    assert await store.jobs.due_jobs(NOW, 2) == (["a", "b"], NOW + 7)
    assert await store.jobs.due_jobs(NOW, 1) == (["a"], None), "there is more already"
    assert await store.jobs.due_jobs(NOW - 6, 10) == ([], NOW - 5)
    assert await store.jobs.due_jobs(NOW + 99, 10) == (["a", "b", "c", "d"], None)


async def test_nothing_is_due_in_an_empty_store(store: Store) -> None:
    assert await store.jobs.due_jobs(NOW, 10) == ([], None)
    assert await store.jobs.expired_leases(NOW, 10) == []


async def test_a_lease_is_extended_only_while_there_is_one(store: Store) -> None:
    await put(store, job_builders.submitted(id=JobId("mine")))
    await put(store, job_builders.sync_run(id=JobId("lost")))
    left = await put(store, job_builders.submitted(id=JobId("left")))
    await store.jobs.commit(left, transitions.cancel(left.job, NOW))
    await store.jobs.extend_leases(["mine", "left", "nobody"], NOW + 60)
    await store.jobs.extend_leases([], NOW + 60)
    assert await store.jobs.expired_leases(NOW + 30, 10) == ["lost"]
    assert await store.jobs.expired_leases(NOW + 60, 10) == ["lost", "mine"]
    assert await store.jobs.expired_leases(NOW + 60, 1) == ["lost"]
    assert await store.jobs.expired_leases(NOW + 29, 10) == []


async def test_the_oldest_of_a_state_are_returned_oldest_first(store: Store) -> None:
    for job_id, at in (("b", NOW - 5), ("a", NOW - 9), ("c", NOW + 1)):
        await put(store, changed(job_builders.succeeded(id=JobId(job_id)), since=at))
    await put(store, job_builders.dead(id=JobId("dead")))
    assert await store.jobs.older_than(State.SUCCEEDED, NOW, 10) == ["a", "b"]
    assert await store.jobs.older_than(State.SUCCEEDED, NOW, 1) == ["a"]
    assert await store.jobs.members(Index.STATE, State.SUCCEEDED, 2) == ["a", "b"]


# Lanes.

SUNO, KLING = (Lane("default", Kind.MODEL, target) for target in ("suno", "kling"))


async def test_a_lane_is_registered_with_its_first_job_and_heads_come_in_queue_order(
    store: Store,
) -> None:
    for job_id, priority, at in (("a", 0, NOW), ("b", 0, NOW - 5), ("c", 9, NOW + 5)):
        await put(store, job_builders.queued(id=JobId(job_id), priority=priority, queued_at=at))
    await put(store, job_builders.queued(id=JobId("p"), bypass_hold=True))
    queues = await store.lanes.snapshot()
    assert (queues.lanes, queues.bypass_count, queues.submitting_count) == ((SUNO,), 1, 0)
    assert await store.lanes.heads([SUNO, KLING], [2, 2]) == [
        [("c", queue_score(9, NOW + 5)), ("b", queue_score(0, NOW - 5))],
        [],
    ]
    assert await store.lanes.bypass_jobs(0, 5) == ["p"]
    assert await store.lanes.position(SUNO, "a") == 2
    assert await store.lanes.position(SUNO, "p") is None


async def test_lanes_take_turns(store: Store) -> None:
    await put(store, job_builders.queued(id=JobId("a")))
    await put(
        store, changed(job_builders.queued(id=JobId("b"), target="kling"), updated_at=NOW + 1)
    )
    assert (await store.lanes.snapshot()).lanes == (SUNO, KLING)
    await store.lanes.record_turns({SUNO: NOW + 2})
    assert (await store.lanes.snapshot()).lanes == (KLING, SUNO)
    await store.lanes.record_turns({Lane("default", Kind.MODEL, "retired"): NOW + 3})
    await store.lanes.record_turns({})
    assert (await store.lanes.snapshot()).lanes == (KLING, SUNO), "a turn registers no lane"


async def test_only_an_empty_lane_is_retired_and_it_comes_back(store: Store) -> None:
    stored = await put(store, job_builders.queued())
    assert not await store.lanes.retire(SUNO)
    assert (await store.lanes.snapshot()).lanes == (SUNO,)
    written = await store.jobs.commit(stored, transitions.park_manual(stored.job, NOW, by="ann"))
    assert isinstance(written, VersionedJob)
    assert await store.lanes.retire(SUNO)
    assert (await store.lanes.snapshot()).lanes == ()
    await store.jobs.commit(written, transitions.release(written.job, NOW, by="ann"))
    assert (await store.lanes.snapshot()).lanes == (SUNO,)


# Unreadable records.

BROKEN = [b"", b"not json", b"{}", b'{"id": "j"', b"\xff\xfe", b"[" * 100_000, b"null"]


@pytest.mark.parametrize("record", BROKEN, ids=lambda record: repr(record[:8]))
async def test_an_unreadable_record_is_logged_and_becomes_a_dead_letter(
    store: Store, record: bytes
) -> None:
    good = await put(store, running("good", NOW))
    await put(store, running("bad", NOW))
    await store.client.call("HSET", store.keys.job("bad"), "rec", record)
    with capture_logs() as logs:
        dead, same = await load_jobs(store.jobs, ["bad", "good"], NOW)
    assert same == good
    assert dead is not None
    assert dead.job.reason is not None
    assert (dead.job.state, dead.job.reason.code) == (State.DEAD, "UNREADABLE_RECORD")
    assert ("record.unreadable", "bad") in [(entry["event"], entry["job_id"]) for entry in logs]
    assert "not json" not in str(logs)
    assert await store.client.call("HGET", store.keys.job("bad"), "unreadable") == record
    with capture_logs() as logs:
        assert await store.jobs.load("bad") == dead
    assert logs == [], "once is enough"


async def test_an_unreadable_record_stops_nobody_else(store: Store) -> None:
    await put(store, running("good", NOW))
    await put(store, running("bad", NOW))
    await put(store, job_builders.queued(id=JobId("line")))
    for job_id in ("bad", "line"):
        await store.client.call("HSET", store.keys.job(job_id), "rec", b"{}")
    with capture_logs():
        found = await store.polls.claim(NOW, NOW + 10, 9)
        assert [polled.stored.job.id for polled in found.polls] == ["good"]
        await dead_letter_unreadable(store.jobs, found.unreadable, NOW)
        assert await next_poll(store) == NOW + 10, "it is polled no more"
        page = await store.read.queries.page(Filter(state=State.RUNNING), 5)
        assert [job.id for job in page.jobs] == ["good"]
        await store.read.queries.lane_counts()
    assert await claim(store, NOW + 10, NOW + 20) == ["good"]


async def test_a_revision_that_is_no_text_is_an_unreadable_record_too(store: Store) -> None:
    await put(store, running("bad", NOW))
    await store.client.call("HSET", store.keys.job("bad"), "rev", b"\xff")
    dead = await load_job(store.jobs, "bad", NOW)
    assert dead is not None
    assert dead.job.state is State.DEAD


async def test_a_read_returns_an_unreadable_record_and_writes_nothing(store: Store) -> None:
    stored = await put(store, running("bad", NOW))
    await store.client.call("HSET", store.keys.job("bad"), "rec", b"not json")
    before = await indexes(store)
    record = UnreadableRecord("bad", stored.rev.encode(), b"not json", "DecodeError")
    assert await store.jobs.read_many(["bad", "nobody"]) == [record, None]
    assert "not json" not in repr(record)
    assert await store.jobs.read_with_inputs(["bad"]) == [(record, b"{}")]
    assert await store.jobs.load("bad") is None
    page = await store.read.queries.page(Filter(state=State.DEAD), 5)
    assert (page.jobs, page.unreadable) == ((), ()), "it is in the index of its last state"
    page = await store.read.queries.page(Filter(), 5)
    assert [(job.state, job.id) for job in page.jobs] == [(State.DEAD, "bad")]
    assert page.unreadable == (record,)
    assert (await store.polls.claim(NOW, NOW + 10, 5)).unreadable == [record]
    assert await store.client.call("HGET", store.keys.job("bad"), "rec") == b"not json"
    assert (await indexes(store)).keys() == before.keys()


async def test_an_unreadable_record_that_was_mended_meanwhile_is_not_replaced(
    store: Store,
) -> None:
    stored = await put(store, running("bad", NOW))
    record = UnreadableRecord("bad", b"0.old", b"{}", "ValidationError")
    assert await store.jobs.replace_unreadable(record, unreadable_job("bad", "x", NOW)) is None
    assert await store.jobs.load("bad") == stored


@pytest.mark.parametrize("content", [b"", b"x", b"1:2", b"1:2:3:x", b"1:2:3:4:x", b"\xff"])
async def test_unreadable_poll_history_starts_anew(store: Store, content: bytes) -> None:
    stored = await put(store, running("j", NOW))
    await store.client.call("HSET", store.keys.polls, "j", content)
    due = (await store.polls.claim(NOW, NOW + 10, 5)).polls
    assert due == [ClaimedPoll(stored, PollHistory())]


async def test_an_id_without_a_record_is_removed_and_blocks_nobody(store: Store) -> None:
    await store.client.call("ZADD", store.keys.lane(SUNO), 1, "ghost")
    await store.client.call("ZADD", store.keys.index(Index.BYPASS), 1, "spirit")
    with capture_logs() as logs:
        await store.jobs.remove_entry_without_record(Index.LANE, str(SUNO), "ghost")
        await store.jobs.remove_entry_without_record(Index.BYPASS, "", "spirit")
        await store.jobs.remove_entry_without_record(Index.BYPASS, "", "nobody")
    assert await store.lanes.heads([SUNO], [5]) == [[]]
    assert await store.lanes.bypass_jobs(0, 5) == []
    assert [entry["event"] for entry in logs] == ["index.without_record"] * 2


async def test_an_id_whose_record_came_meanwhile_is_not_removed(store: Store) -> None:
    await put(store, job_builders.queued())
    await store.jobs.remove_entry_without_record(Index.LANE, str(SUNO), "j1")
    assert [job_id for job_id, _ in (await store.lanes.heads([SUNO], [5]))[0]] == ["j1"]


async def test_a_job_is_removed_from_an_index_unless_it_changed_since(store: Store) -> None:
    stored = await put(store, job_builders.queued())
    await store.client.call("ZADD", store.keys.index(Index.DUE), 1, "j1")
    stale = VersionedJob(stored.job, "9.beef")
    with capture_logs():
        assert not await store.jobs.remove_stale_entry(stale, Index.DUE)
        assert await store.jobs.due_jobs(NOW, 5) == (["j1"], None)
        assert await store.jobs.remove_stale_entry(stored, Index.DUE)
        assert not await store.jobs.remove_stale_entry(stored, Index.DUE)
    assert await store.jobs.due_jobs(NOW, 5) == ([], None)


async def test_a_version_that_redis_lost_is_written_again_over_the_older_one(store: Store) -> None:
    lost = VersionedJob(running("j", NOW), "7.beef")
    older = await put(store, job_builders.queued(id=JobId("j")))
    assert await store.jobs.restore(older, lost) is RestoreResult.RESTORED
    found = await store.jobs.load("j")
    assert found is not None
    assert (found.job, version_of(found.rev)) == (lost.job, 8)
    assert await indexes(store) == expected_indexes(store, [lost.job])
    for stale in (older, None):
        assert await store.jobs.restore(stale, lost) is RestoreResult.SUPERSEDED, (
            "others were faster"
        )
    gone = VersionedJob(running("gone", NOW), "3.beef")
    assert await store.jobs.restore(None, gone) is RestoreResult.RESTORED
    assert (await store.jobs.load_many(["gone"]))[0] is not None


OTHER_IDS = [
    pytest.param(lambda: other_run("ex-2", "req-2"), id="another execution"),
    pytest.param(lambda: other_run("ex-1", "req-2"), id="another request"),
    pytest.param(lambda: failed_run("ex-2"), id="another execution, which failed"),
    pytest.param(lambda: lost_other_run("ex-2"), id="another execution that polls do not find"),
]


def other_run(execution_id: str, request_id: str) -> Job:
    accepted = Accepted(execution_id, request_id)
    return transitions.accept(job_builders.submitted(), NOW, accepted, next_poll_at=NOW + 1)


def failed_run(execution_id: str) -> Job:
    run = other_run(execution_id, "req-2")
    return transitions.retry(run, NOW, job_builders.FAILED, due_at=NOW + 2)


def lost_other_run(execution_id: str) -> Job:
    return transitions.park_uncertain(other_run(execution_id, "req-2"), NOW, why="not found")


@pytest.mark.parametrize("build", OTHER_IDS)
@pytest.mark.parametrize("ours", [job_builders.running, job_builders.submitted])
async def test_a_record_with_the_id_of_another_run_is_never_written_over(
    store: Store, build: Callable[[], Job], ours: Callable[..., Job]
) -> None:
    """Another worker submitted the job after Redis lost our submit: its run stays findable."""
    found = await put(store, build())
    lost = VersionedJob(ours(), "9.beef")
    assert await store.jobs.restore(found, lost) is RestoreResult.OTHER_RUN
    assert await store.jobs.load("j1") == found
    with capture_logs() as logs:
        for _ in range(2):
            present = await store.jobs.load("j1")
            assert await write_back(store.jobs, present, lost, SideWrites(), NOW + 1)
    after = await store.jobs.load("j1")
    assert after is not None
    assert lost_ids(found.job, after.job) == ()
    notes = [event.note for event in after.job.events if event.name == "other_run"]
    unknown = lost_ids(lost.job, found.job)
    assert notes == ([f"{', '.join(unknown)} (of a submit that Redis lost)"] if unknown else [])
    assert [entry["other_ids"] for entry in logs] == ([list(unknown)] if unknown else [])


async def test_a_newer_version_of_the_same_run_is_written_back(store: Store) -> None:
    found = await put(store, job_builders.running())
    newer = VersionedJob(
        transitions.retry(found.job, NOW, job_builders.FAILED, due_at=NOW + 2), "9.beef"
    )
    assert newer.job.execution_id is None
    assert await write_back(store.jobs, found, newer, SideWrites(), NOW)
    after = await store.jobs.load("j1")
    assert after is not None
    assert after.job == newer.job


async def test_a_lost_race_of_a_write_back_is_reported_to_read_again(store: Store) -> None:
    found = await put(store, job_builders.queued())
    await store.jobs.commit(found, transitions.park_manual(found.job, NOW, by="ann"))
    lost = VersionedJob(job_builders.running(), "9.beef")
    assert not await write_back(store.jobs, found, lost, SideWrites(), NOW)
    stale = VersionedJob(other_run("ex-2", "req-2"), "1.dead")
    assert not await write_back(store.jobs, stale, lost, SideWrites(), NOW), "the note as well"


async def test_a_lane_name_that_is_none_is_skipped(store: Store) -> None:
    await put(store, job_builders.queued())
    await store.client.call("ZADD", store.keys.lanes, 0, "no lane")
    assert (await store.lanes.snapshot()).lanes == (SUNO,)


async def test_an_unreadable_record_hides_no_group(store: Store) -> None:
    for job_id, since in (("bad", NOW - 9), ("good", NOW)):
        await put(store, changed(job_builders.held(id=JobId(job_id)), since=since))
    await store.client.call("HSET", store.keys.job("bad"), "rec", b"{}")
    ((group,), _) = await store.read.queries.groups(State.PARKED)
    assert (group.count, group.since, group.sample.id) == (2, NOW - 9, "good")
