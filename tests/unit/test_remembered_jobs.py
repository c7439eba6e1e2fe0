"""What a worker remembers of the runs it paid for: all it needs, and no more."""

import msgspec
import pytest

from jobs import transitions
from jobs.job import Job
from jobs.outcomes import Finished
from jobs.states import Mode, State
from tests.unit.core import job_builders
from tests.unit.core.job_builders import NOW, changed
from worker.engine import remembered_jobs
from worker.engine.remembered_jobs import REMEMBER_S, RememberedJob, RememberedJobs
from worker.store.commit import VersionedJob

INPUTS = b'{"a":1}'
RESULT = b'{"url":"x"}'


def version(job: Job, number: int = 1) -> VersionedJob:
    return VersionedJob(job, f"{number}.aa")


def ended(job: Job) -> VersionedJob:
    return version(transitions.succeed(job, NOW, Finished(RESULT)), 2)


def test_a_job_that_was_never_sent_is_not_remembered() -> None:
    jobs = RememberedJobs()
    for job in (job_builders.queued(), job_builders.scheduled(), job_builders.admitted()):
        jobs.remember(version(job), inputs=INPUTS)
    assert list(jobs) == []


def test_the_inputs_of_the_submit_stay_with_every_later_version() -> None:
    jobs = RememberedJobs()
    sent = job_builders.submitted()
    jobs.remember(version(sent), inputs=INPUTS)
    jobs.remember(version(job_builders.running(), 2))
    (found,) = jobs
    assert (found.stored.job.state, found.inputs) == (State.RUNNING, INPUTS)
    again = changed(job_builders.running(), submits=2)
    assert jobs.inputs_of(again) is None, "another worker may have sent edited ones"


def test_the_end_of_an_async_run_is_remembered_with_its_result() -> None:
    jobs = RememberedJobs()
    running = version(job_builders.running())
    jobs.remember(ended(running.job), before=running, result=RESULT)
    (found,) = jobs
    assert (found.stored.job.state, found.result) == (State.SUCCEEDED, RESULT)


@pytest.mark.parametrize("limit", ["MAX_RESULT_BYTES", "MAX_RESULTS_BYTES"])
def test_where_a_result_is_too_large_a_poll_fetches_it_again(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered_jobs, limit, len(RESULT) - 1)
    jobs = RememberedJobs()
    running = version(job_builders.running())
    jobs.remember(ended(running.job), before=running, result=RESULT)
    assert list(jobs) == [RememberedJob(running)]
    sync = version(job_builders.sync_run())
    assert sync.job.mode is Mode.SYNC
    done = ended(changed(sync.job, id="sync"))
    jobs.remember(done, before=sync, result=RESULT)
    assert list(jobs)[-1] == RememberedJob(done), "no poll can: at least it is known to have ended"


def test_inputs_are_bounded_together_and_the_oldest_go_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remembered_jobs, "MAX_INPUTS_BYTES", 2 * len(INPUTS))
    jobs = RememberedJobs()
    for name in "abc":
        jobs.remember(version(job_builders.submitted(id=name)), inputs=INPUTS)
    assert [one.inputs for one in jobs] == [None, INPUTS, INPUTS]


def test_the_number_is_bounded_and_the_oldest_version_goes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remembered_jobs, "MAX_JOBS", 2)
    jobs = RememberedJobs()
    for name in "abac":
        jobs.remember(version(job_builders.submitted(id=name)), inputs=INPUTS)
    assert [one.stored.job.id for one in jobs] == ["a", "c"]
    assert jobs.inputs_of(job_builders.submitted(id="b")) is None


def test_what_is_older_than_five_minutes_is_forgotten() -> None:
    jobs = RememberedJobs()
    old = msgspec.structs.replace(job_builders.running(id="old"), updated_at=NOW)
    jobs.remember(version(old))
    jobs.remember(version(msgspec.structs.replace(old, id="new", updated_at=NOW + 10)))
    jobs.forget_older(NOW + REMEMBER_S)
    assert len(jobs) == 2
    jobs.forget_older(NOW + REMEMBER_S + 5)
    assert [one.stored.job.id for one in jobs] == ["new"]
