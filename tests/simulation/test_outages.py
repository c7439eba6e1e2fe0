"""Outages of the provider in virtual time: what they cost, and how soon all is well again.

The figures are printed (`pytest -s`). `OUTAGE_JOBS=5000` makes the long outage a large one.
"""

import os
from typing import Final

import pytest

from jobs.breakers.texts import breaker_text, limits_submits
from jobs.indexes import Index
from jobs.lanes import Lane, Scope
from jobs.outcomes import CallFailure, Lost, NotSent, ProviderError, Refused, SubmitOutcome
from jobs.states import Kind, State
from tests.simulation.virtual_outage import (
    BAD_GATEWAY,
    EXECUTION_FAILED,
    FAILED,
    LATENCY_S,
    Behaviour,
    Moment,
    an_outage,
    lost_answers,
)

pytestmark = pytest.mark.usefixtures("answering_provider")

SLOTS: Final = 50
M0: Final = Lane("default", Kind.MODEL, "m0")
JOBS: Final = int(os.environ.get("OUTAGE_JOBS", "0"))


def until(end_s: float, answer: SubmitOutcome) -> Behaviour:
    """Every submit is answered so until a time."""
    return Behaviour(submit=lambda moment: answer if moment.at < end_s else None)


@pytest.mark.parametrize("everything", [True, False], ids=["all calls", "submits alone"])
async def test_502_for_20_s_hurts_what_is_in_flight_and_nothing_else(
    redis_url: str, *, everything: bool
) -> None:
    behaviour = until(20, BAD_GATEWAY)
    if everything:
        behaviour.whoami = lambda at: at >= 20
    async with an_outage(redis_url, behaviour) as outage:
        await outage.enqueue(JOBS or 200)
        took_s = await outage.run_until()
        states = await outage.states()
        print(f"\n502 for 20 s: {dict(states)}, done after {took_s:.0f} s")  # noqa: T201
        assert states[State.PARKED] <= SLOTS
        assert set(states) == {State.SUCCEEDED, State.PARKED}
        assert took_s < 120


async def test_500_of_one_model_for_60_s_kills_nothing_and_hinders_no_other(
    redis_url: str,
) -> None:
    def submit(moment: Moment) -> SubmitOutcome | None:
        return FAILED if moment.target == "m0" and moment.at < 60 else None

    async with an_outage(redis_url, Behaviour(submit=submit)) as outage:
        await outage.enqueue(JOBS or 200, targets=2)
        took_s = await outage.run_until()
        states = await outage.states()
        posts = outage.record.count(0, 60, ["m0"])
        others_s = max(outage.record.posts["m1"])
        print(  # noqa: T201
            f"\n500 for 60 s: {dict(states)}, {posts} submits into it, done {took_s - 60:.0f} s"
            f" after it is back; the last submit of the other model after {others_s:.1f} s"
        )
        assert dict(states) == {"succeeded": JOBS or 200}
        assert posts <= 60
        assert took_s <= 90
        assert others_s < 5


async def test_a_target_that_accepts_and_then_fails_is_probed_by_runs(redis_url: str) -> None:
    behaviour = Behaviour(run=lambda moment: EXECUTION_FAILED if moment.at < 60 else None)
    async with an_outage(redis_url, behaviour) as outage:
        await outage.enqueue(100)
        await outage.run_until()
        assert dict(await outage.states()) == {"succeeded": 100}
        assert outage.record.count(5, 60) <= 6


async def test_three_in_ten_single_failures_close_no_lane(redis_url: str) -> None:
    behaviour = Behaviour(submit=lambda m: FAILED if m.dice.random() < 0.3 else None)
    async with an_outage(redis_url, behaviour) as outage:
        await outage.enqueue(200, max_attempts=20)
        await outage.run_until()
        assert dict(await outage.states()) == {"succeeded": 200}
        (breaker,) = await outage.deployment.store.breakers.list_all()
        assert breaker.trips == 0


NOISE: Final = pytest.mark.parametrize(
    "noise", [0.0, 0.1] if JOBS else [0.1], ids=lambda noise: f"{noise:.0%} single failures"
)


@NOISE
async def test_an_outage_of_two_hours_kills_nothing(redis_url: str, noise: float) -> None:
    end_s = 7_200.0

    def submit(moment: Moment) -> SubmitOutcome | None:
        if moment.at < end_s:
            return FAILED
        return FAILED if moment.dice.random() < noise else None

    jobs, lanes = (JOBS, 20) if JOBS else (120, 3)
    async with an_outage(redis_url, Behaviour(submit=submit)) as outage:
        await outage.enqueue(jobs, targets=lanes, max_attempts=20 if noise else None)
        took_s = await outage.run_until()
        states = await outage.states()
        posts = outage.record.count(0, end_s)
        full_s = max(min(t for t in times if t >= end_s) for times in outage.record.posts.values())
        trips = [one.trips for one in await outage.deployment.store.breakers.list_all()]
        print(  # noqa: T201
            f"\n2 h, {jobs} jobs, {lanes} lanes: {dict(states)}, {posts} submits in the outage, "
            f"every lane at work {full_s - end_s:.0f} s after its end, "
            f"done {took_s - end_s:.0f} s after it, trips {trips}"
        )
        assert dict(states) == {"succeeded": jobs}
        assert posts <= SLOTS + lanes * 45
        assert full_s - end_s <= 300 + 5
        assert max(trips) == 1, "no lane closes for single failures"


async def test_two_hours_of_502_hurt_few_canaries(redis_url: str) -> None:
    """The free call is answered all the time: the worst case."""
    behaviour = until(7_200, BAD_GATEWAY)
    async with an_outage(redis_url, behaviour) as outage:
        await outage.enqueue(100)
        took_s = await outage.run_until()
        states = await outage.states()
        print(f"\n502 for 2 h: {dict(states)}, done {took_s - 7_200:.0f} s after it")  # noqa: T201
        assert states[State.PARKED] <= SLOTS + 12
        assert took_s <= 7_200 + 900 + 60


@pytest.mark.parametrize("single", [0.0, 0.01], ids=lambda share: f"{share:.0%} lost elsewhere")
async def test_a_model_that_loses_every_answer_hinders_no_other(
    redis_url: str, single: float
) -> None:
    def submit(moment: Moment) -> SubmitOutcome | None:
        is_lost = moment.target == "m0" or moment.dice.random() < single
        return BAD_GATEWAY if is_lost else None

    async with an_outage(redis_url, Behaviour(submit=submit)) as outage:
        await outage.enqueue(JOBS or 450, targets=3)
        await outage.run_until(lambda: outage.record.count(0, 1e9, ["m1", "m2"]) >= 300)
        took_s, hurt = outage.elapsed_s, outage.record.count(0, 1e9, ["m0"])
        print(f"\nothers done after {took_s:.1f} s, {hurt} submits into it")  # noqa: T201
        assert took_s <= (4 if not single else 20)
        await outage.run_until(lambda: outage.elapsed_s > 600)
        assert outage.record.count(0, 1e9, ["m0"]) <= SLOTS / 3 + 12
        by_scope = {b.scope: b for b in await outage.deployment.store.breakers.list_all()}
        assert by_scope[Scope("default/model/m0")].submits_allowed(1e12) == 0
        assert by_scope[Scope("default/model")].trips == 0 or single


async def test_two_models_that_lose_every_answer_leave_the_others_at_work(redis_url: str) -> None:
    """Their losses stop the route at first; its canaries find the lanes that fail."""
    bad = ("m0", "m1")
    behaviour = Behaviour(submit=lambda m: BAD_GATEWAY if m.target in bad else None)
    async with an_outage(redis_url, behaviour) as outage:
        await outage.enqueue(600, targets=4)
        await outage.run_until(lambda: outage.record.count(0, 1e9, ["m2", "m3"]) >= 300)
        took_s = outage.elapsed_s
        await outage.run_until(lambda: outage.elapsed_s > 600)
        hurt = outage.record.count(0, 1e9, bad)
        print(f"\nothers done after {took_s:.1f} s, {hurt} submits into two")  # noqa: T201
        assert took_s <= 20
        assert hurt <= SLOTS + 24


async def test_502_of_a_route_with_many_lanes_hurts_what_is_in_flight(redis_url: str) -> None:
    async with an_outage(redis_url, until(120, BAD_GATEWAY)) as outage:
        await outage.enqueue(400, targets=20)
        took_s = await outage.run_until()
        states, lanes = await outage.states(), await outage.deployment.store.breakers.list_all()
        print(f"\n20 lanes: {dict(states)}, done {took_s - 120:.0f} s after it")  # noqa: T201
        assert states[State.PARKED] <= SLOTS + 8
        assert took_s <= 120 + 130
        assert "open" not in {one.state for one in lanes}
        assert outage.record.whoami_calls < 60


@pytest.mark.parametrize("loss_latency_s", [LATENCY_S, 0.02], ids=["usual", "sooner"])
async def test_losing_one_answer_in_a_hundred_costs_little_throughput(
    redis_url: str, loss_latency_s: float
) -> None:
    jobs = 6_000 if JOBS else 800
    times: list[float] = []
    for share in (0.0, 0.01):
        behaviour = Behaviour(submit=lost_answers(share), loss_latency_s=loss_latency_s)
        async with an_outage(redis_url, behaviour) as outage:
            await outage.enqueue(jobs)
            await outage.run_until()
            times.append(max(t for posts in outage.record.posts.values() for t in posts))
    ratio = times[0] / times[1]
    print(f"\n1 % lost: {ratio:.3f} of the throughput without")  # noqa: T201
    assert ratio >= 0.95


async def test_a_lost_answer_holds_up_long_sync_runs_for_seconds(redis_url: str) -> None:
    """Answers come with their ends: one that is open for longer than lost ones shows enough."""
    lost = {"j9", "j50"}
    behaviour = Behaviour(submit=lambda m: Lost("closed") if m.job_id in lost else None)
    behaviour.loss_latency_s = 0.02
    async with an_outage(redis_url, behaviour, sync_runs=100) as outage:
        outage.longest_open_step_s = 1.0
        await outage.deployment.store.holds.remember_sync_only(M0, 2e9)
        await outage.enqueue(10)
        await outage.run_until(lambda: outage.elapsed_s > 0.5)
        await outage.enqueue(40)
        await outage.run_until(lambda: outage.elapsed_s > 10)
        assert outage.record.count(0, 8) == 50
        await outage.enqueue(1)
        await outage.run_until(lambda: outage.elapsed_s > 11)
        await outage.enqueue(40)
        await outage.run_until(lambda: outage.elapsed_s > 20)
        assert outage.record.count(0, 20) == 91, "the first canary, still open, takes no place"


async def test_sync_submits_of_an_outage_are_tried_one_at_a_time(redis_url: str) -> None:
    behaviour = until(60, BAD_GATEWAY)
    async with an_outage(redis_url, behaviour, sync_runs=50) as outage:
        outage.longest_open_step_s = 1.0
        await outage.deployment.store.holds.remember_sync_only(M0, 2e9)
        await outage.enqueue(200)
        took_s = await outage.run_until()
        states = await outage.states()
        print(f"\nsync runs of 30 s, 502 for 60 s: {dict(states)}, done {took_s:.0f} s")  # noqa: T201
        assert states[State.PARKED] <= 55
        assert took_s <= 60 + 32 + 4 * 30 + 20, "last pause, four waves, and the steps"


REFUSALS: Final = {
    429: CallFailure("too many", 429, 600.0, ProviderError("RATE_LIMIT_EXCEEDED", "", 429)),
    500: CallFailure("broken", 500, None, ProviderError("INTERNAL", "", 500)),
    200: CallFailure("no user", 200),
}


@pytest.mark.parametrize("status", REFUSALS)
async def test_a_free_call_that_is_refused_shows_all_the_same_that_the_api_answers(
    redis_url: str, status: int
) -> None:
    behaviour = until(20, BAD_GATEWAY)
    behaviour.whoami = lambda _: REFUSALS[status]
    async with an_outage(redis_url, behaviour) as outage:
        await outage.enqueue(100)
        assert await outage.run_until() < 120
        assert (await outage.states())[State.SUCCEEDED] >= 100 - SLOTS


async def test_a_free_call_that_fails_is_named_beside_the_loss(redis_url: str) -> None:
    behaviour = until(20, BAD_GATEWAY)
    behaviour.whoami = lambda at: at >= 20
    async with an_outage(redis_url, behaviour) as outage:
        await outage.enqueue(100)
        await outage.run_until(lambda: outage.record.whoami_calls > 2)
        (breaker,) = [b for b in await outage.deployment.store.breakers.list_all() if b.opened_at]
        assert "the last call failed: HTTP 502" in breaker_text(breaker, 0.0)
        await outage.run_until()
        assert breaker.call_error is not None


async def test_submits_that_never_arrive_pause_for_longer_though_calls_are_answered(
    redis_url: str,
) -> None:
    """A 408 that comes before a large body is written, for instance."""
    too_slow = NotSent("HTTP 408 before the request was written")
    async with an_outage(redis_url, until(3_600, too_slow)) as outage:
        await outage.enqueue(100)
        await outage.run_until(lambda: outage.elapsed_s > 1_800)
        posts = outage.record.count(0, 1_800)
        (breaker,) = [b for b in await outage.deployment.store.breakers.list_all() if b.opened_at]
        print(f"\nnever arriving: {posts} submits in 30 min, {breaker.trips} trips")  # noqa: T201
        assert outage.record.count(60, 1_800) <= 10
        assert posts <= 2 * SLOTS + 15
        assert limits_submits(breaker, 0.0)
        await outage.run_until()
        assert dict(await outage.states()) == {"succeeded": 100}
        assert outage.elapsed_s < 3_600 + 330


async def test_one_job_that_never_arrives_whole_is_not_sent_all_the_time(redis_url: str) -> None:
    """Submits of others are answered meanwhile, so no breaker trips."""
    early = Refused(ProviderError(None, "", 408, is_readable=False, body_sent=False))
    sent: list[float] = []

    def submit(moment: Moment) -> SubmitOutcome | None:
        if moment.job_id != "j0":
            return None
        sent.append(moment.at)
        return early

    async with an_outage(redis_url, Behaviour(submit=submit)) as outage:
        await outage.enqueue(1)
        for second in range(1, 60):
            await outage.enqueue(2)
            await outage.run_until(lambda second=second: outage.elapsed_s > second)  # type: ignore[misc]
        assert len(outage.record.succeeded) > 100
        assert len(sent) <= 15, "a minute"


async def test_one_worker_that_cannot_connect_stops_itself_alone(redis_url: str) -> None:
    async with an_outage(redis_url, Behaviour(), workers=2) as outage:
        broken, other = outage.deployment.living
        outage.unconnected.add(broken.id)
        await outage.enqueue(100)
        await outage.run_until(lambda: bool(outage.record.count(0, 1e9) >= 100))
        (breaker,) = await outage.deployment.store.breakers.list_all()
        assert (breaker.cause, breaker.workers, breaker.is_shared) == (
            "unreachable",
            (broken.id,),
            False,
        )
        assert outage.elapsed_s < 20, "the other worker was at work all the time"
        outage.unconnected.add(other.id)
        await outage.enqueue(10)
        await outage.run_until(lambda: outage.elapsed_s > 60)
        (breaker,) = await outage.deployment.store.breakers.list_all()
        assert breaker.is_shared, "the second worker confirmed it"
        outage.unconnected.clear()
        await outage.run_until()
        assert dict(await outage.states()) == {"succeeded": 110}


async def test_jobs_whose_inputs_always_fail_die_and_keep_no_lane_closed(redis_url: str) -> None:
    """Ten of them, of the highest priority, at the head of the lane in an outage."""
    bad = {f"j{number}" for number in range(10)}

    def submit(moment: Moment) -> SubmitOutcome | None:
        return FAILED if moment.at < 30 or moment.job_id in bad else None

    async with an_outage(redis_url, Behaviour(submit=submit)) as outage:
        await outage.enqueue(10, priority=100)
        await outage.enqueue(90)
        await outage.run_until()
        assert dict(await outage.states()) == {"succeeded": 90, "dead": 10}
        last_success_s = max(outage.record.succeeded)
        assert last_success_s < 120, f"the others waited for {last_success_s} s"


async def test_equal_inputs_that_always_fail_stop_their_lane_and_let_others_probe(
    redis_url: str,
) -> None:
    """They fill what is read of the lane's head; jobs with other inputs wait behind them."""

    def submit(moment: Moment) -> SubmitOutcome | None:
        return FAILED if moment.job_id == "j0" else None

    async with an_outage(redis_url, Behaviour(submit=submit)) as outage:
        await outage.enqueue(600, inputs_of=0)
        await outage.run_until(lambda: outage.elapsed_s > 20)
        posts = outage.record.count(0, 20)
        await outage.enqueue(20)
        await outage.run_until(lambda: len(outage.record.succeeded) >= 20, limit_s=900)
        print(f"\nequal inputs: {posts} submits in 20 s, others done {outage.elapsed_s:.0f} s")  # noqa: T201
        assert posts <= SLOTS + 8
        assert outage.elapsed_s < 20 + 300


async def test_identical_jobs_survive_an_outage(redis_url: str) -> None:
    async with an_outage(redis_url, until(60, FAILED)) as outage:
        await outage.enqueue(300, inputs_of=0)
        await outage.run_until()
        assert dict(await outage.states()) == {"succeeded": 300}
        assert outage.record.count(0, 60) <= SLOTS + 10
        assert outage.elapsed_s < 90 + 10


@pytest.mark.parametrize("back_s", [33.0, 39.5])
async def test_jobs_get_their_turn_where_the_target_is_back_before_the_limit(
    redis_url: str, back_s: float
) -> None:
    """The pause of the probe before would last beyond the limit."""
    async with an_outage(redis_url, until(back_s, FAILED), outage_limit_s=40) as outage:
        outage.longest_open_step_s = 1.0
        await outage.enqueue(60, max_attempts=20)
        await outage.run_until()
        states = await outage.states()
        print(f"\nback {40 - back_s:g} s before the limit: {dict(states)}")  # noqa: T201
        assert states[State.DEAD] <= 1
        assert outage.elapsed_s < 55, "the last probe goes at the limit"


async def test_an_outage_beyond_its_limit_makes_dead_letters_that_say_so(redis_url: str) -> None:
    async with an_outage(redis_url, until(1e9, FAILED), outage_limit_s=600) as outage:
        await outage.enqueue(250)
        await outage.run_until(lambda: outage.elapsed_s >= 560)
        assert State.DEAD not in await outage.states()
        await outage.run_until()
        assert dict(await outage.states()) == {"dead": 250}
        assert outage.elapsed_s < 2 * 600 + 300
        groups = await outage.deployment.store.jobs.members(
            Index.GROUP, "dead|outage|default/model/m0", 500
        )
        assert len(groups) == 250
