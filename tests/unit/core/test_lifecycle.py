"""The road of a job, restated row by row, and everything that is not on it refused."""

from collections.abc import Callable
from itertools import product

import pytest

from jobs import transitions
from jobs.job import Job, Reason
from jobs.lifecycle import (
    OPERATOR_TRANSITIONS,
    TRANSITIONS,
    IllegalTransition,
    Transition,
    next_state,
)
from jobs.states import ACTIVE, PRUNABLE, SETTLED, SETTLED_OR_PARKED, State
from tests.unit.core import job_builders
from tests.unit.core.job_builders import ACCEPTED, FAILED, FINISHED, NO_CREDITS, NOW

TABLE_TEXT = """
scheduled   promote       queued      the clock
scheduled   cancel         cancelled   a person, before anything was sent
scheduled   park           parked      a person
scheduled   dead_letter           dead        our own code cannot handle it
retrying    promote       queued      the clock
retrying    cancel         cancelled   a person, before anything was sent
retrying    park           parked      a person
retrying    dead_letter           dead        our own code cannot handle it
queued      admit          submitting  admission
queued      cancel         cancelled   a person, before anything was sent
queued      park           parked      a person
queued      dead_letter           dead        it can never be sent
submitting  send           submitting  the mark before the first byte
submitting  open           running     a sync run
submitting  return_to_queue      queued      never sent, or told to wait
submitting  accept         running     the provider took it
submitting  succeed        succeeded   a sync-shaped answer
submitting  retry          retrying    a retryable fault
submitting  dead_letter           dead        refused for good
submitting  hold           parked      401, 402, 403, unknown outcome
submitting  request_cancel     submitting  a person, the answer is awaited
submitting  cancel         cancelled   not sent, or refused after the wish
running     accept         running     a sync run answered as an async one
running     return_to_queue      queued      a sync run that never was sent, or told to wait
running     succeed        succeeded   a result
running     retry          retrying    a retryable fault
running     dead_letter           dead        refused for good
running     hold           parked      unknown outcome, deadline
running     request_cancel     cancelling  a person
running     cancel         cancelled   cancelled at the provider
cancelling  accept         cancelling  a sync run answered as an async one
cancelling  succeed        succeeded   it finished first
cancelling  hold           parked      unknown outcome, deadline
cancelling  cancel         cancelled   the provider's confirmation
cancelling  dead_letter           dead        our own code cannot handle it
parked      accept         running     the late answer to an uncertain submit
parked      succeed        succeeded   the late answer, or the end of a stuck run
parked      hold           parked      a stuck run failed, or is not known any more
parked      request_cancel     cancelling  a person, of a stuck run
parked      cancel         cancelled   a person, or the end of a stuck run
parked      release        queued      a person
parked      extend_deadline  running     a person, of a stuck run
parked      attach         running     a person
parked      resubmit       queued      a person
parked      discard        cancelled   a person
dead        requeue        queued      a person
dead        discard        cancelled   a person
"""

Row = tuple[State, Transition, State]


def _rows() -> list[Row]:
    split = [line.split()[:3] for line in TABLE_TEXT.strip().splitlines()]
    return [(State(state), Transition(move), State(to)) for state, move, to in split]


LEGAL = _rows()
ILLEGAL = sorted(set(product(State, Transition)) - {(state, move) for state, move, _ in LEGAL})

REASON = Reason(code="X")

CONSTRUCTORS: dict[Transition, Callable[[Job], Job]] = {
    Transition.PROMOTE: lambda job: transitions.promote(job, NOW),
    Transition.ADMIT: lambda job: transitions.admit(
        job, NOW, submit_token="h", lease_until=NOW, opening_hold_ids=()
    ),
    Transition.SEND: lambda job: transitions.send(job, NOW, owner="w", lease_until=NOW),
    Transition.RETURN_TO_QUEUE: lambda job: transitions.return_to_queue(job, NOW, why="busy"),
    Transition.OPEN: lambda job: transitions.open_connection(job, NOW, owner="w", lease_until=NOW),
    Transition.ACCEPT: lambda job: transitions.accept(job, NOW, ACCEPTED, next_poll_at=NOW),
    Transition.SUCCEED: lambda job: transitions.succeed(job, NOW, FINISHED),
    Transition.RETRY: lambda job: transitions.retry(job, NOW, FAILED, due_at=NOW),
    Transition.DEAD_LETTER: lambda job: transitions.dead_letter(job, NOW, FAILED, REASON),
    Transition.HOLD: lambda job: transitions.park_refused(job, NOW, NO_CREDITS, REASON),
    Transition.REQUEST_CANCEL: lambda job: transitions.request_cancel(job, NOW),
    Transition.CANCEL: lambda job: transitions.cancel(job, NOW),
    Transition.PARK_MANUAL: lambda job: transitions.park_manual(job, NOW, by="ann"),
    Transition.RELEASE: lambda job: transitions.release(job, NOW, by="ann"),
    Transition.EXTEND_DEADLINE: lambda job: transitions.release(job, NOW, by="ann"),
    Transition.ATTACH: lambda job: transitions.attach(job, NOW, "ex-9", by="ann"),
    Transition.RESUBMIT: lambda job: transitions.resubmit(job, NOW, by="ann"),
    Transition.REQUEUE: lambda job: transitions.requeue(job, NOW, by="ann"),
    Transition.DISCARD: lambda job: transitions.discard(job, NOW, by="ann"),
}
"""Every move, made of any job."""

IN_STATE: dict[State, tuple[Callable[[], Job], ...]] = {
    State.SCHEDULED: (job_builders.scheduled,),
    State.QUEUED: (job_builders.queued,),
    State.SUBMITTING: (job_builders.admitted, job_builders.submitted),
    State.RUNNING: (job_builders.running, job_builders.sync_run),
    State.RETRYING: (job_builders.retrying,),
    State.PARKED: (
        job_builders.held,
        job_builders.uncertain,
        job_builders.stuck,
        job_builders.manual,
    ),
    State.CANCELLING: (
        job_builders.cancelling,
        lambda: transitions.request_cancel(job_builders.sync_run(), NOW),
    ),
    State.SUCCEEDED: (job_builders.succeeded,),
    State.DEAD: (job_builders.dead,),
    State.CANCELLED: (job_builders.cancelled,),
}
"""Jobs in every state, by every way that matters."""


def _name(row: object) -> str:
    return str(row)


def test_the_table_has_the_restated_rows_and_no_other() -> None:
    assert {(state, move): to for state, move, to in LEGAL} == TRANSITIONS
    assert len(set(LEGAL)) == len(TABLE_TEXT.strip().splitlines())


def test_every_transition_is_tried() -> None:
    assert set(CONSTRUCTORS) == set(Transition)
    assert set(IN_STATE) == set(State)


@pytest.mark.parametrize(("state", "move", "to"), LEGAL, ids=_name)
def test_a_row_leads_where_the_table_says(state: State, move: Transition, to: State) -> None:
    assert next_state(state, move) is to
    if move is Transition.EXTEND_DEADLINE:
        assert transitions.release(job_builders.stuck(), NOW, by="ann").state is to
        return
    reached = {job.state for made in IN_STATE[state] if (job := _tried(made(), move)) is not None}
    assert to in reached, "no job takes this row"
    assert reached <= {to} | ({State.RUNNING} if move is Transition.RELEASE else set())


def _tried(job: Job, transition: Transition) -> Job | None:
    try:
        return CONSTRUCTORS[transition](job)
    except IllegalTransition:
        return None


@pytest.mark.parametrize("state", list(State))
def test_any_other_transition_is_refused_and_leaves_the_job_as_it_was(state: State) -> None:
    for move in (move for at, move in ILLEGAL if at is state):
        with pytest.raises(IllegalTransition) as refused:
            next_state(state, move)
        assert (refused.value.state, refused.value.transition) == (state, move)
        for made in IN_STATE[state]:
            job, same = made(), made()
            with pytest.raises(IllegalTransition, match=f"a job that is {state}"):
                CONSTRUCTORS[move](job)
            assert job == same


def test_a_refusal_names_the_transition_the_state_and_what_to_do_instead() -> None:
    assert (
        str(IllegalTransition(State.DEAD, Transition.REQUEST_CANCEL))
        == "cannot request cancel a job that is dead"
    )
    hinted = IllegalTransition(State.DEAD, Transition.CANCEL, "discard it")
    assert str(hinted) == "cannot cancel a job that is dead: discard it"


@pytest.mark.parametrize("state", [State.PARKED, State.DEAD])
def test_only_operator_transitions_leave_what_waits_for_an_operator(state: State) -> None:
    leaving = {
        move for (before, move), to in TRANSITIONS.items() if before is state and to is not state
    }
    words_of_the_provider = {Transition.ACCEPT, Transition.SUCCEED, Transition.CANCEL}
    assert leaving - OPERATOR_TRANSITIONS == (
        words_of_the_provider if state is State.PARKED else set()
    )


@pytest.mark.parametrize("parked", [job_builders.held, job_builders.manual])
@pytest.mark.parametrize(
    "move", [Transition.ACCEPT, Transition.SUCCEED, Transition.REQUEST_CANCEL], ids=_name
)
def test_no_answer_of_the_provider_frees_a_job_it_does_not_have(
    parked: Callable[[], Job], move: Transition
) -> None:
    with pytest.raises(IllegalTransition, match="the provider does not have it"):
        CONSTRUCTORS[move](parked())


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.CANCELLED])
def test_nothing_leaves_a_settled_job(state: State) -> None:
    assert not [move for before, move in TRANSITIONS if before is state]


def test_nobody_cancels_a_dead_letter() -> None:
    assert (State.DEAD, Transition.CANCEL) not in TRANSITIONS


def test_the_states_fall_into_groups() -> None:
    assert {State.SUCCEEDED, State.CANCELLED} == PRUNABLE
    assert PRUNABLE | {State.DEAD} == SETTLED
    assert SETTLED | {State.PARKED} == SETTLED_OR_PARKED
    assert {State.SUBMITTING, State.RUNNING, State.CANCELLING} == ACTIVE
