"""What the services watch: polls, leases, due times, lanes. A job that left is left alone."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from jobs import moves
from jobs.decide import Looks
from jobs.lanes import JobId, Lane, place_in_line
from jobs.places import Index
from jobs.records import Job
from jobs.states import Kind, State
from tests.store.contents import expected, indexes, keys_of, looks, sorted_set
from tests.unit.core import make
from tests.unit.core.make import FINISHED, NOW, changed
from worker.store import Store
from worker.store.changes import Stored, age_of
from worker.store.client import Client, Command
from worker.store.jobs import Due, JobStore, NextLook
from worker.store.queries import Filter
from worker.store.scripts import Scripts


async def put(store: Store, job: Job) -> Stored:
    stored = await store.jobs.create(job, b"{}")
    assert stored is not None
    return stored


def running(job_id: str, next_poll_at: float) -> Job:
    return changed(make.running(id=JobId(job_id)), next_poll_at=next_poll_at)


async def claim(store: Store, now: float, until: float, limit: int = 9) -> list[str]:
    due, _ = await store.jobs.claim_polls(now, until, limit)
    return [found.stored.job.id for found in due]


async def next_poll(store: Store) -> float | None:
    """When the next poll is due: a claim says so, even if it takes nothing."""
    due, at = await store.jobs.claim_polls(0.0, 0.0, 1)
    assert due == []
    return at


class Reads(Client):
    """Notes which jobs are read."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.client.redis)
        self.read: list[object] = []

    async def try_many(self, commands: Sequence[Command]) -> list[Any]:
        self.read += [command[1] for command in commands]
        return await super().try_many(commands)


# Polls.


async def test_the_longest_due_are_claimed_first_and_nobody_claims_them_again(
    store: Store,
) -> None:
    for job_id, at in (("late", NOW - 9), ("later", NOW - 1), ("now", NOW), ("soon", NOW + 1)):
        await put(store, running(job_id, at))
    assert await claim(store, NOW, NOW + 10, 2) == ["late", "later"]
    assert await next_poll(store) == NOW, "who can take no more is told of what is left"
    assert await claim(store, NOW, NOW + 10) == ["now"]
    assert await claim(store, NOW, NOW + 10) == []
    assert await next_poll(store) == NOW + 1


async def test_a_claim_comes_due_again_when_its_lease_ends(store: Store) -> None:
    await put(store, running("j", NOW))
    await store.jobs.claim_polls(NOW, NOW + 10, 9)
    assert await claim(store, NOW + 9.999, NOW + 20) == []
    assert await claim(store, NOW + 10, NOW + 20) == ["j"]


async def test_two_pollers_share_what_is_due(store: Store) -> None:
    for n in range(20):
        await put(store, running(f"j{n:02}", NOW))
    claims = await asyncio.gather(*(claim(store, NOW, NOW + 10, 5) for _ in range(4)))
    claimed = [job_id for found in claims for job_id in found]
    assert sorted(claimed) == [f"j{n:02}" for n in range(20)]


async def test_nothing_in_flight_has_no_next_poll(store: Store) -> None:
    assert await store.jobs.claim_polls(NOW, NOW + 10, 5) == ([], None)


async def test_more_are_due_than_one_call_of_a_script_can_name(store: Store) -> None:
    """A worker may poll as many at once as it likes: it claims them in several calls."""
    many = [part for n in range(4_500) for part in (NOW, f"j{n}")]
    await store.client.call("ZADD", store.keys.index(Index.INFLIGHT), *many)
    keys = (store.keys.index(Index.INFLIGHT), store.keys.looks)
    taken: list[str] = []
    while True:
        found, at = await Scripts(store.client).poll(keys, NOW, NOW + 10, 1_000_000)
        if not found:
            break
        taken += [job_id for job_id, _, _ in found]
    assert at == NOW + 10
    assert len(taken) == len(set(taken)) == 4_500


async def test_a_look_is_remembered_with_the_next_poll(store: Store) -> None:
    stored = await put(store, running("j", NOW))
    seen = Looks(polls=3, troubles=2, missing=1, running_at=NOW - 0.5)
    assert await store.jobs.reschedule([NextLook(stored.job, NOW + 5, seen)]) == 1
    assert await store.jobs.claim_polls(NOW + 4, NOW + 9, 5) == ([], NOW + 5)
    due = await store.jobs.claim_polls(NOW + 5, NOW + 15, 5)
    assert due == ([Due(stored, seen)], NOW + 15)
    assert await store.jobs.looks(stored.job) == seen


async def test_who_touched_a_job_since_the_claim_has_the_last_word(store: Store) -> None:
    """A person cancelled it, another worker claimed it, or a delivery asked for a poll at once."""
    lease, at, seen = NOW + 10, NOW + 60, Looks(1)
    cancelled, claimed, hurried, left, same = [
        await put(store, running(name, NOW)) for name in ("a", "b", "c", "d", "e")
    ]
    await store.jobs.claim_polls(NOW, lease, 9)
    await store.jobs.commit(cancelled, moves.ask_cancel(cancelled.job, NOW + 1, by="ann"))
    await store.jobs.reschedule([NextLook(claimed.job, NOW + 7, Looks(2), lease)])
    await store.jobs.poll_now(["c"], NOW + 2)
    await store.jobs.commit(left, moves.succeed(left.job, NOW, FINISHED))
    looked = [
        NextLook(stored.job, at, seen, lease)
        for stored in (cancelled, claimed, hurried, left, same)
    ]
    assert await store.jobs.reschedule(looked) == 1
    inflight = {"a": NOW + 1, "b": NOW + 7, "c": NOW + 2, "e": at}
    assert await sorted_set(store, store.keys.index(Index.INFLIGHT)) == inflight
    assert await looks(store) == {"b", "e"}
    assert await store.jobs.looks(claimed.job) == Looks(2)


async def test_a_look_without_a_claim_is_set_whoever_touched_the_job(store: Store) -> None:
    stored = await put(store, running("j", NOW))
    await store.jobs.claim_polls(NOW, NOW + 10, 5)
    assert await store.jobs.reschedule([NextLook(stored.job, NOW + 60, Looks(1))]) == 1
    assert await next_poll(store) == NOW + 60


async def test_what_is_known_of_a_job_is_used_only_while_its_time_is_still_the_same(
    store: Store,
) -> None:
    """Who changes a running job sets its next poll, so the time tells whether it was touched."""
    untouched, touched = [await put(store, running(name, NOW)) for name in ("a", "b")]
    known = {str(stored.job.id): (NOW + 5, stored) for stored in (untouched, touched)}
    await store.jobs.reschedule([NextLook(s.job, NOW + 5, Looks(1)) for s in (untouched, touched)])
    asked = moves.ask_cancel(touched.job, NOW + 1, by="ann")
    newer = await store.jobs.commit(touched, asked)
    assert isinstance(newer, Stored)
    reads = Reads(store)
    jobs = JobStore(reads, store.keys, Scripts(reads))
    due, _ = await jobs.claim_polls(NOW + 5, NOW + 15, 5, known)
    assert due == [Due(newer, Looks(1)), Due(untouched, Looks(1))]
    assert due[1].stored is untouched
    assert reads.read == [store.keys.job("b")], "what is known is not read again"


async def test_nothing_known_is_used_of_a_job_that_is_gone(store: Store) -> None:
    gone = await put(store, running("j", NOW))
    assert await store.jobs.delete(gone)
    assert await store.jobs.claim_polls(NOW, NOW + 9, 5, {"j": (NOW, gone)}) == ([], None)


@pytest.mark.parametrize("deed", ["succeed", "delete", "bury"])
async def test_looks_go_with_the_place_in_flight(store: Store, deed: str) -> None:
    stored, other = [await put(store, running(name, NOW)) for name in ("j", "other")]
    await store.jobs.reschedule([NextLook(s.job, NOW + 5, Looks(4)) for s in (stored, other)])
    assert await looks(store) == {"j", "other"}
    match deed:
        case "succeed":
            await store.jobs.commit(stored, moves.succeed(stored.job, NOW, FINISHED))
        case "delete":
            assert await store.jobs.delete(stored)
        case _:
            await store.client.call("HSET", store.keys.job("j"), "rec", b"{}")
            with capture_logs():
                await store.jobs.load("j")
    assert await looks(store) == {"other"}
    assert set(await sorted_set(store, store.keys.index(Index.INFLIGHT))) == {"other"}


async def test_looks_stay_while_a_run_is_cancelled_or_overdue(store: Store) -> None:
    stored = await put(store, running("j", NOW))
    await store.jobs.reschedule([NextLook(stored.job, NOW + 5, Looks(4))])
    asked = moves.ask_cancel(stored.job, NOW, by="ann")
    assert isinstance(await store.jobs.commit(stored, asked), Stored)
    assert await store.jobs.looks(asked) == Looks(4)


async def test_looks_of_an_earlier_attempt_do_not_count(store: Store) -> None:
    stored = await put(store, running("j", NOW))
    await store.jobs.reschedule([NextLook(stored.job, NOW, Looks(9, 9, 9))])
    assert await store.jobs.looks(changed(stored.job, submits=2)) == Looks()


async def test_a_job_that_left_is_left_alone(store: Store) -> None:
    gone, done, there = [await put(store, running(name, NOW)) for name in ("gone", "done", "x")]
    await store.jobs.delete(gone)
    await store.jobs.commit(done, moves.succeed(done.job, NOW, FINISHED))
    looked = [NextLook(stored.job, NOW + 5, Looks(1)) for stored in (gone, done, there)]
    assert await store.jobs.reschedule(looked) == 1
    assert await sorted_set(store, store.keys.index(Index.INFLIGHT)) == {"x": NOW + 5}
    assert store.keys.job("gone") not in await keys_of(store)
    assert await looks(store) == {"x"}
    assert await store.jobs.looks(done.job) == Looks()
    assert await store.jobs.looks(there.job) == Looks(1)


async def test_a_commit_that_does_not_speak_of_the_next_poll_leaves_it_alone(store: Store) -> None:
    stored = await put(store, changed(make.cancelling(id=JobId("j")), next_poll_at=NOW))
    await store.jobs.claim_polls(NOW, NOW + 10, 5)
    written = await store.jobs.commit(stored, moves.note_cancel_sent(stored.job, NOW))
    assert isinstance(written, Stored)
    assert await next_poll(store) == NOW + 10


# Due times and leases.


def retrying(job_id: str, due_at: float) -> Job:
    return changed(make.retrying(id=JobId(job_id)), due_at=due_at)


async def test_what_is_due_is_told_with_the_next_that_will_be(store: Store) -> None:
    for job_id, at in (("a", NOW - 5), ("b", NOW), ("c", NOW + 7), ("d", NOW + 9)):
        await put(store, retrying(job_id, at))
    assert await store.jobs.due(NOW, 10) == (["a", "b"], NOW + 7)
    assert await store.jobs.due(NOW, 2) == (["a", "b"], NOW + 7)
    assert await store.jobs.due(NOW, 1) == (["a"], None), "there is more already"
    assert await store.jobs.due(NOW - 6, 10) == ([], NOW - 5)
    assert await store.jobs.due(NOW + 99, 10) == (["a", "b", "c", "d"], None)


async def test_nothing_is_due_in_an_empty_store(store: Store) -> None:
    assert await store.jobs.due(NOW, 10) == ([], None)
    assert await store.jobs.expired_leases(NOW, 10) == []


async def test_a_lease_is_extended_only_while_there_is_one(store: Store) -> None:
    await put(store, make.sent(id=JobId("mine")))
    await put(store, make.sync_run(id=JobId("lost")))
    left = await put(store, make.sent(id=JobId("left")))
    await store.jobs.commit(left, moves.cancel(left.job, NOW))
    await store.jobs.extend_leases(["mine", "left", "nobody"], NOW + 60)
    await store.jobs.extend_leases([], NOW + 60)
    assert await store.jobs.expired_leases(NOW + 30, 10) == ["lost"]
    assert await store.jobs.expired_leases(NOW + 60, 10) == ["lost", "mine"]
    assert await store.jobs.expired_leases(NOW + 60, 1) == ["lost"]
    assert await store.jobs.expired_leases(NOW + 29, 10) == []


async def test_the_oldest_of_a_state_are_told_oldest_first(store: Store) -> None:
    for job_id, at in (("b", NOW - 5), ("a", NOW - 9), ("c", NOW + 1)):
        await put(store, changed(make.succeeded(id=JobId(job_id)), since=at))
    await put(store, make.dead(id=JobId("dead")))
    assert await store.jobs.older_than(State.SUCCEEDED, NOW, 10) == ["a", "b"]
    assert await store.jobs.older_than(State.SUCCEEDED, NOW, 1) == ["a"]
    assert await store.jobs.members(Index.STATE, State.SUCCEEDED, 2) == ["a", "b"]


# Lanes.

SUNO, KLING = (Lane("default", Kind.MODEL, target) for target in ("suno", "kling"))


async def test_a_lane_is_registered_with_its_first_job_and_heads_come_in_line(
    store: Store,
) -> None:
    for job_id, priority, at in (("a", 0, NOW), ("b", 0, NOW - 5), ("c", 9, NOW + 5)):
        await put(store, make.queued(id=JobId(job_id), priority=priority, queued_at=at))
    await put(store, make.queued(id=JobId("p"), free_pass=True))
    queues = await store.lanes.queues()
    assert (queues.lanes, queues.passes, queues.submitting) == ((SUNO,), 1, 0)
    assert await store.lanes.heads([SUNO, KLING], 2) == [
        [("c", place_in_line(9, NOW + 5)), ("b", place_in_line(0, NOW - 5))],
        [],
    ]
    assert await store.lanes.passes(5) == ["p"]
    assert await store.lanes.position(SUNO, "a") == 2
    assert await store.lanes.position(SUNO, "p") is None


async def test_lanes_take_turns(store: Store) -> None:
    await put(store, make.queued(id=JobId("a")))
    await put(store, changed(make.queued(id=JobId("b"), target="kling"), updated_at=NOW + 1))
    assert (await store.lanes.queues()).lanes == (SUNO, KLING)
    await store.lanes.took_turns({SUNO: NOW + 2})
    assert (await store.lanes.queues()).lanes == (KLING, SUNO)
    await store.lanes.took_turns({Lane("default", Kind.MODEL, "retired"): NOW + 3})
    await store.lanes.took_turns({})
    assert (await store.lanes.queues()).lanes == (KLING, SUNO), "a turn registers nobody"


async def test_only_an_empty_lane_is_retired_and_it_comes_back(store: Store) -> None:
    stored = await put(store, make.queued())
    assert not await store.lanes.retire(SUNO)
    assert (await store.lanes.queues()).lanes == (SUNO,)
    written = await store.jobs.commit(stored, moves.park(stored.job, NOW, by="ann"))
    assert isinstance(written, Stored)
    assert await store.lanes.retire(SUNO)
    assert (await store.lanes.queues()).lanes == ()
    await store.jobs.commit(written, moves.release(written.job, NOW, by="ann"))
    assert (await store.lanes.queues()).lanes == (SUNO,)


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
        dead, same = await store.jobs.load_many(["bad", "good"])
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
    await put(store, make.queued(id=JobId("line")))
    for job_id in ("bad", "line"):
        await store.client.call("HSET", store.keys.job(job_id), "rec", b"{}")
    with capture_logs():
        assert "good" in await claim(store, NOW, NOW + 10)
        assert await next_poll(store) == NOW + 10, "it is looked at no more"
        page = await store.queries.page(Filter(state=State.RUNNING), 5)
        assert [job.id for job in page.jobs] == ["good"]
        await store.queries.lane_counts()
    assert await claim(store, NOW + 10, NOW + 20) == ["good"]


async def test_a_revision_that_is_no_text_is_an_unreadable_record_too(store: Store) -> None:
    await put(store, running("bad", NOW))
    await store.client.call("HSET", store.keys.job("bad"), "rev", b"\xff")
    buried = await store.jobs.load("bad")
    assert buried is not None
    assert buried.job.state is State.DEAD


@pytest.mark.parametrize("seen", [b"", b"x", b"1:2", b"1:2:3:x", b"1:2:3:4:x", b"\xff"])
async def test_unreadable_looks_start_anew(store: Store, seen: bytes) -> None:
    stored = await put(store, running("j", NOW))
    await store.client.call("HSET", store.keys.looks, "j", seen)
    due, _ = await store.jobs.claim_polls(NOW, NOW + 10, 5)
    assert due == [Due(stored, Looks())]


async def test_an_id_without_a_record_is_struck_and_blocks_nobody(store: Store) -> None:
    await store.client.call("ZADD", store.keys.lane(SUNO), 1, "ghost")
    await store.client.call("ZADD", store.keys.index(Index.PASS), 1, "spirit")
    with capture_logs() as logs:
        await store.jobs.strike_missing(Index.LANE, str(SUNO), "ghost")
        await store.jobs.strike_missing(Index.PASS, "", "spirit")
        await store.jobs.strike_missing(Index.PASS, "", "nobody")
    assert await store.lanes.heads([SUNO], 5) == [[]]
    assert await store.lanes.passes(5) == []
    assert [entry["event"] for entry in logs] == ["place.without_record"] * 2


async def test_an_id_whose_record_came_meanwhile_is_not_struck(store: Store) -> None:
    await put(store, make.queued())
    await store.jobs.strike_missing(Index.LANE, str(SUNO), "j1")
    assert [job_id for job_id, _ in (await store.lanes.heads([SUNO], 5))[0]] == ["j1"]


async def test_a_job_is_struck_from_a_place_unless_it_moved_since(store: Store) -> None:
    stored = await put(store, make.queued())
    await store.client.call("ZADD", store.keys.index(Index.DUE), 1, "j1")
    stale = Stored(stored.job, "9.beef")
    with capture_logs():
        assert not await store.jobs.strike(stale, Index.DUE)
        assert await store.jobs.due(NOW, 5) == (["j1"], None)
        assert await store.jobs.strike(stored, Index.DUE)
        assert not await store.jobs.strike(stored, Index.DUE)
    assert await store.jobs.due(NOW, 5) == ([], None)


async def test_a_version_that_redis_lost_is_written_again_over_the_older_one(store: Store) -> None:
    lost = Stored(running("j", NOW), "7.beef")
    standing = await put(store, make.queued(id=JobId("j")))
    assert await store.jobs.restore(standing, lost)
    found = await store.jobs.load("j")
    assert found is not None
    assert (found.job, age_of(found.rev)) == (lost.job, 8)
    assert await indexes(store) == expected(store, [lost.job])
    assert not await store.jobs.restore(standing, lost), "somebody was faster"
    assert not await store.jobs.restore(None, lost)
    gone = Stored(running("gone", NOW), "3.beef")
    assert await store.jobs.restore(None, gone)
    assert (await store.jobs.load_many(["gone"]))[0] is not None


async def test_a_lane_name_that_is_none_is_skipped(store: Store) -> None:
    await put(store, make.queued())
    await store.client.call("ZADD", store.keys.lanes, 0, "no lane")
    assert (await store.lanes.queues()).lanes == (SUNO,)


async def test_an_unreadable_record_hides_no_group(store: Store) -> None:
    for job_id, since in (("bad", NOW - 9), ("good", NOW)):
        await put(store, changed(make.held(id=JobId(job_id)), since=since))
    await store.client.call("HSET", store.keys.job("bad"), "rec", b"{}")
    (group,) = await store.queries.groups(State.PARKED)
    assert (group.count, group.since, group.sample.id) == (2, NOW - 9, "good")
