"""Redis answers nobody for longer than a lease: leases that ended then show no lost worker."""

import pytest

from jobs.job import UNCERTAIN
from jobs.lanes import Lane
from jobs.states import Kind, State
from tests.simulation.deployment import SimulatedDeployment, SimulatedWorker
from tests.simulation.faulty_redis_client import RedisFault, RedisFaultKind
from tests.simulation.test_interleavings import past_the_lease, start_submit, starts
from worker.app.action_table import JobAction
from worker.engine.beat_history import BeatHistory

LEASE_S = 10.0


async def silence(deployment: SimulatedDeployment) -> None:
    """Redis answers nobody for longer than a lease."""
    deployment.clock.pass_time(deployment.settings.lease_s + 1)


async def regular_workers(deployment: SimulatedDeployment) -> list[SimulatedWorker]:
    """Two workers that have lived for a while."""
    workers = [deployment.start_worker(), deployment.start_worker()]
    await past_the_lease(deployment, *workers)
    return workers


@pytest.mark.parametrize("beats_first", [False, True])
async def test_a_lease_that_ended_in_the_silence_is_left_to_its_worker(
    deployment: SimulatedDeployment, *, beats_first: bool
) -> None:
    """Another worker looks for lost jobs before the owner could extend its leases."""
    owner, other = await regular_workers(deployment)
    call = await start_submit(deployment, owner)
    await silence(deployment)
    await deployment.tick(other, *(["heartbeat"] if beats_first else []), "rescuer")
    assert (await deployment.job("a")).state is State.SUBMITTING
    await deployment.pass_time(1)
    await deployment.tick(other, "rescuer")
    assert (await deployment.job("a")).state is State.SUBMITTING
    await deployment.answer(call, deployment.accepted(call))
    assert (await deployment.job("a")).state is State.RUNNING
    await deployment.settle_everything()
    assert starts(deployment) == 1


async def test_the_jobs_of_a_worker_lost_in_the_silence_are_rescued_after_it(
    deployment: SimulatedDeployment,
) -> None:
    doomed, other = await regular_workers(deployment)
    await start_submit(deployment, doomed)
    await deployment.kill(doomed)
    await silence(deployment)
    await deployment.tick(other, "rescuer")
    assert (await deployment.job("a")).state is State.SUBMITTING
    await past_the_lease(deployment, other)
    assert (await deployment.job("a")).parked_as == UNCERTAIN


async def test_a_worker_that_stalls_in_its_mark_past_the_lease_sends_nothing(
    deployment: SimulatedDeployment,
) -> None:
    """The job is uncertain by then: an operator who finds no run may have submitted it again."""
    sleeper, other = await regular_workers(deployment)
    deployment.record.connects = False
    call = await start_submit(deployment, sleeper)
    sleeper.client.faults.append(RedisFault(RedisFaultKind.STALL, taken=True))
    await deployment.connect(call)
    await past_the_lease(deployment, other)
    assert (await deployment.job("a")).parked_as == UNCERTAIN
    await deployment.take_action(JobAction.RESUBMIT, "a")
    await deployment.wake(sleeper)
    assert not call.written
    await deployment.settle_everything()
    assert starts(deployment) == 1


@pytest.mark.parametrize("is_cancelled", [False, True])
@pytest.mark.parametrize("is_sync", [False, True])
async def test_a_submit_that_is_stopped_after_its_mark_is_no_unknown_outcome(
    deployment: SimulatedDeployment, *, is_sync: bool, is_cancelled: bool
) -> None:
    """Its worker knows that nothing was sent. The mark of a sync run makes the job `running`."""
    worker, _ = await regular_workers(deployment)
    if is_sync:
        lane = Lane("default", Kind.MODEL, "suno")
        await deployment.store.holds.remember_sync_only(lane, deployment.clock.now() + 3_600)
    deployment.record.connects = False
    call = await start_submit(deployment, worker)
    worker.client.faults.append(RedisFault(RedisFaultKind.STALL, taken=True))
    await deployment.connect(call)
    assert (await deployment.job("a")).state is (State.RUNNING if is_sync else State.SUBMITTING)
    if is_cancelled:
        await deployment.take_action(JobAction.CANCEL, "a")
    await silence(deployment)
    await deployment.wake(worker)
    assert not call.written
    job = await deployment.job("a")
    assert job.state is (State.CANCELLED if is_cancelled else State.QUEUED)
    assert job.spent == 0
    await deployment.settle_everything()
    assert starts(deployment) == (0 if is_cancelled else 1)


@pytest.mark.parametrize(
    ("beats_at", "now", "may_judge"),
    [
        ((), 100, False),
        ((0, 3, 6, 9), 9, False),
        ((0, 3, 6, 9), 10, True),
        ((0, 3, 6, 9), 14, True),
        ((0, 3, 6, 9), 14.1, False),
        ((0, 3, 6, 11, 14), 14, True),
        ((0, 3, 6, 11.1, 14), 14, False),
        ((0, 3, 6, 9, 20, 23, 26, 29), 29, False),
        ((0, 3, 6, 9, 20, 23, 26, 29), 30, True),
        ((3_600, 3_603, 6, 9, 12), 15, False),
        ((3_600, 3_603, 6, 9, 12), 16, True),
    ],
)
def test_a_worker_judges_leases_while_its_own_beats_are_regular(
    beats_at: tuple[float, ...], now: float, *, may_judge: bool
) -> None:
    history = BeatHistory(LEASE_S)
    for at in beats_at:
        history.record(at)
    assert history.may_judge(now) is may_judge
