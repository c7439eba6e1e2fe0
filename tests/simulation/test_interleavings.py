"""Single interleavings, told step by step: who was faster, and what is true all the same."""

from typing import Any

import pytest

from jobs.job import Job
from jobs.outcomes import ProviderError, Refused, RunMissing, StillRunning
from jobs.states import OnUncertain, State
from jobs.transitions import UNCERTAIN
from tests.simulation import provider_outcomes
from tests.simulation.deployment import ANN, SimulatedDeployment, SimulatedWorker
from tests.simulation.faulty_redis_client import RedisFault as LineFault
from tests.simulation.faulty_redis_client import RedisFaultKind
from tests.simulation.simulated_provider import SimulatedCall

NO_ASYNC = Refused(ProviderError("ASYNC_NOT_SUPPORTED", http_status=400))
FAILED = Refused(ProviderError("EXECUTION_FAILED", http_status=500))
NO_CREDITS = Refused(ProviderError("INSUFFICIENT_CREDITS", http_status=402))


async def start_submit(
    world: SimulatedDeployment, worker: SimulatedWorker, job_id: str = "a", **options: Any
) -> SimulatedCall:
    """A job whose submit waits for its answer."""
    await world.enqueue(job_id, **options)
    await world.admit_and_deliver(worker)
    return world.open_call(job_id)


async def past_the_lease(world: SimulatedDeployment, *rescuers: SimulatedWorker) -> None:
    """Time for the rescuers to look at what a silent worker left."""
    await world.pass_time(world.settings.lease_s + 1)
    for worker in rescuers:
        await world.tick(worker, "rescuer")
    await world.check()


def starts(world: SimulatedDeployment, job_id: str = "a") -> int:
    """How many runs the provider started for a job."""
    return sum(run.job_id == job_id for run in world.record.runs.values())


# Crashes.


async def test_killed_between_the_mark_and_the_answer_a_job_is_uncertain(
    world: SimulatedDeployment,
) -> None:
    doomed, other = world.start_worker(), world.start_worker()
    await start_submit(world, doomed)
    await world.kill(doomed)
    await past_the_lease(world, other)
    job = await world.job("a")
    assert job.parked_as == UNCERTAIN
    assert job.spent == 0
    await world.admit_and_deliver(other)
    await world.settle_everything()
    assert starts(world) == 1, "nobody sent it again"


async def test_killed_before_the_mark_a_job_is_sent_by_another(world: SimulatedDeployment) -> None:
    doomed, other = world.start_worker(), world.start_worker()
    world.record.connects = False
    await start_submit(world, doomed)
    await world.kill(doomed)
    await past_the_lease(world, other)
    assert (await world.job("a")).state is State.QUEUED
    await world.settle_everything()
    assert (await world.job("a")).state is State.SUCCEEDED
    assert starts(world) == 1


@pytest.mark.parametrize("taken", [True, False], ids=["mark written", "mark lost"])
async def test_killed_in_the_mark_nothing_was_sent(
    world: SimulatedDeployment, *, taken: bool
) -> None:
    doomed, other = world.start_worker(), world.start_worker()
    world.record.connects = False
    call = await start_submit(world, doomed)
    doomed.client.faults.append(LineFault(RedisFaultKind.KILL, taken=taken))
    await world.connect(call)
    assert doomed.is_gone
    assert not call.written
    await past_the_lease(world, other)
    await world.settle_everything()
    wanted = State.PARKED if taken else State.SUCCEEDED
    assert (await world.job("a")).state is wanted


# Stalls.


async def test_a_late_acceptance_resolves_an_uncertain_job(world: SimulatedDeployment) -> None:
    """A worker stalls; the rescuer parks its job; then it wakes, with the answer in its hand."""
    sleeper, other = world.start_worker(), world.start_worker()
    call = await start_submit(world, sleeper)
    await world.stall(sleeper)
    await past_the_lease(world, other)
    assert (await world.job("a")).parked_as == UNCERTAIN
    await world.answer(call, world.accepted(call))
    await world.check()
    await world.wake(sleeper)
    job = await world.job("a")
    assert (job.state, job.execution_id) == (State.RUNNING, f"ex-{call.number}")
    await world.settle_everything()
    assert starts(world) == 1


async def test_a_late_acceptance_after_a_resubmit_changes_nothing(
    world: SimulatedDeployment,
) -> None:
    sleeper, other = world.start_worker(), world.start_worker()
    late = await start_submit(world, sleeper)
    await world.stall(sleeper)
    await past_the_lease(world, other)
    await world.take_action("resubmit", "a")
    await world.admit_and_deliver(other)
    second = world.open_call("a")
    await world.answer(second, world.accepted(second))
    await world.answer(late, world.accepted(late))
    await world.wake(sleeper)
    assert (await world.job("a")).execution_id == f"ex-{second.number}"
    await world.settle_everything()


async def test_a_worker_that_stalled_before_its_mark_sends_nothing_later(
    world: SimulatedDeployment,
) -> None:
    sleeper, other = world.start_worker(), world.start_worker()
    world.record.connects = False
    call = await start_submit(world, sleeper)
    await world.stall(sleeper)
    await past_the_lease(world, other)
    world.record.connects = True
    await world.admit_and_deliver(other)
    await world.connect(call)
    await world.wake(sleeper)
    assert not call.written
    await world.settle_everything()
    assert starts(world) == 1


# Two hops.


async def test_one_entry_at_two_workers_is_sent_once(world: SimulatedDeployment) -> None:
    workers = [world.start_worker(), world.start_worker()]
    world.record.connects = False
    await world.enqueue("a")
    await world.admit_and_deliver(workers[0])
    (entry,) = await world.entries()
    await world.run_entry(workers[1], entry)
    for call in list(world.record.calls):
        await world.connect(call)
    assert [call.written for call in world.record.submits["a"]] == [True, False]
    await world.settle_everything()
    assert starts(world) == 1


async def test_an_entry_run_twice_by_one_worker_stays_held_by_it(
    world: SimulatedDeployment,
) -> None:
    """The second run finds nothing to do, and does not make the worker forget the first."""
    worker = world.start_worker()
    await start_submit(world, worker)
    (entry,) = await world.entries()
    await world.run_entry(worker, entry)
    assert worker.runtime.submitter.leased_ids == ("a",)
    await past_the_lease(world, worker)
    assert (await world.job("a")).state is State.SUBMITTING
    await world.check()


async def test_a_submit_token_that_was_fenced_out_leaves_the_next_one_with_its_worker(
    world: SimulatedDeployment,
) -> None:
    """One worker has the hop that was given back, and the hop that took its place."""
    worker, other = world.start_worker(), world.start_worker()
    world.record.connects = False
    first = await start_submit(world, worker)
    await world.stall(worker)
    await past_the_lease(world, other)
    await world.tick(other, "redis_recovery", "admission")
    await world.wake(worker)
    world.record.connects = True
    await world.deliver(worker)
    await world.connect(first)
    assert not first.written
    assert worker.runtime.submitter.leased_ids == ("a",)


async def test_jobs_of_one_entry_are_sent_each_for_itself(world: SimulatedDeployment) -> None:
    """They are admitted together and wake a worker once; one was cancelled before it came to it."""
    admitting, other = world.start_worker(), world.start_worker()
    for job_id in ("a", "b", "c", "d"):
        await world.enqueue(job_id)
    await world.tick(admitting, "redis_recovery", "admission")
    (entry,) = await world.entries()
    hops = [
        (job_id, (await world.job(job_id)).submit_token or "") for job_id in ("a", "b", "c", "d")
    ]
    assert entry.arq_id == ":".join(hops[0])
    assert entry.args == tuple(text for hop in hops for text in hop)
    await world.take_action("cancel", "b")
    await world.run_entry(other, entry)
    assert sorted(call.job_id for call in world.record.calls) == ["a", "c", "d"]
    await world.answer(world.open_call("c"), FAILED)
    await world.answer(world.open_call("a"), world.accepted(world.open_call("a")))
    states = [(await world.job(job_id)).state for job_id in ("a", "b", "c", "d")]
    wanted = [State.RUNNING, State.CANCELLED, State.RETRYING, State.SUBMITTING]
    assert states == wanted
    await world.run_entry(other, entry)
    assert starts(world, "a") == 1, "run twice, it does nothing twice"
    await world.settle_everything()
    assert starts(world, "b") == 0


# People.


async def test_a_cancel_between_two_polls_is_passed_on_at_once(world: SimulatedDeployment) -> None:
    """The poller remembers the job as it was when it last looked."""
    worker = world.start_worker()
    call = await start_submit(world, worker)
    await world.answer(call, world.accepted(call))
    for _ in range(2):
        await world.pass_time_until_something_is_due()
        await world.tick(worker, "poller")
        looks = [call for call in world.record.calls if call.kind == "poll"]
        for look in looks:
            await world.answer(look, StillRunning("processing"))
    assert (await world.store.jobs.poll_history(await world.job("a"))).polls > 0
    await world.take_action("cancel", "a")
    await world.tick(worker, "poller")
    assert world.open_call("a", "cancel").run is not None
    await world.settle_everything()


async def test_a_cancel_during_a_poll_takes_precedence(world: SimulatedDeployment) -> None:
    """The look puts the next one off; the wish to cancel is not put off with it."""
    worker = world.start_worker()
    call = await start_submit(world, worker)
    await world.answer(call, world.accepted(call))
    await world.pass_time(2)
    await world.tick(worker, "poller")
    look = world.open_call("a", "poll")
    await world.take_action("cancel", "a")
    await world.answer(look, StillRunning("processing"))
    await world.tick(worker, "poller")
    assert world.open_call("a", "cancel").run is not None
    await world.settle_everything()


async def test_a_cancel_while_the_submit_is_under_way_reaches_the_run(
    world: SimulatedDeployment,
) -> None:
    worker = world.start_worker()
    call = await start_submit(world, worker)
    await world.take_action("cancel", "a")
    assert (await world.job("a")).state is State.SUBMITTING
    await world.answer(call, world.accepted(call))
    assert (await world.job("a")).state is State.CANCELLING
    await world.pass_time(2)
    await world.tick(worker, "poller")
    await world.answer(world.open_call("a", "cancel"), provider_outcomes.ON_CANCEL["taken"])
    poll = world.open_call("a", "poll")
    assert poll.run is not None
    await world.answer(poll, provider_outcomes.ENDS["cancelled"](world, poll.run))
    assert (await world.job("a")).state is State.CANCELLED
    await world.settle_everything()


async def test_a_cancel_between_a_refused_async_submit_and_the_sync_one_is_done_at_once(
    world: SimulatedDeployment,
) -> None:
    """Nothing runs and nothing will: there is nothing to be uncertain about."""
    worker = world.start_worker()
    call = await start_submit(world, worker)
    world.record.connects = False
    await world.answer(call, NO_ASYNC)
    await world.take_action("cancel", "a")
    again = world.open_call("a")
    await world.connect(again)
    assert not again.written
    assert (await world.job("a")).state is State.CANCELLED
    await world.settle_everything()


async def test_a_hold_released_while_refused_submits_are_in_flight_comes_back(
    world: SimulatedDeployment,
) -> None:
    worker = world.start_worker()
    for job_id in ("a", "b", "c"):
        await world.enqueue(job_id)
    await world.admit_and_deliver(worker)
    first, second, third = (world.open_call(job_id) for job_id in ("a", "b", "c"))
    await world.answer(first, NO_CREDITS)
    (hold,) = await world.store.holds.list_all()
    await world.actions.release_hold(hold.id, ANN)
    world.invariants.actions += 1
    await world.answer(second, NO_CREDITS)
    (hold,) = await world.store.holds.list_all()
    assert (hold.phase, hold.relapses, hold.hits) == ("closed", 1, 2)
    await world.answer(third, world.accepted(third))
    await world.settle_everything()
    states = [(await world.job(job_id)).state for job_id in ("a", "b", "c")]
    assert states == [State.QUEUED, State.PARKED, State.SUCCEEDED]


# Shutdown.


async def test_a_sync_run_that_is_cut_at_shutdown_is_uncertain(world: SimulatedDeployment) -> None:
    worker, other = world.start_worker(), world.start_worker()
    await world.answer(await start_submit(world, worker), NO_ASYNC)
    assert (await world.job("a")).state is State.RUNNING
    await world.stop(worker)
    assert not worker.is_gone, "it waits for the run"
    await world.stop(worker)
    assert worker.is_gone
    job = await world.job("a")
    assert (job.parked_as, job.spent) == (UNCERTAIN, 0)
    await world.admit_and_deliver(other)
    await world.settle_everything()
    assert starts(world) == 1


async def test_a_submit_under_way_is_finished_at_shutdown(world: SimulatedDeployment) -> None:
    worker = world.start_worker()
    call = await start_submit(world, worker)
    await world.stop(worker)
    assert not worker.is_gone
    await world.answer(call, world.accepted(call))
    assert worker.is_gone
    assert (await world.job("a")).state is State.RUNNING
    await world.settle_everything()


async def test_a_shutdown_waits_for_a_submit_whose_entry_was_run_twice(
    world: SimulatedDeployment,
) -> None:
    worker = world.start_worker()
    call = await start_submit(world, worker)
    (entry,) = await world.entries()
    await world.run_entry(worker, entry)
    await world.stop(worker)
    assert not worker.is_gone
    await world.answer(call, world.accepted(call))
    assert (await world.job("a")).state is State.RUNNING


# Lost races.


@pytest.mark.parametrize("wish", OnUncertain)
async def test_a_submit_that_begins_while_the_rescuer_reads_is_not_rescued(
    world: SimulatedDeployment, wish: OnUncertain
) -> None:
    """The lease of an admitted job ran out; its entry comes after all, just before the rescue."""
    worker, rescuer = world.start_worker(), world.start_worker()
    await world.enqueue("a", on_uncertain=wish)
    await world.tick(worker, "redis_recovery", "admission")
    await world.pass_time(world.settings.lease_s + 1)
    rescuer.client.faults.append(LineFault(RedisFaultKind.STALL, after=1, taken=True))
    await world.tick(rescuer, "rescuer")
    await world.deliver(worker)
    call = world.open_call("a")
    await world.wake(rescuer)
    job = await world.job("a")
    assert (job.state, job.spent, job.reason) == (State.SUBMITTING, 0, None)
    await world.answer(call, world.accepted(call))
    await world.settle_everything()
    assert starts(world) == 1


async def test_the_scheduler_leaves_a_backoff_alone_that_began_while_it_read(
    world: SimulatedDeployment,
) -> None:
    worker, timer = world.start_worker(), world.start_worker()
    await world.answer(await start_submit(world, worker, max_attempts=5), FAILED)
    first: Job = await world.job("a")
    assert first.due_at is not None
    await world.pass_time(first.due_at - world.clock.now())
    timer.client.faults.append(LineFault(RedisFaultKind.STALL, taken=True))
    await world.tick(timer, "scheduler")
    await world.tick(worker, "scheduler")
    await world.admit_and_deliver(worker)
    await world.answer(world.open_call("a"), FAILED)
    await world.wake(timer)
    assert (await world.job("a")).state is State.RETRYING
    await world.settle_everything()


async def test_a_result_that_comes_late_for_a_run_nobody_could_find_is_kept(
    world: SimulatedDeployment,
) -> None:
    """Five looks were answered 404 and the job is uncertain; a sixth, older one saw the end."""
    sleeper, other = world.start_worker(), world.start_worker()
    call = await start_submit(world, sleeper)
    await world.answer(call, world.accepted(call))
    await world.pass_time(2)
    await world.tick(sleeper, "poller")
    late = world.open_call("a", "poll")
    await world.stall(sleeper)
    for _ in range(5):
        await world.pass_time(40)
        await world.tick(other, "poller")
        await world.answer(
            world.open_call("a", "poll"), RunMissing(ProviderError(None, http_status=404))
        )
    assert (await world.job("a")).parked_as == UNCERTAIN
    assert late.run is not None
    await world.answer(late, world.completed(late.run))
    await world.wake(sleeper)
    assert (await world.job("a")).state is State.SUCCEEDED
    await world.settle_everything()


async def test_a_canary_whose_record_was_touched_meanwhile_opens_its_gate_by_one_step(
    world: SimulatedDeployment,
) -> None:
    worker = world.start_worker()
    call = await start_submit(world, worker)
    await world.answer(call, NO_CREDITS)
    (hold,) = await world.store.holds.list_all()
    await world.actions.release_hold(hold.id, ANN)
    world.invariants.actions += 1
    await world.admit_and_deliver(worker)
    canary = world.open_call("a")
    await world.take_action("cancel", "a")
    await world.answer(canary, world.accepted(canary))
    (hold,) = await world.store.holds.list_all()
    assert (hold.step, hold.accepted) == (2, 0)


async def test_a_submit_that_begins_between_two_reads_of_the_rescuer_is_not_rescued(
    world: SimulatedDeployment,
) -> None:
    """It read the list of leases that ran out, and then a record that is new and well held."""
    worker, rescuer = world.start_worker(), world.start_worker()
    await world.enqueue("a")
    await world.tick(worker, "redis_recovery", "admission")
    await world.pass_time(world.settings.lease_s + 1)
    rescuer.client.faults.append(LineFault(RedisFaultKind.STALL, taken=True))
    await world.tick(rescuer, "rescuer")
    await world.deliver(worker)
    call = world.open_call("a")
    await world.wake(rescuer)
    job = await world.job("a")
    assert (job.state, job.reason) == (State.SUBMITTING, None)
    await world.check()
    await world.answer(call, world.accepted(call))
    await world.settle_everything()


async def test_a_sync_submit_run_twice_stays_with_its_worker(world: SimulatedDeployment) -> None:
    """Two connections stand for it; one run is written, the other finds itself fenced out."""
    worker = world.start_worker()
    first = await start_submit(world, worker)
    await world.answer(first, NO_ASYNC)
    await world.answer(world.open_call("a"), world.finished(world.open_call("a")))
    world.record.connects = False
    await world.enqueue("b")
    await world.admit_and_deliver(worker)
    await world.run_entry(worker, world.delivered_entries[-1])
    one, *others = [call for call in world.record.calls if call.job_id == "b"]
    await world.connect(one)
    for call in others:
        await world.connect(call)
    assert one.written
    assert worker.runtime.submitter.leased_ids == ("b",)
    assert worker.runtime.submitter.sync_runs == 1
    await past_the_lease(world, worker)
    await world.answer(one, world.finished(one))
    await world.settle_everything()
