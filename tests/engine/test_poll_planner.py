"""The poll planner: workers learn together how long runs take, and poll when they should end."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from zlib import crc32

import pytest
from arq import ArqRedis
from redis.exceptions import ConnectionError as RedisConnectionError

from config.settings import Settings
from jobs.job import Job
from jobs.lanes import JobId, Lane, polls_scope
from jobs.polling.estimator import MIN_SAMPLES
from jobs.polling.samples import (
    MAX_PENDING,
    MAX_SAMPLES,
    DurationSample,
    bin_of,
    sample_at,
    sample_between,
)
from jobs.polling.schedules import PlannedSchedule, PollSchedule, SafetyNetSchedule
from jobs.rate_limits import RateLimitBucket
from jobs.states import Kind, State
from tests.engine.live_system import OPERATOR, LiveSystem, wait_until
from tests.unit.core.job_builders import NOW, a_job, cancelling, changed, running
from worker.app.action_table import JobAction
from worker.compose.decision_rules import decision_rules
from worker.engine.services.poll_planner import TICK_S, UNUSED_AFTER_S, PollPlanner
from worker.engine.webhook_policy import WebhookPolicy
from worker.store import Store, open_store
from worker.store.durations import DurationStore, TargetName, decode_sketch, target_of

USUAL = PollSchedule(0.5, 30.0)
LATER = NOW + 1_000
"""A time at which every run of a test counts."""

LANE = Lane("default", Kind.MODEL, "suno")
OTHER = Lane("default", Kind.MODEL, "other")


@pytest.fixture
def store(redis: ArqRedis, namespace: str) -> Store:
    return open_store(redis, namespace)


SAMPLE_SEED = crc32(b"j1")
"""The sampling key of the job of these tests."""


def make_planner(store: Store, polls_per_run: float = 5.0) -> PollPlanner:
    return PollPlanner(store, USUAL, polls_per_run)


def record_ends(planner: PollPlanner, runs: int, took_s: float = 20.0, **facts: str) -> None:
    """Record runs whose end was reported; no two took the same time."""
    for n in range(runs):
        job = changed(running(id=JobId(f"j{n}"), **facts), submitted_at=NOW)
        planner.record_reported_end(job, NOW + took_s * (0.9 + 0.2 * n / runs))


async def test_until_enough_runs_ended_steps_are_geometric(store: Store) -> None:
    planner = make_planner(store)
    assert planner.schedule(LANE) is USUAL
    record_ends(planner, MIN_SAMPLES - 1)
    await planner.tick(LATER)
    assert planner.schedule(LANE) is USUAL


async def test_enough_runs_make_a_schedule_that_polls_when_they_end(store: Store) -> None:
    planner = make_planner(store)
    record_ends(planner, 40)
    assert await planner.tick(LATER) == TICK_S
    made = planner.schedule(LANE)
    assert isinstance(made, PlannedSchedule)
    assert 12 < made.next_delay_s(0.0, 0.5) < 20
    assert planner.schedule(OTHER) is USUAL


async def test_durations_of_one_worker_are_shared_with_all(store: Store) -> None:
    one, other = make_planner(store), make_planner(store)
    record_ends(one, 15)
    record_ends(other, 15)
    await one.tick(LATER)
    await other.tick(LATER)
    assert isinstance(other.schedule(LANE), PlannedSchedule)
    assert one.schedule(LANE) is USUAL
    await one.tick(LATER + TICK_S)
    assert isinstance(one.schedule(LANE), PlannedSchedule)


async def test_accounts_share_the_durations_of_a_target(store: Store) -> None:
    planner = make_planner(store)
    studio = Lane("studio", Kind.MODEL, "suno")
    planner.schedule(studio)
    record_ends(planner, 30)
    await planner.tick(LATER)
    assert isinstance(planner.schedule(studio), PlannedSchedule)


async def test_a_burst_counts_when_its_long_runs_have_ended_too(store: Store) -> None:
    """The short runs end first: alone they do not show how long runs take."""
    planner = make_planner(store)
    record_ends(planner, 30, 10.0)
    await planner.tick(NOW + 12)
    assert planner.schedule(LANE) is USUAL
    record_ends(planner, 30, 20.0)
    await planner.tick(NOW + 31)
    assert planner.schedule(LANE) is USUAL
    await planner.tick(NOW + 34)
    assert isinstance(planner.schedule(LANE), PlannedSchedule)


async def test_a_polled_run_is_an_interval_and_one_reported_by_webhook_a_moment(
    store: Store,
) -> None:
    planner, job = make_planner(store), changed(running(), submitted_at=NOW)
    planner.record_polled_end(job, NOW + 12, NOW + 10)
    planner.record_polled_end(job, NOW + 13, None)
    planner.record_reported_end(job, NOW + 14)
    await planner.tick(LATER)
    found = decode_sketch((await store.durations.read([target_of(LANE)]))[target_of(LANE)])
    assert found == sorted(
        [
            sample_between(NOW, 10, 12, SAMPLE_SEED),
            sample_between(NOW, None, 13, SAMPLE_SEED),
            sample_at(NOW, 14, SAMPLE_SEED),
        ]
    )


@pytest.mark.parametrize(
    "job",
    [cancelling(), changed(running(), cancel_requested=True), a_job()],
    ids=["cancelling", "cancel asked", "never submitted"],
)
async def test_runs_that_were_cancelled_teach_nothing(store: Store, job: Job) -> None:
    planner = make_planner(store)
    planner.record_reported_end(job, NOW + 5)
    planner.record_polled_end(job, NOW + 5, NOW + 4)
    await planner.tick(LATER)
    assert await store.durations.read([target_of(LANE)]) == {target_of(LANE): []}


async def test_samples_taken_while_redis_was_away_are_written_when_it_is_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    planner = make_planner(store)
    record_ends(planner, 15)

    async def away(commands: object) -> list[object]:
        record_ends(planner, 5, 21.0)
        raise RedisConnectionError(str(commands)[:0])

    with monkeypatch.context() as patch:
        patch.setattr(store.client, "try_many", away)
        with pytest.raises(RedisConnectionError):
            await planner.tick(LATER)
    await planner.tick(LATER + 1)
    assert len((await store.durations.read([target_of(LANE)]))[target_of(LANE)]) == 20
    assert isinstance(planner.schedule(LANE), PlannedSchedule)


async def test_lanes_that_are_not_used_are_not_followed(store: Store) -> None:
    planner = make_planner(store)
    record_ends(planner, 30)
    await planner.tick(LATER)
    await planner.tick(LATER + UNUSED_AFTER_S + 1)
    assert planner.schedule(LANE) is USUAL
    await planner.tick(LATER + UNUSED_AFTER_S + 2)
    assert isinstance(planner.schedule(LANE), PlannedSchedule), "the shared samples are read again"


async def test_unwritten_samples_are_bounded(store: Store) -> None:
    added: list[int] = []

    class SampleCounter(DurationStore):
        async def exchange(
            self,
            samples: Mapping[TargetName, Sequence[DurationSample]],
            targets: Sequence[TargetName],
        ) -> dict[TargetName, list[bytes]]:
            added.extend(len(runs) for runs in samples.values())
            return await super().exchange(samples, targets)

    counting = SampleCounter(store.client, store.keys)
    planner = make_planner(replace(store, durations=counting))
    record_ends(planner, MAX_SAMPLES + 50)
    await planner.tick(LATER)
    assert added == [MAX_SAMPLES]


async def test_what_waits_until_it_counts_is_bounded_and_thinned_evenly(store: Store) -> None:
    planner = make_planner(store)
    record_ends(planner, 3 * MAX_PENDING)
    await planner.tick(LATER)
    found = decode_sketch((await store.durations.read([target_of(LANE)]))[target_of(LANE)])
    assert len(found) == MAX_SAMPLES
    assert min(run.ended_bin for run in found) == bin_of(18.0)
    assert max(run.ended_bin for run in found) == bin_of(21.99)


# Limited polls.


async def _limit(store: Store, per_minute: int) -> None:
    bucket = RateLimitBucket(limit=per_minute, reported_at=LATER)
    await store.rate_limits.change(polls_scope("default"), lambda _: bucket)


async def _in_flight(store: Store, lane: Lane, count: int) -> None:
    members = [part for n in range(count) for part in (NOW, f"{lane.target}-{n}")]
    await store.client.call("ZADD", store.keys.active(lane), *members)


def _planned_polls(planner: PollPlanner, lane: Lane) -> float:
    made = planner.schedule(lane)
    assert isinstance(made, PlannedSchedule)
    return made.plan.expected_polls / made.plan.mean_s


async def test_where_polls_are_limited_they_come_to_fit_and_those_in_need_keep_theirs(
    store: Store,
) -> None:
    planner = make_planner(store)
    record_ends(planner, 40, 10.0)
    record_ends(planner, 40, 200.0, target="other")
    await planner.tick(LATER)
    before = _planned_polls(planner, LANE), _planned_polls(planner, OTHER)
    await _limit(store, 900)
    await _in_flight(store, LANE, 50)
    await _in_flight(store, OTHER, 50)
    for n in range(10):
        await planner.tick(LATER + n * TICK_S)
    after = _planned_polls(planner, LANE), _planned_polls(planner, OTHER)
    assert 50 * sum(before) > 900 / 60 > 50 * sum(after)
    assert after[0] < 0.75 * before[0]
    assert after[1] == pytest.approx(before[1], rel=0.05), "a late poll costs them more"


async def test_polls_that_fit_a_limit_are_as_without_one(store: Store) -> None:
    planner = make_planner(store)
    record_ends(planner, 40)
    await planner.tick(LATER)
    free = planner.schedule(LANE)
    await _limit(store, 60_000)
    await _in_flight(store, LANE, 50)
    await planner.tick(LATER + TICK_S)
    assert planner.schedule(LANE) is free


async def test_a_limit_that_is_gone_is_forgotten(store: Store) -> None:
    planner = make_planner(store)
    await _limit(store, 60)
    await _in_flight(store, LANE, 500)
    planner.schedule(LANE)
    for n in range(5):
        await planner.tick(LATER + n)
    scarce = planner.schedule(LANE)
    assert scarce.next_delay_s(20.0, 0.5) > USUAL.next_delay_s(20.0, 0.5)
    await store.rate_limits.change(
        polls_scope("default"), lambda _: RateLimitBucket(is_unlimited=True, reported_at=LATER)
    )
    await planner.tick(LATER + 6)
    assert planner.schedule(LANE) is USUAL


# Which schedule a run gets.


async def test_a_webhook_goes_before_what_was_learned_and_a_cancel_before_both(
    store: Store,
) -> None:
    planner = make_planner(store)
    record_ends(planner, 40)
    await planner.tick(LATER)
    policy = WebhookPolicy(decision_rules(Settings()), receives_webhooks=True, schedules=planner)
    assert isinstance(policy.rules(LANE, has_webhook=False).poll_schedule, PlannedSchedule)
    assert isinstance(policy.rules(LANE, has_webhook=True).poll_schedule, SafetyNetSchedule)
    assert (
        type(policy.rules(LANE, has_webhook=False, is_cancelling=True).poll_schedule)
        is PollSchedule
    )


# Whole workers.


async def test_a_worker_notes_between_which_polls_a_run_ended(system: LiveSystem) -> None:
    store = system.store
    async with system.worker():
        job_id = await system.enqueue(label="it", duration_s=600)
        cancelled = await system.enqueue(label="cancelled", duration_s=600)
        await system.all_until([job_id, cancelled], State.RUNNING)
        await system.actions.act(JobAction.CANCEL, cancelled, OPERATOR)

        async def seen_running() -> bool:
            return (await store.polls.history(await system.job(job_id))).last_running_at is not None

        await wait_until(seen_running, "a poll found it running")
        running_at = (await store.polls.history(await system.job(job_id))).last_running_at
        await system.sandbox_admin("finish", label="it")
        done, _ = await system.all_until([job_id, cancelled])
        await wait_until(lambda: _has_samples(system, "model/gpt-image-2", 1), "the run is noted")
    (rows,) = (await store.durations.read(["model/gpt-image-2"])).values()
    (run,) = decode_sketch(rows)
    began = done.submitted_at
    assert began is not None
    assert running_at is not None
    assert done.finished_at is not None
    assert (
        bin_of(running_at - began)
        <= run.running_bin
        < run.ended_bin
        <= bin_of(done.finished_at - began)
    )


async def test_a_worker_notes_how_long_sync_runs_took(system: LiveSystem) -> None:
    async with system.worker():
        await system.until(await system.enqueue("kling-2-5", label="s", duration_s=0.3))
        await wait_until(lambda: _has_samples(system, "model/kling-2-5", 1), "the run is noted")
    (rows,) = (await system.store.durations.read(["model/kling-2-5"])).values()
    (run,) = decode_sketch(rows)
    assert run.running_bin == run.ended_bin >= sample_at(0, 0.3).ended_bin


async def _has_samples(system: LiveSystem, target: str, count: int) -> bool:
    (rows,) = (await system.store.durations.read([target])).values()
    return len(rows) == count
