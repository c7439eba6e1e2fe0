"""Every transition a job can make, in one table.

Laws of the table:
- only a person's move leaves `parked` or `dead`, save that the provider's own word on a run already
  paid for still counts: the late answer to an `uncertain` submit, the end of a `stuck` run;
- nothing leaves `succeeded` or `cancelled`: the first terminal wins;
- an illegal move raises `IllegalMove` and leaves the job as it was.
"""

from enum import StrEnum
from typing import Final

from jobs.states import State


class Transition(StrEnum):
    """What can happen to a job."""

    PROMOTE = "promote"
    ADMIT = "admit"
    SEND = "send"
    RETURN_TO_QUEUE = "return_to_queue"
    OPEN = "open"
    ACCEPT = "accept"
    SUCCEED = "succeed"
    RETRY = "retry"
    DEAD_LETTER = "dead_letter"
    HOLD = "hold"
    REQUEST_CANCEL = "request_cancel"
    CANCEL = "cancel"
    PARK_MANUAL = "park"
    RELEASE = "release"
    EXTEND_DEADLINE = "extend_deadline"
    ATTACH = "attach"
    RESUBMIT = "resubmit"
    REQUEUE = "requeue"
    DISCARD = "discard"


OPERATOR_TRANSITIONS: Final = frozenset(
    {
        Transition.REQUEST_CANCEL,
        Transition.PARK_MANUAL,
        Transition.RELEASE,
        Transition.EXTEND_DEADLINE,
        Transition.ATTACH,
        Transition.RESUBMIT,
        Transition.REQUEUE,
        Transition.DISCARD,
    },
)

S, T = State, Transition

TRANSITIONS: Final[dict[tuple[State, Transition], State]] = {
    # The clock and admission.
    (S.SCHEDULED, T.PROMOTE): S.QUEUED,
    (S.RETRYING, T.PROMOTE): S.QUEUED,
    (S.QUEUED, T.ADMIT): S.SUBMITTING,
    # The submit: `send` is the mark just before the request is written, `open` the same for a sync
    # run, whose connection stays open.
    (S.SUBMITTING, T.SEND): S.SUBMITTING,
    (S.SUBMITTING, T.OPEN): S.RUNNING,
    # Never sent, told to wait, or refused by a gate: back in line, nothing spent.
    (S.SUBMITTING, T.RETURN_TO_QUEUE): S.QUEUED,
    (S.RUNNING, T.RETURN_TO_QUEUE): S.QUEUED,
    # The provider's word.
    (S.SUBMITTING, T.ACCEPT): S.RUNNING,
    (S.PARKED, T.ACCEPT): S.RUNNING,
    # A sync run that the provider answers as an async one.
    (S.RUNNING, T.ACCEPT): S.RUNNING,
    (S.CANCELLING, T.ACCEPT): S.CANCELLING,
    (S.SUBMITTING, T.SUCCEED): S.SUCCEEDED,
    (S.RUNNING, T.SUCCEED): S.SUCCEEDED,
    (S.CANCELLING, T.SUCCEED): S.SUCCEEDED,
    (S.PARKED, T.SUCCEED): S.SUCCEEDED,
    (S.SUBMITTING, T.RETRY): S.RETRYING,
    (S.RUNNING, T.RETRY): S.RETRYING,
    (S.SUBMITTING, T.DEAD_LETTER): S.DEAD,
    (S.RUNNING, T.DEAD_LETTER): S.DEAD,
    (S.QUEUED, T.DEAD_LETTER): S.DEAD,
    (S.SCHEDULED, T.DEAD_LETTER): S.DEAD,
    (S.RETRYING, T.DEAD_LETTER): S.DEAD,
    (S.CANCELLING, T.DEAD_LETTER): S.DEAD,
    (S.SUBMITTING, T.HOLD): S.PARKED,
    (S.RUNNING, T.HOLD): S.PARKED,
    (S.CANCELLING, T.HOLD): S.PARKED,
    (S.PARKED, T.HOLD): S.PARKED,
    # Cancelling.
    (S.SUBMITTING, T.REQUEST_CANCEL): S.SUBMITTING,
    (S.RUNNING, T.REQUEST_CANCEL): S.CANCELLING,
    (S.PARKED, T.REQUEST_CANCEL): S.CANCELLING,
    (S.SCHEDULED, T.CANCEL): S.CANCELLED,
    (S.QUEUED, T.CANCEL): S.CANCELLED,
    (S.RETRYING, T.CANCEL): S.CANCELLED,
    (S.SUBMITTING, T.CANCEL): S.CANCELLED,
    (S.RUNNING, T.CANCEL): S.CANCELLED,
    (S.CANCELLING, T.CANCEL): S.CANCELLED,
    (S.PARKED, T.CANCEL): S.CANCELLED,
    # People.
    (S.SCHEDULED, T.PARK_MANUAL): S.PARKED,
    (S.QUEUED, T.PARK_MANUAL): S.PARKED,
    (S.RETRYING, T.PARK_MANUAL): S.PARKED,
    (S.PARKED, T.RELEASE): S.QUEUED,
    (S.PARKED, T.EXTEND_DEADLINE): S.RUNNING,
    (S.PARKED, T.ATTACH): S.RUNNING,
    (S.PARKED, T.RESUBMIT): S.QUEUED,
    (S.PARKED, T.DISCARD): S.CANCELLED,
    (S.DEAD, T.REQUEUE): S.QUEUED,
    (S.DEAD, T.DISCARD): S.CANCELLED,
}


class IllegalTransition(ValueError):
    """A move the table does not have; names the state and the move."""

    def __init__(self, state: State, transition: Transition, hint: str = "") -> None:
        """Say what was tried in which state, and what could be done instead."""
        self.state = state
        self.transition = transition
        self.hint = hint
        super().__init__(
            f"cannot {transition.replace('_', ' ')} a job that is {state}" + (hint and f": {hint}")
        )


def next_state(state: State, transition: Transition) -> State:
    """The state that `move` leads to; raises `IllegalMove` when the table has no such row."""
    try:
        return TRANSITIONS[state, transition]
    except KeyError:
        raise IllegalTransition(state, transition) from None
