"""One or two jobs alone in their lane through outages, in virtual time.

No breaker trips for them. The figures are printed (`pytest -s`).
"""

import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest

from jobs.job import Job
from jobs.outcomes import ProviderError, SubmitOutcome
from jobs.quiet_lane import MAX_PAUSE_S
from jobs.states import State
from tests.simulation.deployment import ANN
from tests.simulation.virtual_outage import (
    EXECUTION_FAILED,
    FAILED,
    Behaviour,
    Moment,
    VirtualOutage,
    an_outage,
)

pytestmark = pytest.mark.usefixtures("answering_provider")

DAY_S = 86_400.0


@asynccontextmanager
async def lone_jobs(
    redis_url: str, behaviour: Behaviour, count: int, **settings: object
) -> AsyncGenerator[VirtualOutage]:
    """So many jobs alone in the lane of `m0`."""
    async with an_outage(redis_url, behaviour, **settings) as outage:  # type: ignore[arg-type]
        outage.longest_step_s = 900.0
        await outage.enqueue(count)
        yield outage


async def job_of(outage: VirtualOutage, job_id: str) -> Job:
    stored = await outage.deployment.store.jobs.load(job_id)
    assert stored is not None
    return stored.job


def posts_of(outage: VirtualOutage) -> list[float]:
    return sorted(itertools.chain.from_iterable(outage.record.posts.values()))


def a_refusal_until(end_s: float) -> Behaviour:
    return Behaviour(submit=lambda moment: FAILED if moment.at < end_s else None)


def a_failed_run_until(end_s: float) -> Behaviour:
    return Behaviour(run=lambda moment: EXECUTION_FAILED if moment.at < end_s else None)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("end_s", "done_within_s"), [(60, 70), (600, 610), (7_200, 910), (9_900, 910)]
)
async def test_refused_submits_kill_no_lone_job(
    redis_url: str, end_s: float, done_within_s: float, count: int
) -> None:
    async with lone_jobs(redis_url, a_refusal_until(end_s), count) as outage:
        took_s = await outage.run_until()
        posts = posts_of(outage)
        print(  # noqa: T201
            f"\n500 for {end_s:.0f} s, {count} alone: {dict(await outage.states())}, "
            f"{len(posts)} submits, done {took_s - end_s:.0f} s after its end"
        )
        assert dict(await outage.states()) == {"succeeded": count}
        assert took_s - end_s <= done_within_s
        assert len(posts) <= count * (11 + end_s / (MAX_PAUSE_S / 2))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("end_s", "done_at_s"), [(60, 150), (600, 10_160), (7_200, 10_160), (9_900, 10_160)]
)
async def test_failed_runs_kill_no_lone_job_and_at_most_five_are_paid_for(
    redis_url: str, end_s: float, done_at_s: float, count: int
) -> None:
    async with lone_jobs(redis_url, a_failed_run_until(end_s), count) as outage:
        took_s = await outage.run_until(limit_s=2 * DAY_S)
        posts = posts_of(outage)
        print(  # noqa: T201
            f"\nfailed runs for {end_s:.0f} s, {count} alone: {dict(await outage.states())}, "
            f"{len(posts)} runs, done {took_s - end_s:.0f} s after its end"
        )
        assert dict(await outage.states()) == {"succeeded": count}
        assert took_s <= done_at_s
        assert len(posts) <= 5 * count


async def test_a_success_of_another_job_brings_the_waiting_ones_forward(redis_url: str) -> None:
    """They would wait for most of a day."""
    async with lone_jobs(redis_url, a_failed_run_until(10_800), 2) as outage:
        await outage.run_until(lambda: outage.elapsed_s > 10_900)
        outage.longest_step_s = 1.0
        began_s, waiting = outage.elapsed_s, await job_of(outage, "j0")
        assert (waiting.state, waiting.spent) == (State.RETRYING, 4)
        assert (waiting.due_at or 0.0) > outage.deployment.clock.now() + 10 * 3_600
        await outage.enqueue(1)
        took_s = await outage.run_until()
        assert dict(await outage.states()) == {"succeeded": 3}
        assert took_s < began_s + 10
        assert len(posts_of(outage)) == 4 + 4 + 3
        breakers = await outage.deployment.store.breakers.list_all()
        assert [one.postponed for one in breakers if one.postponed] == []


async def test_a_job_whose_inputs_always_fail_dies_soon_where_others_succeed(
    redis_url: str,
) -> None:
    posts: list[float] = []

    def submit(moment: Moment) -> SubmitOutcome | None:
        if moment.job_id != "j0":
            return None
        posts.append(moment.at)
        return FAILED

    async with lone_jobs(redis_url, Behaviour(submit=submit), 1) as outage:
        for _ in range(40):
            await outage.enqueue(3)
            soon_s = outage.elapsed_s + 1.5
            await outage.run_until(lambda end=soon_s: outage.elapsed_s >= end)  # type: ignore[misc]
        await outage.run_until()
        dead = await job_of(outage, "j0")
        assert (dead.state, dead.reason and dead.reason.code) == (State.DEAD, "EXECUTION_FAILED")
        print(f"\nalways refused, {len(posts)} submits, dead after {posts[-1]:.0f} s")  # noqa: T201
        assert len(posts) <= 6
        assert posts[-1] < 64
        assert (await outage.states())["succeeded"] == 120


@pytest.mark.parametrize(
    ("behaviour", "most_runs", "code"),
    [
        (a_refusal_until(1e9), 34, "outage"),
        (a_failed_run_until(1e9), 5, "EXECUTION_FAILED"),
    ],
    ids=["refused", "failed runs"],
)
async def test_one_that_always_fails_alone_dies_at_the_limit(
    redis_url: str, behaviour: Behaviour, most_runs: int, code: str
) -> None:
    limit_s = 10_800.0
    async with lone_jobs(redis_url, behaviour, 1, outage_limit_s=limit_s) as outage:
        took_s = await outage.run_until()
        dead = await job_of(outage, "j0")
        assert (dead.state, dead.reason and dead.reason.code) == (State.DEAD, code)
        print(f"\nalone, {len(posts_of(outage))} submits, dead after {took_s:.0f} s")  # noqa: T201
        assert len(posts_of(outage)) <= most_runs
        assert 0.9 * limit_s < took_s <= limit_s + 10


@pytest.mark.parametrize("fails", [a_refusal_until, a_failed_run_until])
async def test_one_attempt_means_no_retry(
    redis_url: str, fails: Callable[[float], Behaviour]
) -> None:
    async with lone_jobs(redis_url, fails(1e9), 20, max_attempts=1) as outage:
        await outage.run_until()
        assert dict(await outage.states()) == {"dead": 20}
        assert len(posts_of(outage)) == 20


@pytest.mark.parametrize("count", [1, 12])
async def test_without_a_limit_for_outages_attempts_are_spent_at_the_usual_backoff(
    redis_url: str, count: int
) -> None:
    async with lone_jobs(redis_url, a_refusal_until(1e9), count, outage_limit_s=0) as outage:
        took_s = await outage.run_until()
        assert dict(await outage.states()) == {"dead": count}
        assert (len(posts_of(outage)), took_s < 40) == (5 * count, True)
        assert await outage.deployment.store.breakers.list_all() == []


async def test_an_operator_makes_the_waiting_ones_try_at_once(redis_url: str) -> None:
    behaviour = Behaviour(
        run=lambda moment: ProviderError("EXECUTION_FAILED", "", 500) if moment.at < 200 else None
    )
    async with lone_jobs(redis_url, behaviour, 1) as outage:
        await outage.run_until(lambda: outage.elapsed_s > 200)
        outage.longest_step_s, began_s = 1.0, outage.elapsed_s
        assert (await outage.states())[State.RETRYING] == 1
        (breaker,) = await outage.deployment.store.breakers.list_all()
        await outage.deployment.breaker_actions.probe(breaker.id, ANN)
        assert await outage.run_until() < began_s + 10
        assert dict(await outage.states()) == {"succeeded": 1}


@pytest.mark.parametrize("count", [3, 5])
async def test_failed_runs_kill_no_job_of_a_small_lane_whose_breaker_trips(
    redis_url: str, count: int
) -> None:
    """Its probes would spend all attempts within the hour if they were not stretched."""
    async with lone_jobs(redis_url, a_failed_run_until(9_900), count) as outage:
        took_s = await outage.run_until(limit_s=2 * DAY_S)
        print(  # noqa: T201
            f"\nfailed runs for 9900 s, {count} in the lane: {dict(await outage.states())}, "
            f"{len(posts_of(outage))} runs, done {took_s - 9_900:.0f} s after its end"
        )
        assert dict(await outage.states()) == {"succeeded": count}
        assert took_s < 11_000
