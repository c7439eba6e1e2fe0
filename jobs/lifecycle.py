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


class Move(StrEnum):
    """What can happen to a job."""

    COME_DUE = "come_due"
    ADMIT = "admit"
    SEND = "send"
    GIVE_BACK = "give_back"
    OPEN = "open"
    ACCEPT = "accept"
    SUCCEED = "succeed"
    RETRY = "retry"
    BURY = "bury"
    HOLD = "hold"
    ASK_CANCEL = "ask_cancel"
    CANCEL = "cancel"
    PARK = "park"
    RELEASE = "release"
    KEEP_WATCHING = "keep_watching"
    ATTACH = "attach"
    RESUBMIT = "resubmit"
    REQUEUE = "requeue"
    DISCARD = "discard"


MOVES_OF_PEOPLE: Final = frozenset(
    {
        Move.ASK_CANCEL,
        Move.PARK,
        Move.RELEASE,
        Move.KEEP_WATCHING,
        Move.ATTACH,
        Move.RESUBMIT,
        Move.REQUEUE,
        Move.DISCARD,
    },
)

S, M = State, Move

TABLE: Final[dict[tuple[State, Move], State]] = {
    # The clock and admission.
    (S.SCHEDULED, M.COME_DUE): S.QUEUED,
    (S.RETRYING, M.COME_DUE): S.QUEUED,
    (S.QUEUED, M.ADMIT): S.SUBMITTING,
    # The submit: `send` is the mark just before the request is written, `open` the same for a sync
    # run, whose connection stays open.
    (S.SUBMITTING, M.SEND): S.SUBMITTING,
    (S.SUBMITTING, M.OPEN): S.RUNNING,
    # Never sent, told to wait, or refused by a gate: back in line, nothing spent.
    (S.SUBMITTING, M.GIVE_BACK): S.QUEUED,
    (S.RUNNING, M.GIVE_BACK): S.QUEUED,
    # The provider's word.
    (S.SUBMITTING, M.ACCEPT): S.RUNNING,
    (S.PARKED, M.ACCEPT): S.RUNNING,
    # A sync run that the provider answers as an async one.
    (S.RUNNING, M.ACCEPT): S.RUNNING,
    (S.CANCELLING, M.ACCEPT): S.CANCELLING,
    (S.SUBMITTING, M.SUCCEED): S.SUCCEEDED,
    (S.RUNNING, M.SUCCEED): S.SUCCEEDED,
    (S.CANCELLING, M.SUCCEED): S.SUCCEEDED,
    (S.PARKED, M.SUCCEED): S.SUCCEEDED,
    (S.SUBMITTING, M.RETRY): S.RETRYING,
    (S.RUNNING, M.RETRY): S.RETRYING,
    (S.SUBMITTING, M.BURY): S.DEAD,
    (S.RUNNING, M.BURY): S.DEAD,
    (S.QUEUED, M.BURY): S.DEAD,
    (S.SCHEDULED, M.BURY): S.DEAD,
    (S.RETRYING, M.BURY): S.DEAD,
    (S.CANCELLING, M.BURY): S.DEAD,
    (S.SUBMITTING, M.HOLD): S.PARKED,
    (S.RUNNING, M.HOLD): S.PARKED,
    (S.CANCELLING, M.HOLD): S.PARKED,
    (S.PARKED, M.HOLD): S.PARKED,
    # Cancelling.
    (S.SUBMITTING, M.ASK_CANCEL): S.SUBMITTING,
    (S.RUNNING, M.ASK_CANCEL): S.CANCELLING,
    (S.PARKED, M.ASK_CANCEL): S.CANCELLING,
    (S.SCHEDULED, M.CANCEL): S.CANCELLED,
    (S.QUEUED, M.CANCEL): S.CANCELLED,
    (S.RETRYING, M.CANCEL): S.CANCELLED,
    (S.SUBMITTING, M.CANCEL): S.CANCELLED,
    (S.RUNNING, M.CANCEL): S.CANCELLED,
    (S.CANCELLING, M.CANCEL): S.CANCELLED,
    (S.PARKED, M.CANCEL): S.CANCELLED,
    # People.
    (S.SCHEDULED, M.PARK): S.PARKED,
    (S.QUEUED, M.PARK): S.PARKED,
    (S.RETRYING, M.PARK): S.PARKED,
    (S.PARKED, M.RELEASE): S.QUEUED,
    (S.PARKED, M.KEEP_WATCHING): S.RUNNING,
    (S.PARKED, M.ATTACH): S.RUNNING,
    (S.PARKED, M.RESUBMIT): S.QUEUED,
    (S.PARKED, M.DISCARD): S.CANCELLED,
    (S.DEAD, M.REQUEUE): S.QUEUED,
    (S.DEAD, M.DISCARD): S.CANCELLED,
}


class IllegalMove(ValueError):
    """A move the table does not have; names the state and the move."""

    def __init__(self, state: State, move: Move, hint: str = "") -> None:
        """Say what was tried in which state, and what could be done instead."""
        self.state = state
        self.move = move
        self.hint = hint
        super().__init__(
            f"cannot {move.replace('_', ' ')} a job that is {state}" + (hint and f": {hint}")
        )


def after(state: State, move: Move) -> State:
    """The state that `move` leads to; raises `IllegalMove` when the table has no such row."""
    try:
        return TABLE[state, move]
    except KeyError:
        raise IllegalMove(state, move) from None
