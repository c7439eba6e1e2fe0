"""`start_by` in virtual time: what waits too long is cancelled, and no late wake-up sends it."""

from jobs.job import EXPIRED
from jobs.lanes import Scope
from jobs.outcomes import ProviderError, Refused
from jobs.states import State
from tests.simulation.deployment import ANN, SimulatedDeployment
from tests.simulation.test_interleavings import NO_CREDITS, starts
from worker.app.action_table import JobAction


def by(deployment: SimulatedDeployment, seconds: float) -> float:
    return deployment.clock.now() + seconds


async def expired(deployment: SimulatedDeployment, job_id: str = "a") -> None:
    """The job was cancelled for its `start_by`, and nothing of it was sent."""
    job = await deployment.job(job_id)
    assert (job.state, job.reason and job.reason.code) == (State.CANCELLED, EXPIRED)
    assert (job.spent, starts(deployment, job_id)) == (0, 0)
    await deployment.check()


async def test_behind_a_hold_it_is_cancelled_by_the_expirer(
    deployment: SimulatedDeployment,
) -> None:
    worker = deployment.start_worker()
    await deployment.actions.place_hold(Scope("default"), ANN)
    deployment.invariants.actions += 1
    await deployment.enqueue("a", start_by=by(deployment, 60))
    await deployment.enqueue("later", start_by=by(deployment, 600))
    await deployment.pass_time(59)
    await deployment.tick(worker, "expirer")
    assert (await deployment.job("a")).state is State.QUEUED
    await deployment.pass_time(2)
    await deployment.tick(worker, "expirer")
    await expired(deployment)
    assert (await deployment.job("later")).state is State.QUEUED


async def test_without_the_expirer_admission_does_not_send_it(
    deployment: SimulatedDeployment,
) -> None:
    worker = deployment.start_worker()
    await deployment.enqueue("a", start_by=by(deployment, 60))
    await deployment.pass_time(61)
    await deployment.admit_and_deliver(worker)
    await expired(deployment)


async def test_a_late_wake_up_does_not_send_it(deployment: SimulatedDeployment) -> None:
    """It was admitted in time, and its entry or its connection took too long."""
    worker = deployment.start_worker()
    await deployment.enqueue("a", start_by=by(deployment, 5))
    await deployment.tick(worker, "redis_recovery", "admission")
    assert (await deployment.job("a")).state is State.SUBMITTING
    deployment.record.connects = False
    (entry,) = await deployment.entries()
    await deployment.run_entry(worker, entry)
    call = deployment.open_call("a")
    await deployment.pass_time(5)
    await deployment.connect(call)
    assert (await deployment.job("a")).state is State.QUEUED
    await deployment.tick(worker, "expirer")
    await expired(deployment)


async def test_a_parked_job_stays_and_is_cancelled_when_it_is_released_too_late(
    deployment: SimulatedDeployment,
) -> None:
    worker = deployment.start_worker()
    await deployment.enqueue("a", start_by=by(deployment, 60))
    await deployment.admit_and_deliver(worker)
    await deployment.answer(deployment.open_call("a"), NO_CREDITS)
    await deployment.pass_time(3_600)
    await deployment.tick(worker, "expirer", "admission")
    assert (await deployment.job("a")).state is State.PARKED
    await deployment.take_action(JobAction.RELEASE, "a")
    await deployment.admit_and_deliver(worker)
    job = await deployment.job("a")
    assert (job.state, job.reason and job.reason.code) == (State.CANCELLED, EXPIRED)
    assert starts(deployment) == 0


async def test_a_refused_submit_is_not_tried_again_too_late(
    deployment: SimulatedDeployment,
) -> None:
    worker = deployment.start_worker()
    await deployment.enqueue("a", start_by=by(deployment, 60))
    await deployment.admit_and_deliver(worker)
    refusal = Refused(ProviderError("EXECUTION_FAILED", http_status=500))
    await deployment.answer(deployment.open_call("a"), refusal)
    assert (await deployment.job("a")).state is State.RETRYING
    await deployment.pass_time(61)
    await deployment.tick(worker, "expirer")
    job = await deployment.job("a")
    assert (job.state, job.reason and job.reason.code) == (State.CANCELLED, EXPIRED)
    await deployment.check()
