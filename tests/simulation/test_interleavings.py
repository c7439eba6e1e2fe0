"""Single interleavings of workers, provider and operators, step by step."""

from typing import Any

import pytest

from jobs.job import UNCERTAIN, Job
from jobs.outcomes import ProviderError, Refused, RunMissing, StillRunning
from jobs.states import OnUncertain, State
from tests.simulation import provider_outcomes
from tests.simulation.deployment import ANN, SimulatedDeployment, SimulatedWorker
from tests.simulation.faulty_redis_client import RedisFault, RedisFaultKind
from tests.simulation.simulated_provider import SimulatedCall
from worker.app.action_table import JobAction

NO_ASYNC = Refused(ProviderError("ASYNC_NOT_SUPPORTED", http_status=400))
FAILED = Refused(ProviderError("EXECUTION_FAILED", http_status=500))
NO_CREDITS = Refused(ProviderError("INSUFFICIENT_CREDITS", http_status=402))


async def start_submit(
    deployment: SimulatedDeployment, worker: SimulatedWorker, job_id: str = "a", **options: Any
) -> SimulatedCall:
    """A job whose submit waits for its answer."""
    await deployment.enqueue(job_id, **options)
    await deployment.admit_and_deliver(worker)
    return deployment.open_call(job_id)


async def past_the_lease(deployment: SimulatedDeployment, *rescuers: SimulatedWorker) -> None:
    """Pass the end of the lease of a silent worker, and let the rescuers run."""
    await deployment.pass_time(deployment.settings.lease_s + 1)
    for worker in rescuers:
        await deployment.tick(worker, "rescuer")
    await deployment.check()


def starts(deployment: SimulatedDeployment, job_id: str = "a") -> int:
    """How many runs the provider started for a job."""
    return sum(run.job_id == job_id for run in deployment.record.runs.values())


# Crashes.


async def test_killed_between_the_mark_and_the_answer_a_job_is_uncertain(
    deployment: SimulatedDeployment,
) -> None:
    doomed, other = deployment.start_worker(), deployment.start_worker()
    await start_submit(deployment, doomed)
    await deployment.kill(doomed)
    await past_the_lease(deployment, other)
    job = await deployment.job("a")
    assert job.parked_as == UNCERTAIN
    assert job.spent == 0
    await deployment.admit_and_deliver(other)
    await deployment.settle_everything()
    assert starts(deployment) == 1, "it was not sent again"


async def test_killed_before_the_mark_a_job_is_sent_by_another(
    deployment: SimulatedDeployment,
) -> None:
    doomed, other = deployment.start_worker(), deployment.start_worker()
    deployment.record.connects = False
    await start_submit(deployment, doomed)
    await deployment.kill(doomed)
    await past_the_lease(deployment, other)
    assert (await deployment.job("a")).state is State.QUEUED
    await deployment.settle_everything()
    assert (await deployment.job("a")).state is State.SUCCEEDED
    assert starts(deployment) == 1


@pytest.mark.parametrize("taken", [True, False], ids=["mark written", "mark lost"])
async def test_killed_in_the_mark_nothing_was_sent(
    deployment: SimulatedDeployment, *, taken: bool
) -> None:
    doomed, other = deployment.start_worker(), deployment.start_worker()
    deployment.record.connects = False
    call = await start_submit(deployment, doomed)
    doomed.client.faults.append(RedisFault(RedisFaultKind.KILL, taken=taken))
    await deployment.connect(call)
    assert doomed.is_gone
    assert not call.written
    await past_the_lease(deployment, other)
    await deployment.settle_everything()
    wanted = State.PARKED if taken else State.SUCCEEDED
    assert (await deployment.job("a")).state is wanted


# Stalls.


async def test_a_late_acceptance_resolves_an_uncertain_job(deployment: SimulatedDeployment) -> None:
    """A worker stalls; the rescuer parks its job; then the worker wakes and has the answer."""
    sleeper, other = deployment.start_worker(), deployment.start_worker()
    call = await start_submit(deployment, sleeper)
    await deployment.stall(sleeper)
    await past_the_lease(deployment, other)
    assert (await deployment.job("a")).parked_as == UNCERTAIN
    await deployment.answer(call, deployment.accepted(call))
    await deployment.check()
    await deployment.wake(sleeper)
    job = await deployment.job("a")
    assert (job.state, job.execution_id) == (State.RUNNING, f"ex-{call.number}")
    await deployment.settle_everything()
    assert starts(deployment) == 1


async def test_a_late_acceptance_after_a_resubmit_changes_nothing(
    deployment: SimulatedDeployment,
) -> None:
    sleeper, other = deployment.start_worker(), deployment.start_worker()
    late = await start_submit(deployment, sleeper)
    await deployment.stall(sleeper)
    await past_the_lease(deployment, other)
    await deployment.take_action(JobAction.RESUBMIT, "a")
    await deployment.admit_and_deliver(other)
    second = deployment.open_call("a")
    await deployment.answer(second, deployment.accepted(second))
    await deployment.answer(late, deployment.accepted(late))
    await deployment.wake(sleeper)
    job = await deployment.job("a")
    assert job.execution_id == f"ex-{second.number}"
    assert job.attempts[0].execution_id == f"ex-{late.number}", "it is on record all the same"
    await deployment.settle_everything()


async def test_a_late_acceptance_stops_a_newer_submit_that_was_not_sent(
    deployment: SimulatedDeployment,
) -> None:
    """The job was resubmitted and is admitted again; its first run turns out to exist."""
    sleeper, other = deployment.start_worker(), deployment.start_worker()
    late = await start_submit(deployment, sleeper)
    await deployment.stall(sleeper)
    await past_the_lease(deployment, other)
    await deployment.take_action(JobAction.RESUBMIT, "a")
    deployment.record.connects = False
    await deployment.admit_and_deliver(other)
    second = deployment.open_call("a")
    await deployment.answer(late, deployment.accepted(late))
    await deployment.wake(sleeper)
    job = await deployment.job("a")
    assert (job.state, job.execution_id) == (State.RUNNING, f"ex-{late.number}")
    deployment.record.connects = True
    await deployment.connect(second)
    assert not second.written
    await deployment.settle_everything()
    assert starts(deployment) == 1


async def test_a_worker_that_stalled_before_its_mark_sends_nothing_later(
    deployment: SimulatedDeployment,
) -> None:
    sleeper, other = deployment.start_worker(), deployment.start_worker()
    deployment.record.connects = False
    call = await start_submit(deployment, sleeper)
    await deployment.stall(sleeper)
    await past_the_lease(deployment, other)
    deployment.record.connects = True
    await deployment.admit_and_deliver(other)
    await deployment.connect(call)
    await deployment.wake(sleeper)
    assert not call.written
    await deployment.settle_everything()
    assert starts(deployment) == 1


# The same job twice.


async def test_one_entry_at_two_workers_is_sent_once(deployment: SimulatedDeployment) -> None:
    workers = [deployment.start_worker(), deployment.start_worker()]
    deployment.record.connects = False
    await deployment.enqueue("a")
    await deployment.admit_and_deliver(workers[0])
    (entry,) = await deployment.entries()
    await deployment.run_entry(workers[1], entry)
    for call in list(deployment.record.calls):
        await deployment.connect(call)
    assert [call.written for call in deployment.record.submits["a"]] == [True, False]
    await deployment.settle_everything()
    assert starts(deployment) == 1


async def test_an_entry_run_twice_by_one_worker_stays_held_by_it(
    deployment: SimulatedDeployment,
) -> None:
    """The second run finds nothing to do, and the worker keeps its lease of the first."""
    worker = deployment.start_worker()
    await start_submit(deployment, worker)
    (entry,) = await deployment.entries()
    await deployment.run_entry(worker, entry)
    assert worker.runtime.submitter.leased_ids == ("a",)
    await past_the_lease(deployment, worker)
    assert (await deployment.job("a")).state is State.SUBMITTING
    await deployment.check()


async def test_a_submit_token_that_was_fenced_out_leaves_the_next_one_with_its_worker(
    deployment: SimulatedDeployment,
) -> None:
    """One worker has the submit that was returned to the queue, and the one that replaced it."""
    worker, other = deployment.start_worker(), deployment.start_worker()
    deployment.record.connects = False
    first = await start_submit(deployment, worker)
    await deployment.stall(worker)
    await past_the_lease(deployment, other)
    await deployment.tick(other, "redis_recovery", "admission")
    await deployment.wake(worker)
    deployment.record.connects = True
    await deployment.deliver(worker)
    await deployment.connect(first)
    assert not first.written
    assert worker.runtime.submitter.leased_ids == ("a",)


async def test_jobs_of_one_entry_are_sent_each_for_itself(deployment: SimulatedDeployment) -> None:
    """They are admitted together and wake a worker once; one was cancelled before its turn."""
    admitting, other = deployment.start_worker(), deployment.start_worker()
    for job_id in ("a", "b", "c", "d"):
        await deployment.enqueue(job_id)
    await deployment.tick(admitting, "redis_recovery", "admission")
    (entry,) = await deployment.entries()
    submits = [
        (job_id, (await deployment.job(job_id)).submit_token or "")
        for job_id in ("a", "b", "c", "d")
    ]
    assert entry.arq_id == ":".join(submits[0])
    assert entry.args == tuple(text for submit in submits for text in submit)
    await deployment.take_action(JobAction.CANCEL, "b")
    await deployment.run_entry(other, entry)
    assert sorted(call.job_id for call in deployment.record.calls) == ["a", "c", "d"]
    await deployment.answer(deployment.open_call("c"), FAILED)
    await deployment.answer(
        deployment.open_call("a"), deployment.accepted(deployment.open_call("a"))
    )
    states = [(await deployment.job(job_id)).state for job_id in ("a", "b", "c", "d")]
    wanted = [State.RUNNING, State.CANCELLED, State.RETRYING, State.SUBMITTING]
    assert states == wanted
    await deployment.run_entry(other, entry)
    assert starts(deployment, "a") == 1, "a second run of the entry changes nothing"
    await deployment.settle_everything()
    assert starts(deployment, "b") == 0


# Operators.


async def test_a_cancel_between_two_polls_is_passed_on_at_once(
    deployment: SimulatedDeployment,
) -> None:
    """The poller has the job cached as it was at the last poll."""
    worker = deployment.start_worker()
    call = await start_submit(deployment, worker)
    await deployment.answer(call, deployment.accepted(call))
    for _ in range(2):
        await deployment.pass_time_until_something_is_due()
        await deployment.tick(worker, "poller")
        polls = [call for call in deployment.record.calls if call.kind == "poll"]
        for poll in polls:
            await deployment.answer(poll, StillRunning("processing"))
    assert (await deployment.store.polls.history(await deployment.job("a"))).polls > 0
    await deployment.take_action(JobAction.CANCEL, "a")
    await deployment.tick(worker, "poller")
    assert deployment.open_call("a", "cancel").run is not None
    await deployment.settle_everything()


async def test_a_cancel_during_a_poll_takes_precedence(deployment: SimulatedDeployment) -> None:
    """The poll reschedules the next one; the cancel request does not wait for it."""
    worker = deployment.start_worker()
    call = await start_submit(deployment, worker)
    await deployment.answer(call, deployment.accepted(call))
    await deployment.pass_time(2)
    await deployment.tick(worker, "poller")
    poll = deployment.open_call("a", "poll")
    await deployment.take_action(JobAction.CANCEL, "a")
    await deployment.answer(poll, StillRunning("processing"))
    await deployment.tick(worker, "poller")
    assert deployment.open_call("a", "cancel").run is not None
    await deployment.settle_everything()


async def test_a_cancel_while_the_submit_is_under_way_reaches_the_run(
    deployment: SimulatedDeployment,
) -> None:
    worker = deployment.start_worker()
    call = await start_submit(deployment, worker)
    await deployment.take_action(JobAction.CANCEL, "a")
    assert (await deployment.job("a")).state is State.SUBMITTING
    await deployment.answer(call, deployment.accepted(call))
    assert (await deployment.job("a")).state is State.CANCELLING
    await deployment.pass_time(2)
    await deployment.tick(worker, "poller")
    await deployment.answer(
        deployment.open_call("a", "cancel"), provider_outcomes.ON_CANCEL["taken"]
    )
    poll = deployment.open_call("a", "poll")
    assert poll.run is not None
    await deployment.answer(poll, provider_outcomes.ENDS["cancelled"](deployment, poll.run))
    assert (await deployment.job("a")).state is State.CANCELLED
    await deployment.settle_everything()


async def test_a_cancel_between_a_refused_async_submit_and_the_sync_one_is_done_at_once(
    deployment: SimulatedDeployment,
) -> None:
    """Nothing was started and nothing will be sent, so the outcome is known."""
    worker = deployment.start_worker()
    call = await start_submit(deployment, worker)
    deployment.record.connects = False
    await deployment.answer(call, NO_ASYNC)
    await deployment.take_action(JobAction.CANCEL, "a")
    again = deployment.open_call("a")
    await deployment.connect(again)
    assert not again.written
    assert (await deployment.job("a")).state is State.CANCELLED
    await deployment.settle_everything()


async def test_a_hold_released_while_refused_submits_are_in_flight_comes_back(
    deployment: SimulatedDeployment,
) -> None:
    worker = deployment.start_worker()
    for job_id in ("a", "b", "c"):
        await deployment.enqueue(job_id)
    await deployment.admit_and_deliver(worker)
    first, second, third = (deployment.open_call(job_id) for job_id in ("a", "b", "c"))
    await deployment.answer(first, NO_CREDITS)
    (hold,) = await deployment.store.holds.list_all()
    await deployment.actions.release_hold(hold.id, ANN)
    deployment.invariants.actions += 1
    await deployment.answer(second, NO_CREDITS)
    (hold,) = await deployment.store.holds.list_all()
    assert (hold.phase, hold.relapses, hold.hits) == ("closed", 1, 2)
    await deployment.answer(third, deployment.accepted(third))
    await deployment.settle_everything()
    states = [(await deployment.job(job_id)).state for job_id in ("a", "b", "c")]
    assert states == [State.QUEUED, State.PARKED, State.SUCCEEDED]


# Shutdown.


async def test_a_sync_run_that_is_cut_at_shutdown_is_uncertain(
    deployment: SimulatedDeployment,
) -> None:
    worker, other = deployment.start_worker(), deployment.start_worker()
    await deployment.answer(await start_submit(deployment, worker), NO_ASYNC)
    assert (await deployment.job("a")).state is State.RUNNING
    await deployment.stop(worker)
    assert not worker.is_gone, "it waits for the run"
    await deployment.stop(worker)
    assert worker.is_gone
    job = await deployment.job("a")
    assert (job.parked_as, job.spent) == (UNCERTAIN, 0)
    await deployment.admit_and_deliver(other)
    await deployment.settle_everything()
    assert starts(deployment) == 1


async def test_a_submit_under_way_is_finished_at_shutdown(deployment: SimulatedDeployment) -> None:
    worker = deployment.start_worker()
    call = await start_submit(deployment, worker)
    await deployment.stop(worker)
    assert not worker.is_gone
    await deployment.answer(call, deployment.accepted(call))
    assert worker.is_gone
    assert (await deployment.job("a")).state is State.RUNNING
    await deployment.settle_everything()


async def test_a_shutdown_waits_for_a_submit_whose_entry_was_run_twice(
    deployment: SimulatedDeployment,
) -> None:
    worker = deployment.start_worker()
    call = await start_submit(deployment, worker)
    (entry,) = await deployment.entries()
    await deployment.run_entry(worker, entry)
    await deployment.stop(worker)
    assert not worker.is_gone
    await deployment.answer(call, deployment.accepted(call))
    assert (await deployment.job("a")).state is State.RUNNING


# Lost races.


@pytest.mark.parametrize("on_uncertain", OnUncertain)
async def test_a_submit_that_begins_while_the_rescuer_reads_is_not_rescued(
    deployment: SimulatedDeployment, on_uncertain: OnUncertain
) -> None:
    """The lease of an admitted job ran out; its entry runs late, just before the rescue."""
    worker, rescuer = deployment.start_worker(), deployment.start_worker()
    await deployment.enqueue("a", on_uncertain=on_uncertain)
    await deployment.tick(worker, "redis_recovery", "admission")
    await deployment.pass_time(deployment.settings.lease_s + 1)
    rescuer.client.faults.append(RedisFault(RedisFaultKind.STALL, after=1, taken=True))
    await deployment.tick(rescuer, "rescuer")
    await deployment.deliver(worker)
    call = deployment.open_call("a")
    await deployment.wake(rescuer)
    job = await deployment.job("a")
    assert (job.state, job.spent, job.reason) == (State.SUBMITTING, 0, None)
    await deployment.answer(call, deployment.accepted(call))
    await deployment.settle_everything()
    assert starts(deployment) == 1


async def test_the_scheduler_leaves_a_backoff_alone_that_began_while_it_read(
    deployment: SimulatedDeployment,
) -> None:
    worker, slow = deployment.start_worker(), deployment.start_worker()
    await deployment.answer(await start_submit(deployment, worker, max_attempts=5), FAILED)
    first: Job = await deployment.job("a")
    assert first.due_at is not None
    await deployment.pass_time(first.due_at - deployment.clock.now())
    slow.client.faults.append(RedisFault(RedisFaultKind.STALL, taken=True))
    await deployment.tick(slow, "scheduler")
    await deployment.tick(worker, "scheduler")
    await deployment.admit_and_deliver(worker)
    await deployment.answer(deployment.open_call("a"), FAILED)
    await deployment.wake(slow)
    assert (await deployment.job("a")).state is State.RETRYING
    await deployment.settle_everything()


async def test_a_late_result_of_a_run_that_polls_did_not_find_is_kept(
    deployment: SimulatedDeployment,
) -> None:
    """Five polls were answered 404 and the job is uncertain; an older, sixth poll finds the end."""
    sleeper, other = deployment.start_worker(), deployment.start_worker()
    call = await start_submit(deployment, sleeper)
    await deployment.answer(call, deployment.accepted(call))
    await deployment.pass_time(2)
    await deployment.tick(sleeper, "poller")
    late = deployment.open_call("a", "poll")
    await deployment.stall(sleeper)
    for _ in range(5):
        await deployment.pass_time(40)
        await deployment.tick(other, "poller")
        await deployment.answer(
            deployment.open_call("a", "poll"), RunMissing(ProviderError(None, http_status=404))
        )
    assert (await deployment.job("a")).parked_as == UNCERTAIN
    assert late.run is not None
    await deployment.answer(late, deployment.completed(late.run))
    await deployment.wake(sleeper)
    assert (await deployment.job("a")).state is State.SUCCEEDED
    await deployment.settle_everything()


async def test_a_canary_whose_record_changed_meanwhile_opens_its_hold_by_one_step(
    deployment: SimulatedDeployment,
) -> None:
    worker = deployment.start_worker()
    call = await start_submit(deployment, worker)
    await deployment.answer(call, NO_CREDITS)
    (hold,) = await deployment.store.holds.list_all()
    await deployment.actions.release_hold(hold.id, ANN)
    deployment.invariants.actions += 1
    await deployment.admit_and_deliver(worker)
    canary = deployment.open_call("a")
    await deployment.take_action(JobAction.CANCEL, "a")
    await deployment.answer(canary, deployment.accepted(canary))
    (hold,) = await deployment.store.holds.list_all()
    assert (hold.step, hold.accepted) == (2, 0)


async def test_a_submit_that_begins_between_two_reads_of_the_rescuer_is_not_rescued(
    deployment: SimulatedDeployment,
) -> None:
    """It reads which leases have run out, and then a record with a new lease."""
    worker, rescuer = deployment.start_worker(), deployment.start_worker()
    await deployment.enqueue("a")
    await deployment.tick(worker, "redis_recovery", "admission")
    await deployment.pass_time(deployment.settings.lease_s + 1)
    rescuer.client.faults.append(RedisFault(RedisFaultKind.STALL, taken=True))
    await deployment.tick(rescuer, "rescuer")
    await deployment.deliver(worker)
    call = deployment.open_call("a")
    await deployment.wake(rescuer)
    job = await deployment.job("a")
    assert (job.state, job.reason) == (State.SUBMITTING, None)
    await deployment.check()
    await deployment.answer(call, deployment.accepted(call))
    await deployment.settle_everything()


async def test_a_sync_submit_run_twice_stays_with_its_worker(
    deployment: SimulatedDeployment,
) -> None:
    """Two connections are made for it; one run is written, the other is fenced out."""
    worker = deployment.start_worker()
    first = await start_submit(deployment, worker)
    await deployment.answer(first, NO_ASYNC)
    await deployment.answer(
        deployment.open_call("a"), deployment.finished(deployment.open_call("a"))
    )
    deployment.record.connects = False
    await deployment.enqueue("b")
    await deployment.admit_and_deliver(worker)
    await deployment.run_entry(worker, deployment.delivered_entries[-1])
    one, *others = [call for call in deployment.record.calls if call.job_id == "b"]
    await deployment.connect(one)
    for call in others:
        await deployment.connect(call)
    assert one.written
    assert worker.runtime.submitter.leased_ids == ("b",)
    assert worker.runtime.submitter.sync_runs == 1
    await past_the_lease(deployment, worker)
    await deployment.answer(one, deployment.finished(one))
    await deployment.settle_everything()
