"""Polls: claimed under a lease, rescheduled by the poller; the poll history ends with the run."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from jobs import transitions
from jobs.effects import PollHistory
from jobs.indexes import Index
from jobs.job import Job
from jobs.lanes import JobId
from tests.store.redis_contents import keys_of, poll_history_ids, sorted_set
from tests.unit.core import job_builders
from tests.unit.core.job_builders import FINISHED, NOW, changed
from worker.engine.unreadable_records import load_job
from worker.store import Store
from worker.store.client import Client, Command
from worker.store.commit import VersionedJob
from worker.store.jobs import JobStore
from worker.store.polls import ClaimedPoll, NextPoll, PollClaim, PollStore
from worker.store.scripts import Scripts


async def put(store: Store, job: Job) -> VersionedJob:
    stored = await store.jobs.create(job, b"{}")
    assert stored is not None
    return stored


def running(job_id: str, next_poll_at: float) -> Job:
    return changed(job_builders.running(id=JobId(job_id)), next_poll_at=next_poll_at)


async def claim(store: Store, now: float, until: float, limit: int = 9) -> list[str]:
    due = (await store.polls.claim(now, until, limit)).polls
    return [found.stored.job.id for found in due]


async def next_poll(store: Store) -> float | None:
    """When the next poll is due. Every claim returns it, even an empty one."""
    found = await store.polls.claim(0.0, 0.0, 1)
    assert found.polls == []
    return found.next_poll_at


class ReadRecorder(Client):
    """Records which jobs are read."""

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
    assert await next_poll(store) == NOW, (
        "a poller that can claim no more gets the time of the next poll"
    )
    assert await claim(store, NOW, NOW + 10) == ["now"]
    assert await claim(store, NOW, NOW + 10) == []
    assert await next_poll(store) == NOW + 1


async def test_a_claim_comes_due_again_when_its_lease_ends(store: Store) -> None:
    await put(store, running("j", NOW))
    await store.polls.claim(NOW, NOW + 10, 9)
    assert await claim(store, NOW + 9.999, NOW + 20) == []
    assert await claim(store, NOW + 10, NOW + 20) == ["j"]


async def test_two_pollers_share_what_is_due(store: Store) -> None:
    for n in range(20):
        await put(store, running(f"j{n:02}", NOW))
    claims = await asyncio.gather(*(claim(store, NOW, NOW + 10, 5) for _ in range(4)))
    claimed = [job_id for found in claims for job_id in found]
    assert sorted(claimed) == [f"j{n:02}" for n in range(20)]


async def test_nothing_in_flight_has_no_next_poll(store: Store) -> None:
    assert await store.polls.claim(NOW, NOW + 10, 5) == PollClaim([], None, [])


async def test_more_are_due_than_one_call_of_a_script_can_name(store: Store) -> None:
    """A worker polls any number of jobs at once: it claims them in several calls."""
    many = [part for n in range(4_500) for part in (NOW, f"j{n}")]
    await store.client.call("ZADD", store.keys.index(Index.INFLIGHT), *many)
    keys = (store.keys.index(Index.INFLIGHT), store.keys.polls)
    taken: list[str] = []
    while True:
        found, at = await Scripts(store.client).poll(keys, NOW, NOW + 10, 1_000_000)
        if not found:
            break
        taken += [job_id for job_id, _, _ in found]
    assert at == NOW + 10
    assert len(taken) == len(set(taken)) == 4_500


async def test_poll_history_is_kept_with_the_next_poll(store: Store) -> None:
    stored = await put(store, running("j", NOW))
    history = PollHistory(polls=3, failures_in_row=2, missing_in_row=1, last_running_at=NOW - 0.5)
    assert await store.polls.reschedule([NextPoll(stored.job, NOW + 5, history)]) == 1
    assert await store.polls.claim(NOW + 4, NOW + 9, 5) == PollClaim([], NOW + 5, [])
    due = await store.polls.claim(NOW + 5, NOW + 15, 5)
    assert due == PollClaim([ClaimedPoll(stored, history)], NOW + 15, [])
    assert await store.polls.history(stored.job) == history


async def test_a_change_since_the_claim_takes_precedence(store: Store) -> None:
    """An operator cancels, another worker claims, or a delivery requests a poll at once."""
    lease, at, history = NOW + 10, NOW + 60, PollHistory(1)
    cancelled, claimed, requested, left, same = [
        await put(store, running(name, NOW)) for name in ("a", "b", "c", "d", "e")
    ]
    await store.polls.claim(NOW, lease, 9)
    await store.jobs.commit(cancelled, transitions.request_cancel(cancelled.job, NOW + 1, by="ann"))
    await store.polls.reschedule([NextPoll(claimed.job, NOW + 7, PollHistory(2), lease)])
    await store.polls.make_due(["c"], NOW + 2)
    await store.jobs.commit(left, transitions.succeed(left.job, NOW, FINISHED))
    polled = [
        NextPoll(stored.job, at, history, lease)
        for stored in (cancelled, claimed, requested, left, same)
    ]
    assert await store.polls.reschedule(polled) == 1
    inflight = {"a": NOW + 1, "b": NOW + 7, "c": NOW + 2, "e": at}
    assert await sorted_set(store, store.keys.index(Index.INFLIGHT)) == inflight
    assert await poll_history_ids(store) == {"b", "e"}
    assert await store.polls.history(claimed.job) == PollHistory(2)


async def test_a_poll_without_a_claim_is_recorded_whoever_touched_the_job(store: Store) -> None:
    stored = await put(store, running("j", NOW))
    await store.polls.claim(NOW, NOW + 10, 5)
    assert await store.polls.reschedule([NextPoll(stored.job, NOW + 60, PollHistory(1))]) == 1
    assert await next_poll(store) == NOW + 60


async def test_a_cached_job_is_used_only_while_its_time_is_still_the_same(
    store: Store,
) -> None:
    """Every change of a running job sets its next poll, so a new time shows a change."""
    untouched, touched = [await put(store, running(name, NOW)) for name in ("a", "b")]
    known = {str(stored.job.id): (NOW + 5, stored) for stored in (untouched, touched)}
    await store.polls.reschedule(
        [NextPoll(s.job, NOW + 5, PollHistory(1)) for s in (untouched, touched)]
    )
    asked = transitions.request_cancel(touched.job, NOW + 1, by="ann")
    newer = await store.jobs.commit(touched, asked)
    assert isinstance(newer, VersionedJob)
    reads = ReadRecorder(store)
    scripts = Scripts(reads)
    jobs = JobStore(
        reads,
        store.keys,
        scripts,
        store.metrics.buffer,
        store.recovery,
        payloads=store.payloads,
    )
    polls = PollStore(reads, store.keys, scripts, jobs)
    due = (await polls.claim(NOW + 5, NOW + 15, 5, known)).polls
    assert due == [ClaimedPoll(newer, PollHistory(1)), ClaimedPoll(untouched, PollHistory(1))]
    assert due[1].stored is untouched
    assert reads.read == [store.keys.job("b")], "what is known is not read again"


async def test_nothing_cached_is_used_of_a_job_that_is_gone(store: Store) -> None:
    gone = await put(store, running("j", NOW))
    assert await store.jobs.delete(gone)
    assert await store.polls.claim(NOW, NOW + 9, 5, {"j": (NOW, gone)}) == PollClaim([], None, [])


@pytest.mark.parametrize("change", ["succeed", "delete", "dead_letter"])
async def test_poll_history_is_deleted_with_the_in_flight_entry(store: Store, change: str) -> None:
    stored, other = [await put(store, running(name, NOW)) for name in ("j", "other")]
    await store.polls.reschedule(
        [NextPoll(s.job, NOW + 5, PollHistory(4)) for s in (stored, other)]
    )
    assert await poll_history_ids(store) == {"j", "other"}
    match change:
        case "succeed":
            await store.jobs.commit(stored, transitions.succeed(stored.job, NOW, FINISHED))
        case "delete":
            assert await store.jobs.delete(stored)
        case _:
            await store.client.call("HSET", store.keys.job("j"), "rec", b"{}")
            with capture_logs():
                await load_job(store.jobs, "j", NOW)
    assert await poll_history_ids(store) == {"other"}
    assert set(await sorted_set(store, store.keys.index(Index.INFLIGHT))) == {"other"}


async def test_poll_history_stays_while_a_run_is_cancelled_or_stuck(store: Store) -> None:
    stored = await put(store, running("j", NOW))
    await store.polls.reschedule([NextPoll(stored.job, NOW + 5, PollHistory(4))])
    asked = transitions.request_cancel(stored.job, NOW, by="ann")
    assert isinstance(await store.jobs.commit(stored, asked), VersionedJob)
    assert await store.polls.history(asked) == PollHistory(4)


async def test_poll_history_of_an_earlier_attempt_does_not_count(store: Store) -> None:
    stored = await put(store, running("j", NOW))
    await store.polls.reschedule([NextPoll(stored.job, NOW, PollHistory(9, 9, 9))])
    assert await store.polls.history(changed(stored.job, submits=2)) == PollHistory()


async def test_a_job_that_left_is_left_alone(store: Store) -> None:
    gone, done, there = [await put(store, running(name, NOW)) for name in ("gone", "done", "x")]
    await store.jobs.delete(gone)
    await store.jobs.commit(done, transitions.succeed(done.job, NOW, FINISHED))
    polled = [NextPoll(stored.job, NOW + 5, PollHistory(1)) for stored in (gone, done, there)]
    assert await store.polls.reschedule(polled) == 1
    assert await sorted_set(store, store.keys.index(Index.INFLIGHT)) == {"x": NOW + 5}
    assert store.keys.job("gone") not in await keys_of(store)
    assert await poll_history_ids(store) == {"x"}
    assert await store.polls.history(done.job) == PollHistory()
    assert await store.polls.history(there.job) == PollHistory(1)


async def test_a_commit_that_does_not_speak_of_the_next_poll_leaves_it_alone(store: Store) -> None:
    stored = await put(store, changed(job_builders.cancelling(id=JobId("j")), next_poll_at=NOW))
    await store.polls.claim(NOW, NOW + 10, 5)
    written = await store.jobs.commit(stored, transitions.mark_cancel_sent(stored.job, NOW))
    assert isinstance(written, VersionedJob)
    assert await next_poll(store) == NOW + 10
