"""The lifecycle table, restated row by row; every transition that it does not have is refused."""

from collections.abc import Callable
from itertools import product

import pytest

from jobs import transitions
from jobs.budgets.periods import Window
from jobs.budgets.record import Budget, BudgetPeriod
from jobs.budgets.room import BudgetStatus
from jobs.budgets.use import BudgetUse
from jobs.job import Job, Reason
from jobs.lifecycle import (
    OPERATOR_TRANSITIONS,
    ROWS,
    TRANSITIONS,
    IllegalTransition,
    Transition,
    TransitionRow,
    Trigger,
    next_state,
)
from jobs.states import ACTIVE, PRUNABLE, SETTLED, SETTLED_OR_PARKED, State
from tests.unit.core import job_builders
from tests.unit.core.job_builders import ACCEPTED, FAILED, FINISHED, NO_CREDITS, NOW, changed

TABLE_TEXT = """
scheduled   promote          queued      clock              its due time has passed
scheduled   cancel           cancelled   operator           nothing was sent
scheduled   expire           cancelled   clock              not sent by its start_by
queued      expire           cancelled   clock              not sent by its start_by
scheduled   reschedule       scheduled   operator           another time
queued      reschedule       scheduled   operator           a time in the future
retrying    expire           cancelled   clock              not sent by its start_by
scheduled   park_manual      parked      operator
scheduled   dead_letter      dead        worker             it makes the worker raise
retrying    promote          queued      clock              its backoff is over
retrying    cancel           cancelled   operator           nothing is under way
retrying    park_manual      parked      operator
retrying    dead_letter      dead        worker             it makes the worker raise
retrying    resubmit_not_started queued  provider           its run is not in the list
retrying    park_uncertain   parked      provider+clock     a finding that lets nothing be sent
retrying    accept           running     provider           a late answer
retrying    succeed          succeeded   provider           a late answer
queued      accept           running     provider           a late answer, nothing newer was sent
queued      succeed          succeeded   provider           a late answer, nothing newer was sent
submitting  await_finding    retrying    provider+worker    unknown outcome, under reconcile
running     await_finding    retrying    provider+worker    unknown outcome, under reconcile
queued      admit            submitting  worker             its lane is open
queued      cancel           cancelled   operator           nothing was sent
queued      park_manual      parked      operator
queued      dead_letter      dead        worker             it can never be sent
queued      park_inputs_lost parked      worker             Redis lost its inputs
waiting     promote          queued      worker             its parents have succeeded
waiting     expire           cancelled   clock              it was not sent in time
waiting     cancel           cancelled   operator           nothing was sent
waiting     dead_letter      dead        worker             it makes the worker raise
waiting     park_for_parent  parked      worker             a parent never succeeds
waiting     park_inputs_lost parked      worker             Redis lost its inputs
queued      park_over_budget parked      worker             it can never fit in a budget
submitting  send             submitting  worker             just before the first byte
submitting  open             running     worker             a sync run
submitting  return_to_queue  queued      provider+worker    not sent, or rate limited
submitting  accept           running     provider           it has an execution id
submitting  succeed          succeeded   provider           a sync answer
submitting  retry            retrying    provider           a retryable error
submitting  dead_letter      dead        provider+worker    an error that no retry fixes
submitting  park_refused     parked      provider           401, 402, 403
queued      park_refused     parked      worker             no key for its account
submitting  park_uncertain   parked      provider+worker    unknown outcome
submitting  park_inputs_lost parked      worker             Redis lost its inputs
submitting  request_cancel   submitting  operator           the answer is awaited first
submitting  cancel           cancelled   operator+provider+worker not sent, or refused
running     accept           running     provider           a sync run answered with an execution id
running     return_to_queue  queued      provider+worker    a sync run: not sent, or rate limited
running     succeed          succeeded   provider           a result
running     retry            retrying    provider           a retryable error
running     dead_letter      dead        provider+worker    an error that no retry fixes
running     park_refused     parked      provider           by its code
running     park_uncertain   parked      provider+worker    unknown outcome
running     park_stuck       parked      clock              past its deadline
running     request_cancel   cancelling  operator
running     cancel           cancelled   provider           cancelled at the provider
cancelling  accept           cancelling  provider           a sync run answered with an execution id
cancelling  succeed          succeeded   provider           it finished first
cancelling  park_uncertain   parked      provider+worker    unknown outcome
cancelling  park_stuck       parked      clock              past its deadline
cancelling  cancel           cancelled   provider+worker    the provider confirms, or not sent
cancelling  dead_letter      dead        worker             it makes the worker raise
parked      accept           running     provider           a late answer
parked      succeed          succeeded   provider           a late answer, or a stuck run's end
parked      park_uncertain   parked      provider+worker    a stuck run that is missing
parked      park_failed_run  parked      provider           a stuck or uncertain run that failed
parked      find_run         running     provider           an uncertain job whose run is found
parked      request_cancel   cancelling  operator           a stuck run
parked      cancel           cancelled   operator+provider  by hand, or a stuck run's end
parked      release          queued      operator
parked      extend_deadline  running     operator           a stuck run
parked      attach           running     operator           an uncertain or stuck job
parked      resubmit         queued      operator           an uncertain or stuck job
parked      discard          cancelled   operator
dead        requeue          queued      operator
dead        discard          cancelled   operator
"""
"""From, transition, to, who causes it, and when."""


def _row(line: str) -> TransitionRow:
    state, transition, to, who = line.split()[:4]
    trigger = Trigger(0)
    for name in who.split("+"):
        trigger |= Trigger[name.upper()]
    return TransitionRow(State(state), Transition(transition), State(to), trigger)


LEGAL = [_row(line) for line in TABLE_TEXT.strip().splitlines()]
ILLEGAL = sorted(set(product(State, Transition)) - {(row.state, row.transition) for row in LEGAL})

REASON = Reason(code="X")
BUDGET_STATUS = BudgetStatus(
    Budget(
        name="b",
        scope="default",
        period=BudgetPeriod.DAY,
        limit=4.0,
        generation=1,
        set_at=NOW,
        set_by="ann",
    ),
    Window("2026-11-27", NOW, NOW + 1),
    BudgetUse(),
)

CONSTRUCTORS: dict[Transition, Callable[[Job], Job]] = {
    Transition.PROMOTE: lambda job: transitions.promote(job, NOW),
    Transition.EXPIRE: lambda job: transitions.expire(changed(job, start_by=NOW), NOW),
    Transition.RESCHEDULE: lambda job: transitions.edit(
        job, NOW, transitions.JobEdit(run_at=NOW + 500), by="ann"
    ),
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
    Transition.PARK_REFUSED: lambda job: transitions.park_refused(job, NOW, NO_CREDITS, REASON),
    Transition.PARK_UNCERTAIN: lambda job: transitions.park_uncertain(job, NOW, why="lost"),
    Transition.AWAIT_FINDING: lambda job: transitions.await_finding(job, NOW, why="lost"),
    Transition.RESUBMIT_NOT_STARTED: lambda job: transitions.resubmit_not_started(job, NOW),
    Transition.PARK_STUCK: lambda job: transitions.park_stuck(job, NOW, next_poll_at=NOW),
    Transition.PARK_FAILED_RUN: lambda job: transitions.park_failed_run(job, NOW, FAILED, REASON),
    Transition.FIND_RUN: lambda job: transitions.find_run(job, NOW, next_poll_at=NOW),
    Transition.REQUEST_CANCEL: lambda job: transitions.request_cancel(job, NOW),
    Transition.CANCEL: lambda job: transitions.cancel(job, NOW),
    Transition.PARK_MANUAL: lambda job: transitions.park_manual(job, NOW, by="ann"),
    Transition.PARK_OVER_BUDGET: lambda job: transitions.park_over_budget(
        job, NOW, BUDGET_STATUS, 5.0
    ),
    Transition.PARK_FOR_PARENT: lambda job: transitions.park_for_parent(job, NOW, "gone"),
    Transition.PARK_INPUTS_LOST: lambda job: transitions.park_inputs_lost(job, NOW),
    Transition.RELEASE: lambda job: transitions.release(job, NOW, by="ann"),
    Transition.EXTEND_DEADLINE: lambda job: transitions.release(job, NOW, by="ann"),
    Transition.ATTACH: lambda job: transitions.attach(job, NOW, "ex-9", by="ann"),
    Transition.RESUBMIT: lambda job: transitions.resubmit(job, NOW, by="ann"),
    Transition.REQUEUE: lambda job: transitions.requeue(job, NOW, by="ann"),
    Transition.DISCARD: lambda job: transitions.discard(job, NOW, by="ann"),
}
"""The constructor of every transition, applied to any job."""

IN_STATE: dict[State, tuple[Callable[[], Job], ...]] = {
    State.SCHEDULED: (job_builders.scheduled,),
    State.WAITING: (job_builders.waiting,),
    State.QUEUED: (job_builders.queued,),
    State.SUBMITTING: (job_builders.admitted, job_builders.submitted),
    State.RUNNING: (job_builders.running, job_builders.sync_run),
    State.RETRYING: (job_builders.retrying, job_builders.did_not_start),
    State.PARKED: (
        job_builders.held,
        job_builders.uncertain,
        job_builders.lost_run,
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
"""Jobs in every state, one for each way to get there that matters."""


def test_the_table_has_the_restated_rows_and_no_other() -> None:
    assert sorted(LEGAL, key=str) == sorted(ROWS, key=str)
    assert len({(row.state, row.transition) for row in ROWS}) == len(ROWS) == len(TRANSITIONS)


def test_every_transition_is_tried() -> None:
    assert set(CONSTRUCTORS) == set(Transition)
    assert set(IN_STATE) == set(State)


@pytest.mark.parametrize("row", LEGAL, ids=lambda row: f"{row.state}-{row.transition}")
def test_a_row_leads_where_the_table_says(row: TransitionRow) -> None:
    state, transition, to, _ = row
    assert next_state(state, transition) is to
    if transition is Transition.EXTEND_DEADLINE:
        assert transitions.release(job_builders.stuck(), NOW, by="ann").state is to
        return
    tried = [_tried(build(), transition) for build in IN_STATE[state]]
    reached = {job.state for job in tried if job is not None}
    assert to in reached, "no job takes this row"
    assert reached <= {to} | ({State.RUNNING} if transition is Transition.RELEASE else set())


def _tried(job: Job, transition: Transition) -> Job | None:
    try:
        return CONSTRUCTORS[transition](job)
    except IllegalTransition:
        return None


@pytest.mark.parametrize("state", list(State))
def test_any_other_transition_is_refused_and_leaves_the_job_as_it_was(state: State) -> None:
    for transition in (transition for at, transition in ILLEGAL if at is state):
        with pytest.raises(IllegalTransition) as refused:
            next_state(state, transition)
        assert (refused.value.state, refused.value.transition) == (state, transition)
        for build in IN_STATE[state]:
            job, same = build(), build()
            if (state, transition) == (State.WAITING, Transition.RESCHEDULE):
                continue  # another time for it is no transition: it waits for that, too
            with pytest.raises(IllegalTransition, match=f"a job that is {state}"):
                CONSTRUCTORS[transition](job)
            assert job == same


def test_a_refusal_names_the_transition_the_state_and_what_to_do_instead() -> None:
    assert (
        str(IllegalTransition(State.DEAD, Transition.REQUEST_CANCEL))
        == "cannot request a cancel of a job that is dead"
    )
    assert (
        str(IllegalTransition(State.QUEUED, Transition.RELEASE))
        == "cannot release a job that is queued"
    )
    hinted = IllegalTransition(State.DEAD, Transition.CANCEL, "discard it")
    assert str(hinted) == "cannot cancel a job that is dead: discard it"


@pytest.mark.parametrize("state", [State.PARKED, State.DEAD])
def test_only_operator_transitions_leave_what_waits_for_an_operator(state: State) -> None:
    leaving = {row.transition for row in ROWS if row.state is state and row.next_state is not state}
    by_the_provider = {
        Transition.ACCEPT,
        Transition.SUCCEED,
        Transition.CANCEL,
        Transition.FIND_RUN,
    }
    assert leaving - OPERATOR_TRANSITIONS == (by_the_provider if state is State.PARKED else set())


@pytest.mark.parametrize("parked", [job_builders.held, job_builders.manual])
@pytest.mark.parametrize(
    "transition",
    [Transition.ACCEPT, Transition.SUCCEED, Transition.FIND_RUN, Transition.REQUEST_CANCEL],
    ids=str,
)
def test_no_answer_of_the_provider_frees_a_job_it_does_not_have(
    parked: Callable[[], Job], transition: Transition
) -> None:
    with pytest.raises(IllegalTransition, match="the provider does not have it"):
        CONSTRUCTORS[transition](parked())


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.CANCELLED])
def test_nothing_leaves_a_settled_job(state: State) -> None:
    assert not [transition for before, transition in TRANSITIONS if before is state]


def test_nobody_cancels_a_dead_letter() -> None:
    assert (State.DEAD, Transition.CANCEL) not in TRANSITIONS


def test_the_states_fall_into_groups() -> None:
    assert {State.SUCCEEDED, State.CANCELLED} == PRUNABLE
    assert PRUNABLE | {State.DEAD} == SETTLED
    assert SETTLED | {State.PARKED} == SETTLED_OR_PARKED
    assert {State.SUBMITTING, State.RUNNING, State.CANCELLING} == ACTIVE
