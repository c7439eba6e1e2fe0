"""Polls: claimed under a lease, put off by who looked, and what looks saw goes with the run."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from jobs import transitions
from jobs.effects import Looks
from jobs.indexes import Index
from jobs.job import Job
from jobs.lanes import JobId
from tests.store.contents import keys_of, looks, sorted_set
from tests.unit.core import make
from tests.unit.core.make import FINISHED, NOW, changed
from worker.store import Store
from worker.store.client import Client, Command
from worker.store.commit import Stored
from worker.store.jobs import Due, JobStore, NextLook
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
    await store.jobs.commit(cancelled, transitions.ask_cancel(cancelled.job, NOW + 1, by="ann"))
    await store.jobs.reschedule([NextLook(claimed.job, NOW + 7, Looks(2), lease)])
    await store.jobs.poll_now(["c"], NOW + 2)
    await store.jobs.commit(left, transitions.succeed(left.job, NOW, FINISHED))
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
    asked = transitions.ask_cancel(touched.job, NOW + 1, by="ann")
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
            await store.jobs.commit(stored, transitions.succeed(stored.job, NOW, FINISHED))
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
    asked = transitions.ask_cancel(stored.job, NOW, by="ann")
    assert isinstance(await store.jobs.commit(stored, asked), Stored)
    assert await store.jobs.looks(asked) == Looks(4)


async def test_looks_of_an_earlier_attempt_do_not_count(store: Store) -> None:
    stored = await put(store, running("j", NOW))
    await store.jobs.reschedule([NextLook(stored.job, NOW, Looks(9, 9, 9))])
    assert await store.jobs.looks(changed(stored.job, submits=2)) == Looks()


async def test_a_job_that_left_is_left_alone(store: Store) -> None:
    gone, done, there = [await put(store, running(name, NOW)) for name in ("gone", "done", "x")]
    await store.jobs.delete(gone)
    await store.jobs.commit(done, transitions.succeed(done.job, NOW, FINISHED))
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
    written = await store.jobs.commit(stored, transitions.note_cancel_sent(stored.job, NOW))
    assert isinstance(written, Stored)
    assert await next_poll(store) == NOW + 10
