"""The timekeeper: workers learn together how long runs take, and look when they should end."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from zlib import crc32

import pytest
from arq import ArqRedis
from redis.exceptions import ConnectionError as RedisConnectionError

from config.settings import Settings
from jobs.job import Job
from jobs.lanes import JobId, Lane, executions
from jobs.polling.estimator import LEARN_FROM
from jobs.polling.samples import KEPT, WAITING_MOST, Seen, bin_of, seen_at, seen_between
from jobs.polling.schedules import Learned, PollSchedule, SafetyNet
from jobs.rate_limits import Bucket
from jobs.states import Kind, State
from tests.engine.stack import SOMEBODY, Stack, wait_until
from tests.unit.core.make import NOW, a_job, cancelling, changed, running
from worker.compose.worker import rules
from worker.engine.poll_planner import TICK_S, UNUSED_S, Timekeeper
from worker.engine.webhook_policy import Reliance
from worker.store import Store, open_store
from worker.store.durations import DurationStore, Target, decode_sketch, target_of

USUAL = PollSchedule(0.5, 30.0)
LATER = NOW + 1_000
"""When every run that a test tells of counts."""

LANE = Lane("default", Kind.MODEL, "suno")
OTHER = Lane("default", Kind.MODEL, "other")


@pytest.fixture
def store(redis: ArqRedis, namespace: str) -> Store:
    return open_store(redis, namespace)


LOT = crc32(b"j1")
"""By what the job of these tests is ordered among those that began with it."""


def keeper(store: Store, looks: float = 5.0) -> Timekeeper:
    return Timekeeper(store, USUAL, looks)


def ended(timekeeper: Timekeeper, runs: int, took_s: float = 20.0, **facts: str) -> None:
    """Runs whose end was told; no two took the same time."""
    for n in range(runs):
        job = changed(running(id=JobId(f"j{n}"), **facts), submitted_at=NOW)
        timekeeper.told(job, NOW + took_s * (0.9 + 0.2 * n / runs))


async def test_until_enough_runs_ended_steps_are_geometric(store: Store) -> None:
    timekeeper = keeper(store)
    assert timekeeper.schedule(LANE) is USUAL
    ended(timekeeper, LEARN_FROM - 1)
    await timekeeper.tick(LATER)
    assert timekeeper.schedule(LANE) is USUAL


async def test_enough_runs_make_a_schedule_that_looks_when_they_end(store: Store) -> None:
    timekeeper = keeper(store)
    ended(timekeeper, 40)
    assert await timekeeper.tick(LATER) == TICK_S
    made = timekeeper.schedule(LANE)
    assert isinstance(made, Learned)
    assert 12 < made.after(0.0, 0.5) < 20
    assert timekeeper.schedule(OTHER) is USUAL


async def test_what_one_worker_saw_another_one_knows(store: Store) -> None:
    one, other = keeper(store), keeper(store)
    ended(one, 15)
    ended(other, 15)
    await one.tick(LATER)
    await other.tick(LATER)
    assert isinstance(other.schedule(LANE), Learned)
    assert one.schedule(LANE) is USUAL
    await one.tick(LATER + TICK_S)
    assert isinstance(one.schedule(LANE), Learned)


async def test_accounts_share_what_is_known_of_a_target(store: Store) -> None:
    timekeeper = keeper(store)
    studio = Lane("studio", Kind.MODEL, "suno")
    timekeeper.schedule(studio)
    ended(timekeeper, 30)
    await timekeeper.tick(LATER)
    assert isinstance(timekeeper.schedule(studio), Learned)


async def test_a_burst_counts_when_its_long_runs_have_ended_too(store: Store) -> None:
    """The first to end are the short ones: they say nothing yet of how long runs take."""
    timekeeper = keeper(store)
    ended(timekeeper, 30, 10.0)
    await timekeeper.tick(NOW + 12)
    assert timekeeper.schedule(LANE) is USUAL
    ended(timekeeper, 30, 20.0)
    await timekeeper.tick(NOW + 31)
    assert timekeeper.schedule(LANE) is USUAL
    await timekeeper.tick(NOW + 34)
    assert isinstance(timekeeper.schedule(LANE), Learned)


async def test_a_run_that_was_looked_at_is_an_interval_and_a_told_one_a_moment(
    store: Store,
) -> None:
    timekeeper, job = keeper(store), changed(running(), submitted_at=NOW)
    timekeeper.looked(job, NOW + 12, NOW + 10)
    timekeeper.looked(job, NOW + 13, None)
    timekeeper.told(job, NOW + 14)
    await timekeeper.tick(LATER)
    found = decode_sketch((await store.durations.read([target_of(LANE)]))[target_of(LANE)])
    assert found == sorted(
        [
            seen_between(NOW, 10, 12, LOT),
            seen_between(NOW, None, 13, LOT),
            seen_at(NOW, 14, LOT),
        ]
    )


@pytest.mark.parametrize(
    "job",
    [cancelling(), changed(running(), cancel_requested=True), a_job()],
    ids=["cancelling", "cancel asked", "never submitted"],
)
async def test_runs_that_were_cancelled_teach_nothing(store: Store, job: Job) -> None:
    timekeeper = keeper(store)
    timekeeper.told(job, NOW + 5)
    timekeeper.looked(job, NOW + 5, NOW + 4)
    await timekeeper.tick(LATER)
    assert await store.durations.read([target_of(LANE)]) == {target_of(LANE): []}


async def test_what_was_seen_while_redis_was_away_is_written_when_it_is_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    timekeeper = keeper(store)
    ended(timekeeper, 15)

    async def away(commands: object) -> list[object]:
        ended(timekeeper, 5, 21.0)
        raise RedisConnectionError(str(commands)[:0])

    with monkeypatch.context() as patch:
        patch.setattr(store.client, "try_many", away)
        with pytest.raises(RedisConnectionError):
            await timekeeper.tick(LATER)
    await timekeeper.tick(LATER + 1)
    assert len((await store.durations.read([target_of(LANE)]))[target_of(LANE)]) == 20
    assert isinstance(timekeeper.schedule(LANE), Learned)


async def test_lanes_that_are_not_used_are_not_followed(store: Store) -> None:
    timekeeper = keeper(store)
    ended(timekeeper, 30)
    await timekeeper.tick(LATER)
    await timekeeper.tick(LATER + UNUSED_S + 1)
    assert timekeeper.schedule(LANE) is USUAL
    await timekeeper.tick(LATER + UNUSED_S + 2)
    assert isinstance(timekeeper.schedule(LANE), Learned), "what all know is read again"


async def test_what_is_seen_meanwhile_is_bounded(store: Store) -> None:
    added: list[int] = []

    class Counting(DurationStore):
        async def exchange(
            self, seen: Mapping[Target, Sequence[Seen]], wanted: Sequence[Target]
        ) -> dict[Target, list[bytes]]:
            added.extend(len(runs) for runs in seen.values())
            return await super().exchange(seen, wanted)

    counting = Counting(store.client, store.keys)
    timekeeper = keeper(replace(store, durations=counting))
    ended(timekeeper, KEPT + 50)
    await timekeeper.tick(LATER)
    assert added == [KEPT]


async def test_what_waits_until_it_counts_is_bounded_and_thinned_evenly(store: Store) -> None:
    timekeeper = keeper(store)
    ended(timekeeper, 3 * WAITING_MOST)
    await timekeeper.tick(LATER)
    found = decode_sketch((await store.durations.read([target_of(LANE)]))[target_of(LANE)])
    assert len(found) == KEPT
    assert min(run.by for run in found) == bin_of(18.0)
    assert max(run.by for run in found) == bin_of(21.99)


# Limited looks.


async def _limit(store: Store, per_minute: int) -> None:
    bucket = Bucket(limit=per_minute, seen_at=LATER)
    await store.quota.change(executions("default"), lambda _: bucket)


async def _in_flight(store: Store, lane: Lane, count: int) -> None:
    members = [part for n in range(count) for part in (NOW, f"{lane.target}-{n}")]
    await store.client.call("ZADD", store.keys.active(lane), *members)


def _looks(timekeeper: Timekeeper, lane: Lane) -> float:
    made = timekeeper.schedule(lane)
    assert isinstance(made, Learned)
    return made.plan.looks / made.plan.mean_s


async def test_where_looks_are_limited_they_come_to_fit_and_those_in_need_keep_theirs(
    store: Store,
) -> None:
    timekeeper = keeper(store)
    ended(timekeeper, 40, 10.0)
    ended(timekeeper, 40, 200.0, target="other")
    await timekeeper.tick(LATER)
    before = _looks(timekeeper, LANE), _looks(timekeeper, OTHER)
    await _limit(store, 900)
    await _in_flight(store, LANE, 50)
    await _in_flight(store, OTHER, 50)
    for n in range(10):
        await timekeeper.tick(LATER + n * TICK_S)
    after = _looks(timekeeper, LANE), _looks(timekeeper, OTHER)
    assert 50 * sum(before) > 900 / 60 > 50 * sum(after)
    assert after[0] < 0.75 * before[0]
    assert after[1] == pytest.approx(before[1], rel=0.05), "a late look costs them more"


async def test_looks_that_fit_a_limit_are_as_without_one(store: Store) -> None:
    timekeeper = keeper(store)
    ended(timekeeper, 40)
    await timekeeper.tick(LATER)
    free = timekeeper.schedule(LANE)
    await _limit(store, 60_000)
    await _in_flight(store, LANE, 50)
    await timekeeper.tick(LATER + TICK_S)
    assert timekeeper.schedule(LANE) is free


async def test_a_limit_that_is_gone_is_forgotten(store: Store) -> None:
    timekeeper = keeper(store)
    await _limit(store, 60)
    await _in_flight(store, LANE, 500)
    timekeeper.schedule(LANE)
    for n in range(5):
        await timekeeper.tick(LATER + n)
    scarce = timekeeper.schedule(LANE)
    assert scarce.after(20.0, 0.5) > USUAL.after(20.0, 0.5)
    await store.quota.change(executions("default"), lambda _: Bucket(unlimited=True, seen_at=LATER))
    await timekeeper.tick(LATER + 6)
    assert timekeeper.schedule(LANE) is USUAL


# Which schedule a run gets.


async def test_a_webhook_goes_before_what_was_learned_and_a_cancel_before_both(
    store: Store,
) -> None:
    timekeeper = keeper(store)
    ended(timekeeper, 40)
    await timekeeper.tick(LATER)
    reliance = Reliance(rules(Settings()), receives=True, durations=timekeeper)
    assert isinstance(reliance.rules(LANE, webhook=False).schedule, Learned)
    assert isinstance(reliance.rules(LANE, webhook=True).schedule, SafetyNet)
    assert type(reliance.rules(LANE, webhook=False, cancelling=True).schedule) is PollSchedule


# Whole workers.


async def test_a_worker_notes_between_which_polls_a_run_ended(system: Stack) -> None:
    store = system.store
    async with system.worker():
        job_id = await system.enqueue(label="it", duration_s=600)
        cancelled = await system.enqueue(label="cancelled", duration_s=600)
        await system.all_until([job_id, cancelled], State.RUNNING)
        await system.desk.cancel(cancelled, SOMEBODY)

        async def seen_running() -> bool:
            return (await store.jobs.looks(await system.job(job_id))).running_at is not None

        await wait_until(seen_running, "a poll found it running")
        running_at = (await store.jobs.looks(await system.job(job_id))).running_at
        await system.tell_sandbox("finish", label="it")
        done, _ = await system.all_until([job_id, cancelled])
        await wait_until(lambda: _has(system, "model/gpt-image-2", 1), "the run is noted")
    (rows,) = (await store.durations.read(["model/gpt-image-2"])).values()
    (run,) = decode_sketch(rows)
    began = done.submitted_at
    assert began is not None
    assert running_at is not None
    assert done.finished_at is not None
    assert bin_of(running_at - began) <= run.after < run.by <= bin_of(done.finished_at - began)


async def test_a_worker_notes_how_long_sync_runs_took(system: Stack) -> None:
    async with system.worker():
        await system.until(await system.enqueue("kling-2-5", label="s", duration_s=0.3))
        await wait_until(lambda: _has(system, "model/kling-2-5", 1), "the run is noted")
    (rows,) = (await system.store.durations.read(["model/kling-2-5"])).values()
    (run,) = decode_sketch(rows)
    assert run.after == run.by >= seen_at(0, 0.3).by


async def _has(system: Stack, target: str, count: int) -> bool:
    (rows,) = (await system.store.durations.read([target])).values()
    return len(rows) == count
