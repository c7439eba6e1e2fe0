"""An execution id or request id on record is not overwritten, whatever is written later."""

from collections.abc import Callable

import msgspec
import pytest

from jobs import transitions
from jobs.job import Job
from jobs.known_runs import lacks_submit, lost_ids
from jobs.lifecycle import IllegalTransition
from jobs.outcomes import Accepted, Finished
from jobs.states import Mode
from tests.unit.core import job_builders
from tests.unit.core.job_builders import NOW, changed


def test_every_id_of_a_run_counts() -> None:
    run = job_builders.running()
    assert lost_ids(run, job_builders.submitted()) == ("ex-1", "req-1")
    assert lost_ids(job_builders.submitted(), run) == ()
    assert lost_ids(run, run) == ()
    failed = transitions.retry(run, NOW, job_builders.FAILED, due_at=NOW)
    assert lost_ids(run, failed) == lost_ids(failed, run) == (), "its attempt has them"
    upper = changed(run, execution_id="EX-1", attempts=())
    assert lost_ids(upper, run) == (), "ids of executions have no case"
    uncertain = changed(job_builders.lost_run(), execution_id=None, attempts=())
    assert lost_ids(uncertain, job_builders.submitted()) == ("req-1",)


def test_attempts_that_a_newer_version_had_to_drop_do_not_count() -> None:
    run = job_builders.running()
    (first,) = run.attempts
    later = msgspec.structs.replace(first, number=101, execution_id="ex-101", request_id=None)
    newer = changed(run, execution_id="ex-101", attempts=(later,))
    old = changed(run, execution_id=None)
    assert lost_ids(old, newer) == ()
    assert lost_ids(newer, old) == ("ex-101",)


LATE = [Accepted("ex-1", "req-9"), Accepted("ex-1", None)]


@pytest.mark.parametrize("late", LATE)
def test_a_late_acceptance_of_the_same_run_leaves_the_request_id_on_record(late: Accepted) -> None:
    accepted = transitions.accept(job_builders.lost_run(), NOW, late, next_poll_at=NOW)
    assert (accepted.execution_id, accepted.request_id) == ("ex-1", "req-1")


def test_a_result_leaves_the_ids_on_record() -> None:
    late = Finished(b"{}", execution_id="EX-1", request_id="req-9")
    for job in (job_builders.running(), job_builders.lost_run()):
        done = transitions.succeed(job, NOW, late)
        assert done.execution_id == done.attempts[-1].execution_id == "ex-1"
        assert done.attempts[-1].request_id == "req-1"


@pytest.mark.parametrize(
    "late", [Accepted("ex-9", "req-9"), Finished(b"{}", execution_id="ex-9", request_id="req-9")]
)
def test_a_late_answer_to_an_older_submit_leaves_the_ids_of_its_attempt(
    late: Accepted | Finished,
) -> None:
    resubmitted = transitions.resubmit(job_builders.lost_run(), NOW, by="ann")
    answered = transitions.record_late_answer(resubmitted, NOW, 1, late)
    (attempt,) = answered.attempts
    assert (attempt.execution_id, attempt.request_id) == ("ex-1", "req-1")
    (submit,) = answered.uncertain_submits
    assert submit.request_id == "req-1"
    assert "ex-9" in answered.events[-1].note, "the other run can still be found"


def test_an_attached_execution_takes_no_request_id_of_the_run_that_it_replaces() -> None:
    attached = transitions.attach(job_builders.lost_run(), NOW, "ex-2", by="ann", note="seen")
    assert attached.execution_id == attached.attempts[-1].execution_id == "ex-2"
    assert attached.request_id is None
    assert attached.events[-1].note == "seen (replaces execution ex-1, request req-1)"
    same = transitions.attach(job_builders.lost_run(), NOW, "ex-1", by="ann")
    assert same.request_id == "req-1"


def _submitting_with(**ids: str) -> Job:
    job = job_builders.submitted()
    (attempt,) = job.attempts
    return changed(job, mode=Mode.SYNC, attempts=(msgspec.structs.replace(attempt, **ids),))


@pytest.mark.parametrize(
    "build",
    [
        lambda: _submitting_with(execution_id="ex-1"),
        lambda: _submitting_with(request_id="req-1"),
    ],
)
def test_an_attempt_with_the_id_of_a_run_is_not_taken_back(build: Callable[[], Job]) -> None:
    with pytest.raises(IllegalTransition, match="its run is on record"):
        transitions.return_to_queue(build(), NOW, why="not sent")


def test_a_submit_whose_answer_is_to_come_counts_as_well() -> None:
    queued, sent = job_builders.admitted(), job_builders.submitted()
    assert lacks_submit(queued, sent)
    assert not lacks_submit(sent, queued)
    assert not lacks_submit(job_builders.running(), sent), "it is the same submit, answered"


def test_a_submit_that_a_newer_version_had_to_drop_does_not_count() -> None:
    sent = job_builders.submitted()
    later = msgspec.structs.replace(sent.events[-1], at=sent.events[-1].at + 5)
    newer = changed(sent, events=(later,), events_dropped=3)
    assert not lacks_submit(newer, sent)
    assert lacks_submit(changed(newer, events_dropped=0), sent)
    assert lacks_submit(sent, newer)
