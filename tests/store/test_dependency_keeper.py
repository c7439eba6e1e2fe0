"""Jobs that wait for others, over real Redis: from the commit that settles the last parent on."""

import asyncio
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from arq import ArqRedis

from jobs import transitions
from jobs.dependencies.parents import CHECK_INTERVAL_S
from jobs.indexes import Index
from jobs.job import INPUTS_ERASED, PARENT, PARENT_RESULT, Job
from jobs.lanes import JobId
from jobs.lifecycle import IllegalTransition
from jobs.outcomes import Finished
from jobs.requests import JobRequest
from jobs.states import Kind, State
from tests.simulation.manual_clock import ManualClock
from tests.unit.core import job_builders
from tests.unit.core.job_builders import NOW
from tests.unit.core.test_requests import payload
from worker.app.action_table import JobAction
from worker.app.actions import Actions, Actor
from worker.app.enqueue import Enqueuer, EnqueueResult, InvalidRequest, JobDefaults, JobIdConflict
from worker.engine.services.dependency_keeper import DependencyKeeper
from worker.engine.services.expirer import Expirer
from worker.engine.services.pruner import Pruner
from worker.engine.wakeups import Wakeups
from worker.store import Store
from worker.store.commit import RestoreResult, VersionedJob, version_of
from worker.store.preconditions import ParentCheck
from worker.store.side_writes import SideWrites

MAX_INPUTS = 1_000
TAKES: dict[str, Any] = {"image": {"$result": "p", "pointer": "/images/0"}}
"""Inputs that take from the result of a job."""

RESULT = b'{"images":["https://a/1.png"]}'


@pytest.fixture
def clock() -> ManualClock:
    clock = ManualClock()
    clock.pass_time(NOW - clock.now())
    return clock


@pytest.fixture
def enqueuer(store: Store, clock: ManualClock) -> Enqueuer:
    return Enqueuer(store, clock, JobDefaults())


@pytest.fixture
def keeper(store: Store) -> DependencyKeeper:
    return DependencyKeeper(store, Wakeups(), "w1", MAX_INPUTS)


def a_request(*after: str, run_at: float | None = None, **inputs: Any) -> JobRequest:
    return JobRequest(Kind.MODEL, "suno", payload(**inputs), after=after, run_at=run_at)


async def job_of(store: Store, job_id: str) -> Job:
    stored = await store.jobs.load(job_id)
    assert stored is not None
    return stored.job


async def add(store: Store, job: Job) -> VersionedJob:
    stored = await store.jobs.create(job, b"{}")
    assert stored is not None
    return stored


async def succeed(store: Store, parent: VersionedJob, result: bytes = RESULT) -> None:
    after = transitions.succeed(parent.job, NOW, Finished(result))
    written = await store.jobs.commit(parent, after, SideWrites(result=result))
    assert isinstance(written, VersionedJob)


async def test_the_end_of_the_last_parent_queues_a_job_with_what_it_takes(
    store: Store, enqueuer: Enqueuer, keeper: DependencyKeeper
) -> None:
    parents = [await add(store, job_builders.running(id=name)) for name in ("p", "q")]
    result = await enqueuer.enqueue(a_request("p", "q", **TAKES, n=1), job_id="c")
    assert (result.job.state, result.job.takes_results) == (State.WAITING, True)
    assert await keeper.tick(NOW) > 0
    await succeed(store, parents[0])
    await keeper.tick(NOW)
    assert (await job_of(store, "c")).state is State.WAITING
    await succeed(store, parents[1])
    await keeper.tick(NOW)
    job = await job_of(store, "c")
    assert (job.state, job.spent, job.attempts, job.takes_results) == (State.QUEUED, 0, (), False)
    stored = await store.payloads.read("c")
    assert stored.inputs is not None
    assert msgspec.json.decode(stored.inputs) == {"image": "https://a/1.png", "n": 1}
    assert await store.dependencies.work(NOW + 9, 9, 9) == ([], [])


async def test_only_a_parent_with_children_is_noted(
    store: Store, enqueuer: Enqueuer, redis: ArqRedis
) -> None:
    alone, parent = [await add(store, job_builders.running(id=name)) for name in ("a", "p")]
    await enqueuer.enqueue(a_request("p"), job_id="c")
    await succeed(store, alone)
    assert not await redis.exists(store.keys.settled_parents)
    await succeed(store, parent)
    assert await store.client.call("ZRANGE", store.keys.settled_parents, 0, -1) == [b"p"]


async def test_parents_that_have_ended_already_are_looked_at_at_once(
    store: Store, enqueuer: Enqueuer, keeper: DependencyKeeper
) -> None:
    await succeed(store, await add(store, job_builders.running(id="p")))
    await enqueuer.enqueue(a_request("p", **TAKES), job_id="c")
    await keeper.tick(NOW)
    assert (await job_of(store, "c")).state is State.QUEUED


async def test_a_parent_that_ends_while_a_job_is_enqueued_is_not_missed(
    store: Store, enqueuer: Enqueuer, keeper: DependencyKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read as running, and ends before the new job is written."""
    parent = await add(store, job_builders.running(id="p"))
    create, tries = store.jobs.create_if, 0

    async def later(job: Job, writes: SideWrites) -> Any:
        nonlocal tries
        tries += 1
        if tries == 1:
            await succeed(store, parent)
        return await create(job, writes)

    monkeypatch.setattr(store.jobs, "create_if", later)
    await enqueuer.enqueue(a_request("p"), job_id="c")
    assert tries == 2
    await keeper.tick(NOW)
    assert (await job_of(store, "c")).state is State.QUEUED


async def test_children_of_a_dead_letter_wait_and_follow_it(
    store: Store, enqueuer: Enqueuer, keeper: DependencyKeeper
) -> None:
    parent = await add(store, job_builders.dead(id="p"))
    await enqueuer.enqueue(a_request("p"), job_id="c")
    await keeper.tick(NOW + CHECK_INTERVAL_S)
    assert (await job_of(store, "c")).state is State.WAITING
    discarded = transitions.discard(parent.job, NOW, by="ann")
    await store.jobs.commit(parent, discarded)
    await keeper.tick(NOW + 1)
    job = await job_of(store, "c")
    assert (job.parked_as, job.attempts) == (PARENT, ())
    assert job.reason is not None
    assert job.reason.message == "job p was cancelled"


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (b'{"images":[]}', "has nothing at /images/0"),
        (b'{"images":["' + b"x" * MAX_INPUTS + b'"]}', "KNOUDS_MAX_INPUTS_BYTES"),
        (b"no json", "cannot be read"),
    ],
)
async def test_a_result_that_lacks_what_is_taken_parks_the_job(
    store: Store,
    enqueuer: Enqueuer,
    keeper: DependencyKeeper,
    result: bytes,
    text: str,
) -> None:
    parent = await add(store, job_builders.running(id="p"))
    await enqueuer.enqueue(a_request("p", **TAKES), job_id="c")
    await succeed(store, parent, result)
    await keeper.tick(NOW)
    job = await job_of(store, "c")
    assert job.parked_as == PARENT_RESULT
    assert job.reason is not None
    assert text in job.reason.message


async def test_a_result_that_was_cut_is_not_taken_from(
    store: Store, enqueuer: Enqueuer, keeper: DependencyKeeper
) -> None:
    parent = await add(store, job_builders.running(id="p"))
    await enqueuer.enqueue(a_request("p", **TAKES), job_id="c")
    after = transitions.succeed(parent.job, NOW, Finished(RESULT))
    cut = transitions.set_result_note(after, "too large")
    await store.jobs.commit(parent, cut, SideWrites(result=RESULT))
    await keeper.tick(NOW)
    job = await job_of(store, "c")
    assert job.reason is not None
    assert "too large to keep" in job.reason.message


async def test_an_erased_result_and_erased_inputs_park_it(
    store: Store, enqueuer: Enqueuer, keeper: DependencyKeeper
) -> None:
    await succeed(store, await add(store, job_builders.running(id="p")))
    for name in ("c", "d"):
        await enqueuer.enqueue(a_request("p", **TAKES), job_id=name)
    for name in ("p", "d"):
        stored = await store.jobs.load(name)
        assert stored is not None
        erased = transitions.erase_payloads(stored.job, NOW)
        await store.jobs.commit(stored, erased, SideWrites(erased_at=NOW))
    await keeper.tick(NOW)
    assert (await job_of(store, "c")).parked_as == PARENT_RESULT
    assert (await job_of(store, "d")).parked_as == INPUTS_ERASED


async def test_a_parked_child_runs_with_inputs_of_its_own_only(
    store: Store, enqueuer: Enqueuer, keeper: DependencyKeeper, clock: ManualClock
) -> None:
    await add(store, job_builders.cancelled(id="p"))
    await enqueuer.enqueue(a_request("p", **TAKES), job_id="c")
    await enqueuer.enqueue(a_request("p"), job_id="plain")
    await keeper.tick(NOW)
    actions, ann = Actions(store, clock), Actor("ann")
    with pytest.raises(IllegalTransition, match="inputs of its own"):
        await actions.act(JobAction.RELEASE, "c", ann)
    await actions.act(JobAction.RELEASE, "c", ann, inputs=b'{"image":"mine"}')
    await actions.act(JobAction.RELEASE, "plain", ann)
    assert [(await job_of(store, name)).state for name in ("c", "plain")] == [State.QUEUED] * 2
    assert (await store.payloads.read("c")).inputs == b'{"image":"mine"}'


async def test_a_time_is_waited_for_too(
    store: Store, enqueuer: Enqueuer, keeper: DependencyKeeper
) -> None:
    parent = await add(store, job_builders.running(id="p"))
    await enqueuer.enqueue(a_request("p", run_at=NOW + 60), job_id="c")
    await succeed(store, parent)
    await keeper.tick(NOW)
    await keeper.tick(NOW + 59)
    assert (await job_of(store, "c")).state is State.WAITING
    await keeper.tick(NOW + 60)
    assert (await job_of(store, "c")).state is State.QUEUED


async def test_one_that_is_too_late_is_left_to_be_cancelled(
    store: Store, enqueuer: Enqueuer, keeper: DependencyKeeper
) -> None:
    """Also where its parent was cancelled at the same moment: a parked job would never expire."""
    parent = await add(store, job_builders.queued(id="p"))
    await enqueuer.enqueue(replace(a_request("p"), start_by=NOW + 60), job_id="c")
    late = NOW + 60
    await store.jobs.commit(parent, transitions.cancel(parent.job, late, by="ann"))
    await keeper.tick(late)
    assert (await job_of(store, "c")).state is State.WAITING
    await Expirer(store).tick(late)
    job = await job_of(store, "c")
    assert (job.state, job.reason and job.reason.code) == (State.CANCELLED, "expired")


async def test_what_redis_lost_is_found_by_the_hourly_look(
    store: Store, enqueuer: Enqueuer, keeper: DependencyKeeper, redis: ArqRedis
) -> None:
    parent = await add(store, job_builders.running(id="p"))
    await enqueuer.enqueue(a_request("p"), job_id="c")
    await succeed(store, parent)
    await redis.delete(store.keys.settled_parents)
    await keeper.tick(NOW + CHECK_INTERVAL_S - 1)
    assert (await job_of(store, "c")).state is State.WAITING
    await keeper.tick(NOW + CHECK_INTERVAL_S)
    assert (await job_of(store, "c")).state is State.QUEUED


async def test_a_look_at_open_parents_is_repeated_an_hour_later(
    store: Store, enqueuer: Enqueuer, keeper: DependencyKeeper
) -> None:
    await add(store, job_builders.running(id="p"))
    await enqueuer.enqueue(a_request("p"), job_id="c")
    later = NOW + CHECK_INTERVAL_S
    await keeper.tick(later)
    assert (await job_of(store, "c")).parents_check_at == later + CHECK_INTERVAL_S
    assert await store.dependencies.work(later + 1, 9, 9) == ([], [])


async def test_a_thousand_children_are_moved_on_in_several_rounds_by_one_worker(
    store: Store, enqueuer: Enqueuer
) -> None:
    """Half of them wait for another parent, too, and stay."""
    parent = await add(store, job_builders.running(id="p"))
    await add(store, job_builders.running(id="q"))
    names = [f"c{number:04}" for number in range(450)]
    requests = [
        (name, a_request("p", "q") if n % 2 else a_request("p")) for n, name in enumerate(names)
    ]
    await enqueuer.enqueue_many(requests)
    await succeed(store, parent)
    keepers = [DependencyKeeper(store, Wakeups(), f"w{n}", MAX_INPUTS) for n in range(2)]
    rounds = 0
    while (await store.dependencies.work(NOW, 9, 9))[0]:
        await asyncio.gather(*(keeper.tick(NOW) for keeper in keepers))
        rounds += 1
    assert rounds == 3
    counts, _ = await store.read.queries.state_counts()
    assert (counts[State.QUEUED], counts[State.WAITING]) == (225, 225)


async def test_a_parent_is_not_pruned_while_a_job_waits_for_it(
    store: Store, enqueuer: Enqueuer
) -> None:
    await succeed(store, await add(store, job_builders.running(id="p")))
    await succeed(store, await add(store, job_builders.running(id="alone")))
    await add(store, job_builders.running(id="q"))
    await enqueuer.enqueue(a_request("p", "q"), job_id="c")
    pruner, later = Pruner(store, 60.0), NOW + 3_600
    assert await pruner.tick(later) > 0
    assert [await store.jobs.load(name) is None for name in ("p", "alone")] == [False, True]
    child = await store.jobs.load("c")
    assert child is not None
    await store.jobs.commit(child, transitions.cancel(child.job, later, by="ann"))
    await pruner.tick(later)
    assert await store.jobs.load("p") is None


async def test_a_job_and_the_end_of_its_parents_record_at_one_moment(
    store: Store, enqueuer: Enqueuer
) -> None:
    """Of a prune and an enqueue that name one parent, one comes first: nothing is left over."""
    for _ in range(20):
        parent = await add(store, job_builders.succeeded(id="p"))
        deleted, enqueued = await asyncio.gather(
            store.jobs.delete(parent), enqueuer.enqueue_many([("c", a_request("p"))])
        )
        is_there = await store.jobs.load("p") is not None
        assert is_there is not deleted
        assert isinstance(enqueued[0], InvalidRequest) is deleted
        assert bool(await store.client.call("EXISTS", store.keys.job("p"))) is is_there
        for name in ("c", "p"):
            if (stored := await store.jobs.load(name)) is not None:
                assert await store.jobs.delete(stored)


# Enqueues.


async def test_unknown_parents_are_refused_by_name(store: Store, enqueuer: Enqueuer) -> None:
    await add(store, job_builders.running(id="p"))
    with pytest.raises(InvalidRequest, match="'nobody'") as refused:
        await enqueuer.enqueue(a_request("p", "nobody"), job_id="c")
    assert refused.value.field == "after[1]"


async def test_the_same_request_is_the_same_job_when_its_parents_are_gone(
    store: Store, enqueuer: Enqueuer, keeper: DependencyKeeper
) -> None:
    parent = await add(store, job_builders.running(id="p"))
    await enqueuer.enqueue(a_request("p", **TAKES), job_id="c")
    await succeed(store, parent)
    await keeper.tick(NOW)
    stored = await store.jobs.load("p")
    assert stored is not None
    assert await store.jobs.delete(stored)
    again = await enqueuer.enqueue(a_request("p", **TAKES), job_id="c")
    assert (again.created, again.job.state) == (False, State.QUEUED)
    with pytest.raises(JobIdConflict):
        await enqueuer.enqueue(a_request("p"), job_id="c")


async def test_lost_inputs_are_not_replaced_by_references(
    store: Store, enqueuer: Enqueuer, keeper: DependencyKeeper
) -> None:
    """The same request again restores lost inputs, but not those that a result was taken into."""
    await succeed(store, await add(store, job_builders.running(id="p")))
    await enqueuer.enqueue(a_request("p", **TAKES), job_id="c")
    await keeper.tick(NOW)
    await store.client.call("HDEL", store.keys.job("c"), "inputs")
    await enqueuer.enqueue(a_request("p", **TAKES), job_id="c")
    assert (await store.payloads.read("c")).inputs is None


async def test_jobs_of_one_call_may_wait_for_each_other_in_any_order(
    store: Store, enqueuer: Enqueuer
) -> None:
    found = await enqueuer.enqueue_many(
        [
            ("c", a_request("a", "b")),
            ("b", a_request("a")),
            ("a", a_request()),
            ("x", a_request("y")),
            ("y", a_request("x")),
            ("z", a_request("x")),
            (None, a_request("a")),
            ("a", a_request()),
        ]
    )
    states = [
        one.job.state if isinstance(one, EnqueueResult) else getattr(one, "field", one)
        for one in found
    ]
    waiting, queued = State.WAITING, State.QUEUED
    assert states == [waiting, waiting, queued, "after", "after", "after[0]", waiting, queued]
    assert "x → y → x" in str(found[3]) or "y → x → y" in str(found[3])
    assert await store.jobs.members(Index.WAITING_CHILDREN, "a", 9) != []


async def test_a_token_that_sees_no_results_takes_from_its_own_jobs_only(
    enqueuer: Enqueuer,
) -> None:
    for name in ("mine", "other"):
        await enqueuer.enqueue(a_request(), job_id=name, by=name)
    for name in ("mine", "other"):
        taking = a_request(name, x={"$result": name})
        if name == "mine":
            await enqueuer.enqueue(taking, by="mine", sees_results=False)
            continue
        with pytest.raises(InvalidRequest, match="another token") as refused:
            await enqueuer.enqueue(taking, by="mine", sees_results=False)
        assert refused.value.field == "inputs.x"
        await enqueuer.enqueue(a_request(name), by="mine", sees_results=False)


async def test_parents_are_those_of_the_tenant(
    store: Store, enqueuer: Enqueuer, keeper: DependencyKeeper
) -> None:
    await succeed(store, await add(store, job_builders.running(id="p")))
    with pytest.raises(InvalidRequest):
        await enqueuer.enqueue(a_request("p"), tenant="studio")
    theirs = await add(store, job_builders.running(id=JobId("studio~p")))
    await enqueuer.enqueue(a_request("p", **TAKES), job_id="c", tenant="studio")
    await succeed(store, theirs, b'{"images":["theirs"]}')
    await keeper.tick(NOW)
    assert (await store.payloads.read("studio~c")).inputs == b'{"image":"theirs"}'


async def test_a_long_circle_is_refused_in_few_words(enqueuer: Enqueuer) -> None:
    """Each of its jobs has an error: the text of each must not grow with their number."""
    ids = [f"{'x' * 100}{number}" for number in range(300)]
    pairs = zip(ids, (*ids[1:], ids[0]), strict=True)
    found = await enqueuer.enqueue_many([(name, a_request(other)) for name, other in pairs])
    assert all(isinstance(one, InvalidRequest) and one.field == "after" for one in found)
    assert max(len(str(one)) for one in found) < 1_000


async def test_a_parent_is_not_deleted_in_the_call_that_writes_its_first_child(
    store: Store,
) -> None:
    parent = await add(store, job_builders.succeeded(id="p"))
    child = job_builders.waiting(id="c", after=("p",))
    checks = (ParentCheck("p", version_of(parent.rev)),)
    written, is_deleted = await asyncio.gather(
        store.jobs.create_if(child, SideWrites(b"{}", parents=checks)), store.jobs.delete(parent)
    )
    assert isinstance(written, VersionedJob)
    assert not is_deleted
    assert await store.jobs.load("p") is not None


async def test_a_child_that_is_written_back_makes_no_record_of_its_parent(store: Store) -> None:
    ours = VersionedJob(job_builders.waiting(id="c", after=("p",)), "1.aa")
    assert await store.jobs.restore(None, ours) is RestoreResult.RESTORED
    assert not await store.client.call("EXISTS", store.keys.job("p"))


async def test_an_entry_without_a_record_goes(store: Store, keeper: DependencyKeeper) -> None:
    key = store.keys.index(Index.WAITING)
    await store.client.call("ZADD", key, NOW, "nobody")
    await keeper.tick(NOW)
    assert not await store.client.call("EXISTS", key)
