"""The road of a job, restated row by row, and everything that is not on it refused."""

from collections.abc import Callable
from itertools import product

import pytest

from jobs import transitions
from jobs.job import Job, Reason
from jobs.lifecycle import MOVES_OF_PEOPLE, TABLE, IllegalMove, Move, after
from jobs.states import ACTIVE, AT_REST, PRUNABLE, SETTLED, State
from tests.unit.core import make
from tests.unit.core.make import ACCEPTED, BROKE, FAILED, FINISHED, NOW

ROAD = """
scheduled   come_due       queued      the clock
scheduled   cancel         cancelled   a person, before anything was sent
scheduled   park           parked      a person
scheduled   bury           dead        our own code cannot handle it
retrying    come_due       queued      the clock
retrying    cancel         cancelled   a person, before anything was sent
retrying    park           parked      a person
retrying    bury           dead        our own code cannot handle it
queued      admit          submitting  admission
queued      cancel         cancelled   a person, before anything was sent
queued      park           parked      a person
queued      bury           dead        it can never be sent
submitting  send           submitting  the mark before the first byte
submitting  open           running     a sync run
submitting  give_back      queued      never sent, or told to wait
submitting  accept         running     the provider took it
submitting  succeed        succeeded   a sync-shaped answer
submitting  retry          retrying    a retryable fault
submitting  bury           dead        refused for good
submitting  hold           parked      401, 402, 403, unknown outcome
submitting  ask_cancel     submitting  a person, the answer is awaited
submitting  cancel         cancelled   not sent, or refused after the wish
running     accept         running     a sync run answered as an async one
running     give_back      queued      a sync run that never was sent, or told to wait
running     succeed        succeeded   a result
running     retry          retrying    a retryable fault
running     bury           dead        refused for good
running     hold           parked      unknown outcome, deadline
running     ask_cancel     cancelling  a person
running     cancel         cancelled   cancelled at the provider
cancelling  accept         cancelling  a sync run answered as an async one
cancelling  succeed        succeeded   it finished first
cancelling  hold           parked      unknown outcome, deadline
cancelling  cancel         cancelled   the provider's confirmation
cancelling  bury           dead        our own code cannot handle it
parked      accept         running     the late answer to an uncertain submit
parked      succeed        succeeded   the late answer, or the end of a stuck run
parked      hold           parked      a stuck run failed, or is not known any more
parked      ask_cancel     cancelling  a person, of a stuck run
parked      cancel         cancelled   a person, or the end of a stuck run
parked      release        queued      a person
parked      keep_watching  running     a person, of a stuck run
parked      attach         running     a person
parked      resubmit       queued      a person
parked      discard        cancelled   a person
dead        requeue        queued      a person
dead        discard        cancelled   a person
"""

Row = tuple[State, Move, State]


def _rows() -> list[Row]:
    split = [line.split()[:3] for line in ROAD.strip().splitlines()]
    return [(State(state), Move(move), State(to)) for state, move, to in split]


ON_THE_ROAD = _rows()
OFF_THE_ROAD = sorted(set(product(State, Move)) - {(state, move) for state, move, _ in ON_THE_ROAD})

REASON = Reason(code="X")

MOVED: dict[Move, Callable[[Job], Job]] = {
    Move.COME_DUE: lambda job: transitions.come_due(job, NOW),
    Move.ADMIT: lambda job: transitions.admit(job, NOW, hop="h", lease_until=NOW, gates=()),
    Move.SEND: lambda job: transitions.send(job, NOW, owner="w", lease_until=NOW),
    Move.GIVE_BACK: lambda job: transitions.give_back(job, NOW, why="busy"),
    Move.OPEN: lambda job: transitions.open_connection(job, NOW, owner="w", lease_until=NOW),
    Move.ACCEPT: lambda job: transitions.accept(job, NOW, ACCEPTED, next_poll_at=NOW),
    Move.SUCCEED: lambda job: transitions.succeed(job, NOW, FINISHED),
    Move.RETRY: lambda job: transitions.retry(job, NOW, FAILED, due_at=NOW),
    Move.BURY: lambda job: transitions.bury(job, NOW, FAILED, REASON),
    Move.HOLD: lambda job: transitions.hold(job, NOW, BROKE, REASON),
    Move.ASK_CANCEL: lambda job: transitions.ask_cancel(job, NOW),
    Move.CANCEL: lambda job: transitions.cancel(job, NOW),
    Move.PARK: lambda job: transitions.park(job, NOW, by="ann"),
    Move.RELEASE: lambda job: transitions.release(job, NOW, by="ann"),
    Move.KEEP_WATCHING: lambda job: transitions.release(job, NOW, by="ann"),
    Move.ATTACH: lambda job: transitions.attach(job, NOW, "ex-9", by="ann"),
    Move.RESUBMIT: lambda job: transitions.resubmit(job, NOW, by="ann"),
    Move.REQUEUE: lambda job: transitions.requeue(job, NOW, by="ann"),
    Move.DISCARD: lambda job: transitions.discard(job, NOW, by="ann"),
}
"""Every move, made of any job."""

IN_STATE: dict[State, tuple[Callable[[], Job], ...]] = {
    State.SCHEDULED: (make.scheduled,),
    State.QUEUED: (make.queued,),
    State.SUBMITTING: (make.admitted, make.sent),
    State.RUNNING: (make.running, make.sync_run),
    State.RETRYING: (make.retrying,),
    State.PARKED: (make.held, make.uncertain, make.stuck, make.manual),
    State.CANCELLING: (make.cancelling, lambda: transitions.ask_cancel(make.sync_run(), NOW)),
    State.SUCCEEDED: (make.succeeded,),
    State.DEAD: (make.dead,),
    State.CANCELLED: (make.cancelled,),
}
"""Jobs in every state, by every way that matters."""


def _name(row: object) -> str:
    return str(row)


def test_the_table_has_the_rows_of_the_road_and_no_other() -> None:
    assert {(state, move): to for state, move, to in ON_THE_ROAD} == TABLE
    assert len(set(ON_THE_ROAD)) == len(ROAD.strip().splitlines())


def test_every_move_is_tried() -> None:
    assert set(MOVED) == set(Move)
    assert set(IN_STATE) == set(State)


@pytest.mark.parametrize(("state", "move", "to"), ON_THE_ROAD, ids=_name)
def test_a_row_leads_where_the_road_says(state: State, move: Move, to: State) -> None:
    assert after(state, move) is to
    if move is Move.KEEP_WATCHING:
        assert transitions.release(make.stuck(), NOW, by="ann").state is to
        return
    reached = {job.state for made in IN_STATE[state] if (job := _tried(made(), move)) is not None}
    assert to in reached, "no job takes this row"
    assert reached <= {to} | ({State.RUNNING} if move is Move.RELEASE else set())


def _tried(job: Job, move: Move) -> Job | None:
    try:
        return MOVED[move](job)
    except IllegalMove:
        return None


@pytest.mark.parametrize("state", list(State))
def test_any_other_move_is_refused_and_leaves_the_job_as_it_was(state: State) -> None:
    for move in (move for at, move in OFF_THE_ROAD if at is state):
        with pytest.raises(IllegalMove) as refused:
            after(state, move)
        assert (refused.value.state, refused.value.move) == (state, move)
        for made in IN_STATE[state]:
            job, same = made(), made()
            with pytest.raises(IllegalMove, match=f"a job that is {state}"):
                MOVED[move](job)
            assert job == same


def test_a_refusal_names_the_move_the_state_and_what_to_do_instead() -> None:
    assert str(IllegalMove(State.DEAD, Move.ASK_CANCEL)) == "cannot ask cancel a job that is dead"
    hinted = IllegalMove(State.DEAD, Move.CANCEL, "discard it")
    assert str(hinted) == "cannot cancel a job that is dead: discard it"


@pytest.mark.parametrize("state", [State.PARKED, State.DEAD])
def test_only_moves_of_people_leave_what_waits_for_a_person(state: State) -> None:
    leaving = {move for (before, move), to in TABLE.items() if before is state and to is not state}
    words_of_the_provider = {Move.ACCEPT, Move.SUCCEED, Move.CANCEL}
    assert leaving - MOVES_OF_PEOPLE == (words_of_the_provider if state is State.PARKED else set())


@pytest.mark.parametrize("parked", [make.held, make.manual])
@pytest.mark.parametrize("move", [Move.ACCEPT, Move.SUCCEED, Move.ASK_CANCEL], ids=_name)
def test_no_word_of_the_provider_frees_a_job_it_does_not_have(
    parked: Callable[[], Job], move: Move
) -> None:
    with pytest.raises(IllegalMove, match="the provider does not have it"):
        MOVED[move](parked())


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.CANCELLED])
def test_nothing_leaves_a_settled_job(state: State) -> None:
    assert not [move for before, move in TABLE if before is state]


def test_nobody_cancels_a_dead_letter() -> None:
    assert (State.DEAD, Move.CANCEL) not in TABLE


def test_the_states_fall_into_groups() -> None:
    assert {State.SUCCEEDED, State.CANCELLED} == PRUNABLE
    assert PRUNABLE | {State.DEAD} == SETTLED
    assert SETTLED | {State.PARKED} == AT_REST
    assert {State.SUBMITTING, State.RUNNING, State.CANCELLING} == ACTIVE
