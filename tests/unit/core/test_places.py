"""Where a job is to be found: in every state it can get into, exactly one place watches it."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.indexes import Entry, Index, entries, place
from jobs.job import ATTEMPTS_KEPT, EVENTS_KEPT, Job
from jobs.lanes import place_in_line
from jobs.states import Mode, OnUncertain, State
from jobs.transitions import MANUAL, STUCK, UNCERTAIN
from tests.unit.core import make
from tests.unit.core.make import NOW, a_job
from tests.unit.core.walk import Step, steps, walked

PLACES = {Index.DUE, Index.LANE, Index.PASS, Index.LEASE, Index.INFLIGHT}
"""What the program watches; `parked` and `dead` are watched by people, through their state."""

choices = st.lists(st.integers(0, 10**6), max_size=40)
quick = settings(max_examples=60, database=None)
jobs_of_all_sorts = st.builds(
    a_job,
    max_attempts=st.integers(1, 3),
    on_uncertain=st.sampled_from(OnUncertain),
    tags=st.sampled_from([(), ("a",), ("a", "b")]),
    batch=st.sampled_from([None, "b1"]),
)


def _place_by_state(job: Job) -> tuple[Index, float | None] | None:
    """The place and its time, as the states of the road promise them."""
    match job.state:
        case State.SCHEDULED | State.RETRYING:
            return Index.DUE, job.due_at
        case State.QUEUED:
            line = None if job.queued_at is None else place_in_line(job.priority, job.queued_at)
            return (Index.PASS if job.free_pass else Index.LANE), line
        case State.SUBMITTING:
            return Index.LEASE, job.lease_until
        case State.RUNNING | State.CANCELLING:
            by_poll = job.execution_id is not None
            return (Index.INFLIGHT, job.next_poll_at) if by_poll else (Index.LEASE, job.lease_until)
        case State.PARKED if job.reason is not None and job.reason.code == STUCK:
            return Index.INFLIGHT, job.next_poll_at
        case State.PARKED | State.DEAD | State.SUCCEEDED | State.CANCELLED:
            return None


def check_places(job: Job) -> None:
    found = entries(job)
    kinds = Counter(entry.kind for entry in found)
    promised = _place_by_state(job)
    watched = [(entry.kind, entry.score) for entry in found if entry.kind in PLACES]
    assert watched == ([] if promised is None else [promised])
    assert [e for e in found if e.kind is Index.STATE] == [Entry(Index.STATE, job.state, job.since)]
    assert kinds[Index.ALL] == kinds[Index.TARGET] == 1
    assert kinds[Index.TAG] == len(job.tags)
    assert kinds[Index.BATCH] == (job.batch is not None)
    counted = job.state in (State.SUBMITTING, State.RUNNING, State.CANCELLING)
    assert kinds[Index.ACTIVE] == counted
    told_of = job.state in (State.RUNNING, State.CANCELLING) or job.parked_as == STUCK
    assert [e.name for e in found if e.kind is Index.EXECUTION] == (
        [job.execution_id] if told_of and job.execution_id else []
    )
    waits = job.state in (State.PARKED, State.DEAD)
    assert kinds[Index.GROUP] == waits
    by_hold = job.state is State.PARKED and job.reason is not None and job.reason.hold_id
    assert kinds[Index.HELD] == bool(by_hold)
    assert kinds[Index.GATE] == len(job.gates)
    assert counted or not job.gates
    assert len({(entry.kind, entry.name) for entry in found}) == len(found)


def check_record(job: Job) -> None:
    assert (job.reason is not None) or job.state not in (State.PARKED, State.DEAD, State.RETRYING)
    done = job.state in (State.SUCCEEDED, State.DEAD, State.CANCELLED)
    assert (job.finished_at is not None) is done
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


def check_step(before: Job, step: Step, after: Job) -> None:
    if after is before:
        return
    assert before.state not in (State.SUCCEEDED, State.CANCELLED), "nothing leaves what is settled"
    for_people = before.state is State.DEAD or before.parked_as not in (None, UNCERTAIN, STUCK)
    assert step.by_a_person or not for_people, "only people free what waits for them"
    if not step.by_a_person and before.state is State.PARKED:
        assert after.state not in (State.QUEUED, State.RETRYING, State.SUBMITTING, State.DEAD)
    assert after.events[: len(before.events)] == before.events
    assert len(after.events) > len(before.events)
    assert after.spent - before.spent in ((-before.spent,) if step.name == "requeue" else (0, 1))
    taken_back = before.open_attempt is not None and after.state is State.QUEUED
    assert after.submits - before.submits in ((-1, 0) if taken_back else (0, 1))
    assert (after.since == before.since) is (after.state is before.state)
    assert after.fingerprint == before.fingerprint


@quick
@given(jobs_of_all_sorts, choices)
def test_wherever_a_job_walks_it_is_watched_in_one_place(job: Job, ways: list[int]) -> None:
    check_places(job)
    for before, step, after in walked(job, ways, NOW):
        check_places(after)
        check_record(after)
        check_step(before, step, after)


def _shape(job: Job) -> tuple[object, ...]:
    """What of a job decides where it can go: two of one shape go the same ways."""
    return (
        job.state,
        job.parked_as,
        job.mode,
        job.free_pass,
        job.gates,
        min(job.spent, job.max_attempts),
        job.sent_at is None,
        job.execution_id is None,
        job.cancel_requested,
        job.cancel_sent,
    )


@pytest.mark.parametrize("on_uncertain", list(OnUncertain))
def test_every_way_a_job_can_go_is_watched(on_uncertain: OnUncertain) -> None:
    """The whole road, shape by shape, until nothing new turns up."""
    ahead = [a_job(max_attempts=2, on_uncertain=on_uncertain), make.scheduled(max_attempts=2)]
    seen = {_shape(job) for job in ahead}
    for before in ahead:
        now = before.updated_at + 1
        for step in steps(before, now):
            after = step.take()
            if (shape := _shape(after)) not in seen:
                seen.add(shape)
                ahead.append(after)
                check_places(after)
                check_record(after)
            check_step(before, step, after)
    assert {shape[0] for shape in seen} == set(State)
    assert {UNCERTAIN, STUCK, MANUAL, "INSUFFICIENT_CREDITS"} <= {shape[1] for shape in seen}


@pytest.mark.parametrize(
    ("job", "watched"),
    [
        (make.scheduled(), Entry(Index.DUE, "", NOW + 60)),
        (make.retrying(), Entry(Index.DUE, "", NOW + 2)),
        (make.queued(), Entry(Index.LANE, "default/model/suno", place_in_line(0, NOW))),
        (make.queued(priority=3), Entry(Index.LANE, "default/model/suno", place_in_line(3, NOW))),
        (make.queued(free_pass=True), Entry(Index.PASS, "", place_in_line(0, NOW))),
        (make.admitted(), Entry(Index.LEASE, "", NOW + 30)),
        (make.sync_run(), Entry(Index.LEASE, "", NOW + 30)),
        (make.running(), Entry(Index.INFLIGHT, "", NOW + 1)),
        (make.cancelling(), Entry(Index.INFLIGHT, "", NOW)),
        (make.stuck(), Entry(Index.INFLIGHT, "", NOW + 300)),
        (make.held(), None),
        (make.uncertain(), None),
        (make.dead(), None),
        (make.succeeded(), None),
        (make.cancelled(), None),
    ],
    ids=lambda value: value.state.value if isinstance(value, Job) else "",
)
def test_a_state_has_its_place(job: Job, watched: Entry | None) -> None:
    assert place(job) == watched


def test_a_record_without_its_time_is_due_at_once_and_never_lost() -> None:
    lame = make.changed(make.running(), next_poll_at=None)
    assert place(lame) == Entry(Index.INFLIGHT, "", NOW)


def test_a_group_is_a_state_a_code_and_a_lane() -> None:
    groups = [entry for entry in entries(make.held()) if entry.kind is Index.GROUP]
    name = "parked|INSUFFICIENT_CREDITS|default/model/suno"
    assert groups == [Entry(Index.GROUP, name, NOW)]


def test_a_submit_through_opening_gates_is_counted_by_each_until_it_is_answered() -> None:
    job = make.sent(gates=("g1", "g2"))
    assert [e.name for e in entries(job) if e.kind is Index.GATE] == ["g1", "g2"]
    assert not [e for e in entries(make.running(gates=("g1",))) if e.kind is Index.GATE]


def test_an_attached_run_is_polled_even_where_it_began_as_sync() -> None:
    found = make.changed(make.sync_run(), execution_id="ex-1", mode=Mode.SYNC, next_poll_at=NOW)
    assert place(found) == Entry(Index.INFLIGHT, "", NOW)
