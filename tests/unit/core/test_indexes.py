"""The indexes of a job: in every state it can reach, exactly one index makes a service watch it."""

from collections import Counter
from typing import assert_never

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.indexes import Index, IndexEntry, entries, watched_index
from jobs.job import ATTEMPTS_KEPT, EVENTS_KEPT, MANUAL, STUCK, UNCERTAIN, Job
from jobs.lanes import queue_score
from jobs.states import Mode, OnUncertain, State
from tests.unit.core import job_builders
from tests.unit.core.job_builders import NOW, a_job
from tests.unit.core.random_walk import WalkStep, steps, walked

WATCHED_INDEXES = {Index.DUE, Index.WAITING, Index.LANE, Index.BYPASS, Index.LEASE, Index.INFLIGHT}
"""Indexes that a service watches; operators watch `parked` and `dead` by their state."""

choices = st.lists(st.integers(0, 10**6), max_size=40)
quick = settings(max_examples=60, database=None)
jobs_of_all_sorts = st.builds(
    a_job,
    max_attempts=st.integers(1, 3),
    on_uncertain=st.sampled_from(OnUncertain),
    tags=st.sampled_from([(), ("a",), ("a", "b")]),
    batch=st.sampled_from([None, "b1"]),
    start_by=st.sampled_from([None, NOW - 5, NOW + 5, NOW + 1_000]),
) | st.just(job_builders.waiting())


def _index_by_state(job: Job) -> tuple[Index, float | None] | None:
    """The watched index and its score, as the docstrings of the states promise them."""
    match job.state:
        case State.SCHEDULED | State.RETRYING:
            return Index.DUE, job.due_at
        case State.WAITING:
            return Index.WAITING, job.parents_check_at
        case State.QUEUED:
            score = None if job.queued_at is None else queue_score(job.priority, job.queued_at)
            return (Index.BYPASS if job.bypass_hold else Index.LANE), score
        case State.SUBMITTING:
            return Index.LEASE, job.lease_until
        case State.RUNNING | State.CANCELLING:
            by_poll = job.execution_id is not None
            return (Index.INFLIGHT, job.next_poll_at) if by_poll else (Index.LEASE, job.lease_until)
        case State.PARKED if _is_polled_while_parked(job):
            return Index.INFLIGHT, job.next_poll_at
        case State.PARKED | State.DEAD | State.SUCCEEDED | State.CANCELLED:
            return None
        case _:
            assert_never(job.state)


def _is_polled_while_parked(job: Job) -> bool:
    """A stuck run, and the run of an uncertain job whose id is known."""
    is_uncertain = job.parked_as == UNCERTAIN and job.next_poll_at is not None
    return job.parked_as == STUCK or (is_uncertain and job.execution_id is not None)


def check_indexes(job: Job) -> None:
    found = entries(job)
    kinds = Counter(entry.kind for entry in found)
    expected = _index_by_state(job)
    watched = [(entry.kind, entry.score) for entry in found if entry.kind in WATCHED_INDEXES]
    assert watched == ([] if expected is None else [expected])
    assert [e for e in found if e.kind is Index.STATE] == [
        IndexEntry(Index.STATE, job.state, job.since)
    ]
    assert kinds[Index.ALL] == kinds[Index.TARGET] == 1
    waits = job.state in (State.SCHEDULED, State.WAITING, State.QUEUED, State.RETRYING)
    if job.start_by is None or not waits:
        assert not kinds[Index.START_BY]
    elif not job.attempts:
        assert IndexEntry(Index.START_BY, "", job.start_by) in found
    assert kinds[Index.TAG] == len(job.tags)
    assert kinds[Index.BATCH] == (job.batch is not None)
    assert kinds[Index.CHILDREN] == len(job.after)
    assert kinds[Index.WAITING_CHILDREN] == len(job.after) * (job.state is State.WAITING)
    counted = job.state in (State.SUBMITTING, State.RUNNING, State.CANCELLING)
    assert kinds[Index.ACTIVE] == counted
    by_connection = job.mode is Mode.SYNC and job.execution_id is None
    assert kinds[Index.SYNC] == (counted and by_connection)
    is_active = job.state in (State.RUNNING, State.CANCELLING)
    accepts_updates = is_active or _is_polled_while_parked(job)
    assert [e.name for e in found if e.kind is Index.EXECUTION] == (
        [job.execution_id] if accepts_updates and job.execution_id else []
    )
    grouped = job.state in (State.PARKED, State.DEAD)
    assert kinds[Index.GROUP] == grouped
    by_hold = job.state is State.PARKED and job.reason is not None and job.reason.hold_id
    assert kinds[Index.HELD] == bool(by_hold)
    assert kinds[Index.GATE] == len(job.opening_hold_ids)
    assert counted or not job.opening_hold_ids
    assert len({(entry.kind, entry.name) for entry in found}) == len(found)


def check_record(job: Job) -> None:
    assert (job.reason is not None) or job.state not in (State.PARKED, State.DEAD, State.RETRYING)
    is_settled = job.state in (State.SUCCEEDED, State.DEAD, State.CANCELLED)
    assert (job.finished_at is not None) is is_settled
    numbers = [attempt.number for attempt in job.attempts]
    assert numbers == sorted(set(numbers))
    assert len(job.attempts) <= ATTEMPTS_KEPT
    assert job.submits == (numbers[-1] if numbers else 0)
    open_ones = [attempt for attempt in job.attempts if attempt.ended_at is None]
    assert open_ones in ([], [*job.attempts[-1:]])
    under_way = job.sent_at is not None or job.execution_id is not None
    with_provider = job.state in (State.SUBMITTING, State.RUNNING, State.CANCELLING)
    stuck = job.parked_as == STUCK
    assert bool(open_ones) is ((with_provider and under_way) or stuck)
    assert 0 <= job.spent <= job.submits
    assert len(job.events) <= EVENTS_KEPT


def check_step(before: Job, step: WalkStep, after: Job) -> None:
    if after is before:
        return
    assert before.state not in (State.SUCCEEDED, State.CANCELLED), "nothing leaves a settled job"
    waits_for_operator = before.state is State.DEAD or before.parked_as not in (
        None,
        UNCERTAIN,
        STUCK,
    )
    assert step.by_operator or not waits_for_operator, "only operators move what waits for them"
    if not step.by_operator and before.state is State.PARKED:
        assert after.state not in (State.QUEUED, State.RETRYING, State.SUBMITTING, State.DEAD)
    assert after.events[: len(before.events)] == before.events
    assert len(after.events) > len(before.events)
    assert after.spent - before.spent in ((-before.spent,) if step.name == "requeue" else (0, 1))
    returned = before.open_attempt is not None and after.state is State.QUEUED
    assert after.submits - before.submits in ((-1, 0) if returned else (0, 1))
    assert (after.since == before.since) is (after.state is before.state)
    assert after.fingerprint == before.fingerprint


@quick
@given(jobs_of_all_sorts, choices)
def test_after_every_transition_a_job_is_watched_in_one_index(job: Job, choices: list[int]) -> None:
    check_indexes(job)
    for before, step, after in walked(job, choices, NOW):
        check_indexes(after)
        check_record(after)
        check_step(before, step, after)


def _shape(job: Job) -> tuple[object, ...]:
    """The fields that decide which transitions a job can make: equal shapes can make the same."""
    return (
        job.state,
        job.parked_as,
        job.mode,
        job.bypass_hold,
        job.opening_hold_ids,
        min(job.spent, job.max_attempts),
        job.sent_at is None,
        job.execution_id is None,
        job.cancel_requested,
        job.cancel_sent,
    )


@pytest.mark.parametrize("on_uncertain", list(OnUncertain))
def test_every_state_a_job_can_reach_is_watched(on_uncertain: OnUncertain) -> None:
    """Every reachable shape is visited once."""
    reached = [
        a_job(max_attempts=2, on_uncertain=on_uncertain),
        job_builders.scheduled(max_attempts=2),
        job_builders.waiting(max_attempts=2),
    ]
    shapes = {_shape(job) for job in reached}
    for before in reached:
        now = before.updated_at + 1
        for step in steps(before, now):
            after = step.take()
            if (shape := _shape(after)) not in shapes:
                shapes.add(shape)
                reached.append(after)
                check_indexes(after)
                check_record(after)
            check_step(before, step, after)
    assert {shape[0] for shape in shapes} == set(State)
    assert {UNCERTAIN, STUCK, MANUAL, "INSUFFICIENT_CREDITS"} <= {shape[1] for shape in shapes}


@pytest.mark.parametrize(
    ("job", "watched"),
    [
        (job_builders.scheduled(), IndexEntry(Index.DUE, "", NOW + 60)),
        (job_builders.waiting(), IndexEntry(Index.WAITING, "", NOW)),
        (job_builders.retrying(), IndexEntry(Index.DUE, "", NOW + 2)),
        (job_builders.queued(), IndexEntry(Index.LANE, "default/model/suno", queue_score(0, NOW))),
        (
            job_builders.queued(priority=3),
            IndexEntry(Index.LANE, "default/model/suno", queue_score(3, NOW)),
        ),
        (job_builders.queued(bypass_hold=True), IndexEntry(Index.BYPASS, "", queue_score(0, NOW))),
        (job_builders.admitted(), IndexEntry(Index.LEASE, "", NOW + 30)),
        (job_builders.sync_run(), IndexEntry(Index.LEASE, "", NOW + 30)),
        (job_builders.running(), IndexEntry(Index.INFLIGHT, "", NOW + 1)),
        (job_builders.cancelling(), IndexEntry(Index.INFLIGHT, "", NOW)),
        (job_builders.stuck(), IndexEntry(Index.INFLIGHT, "", NOW + 300)),
        (job_builders.held(), None),
        (job_builders.uncertain(), None),
        (job_builders.dead(), None),
        (job_builders.succeeded(), None),
        (job_builders.cancelled(), None),
    ],
    ids=lambda value: value.state.value if isinstance(value, Job) else "",
)
def test_a_state_has_its_index(job: Job, watched: IndexEntry | None) -> None:
    assert watched_index(job) == watched


def test_a_record_without_its_time_is_due_at_once_and_never_lost() -> None:
    damaged = job_builders.changed(job_builders.running(), next_poll_at=None)
    assert watched_index(damaged) == IndexEntry(Index.INFLIGHT, "", NOW)


def test_a_group_is_a_state_a_code_and_a_lane() -> None:
    groups = [entry for entry in entries(job_builders.held()) if entry.kind is Index.GROUP]
    name = "parked|INSUFFICIENT_CREDITS|default/model/suno"
    assert groups == [IndexEntry(Index.GROUP, name, NOW)]


def test_a_submit_through_opening_gates_is_counted_by_each_until_it_is_answered() -> None:
    job = job_builders.submitted(opening_hold_ids=("g1", "g2"))
    assert [e.name for e in entries(job) if e.kind is Index.GATE] == ["g1", "g2"]
    assert not [
        e for e in entries(job_builders.running(opening_hold_ids=("g1",))) if e.kind is Index.GATE
    ]


def test_an_attached_run_is_polled_even_where_it_began_as_sync() -> None:
    found = job_builders.changed(
        job_builders.sync_run(), execution_id="ex-1", mode=Mode.SYNC, next_poll_at=NOW
    )
    assert watched_index(found) == IndexEntry(Index.INFLIGHT, "", NOW)
