"""The table of operator actions agrees with the lifecycle."""

import pytest

from jobs.lifecycle import TRANSITIONS, Transition
from jobs.states import State
from worker.app.action_table import (
    ACTION_TABLE,
    BatchAction,
    BreakerAction,
    BudgetAction,
    CallbackAction,
    CapAction,
    CreditAction,
    EditAction,
    HoldAction,
    JobAction,
    PayloadAction,
    ScheduleAction,
    WorkerAction,
)

T = Transition

TRANSITIONS_OF = {
    JobAction.RELEASE: {T.RELEASE, T.EXTEND_DEADLINE},
    JobAction.ATTACH: {T.ATTACH},
    JobAction.RESUBMIT: {T.RESUBMIT},
    JobAction.REQUEUE: {T.REQUEUE},
    JobAction.PARK: {T.PARK_MANUAL},
    JobAction.CANCEL: {T.CANCEL, T.REQUEST_CANCEL},
    JobAction.DISCARD: {T.DISCARD},
}


@pytest.mark.parametrize("action", JobAction)
def test_an_action_is_allowed_where_the_lifecycle_has_its_transition(action: JobAction) -> None:
    states = {state for state, transition in TRANSITIONS if transition in TRANSITIONS_OF[action]}
    assert set(ACTION_TABLE[action].states) == states


def test_every_action_has_a_row_and_says_what_it_does() -> None:
    assert list(ACTION_TABLE) == [
        *JobAction,
        *HoldAction,
        *BreakerAction,
        *WorkerAction,
        *CreditAction,
        *CallbackAction,
        *BatchAction,
        *BudgetAction,
        *ScheduleAction,
        *PayloadAction,
        *EditAction,
        *CapAction,
    ]
    for action, row in ACTION_TABLE.items():
        assert row.effect
        assert row.past_tense
        assert len(row.states) == len(set(row.states))
        is_of_the_settled = action is PayloadAction.ERASE
        assert is_of_the_settled or not {State.SUCCEEDED, State.CANCELLED} & set(row.states)
