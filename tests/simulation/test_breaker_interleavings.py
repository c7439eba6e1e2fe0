"""Breakers in single interleavings of workers, provider and operators."""

from jobs.breakers import Breaker, BreakerCause, BreakerState
from jobs.indexes import Index
from jobs.job import UNCERTAIN
from jobs.lanes import Scope
from jobs.outcomes import Lost, ProviderError, Refused
from jobs.states import State
from tests.simulation.deployment import ANN, SimulatedDeployment, SimulatedWorker
from tests.simulation.simulated_provider import SimulatedCall
from worker.app.action_table import JobAction

LOST = Lost("the server closed the connection")
NO_CREDITS = Refused(ProviderError("INSUFFICIENT_CREDITS", http_status=402))


async def submits(
    deployment: SimulatedDeployment, worker: SimulatedWorker, *job_ids: str
) -> list[SimulatedCall]:
    """Jobs whose submits wait for their answers."""
    for job_id in job_ids:
        await deployment.enqueue(job_id)
    await deployment.admit_and_deliver(worker)
    return [deployment.open_call(job_id) for job_id in job_ids]


async def breaker_of(deployment: SimulatedDeployment, scope: str) -> Breaker:
    """The breaker of the unknown outcomes of a scope."""
    found = {
        one.scope: one
        for one in await deployment.store.breakers.list_all()
        if one.cause is BreakerCause.UNKNOWN_OUTCOME
    }
    return found[Scope(scope)]


async def lane_breaker(deployment: SimulatedDeployment) -> Breaker:
    return await breaker_of(deployment, "default/model/suno")


async def trip(
    deployment: SimulatedDeployment, worker: SimulatedWorker, first: SimulatedCall
) -> None:
    """A submit is lost, and then the one that its slowed lane let through."""
    await deployment.answer(first, LOST)
    connects, deployment.record.connects = deployment.record.connects, True
    (second,) = await submits(deployment, worker, "second")
    deployment.record.connects = connects
    await deployment.answer(second, LOST)
    assert (await lane_breaker(deployment)).state is BreakerState.OPEN


async def until_probing(deployment: SimulatedDeployment, worker: SimulatedWorker) -> Breaker:
    for _ in range(10):
        await deployment.tick(worker, "breaker_prober")
        breaker = await lane_breaker(deployment)
        if breaker.state is BreakerState.PROBING:
            return breaker
        await deployment.pass_time_until_something_is_due()
    raise AssertionError("it was never probed")


async def test_admitted_jobs_that_are_not_sent_yet_go_back_when_the_breaker_trips(
    deployment: SimulatedDeployment,
) -> None:
    """Two workers hold them; nothing of them is sent, and nothing is spent."""
    worker, other = deployment.start_worker(), deployment.start_worker()
    (a,) = await submits(deployment, worker, "a")
    deployment.record.connects = False
    c, d = await submits(deployment, other, "c", "d")
    await trip(deployment, worker, a)
    deployment.record.connects = True
    for call in (c, d):
        await deployment.connect(call)
        assert not call.written
        job = await deployment.job(call.job_id)
        assert (job.state, job.spent, job.submits) == (State.QUEUED, 0, 0)
    await deployment.check()
    await deployment.admit_and_deliver(other)
    assert not deployment.record.ready, "nothing goes while it is open"
    await deployment.settle_everything()
    assert (await deployment.job("c")).state is State.SUCCEEDED


async def test_a_success_that_was_sent_before_does_not_close_it(
    deployment: SimulatedDeployment,
) -> None:
    worker = deployment.start_worker()
    a, c = await submits(deployment, worker, "a", "c")
    await trip(deployment, worker, a)
    await until_probing(deployment, worker)
    await deployment.answer(c, deployment.accepted(c))
    await deployment.tick(worker, "breaker_prober")
    breaker = await lane_breaker(deployment)
    assert (breaker.state, breaker.step, breaker.accepted) == (BreakerState.PROBING, 1, 0)
    await deployment.settle_everything()


async def test_one_canary_goes_at_a_time_whatever_its_priority_or_hold_bypass(
    deployment: SimulatedDeployment,
) -> None:
    worker = deployment.start_worker()
    (a,) = await submits(deployment, worker, "a")
    await trip(deployment, worker, a)
    for job_id, priority in (("c", 0), ("d", 100), ("e", 100)):
        await deployment.enqueue(job_id, priority=priority)
    await deployment.actions.place_hold(Scope("default/model/suno"), ANN)
    await deployment.take_action(JobAction.PARK, "c")
    await deployment.take_action(JobAction.RELEASE, "c")
    deployment.invariants.actions += 1
    assert (await deployment.job("c")).bypass_hold
    await deployment.admit_and_deliver(worker)
    assert not deployment.record.ready
    breaker = await until_probing(deployment, worker)
    await deployment.admit_and_deliver(worker)
    (canary,) = deployment.record.ready
    assert (await deployment.job(canary.job_id)).canary_of == (breaker.id,)
    await deployment.settle_everything()


async def test_a_canary_whose_worker_is_killed_leaves_its_slot_to_the_next(
    deployment: SimulatedDeployment,
) -> None:
    doomed, other = deployment.start_worker(), deployment.start_worker()
    (a,) = await submits(deployment, doomed, "a")
    await trip(deployment, doomed, a)
    await until_probing(deployment, doomed)
    await deployment.enqueue("c")
    await deployment.enqueue("d")
    await deployment.admit_and_deliver(doomed)
    await deployment.kill(doomed)
    await deployment.admit_and_deliver(other)
    assert not deployment.record.ready, "the slot is taken until the lease ends"
    await deployment.pass_time(deployment.settings.lease_s + 1)
    await deployment.tick(other, "rescuer")
    breaker = await lane_breaker(deployment)
    assert breaker.state is BreakerState.PROBING, "a worker that dies says nothing of the route"
    await deployment.admit_and_deliver(other)
    (canary,) = deployment.record.ready
    await deployment.answer(canary, deployment.accepted(canary))
    await deployment.tick(other, "breaker_prober")
    assert (await lane_breaker(deployment)).step == 4
    await deployment.settle_everything()


async def test_a_cancelled_canary_leaves_its_slot_to_the_next(
    deployment: SimulatedDeployment,
) -> None:
    worker = deployment.start_worker()
    (a,) = await submits(deployment, worker, "a")
    await trip(deployment, worker, a)
    breaker = await until_probing(deployment, worker)
    deployment.record.connects = False
    await deployment.enqueue("c")
    await deployment.enqueue("d")
    await deployment.admit_and_deliver(worker)
    (canary,) = deployment.record.calls
    await deployment.take_action(JobAction.CANCEL, canary.job_id)
    gate = await deployment.store.jobs.members(Index.GATE, breaker.id, 9)
    assert gate == []
    deployment.record.connects = True
    await deployment.admit_and_deliver(worker)
    (next_canary,) = [call for call in deployment.record.calls if call is not canary]
    assert next_canary.job_id != canary.job_id
    await deployment.connect(canary)
    assert not canary.written
    await deployment.settle_everything()


async def test_one_job_probes_for_a_hold_and_for_a_breaker(
    deployment: SimulatedDeployment,
) -> None:
    """Each waits for a canary of its own otherwise, and none would go."""
    worker = deployment.start_worker()
    a, c = await submits(deployment, worker, "a", "c")
    await trip(deployment, worker, a)
    await deployment.answer(c, NO_CREDITS)
    (hold,) = await deployment.store.holds.list_all()
    await deployment.actions.release_hold(hold.id, ANN)
    deployment.invariants.actions += 1
    breaker = await until_probing(deployment, worker)
    await deployment.enqueue("d")
    await deployment.admit_and_deliver(worker)
    (canary,) = deployment.record.ready
    job = await deployment.job(canary.job_id)
    assert (job.opening_hold_ids, job.canary_of) == ((hold.id,), (breaker.id,))
    await deployment.answer(canary, deployment.accepted(canary))
    await deployment.tick(worker, "breaker_prober")
    (opened,) = await deployment.store.holds.list_all()
    assert (opened.step, (await lane_breaker(deployment)).step) == (2, 4)
    await deployment.settle_everything()


async def test_an_outcome_is_counted_once_however_often_it_is_written(
    deployment: SimulatedDeployment,
) -> None:
    worker = deployment.start_worker()
    (a,) = await submits(deployment, worker, "a")
    await deployment.answer(a, LOST)
    assert (await deployment.job("a")).parked_as == UNCERTAIN
    breaker = await lane_breaker(deployment)
    assert (breaker.failures, breaker.state) == (1, BreakerState.CLOSED)
    await deployment.settle_everything()


# Lanes and their route.


async def test_a_lane_that_loses_answers_stops_alone(deployment: SimulatedDeployment) -> None:
    """What is admitted of it goes back; the other lane goes on at full speed."""
    worker, other = deployment.start_worker(), deployment.start_worker()
    (a,) = await submits(deployment, worker, "a")
    deployment.record.connects = False
    (c,) = await submits(deployment, other, "c")
    await deployment.enqueue("d", target="nano")
    await deployment.admit_and_deliver(other)
    d = deployment.open_call("d")
    await trip(deployment, worker, a)
    deployment.record.connects = True
    for call in (c, d):
        await deployment.connect(call)
    assert not c.written
    assert d.written
    for number in range(3):  # one slot is taken
        await deployment.enqueue(f"n{number}", target="nano")
    await deployment.admit_and_deliver(other)
    ready = {call.job_id for call in deployment.record.ready}
    assert ready == {"d", *(f"n{number}" for number in range(3))}
    route = await breaker_of(deployment, "default/model")
    assert (route.state, route.submits_allowed(deployment.clock.now())) == ("closed", None)
    await deployment.settle_everything()
    assert (await deployment.job("c")).state is State.SUCCEEDED


async def test_losses_of_two_lanes_stop_their_route_and_one_canary_is_of_all(
    deployment: SimulatedDeployment,
) -> None:
    worker = deployment.start_worker()
    a, c = await submits(deployment, worker, "a", "c")
    await trip(deployment, worker, a)
    await deployment.pass_time(2)
    await deployment.enqueue("d", target="nano")
    await deployment.admit_and_deliver(worker)
    await deployment.answer(deployment.open_call("d"), LOST)
    assert (await breaker_of(deployment, "default/model")).state is BreakerState.OPEN
    await deployment.answer(c, deployment.accepted(c))
    for job_id, target in (("e", "suno"), ("f", "nano"), ("g", "third")):
        await deployment.enqueue(job_id, target=target)
    await deployment.admit_and_deliver(worker)
    assert not deployment.record.ready, "nothing of the route goes"
    while (route := await breaker_of(deployment, "default/model")).state is BreakerState.OPEN:
        await deployment.pass_time_until_something_is_due()
        await deployment.tick(worker, "breaker_prober")
    await deployment.pass_time(40)
    await deployment.tick(worker, "breaker_prober")
    lane = await lane_breaker(deployment)
    assert lane.state is BreakerState.PROBING, "the call of its route was answered"
    await deployment.admit_and_deliver(worker)
    (canary,) = deployment.record.ready
    assert route.id in (await deployment.job(canary.job_id)).canary_of
    await deployment.answer(canary, deployment.accepted(canary))
    await deployment.settle_everything()
    for job_id in "efg":
        assert (await deployment.job(job_id)).state is State.SUCCEEDED
