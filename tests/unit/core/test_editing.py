"""An operator edits a job that is not at the provider; what it reserved stays where it was."""

from collections.abc import Callable

import msgspec
import pytest

from jobs import transitions
from jobs.budgets.reservation import Reservation
from jobs.budgets.use import BudgetPart, changed_use
from jobs.credits.charges import Dimension, Measure, changed_sums
from jobs.indexes import Index, changed_entries
from jobs.job import Job
from jobs.lanes import queue_score
from jobs.lifecycle import IllegalTransition
from jobs.states import State
from jobs.transitions import EDITABLE, JobEdit, edit
from tests.unit.core import job_builders
from tests.unit.core.job_builders import NOW, changed

ANN = "ann"


def entry_names(job: Job, kind: Index) -> list[str]:
    return [e.name for e in changed_entries(job, changed(job, created_at=0.0))[0] if e.kind is kind]


def test_a_priority_moves_it_in_its_lane_and_is_in_its_history() -> None:
    job = job_builders.queued()
    after = edit(job, NOW + 5, JobEdit(priority=7), by=ANN, note="for the demo")
    (score,) = [e.score for e in changed_entries(job, after)[1] if e.kind is Index.LANE]
    assert score == queue_score(7, NOW)
    event = after.events[-1]
    assert (event.name, event.by) == ("edited", ANN)
    assert event.note == "priority 0 → 7: for the demo"
    assert (after.since, after.updated_at) == (job.since, NOW + 5)


def test_an_edit_that_changes_nothing_is_the_job_itself() -> None:
    job = job_builders.queued(priority=3, tags=("a",))
    assert edit(job, NOW, JobEdit(priority=3, tags=("a",), run_at=None), by=ANN) is job
    assert edit(job, NOW, JobEdit(run_at=NOW - 5), by=ANN) is job


def test_other_tags_are_other_entries() -> None:
    job = job_builders.queued(tags=("a", "b"))
    after = edit(job, NOW, JobEdit(tags=("b", "c")), by=ANN)
    assert entry_names(job, Index.TAG) == ["a", "b"]
    assert entry_names(after, Index.TAG) == ["b", "c"]


def test_what_waits_for_the_budget_of_a_tag_is_back_in_its_lane() -> None:
    job = job_builders.queued(tags=("a",), waits_for_budget="of-a")
    assert edit(job, NOW, JobEdit(tags=()), by=ANN).waits_for_budget is None
    assert edit(job, NOW, JobEdit(priority=1), by=ANN).waits_for_budget == "of-a"


def test_what_was_reserved_settles_where_it_was_whatever_the_tags_are_now() -> None:
    """The attempt has failed and its cost is not known yet: the list of runs tells it later."""
    reserved = Reservation("of-a", 1, "2026-11", 5_000_000)
    job = job_builders.retrying(tags=("a",))
    attempt = msgspec.structs.replace(job.attempts[-1], reservations=(reserved,), cost=5.0)
    job = changed(job, attempts=(attempt,))
    edited = edit(job, NOW, JobEdit(tags=("b",)), by=ANN)
    assert changed_use(job, edited) == {}
    paid = msgspec.structs.replace(edited.attempts[-1], cost=3.0)
    settled = changed(edited, attempts=(paid,))
    ((used, amount),) = changed_use(edited, settled).items()
    assert (used.budget, used.part, amount) == ("of-a", BudgetPart.SPENT, -2_000_000)


def test_the_ledger_follows_the_tags() -> None:
    job = job_builders.retrying(tags=("a",))
    job = changed(job, attempts=(msgspec.structs.replace(job.attempts[-1], cost=2.0),))
    edited = edit(job, NOW, JobEdit(tags=("b",)), by=ANN)
    moved = {
        (one.name, amount)
        for one, amount in changed_sums(job, edited).items()
        if one.measure is Measure.CREDITS
    }
    assert moved == {("a", -2_000_000), ("b", 2_000_000)}
    assert {one.dimension for one in changed_sums(job, edited)} == {Dimension.TAG}


def test_a_queued_job_is_scheduled_and_a_scheduled_one_gets_another_time() -> None:
    later = edit(job_builders.queued(bypass_hold=True), NOW, JobEdit(run_at=NOW + 60), by=ANN)
    assert (later.state, later.due_at, later.scheduled_for) == (
        State.SCHEDULED,
        NOW + 60,
        NOW + 60,
    )
    assert (later.queued_at, later.bypass_hold) == (None, False)
    sooner = edit(later, NOW + 5, JobEdit(run_at=NOW + 10), by=ANN)
    assert (sooner.state, sooner.due_at) == (State.SCHEDULED, NOW + 10)
    at_once = edit(sooner, NOW + 6, JobEdit(run_at=None), by=ANN)
    assert at_once.due_at == NOW + 6, "the scheduler queues it"
    assert transitions.promote(at_once, NOW + 6).state is State.QUEUED


def test_all_is_one_change() -> None:
    job = job_builders.queued(start_by=NOW + 30)
    wanted = JobEdit(priority=2, tags=("x",), run_at=NOW + 60, start_by=NOW + 90)
    after = edit(job, NOW, wanted, by=ANN)
    assert (after.priority, after.tags, after.start_by) == (2, ("x",), NOW + 90)
    assert len(after.events) == len(job.events) + 1
    assert after.events[-1].name == "reschedule"
    assert "priority 0 → 2; tags none → x; start_by 2" in after.events[-1].note
    assert edit(after, NOW, JobEdit(start_by=None), by=ANN).start_by is None


@pytest.mark.parametrize("build", [job_builders.retrying, job_builders.held, job_builders.dead])
def test_where_it_waits_for_something_else_only_its_time_stays(build: Callable[..., Job]) -> None:
    after = edit(build(), NOW, JobEdit(priority=1, tags=("x",), start_by=NOW + 9), by=ANN)
    assert (after.state, after.priority, after.tags) == (build().state, 1, ("x",))
    with pytest.raises(IllegalTransition, match="run_at"):
        edit(build(), NOW, JobEdit(run_at=NOW + 60), by=ANN)


@pytest.mark.parametrize(
    "build",
    [
        job_builders.admitted,
        job_builders.submitted,
        job_builders.running,
        job_builders.cancelling,
        job_builders.uncertain,
        job_builders.stuck,
        job_builders.awaiting_finding,
        job_builders.succeeded,
        job_builders.cancelled,
    ],
)
def test_what_the_provider_has_or_may_have_is_not_edited(build: Callable[..., Job]) -> None:
    job = build()
    with pytest.raises(IllegalTransition, match="cannot edit a job that is"):
        edit(job, NOW, JobEdit(priority=1), by=ANN)


def test_the_states_are_those_in_which_nothing_is_under_way() -> None:
    assert set(EDITABLE).isdisjoint({State.SUBMITTING, State.RUNNING, State.CANCELLING})


def test_a_job_that_waits_for_others_waits_for_its_time_too() -> None:
    job = job_builders.waiting(parents_check_at=NOW + 3_600)
    edited = transitions.edit(job, NOW, JobEdit(run_at=NOW + 60, priority=2), by="ann")
    assert (edited.state, edited.scheduled_for, edited.priority) == (State.WAITING, NOW + 60, 2)
    assert edited.parents_check_at == NOW
    assert edited.due_at is None
    assert transitions.edit(edited, NOW, JobEdit(run_at=NOW + 60), by="ann") is edited
