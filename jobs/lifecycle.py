"""Every transition a job can make, in one table.

Laws of the table:
- Only an operator moves a job out of `parked` or `dead`. The one exception: the provider still
  decides about a run that is already paid for (the late answer to an `uncertain` submit, the end of
  a `stuck` run, a lost run that is found again).
- Nothing leaves `succeeded` or `cancelled`: the first terminal state wins.
- A transition that the table does not have raises `IllegalTransition` and leaves the job unchanged.

`docs/lifecycle.md` shows the table as a page; `tools.docs.lifecycle_page` generates it.
"""

from enum import Flag, StrEnum, auto
from typing import Final, NamedTuple

from jobs.states import State


class Transition(StrEnum):
    """What can happen to a job. The value is the name of the event in the job's history."""

    PROMOTE = "promote"
    ADMIT = "admit"
    SEND = "send"
    OPEN = "open"
    RETURN_TO_QUEUE = "return_to_queue"
    ACCEPT = "accept"
    SUCCEED = "succeed"
    RETRY = "retry"
    DEAD_LETTER = "dead_letter"
    PARK_REFUSED = "park_refused"
    PARK_UNCERTAIN = "park_uncertain"
    AWAIT_FINDING = "await_finding"
    RESUBMIT_NOT_STARTED = "resubmit_not_started"
    PARK_STUCK = "park_stuck"
    PARK_FAILED_RUN = "park_failed_run"
    PARK_MANUAL = "park_manual"
    PARK_INPUTS_LOST = "park_inputs_lost"
    PARK_OVER_BUDGET = "park_over_budget"
    EXPIRE = "expire"
    RESCHEDULE = "reschedule"
    PARK_FOR_PARENT = "park_for_parent"
    REQUEST_CANCEL = "request_cancel"
    CANCEL = "cancel"
    RELEASE = "release"
    FIND_RUN = "find_run"
    EXTEND_DEADLINE = "extend_deadline"
    ATTACH = "attach"
    RESUBMIT = "resubmit"
    REQUEUE = "requeue"
    DISCARD = "discard"


class Trigger(Flag):
    """Who causes a transition."""

    OPERATOR = auto()
    """An operator, by the API, the dashboard or the command line."""
    PROVIDER = auto()
    """The provider: its answer to a submit, a poll or a webhook."""
    CLOCK = auto()
    """A time that has passed: a due time or a deadline."""
    WORKER = auto()
    """A worker, or the fact that it was lost."""


class TransitionRow(NamedTuple):
    """One row of the table: in `state`, `transition` leads to `next_state`."""

    state: State
    transition: Transition
    next_state: State
    trigger: Trigger


S, T = State, Transition
OPERATOR, PROVIDER, CLOCK, WORKER = Trigger

ROWS: Final = tuple(
    TransitionRow(*row)
    for row in (
        # The queue.
        (S.SCHEDULED, T.PROMOTE, S.QUEUED, CLOCK),
        (S.RETRYING, T.PROMOTE, S.QUEUED, CLOCK),
        (S.WAITING, T.PROMOTE, S.QUEUED, WORKER),  # the jobs that it waited for have succeeded
        (S.QUEUED, T.ADMIT, S.SUBMITTING, WORKER),
        # The submit. `send` is recorded just before the first byte of an async submit, `open`
        # just before that of a sync run, whose connection then stays open.
        (S.SUBMITTING, T.SEND, S.SUBMITTING, WORKER),
        (S.SUBMITTING, T.OPEN, S.RUNNING, WORKER),
        # Not sent, rate limited, or stopped by a closed gate. No attempt is spent.
        (S.SUBMITTING, T.RETURN_TO_QUEUE, S.QUEUED, WORKER | PROVIDER),
        (S.RUNNING, T.RETURN_TO_QUEUE, S.QUEUED, WORKER | PROVIDER),
        # The provider's answers. A sync run can be answered with an execution id, as an async one.
        (S.SUBMITTING, T.ACCEPT, S.RUNNING, PROVIDER),
        (S.RUNNING, T.ACCEPT, S.RUNNING, PROVIDER),
        (S.CANCELLING, T.ACCEPT, S.CANCELLING, PROVIDER),
        (S.PARKED, T.ACCEPT, S.RUNNING, PROVIDER),
        (S.SUBMITTING, T.SUCCEED, S.SUCCEEDED, PROVIDER),
        (S.RUNNING, T.SUCCEED, S.SUCCEEDED, PROVIDER),
        (S.CANCELLING, T.SUCCEED, S.SUCCEEDED, PROVIDER),
        (S.PARKED, T.SUCCEED, S.SUCCEEDED, PROVIDER),
        (S.SUBMITTING, T.RETRY, S.RETRYING, PROVIDER),
        (S.RUNNING, T.RETRY, S.RETRYING, PROVIDER),
        (S.SUBMITTING, T.DEAD_LETTER, S.DEAD, PROVIDER | WORKER),
        (S.RUNNING, T.DEAD_LETTER, S.DEAD, PROVIDER | WORKER),
        # A job that makes the worker raise.
        (S.SCHEDULED, T.DEAD_LETTER, S.DEAD, WORKER),
        (S.WAITING, T.DEAD_LETTER, S.DEAD, WORKER),
        (S.QUEUED, T.DEAD_LETTER, S.DEAD, WORKER),
        (S.RETRYING, T.DEAD_LETTER, S.DEAD, WORKER),
        (S.CANCELLING, T.DEAD_LETTER, S.DEAD, WORKER),
        # Parking.
        (S.SUBMITTING, T.PARK_REFUSED, S.PARKED, PROVIDER),
        (S.RUNNING, T.PARK_REFUSED, S.PARKED, PROVIDER),
        (S.QUEUED, T.PARK_REFUSED, S.PARKED, WORKER),  # no key for its account
        (S.SUBMITTING, T.PARK_UNCERTAIN, S.PARKED, PROVIDER | WORKER),
        (S.RUNNING, T.PARK_UNCERTAIN, S.PARKED, PROVIDER | WORKER),
        (S.CANCELLING, T.PARK_UNCERTAIN, S.PARKED, PROVIDER | WORKER),
        (S.PARKED, T.PARK_UNCERTAIN, S.PARKED, PROVIDER | WORKER),
        # Under `reconcile`: it is sent again only if the provider's list shows that it did not
        # start. A late answer counts as long as nothing newer was sent.
        (S.SUBMITTING, T.AWAIT_FINDING, S.RETRYING, PROVIDER | WORKER),
        (S.RUNNING, T.AWAIT_FINDING, S.RETRYING, PROVIDER | WORKER),
        (S.RETRYING, T.RESUBMIT_NOT_STARTED, S.QUEUED, PROVIDER),
        (S.RETRYING, T.PARK_UNCERTAIN, S.PARKED, PROVIDER | CLOCK),
        (S.RETRYING, T.ACCEPT, S.RUNNING, PROVIDER),
        (S.RETRYING, T.SUCCEED, S.SUCCEEDED, PROVIDER),
        (S.QUEUED, T.ACCEPT, S.RUNNING, PROVIDER),
        (S.QUEUED, T.SUCCEED, S.SUCCEEDED, PROVIDER),
        (S.RUNNING, T.PARK_STUCK, S.PARKED, CLOCK),
        (S.CANCELLING, T.PARK_STUCK, S.PARKED, CLOCK),
        (S.PARKED, T.PARK_FAILED_RUN, S.PARKED, PROVIDER),
        (S.PARKED, T.FIND_RUN, S.RUNNING, PROVIDER),
        (S.SCHEDULED, T.PARK_MANUAL, S.PARKED, OPERATOR),
        (S.QUEUED, T.PARK_MANUAL, S.PARKED, OPERATOR),
        (S.RETRYING, T.PARK_MANUAL, S.PARKED, OPERATOR),
        (S.WAITING, T.PARK_FOR_PARENT, S.PARKED, WORKER),
        (S.WAITING, T.PARK_INPUTS_LOST, S.PARKED, WORKER),
        (S.QUEUED, T.PARK_INPUTS_LOST, S.PARKED, WORKER),
        (S.SUBMITTING, T.PARK_INPUTS_LOST, S.PARKED, WORKER),
        (S.QUEUED, T.PARK_OVER_BUDGET, S.PARKED, WORKER),
        # An operator gives it another time.
        (S.SCHEDULED, T.RESCHEDULE, S.SCHEDULED, OPERATOR),
        (S.QUEUED, T.RESCHEDULE, S.SCHEDULED, OPERATOR),
        # Not sent by its `start_by`. Parked jobs and dead letters do not expire.
        (S.SCHEDULED, T.EXPIRE, S.CANCELLED, CLOCK),
        (S.WAITING, T.EXPIRE, S.CANCELLED, CLOCK),
        (S.QUEUED, T.EXPIRE, S.CANCELLED, CLOCK),
        (S.RETRYING, T.EXPIRE, S.CANCELLED, CLOCK),
        # Cancelling.
        (S.SUBMITTING, T.REQUEST_CANCEL, S.SUBMITTING, OPERATOR),
        (S.RUNNING, T.REQUEST_CANCEL, S.CANCELLING, OPERATOR),
        (S.PARKED, T.REQUEST_CANCEL, S.CANCELLING, OPERATOR),
        (S.SCHEDULED, T.CANCEL, S.CANCELLED, OPERATOR),
        (S.WAITING, T.CANCEL, S.CANCELLED, OPERATOR),
        (S.QUEUED, T.CANCEL, S.CANCELLED, OPERATOR),
        (S.RETRYING, T.CANCEL, S.CANCELLED, OPERATOR),
        (S.SUBMITTING, T.CANCEL, S.CANCELLED, OPERATOR | PROVIDER | WORKER),
        (S.RUNNING, T.CANCEL, S.CANCELLED, PROVIDER),
        (S.CANCELLING, T.CANCEL, S.CANCELLED, PROVIDER | WORKER),
        (S.PARKED, T.CANCEL, S.CANCELLED, OPERATOR | PROVIDER),
        # An operator decides about a parked job or a dead letter.
        (S.PARKED, T.RELEASE, S.QUEUED, OPERATOR),
        (S.PARKED, T.EXTEND_DEADLINE, S.RUNNING, OPERATOR),
        (S.PARKED, T.ATTACH, S.RUNNING, OPERATOR),
        (S.PARKED, T.RESUBMIT, S.QUEUED, OPERATOR),
        (S.PARKED, T.DISCARD, S.CANCELLED, OPERATOR),
        (S.DEAD, T.REQUEUE, S.QUEUED, OPERATOR),
        (S.DEAD, T.DISCARD, S.CANCELLED, OPERATOR),
    )
)

TRANSITIONS: Final = {(row.state, row.transition): row.next_state for row in ROWS}
"""The state that each row leads to."""

OPERATOR_TRANSITIONS: Final = frozenset(T) - {
    row.transition for row in ROWS if row.trigger != OPERATOR
}
"""Transitions that only an operator causes."""

_PHRASES: Final = {
    T.OPEN: "open a connection for {}",
    T.RETURN_TO_QUEUE: "return {} to the queue",
    T.SUCCEED: "record a result for {}",
    T.DEAD_LETTER: "make a dead letter of {}",
    T.PARK_REFUSED: "park {} as refused",
    T.PARK_UNCERTAIN: "park {} as uncertain",
    T.PARK_STUCK: "park {} as stuck",
    T.AWAIT_FINDING: "wait for a finding about {}",
    T.RESUBMIT_NOT_STARTED: "submit {} again, because it did not start,",
    T.PARK_FAILED_RUN: "park {} for its failed run",
    T.PARK_MANUAL: "park {}",
    T.PARK_INPUTS_LOST: "park {} for its lost inputs",
    T.PARK_OVER_BUDGET: "park {} for a budget",
    T.RESCHEDULE: "edit {}",
    T.PARK_FOR_PARENT: "park {} for a job that it waits for",
    T.REQUEST_CANCEL: "request a cancel of {}",
    T.FIND_RUN: "find the run of {}",
    T.EXTEND_DEADLINE: "extend the deadline of {}",
    T.ATTACH: "attach an execution to {}",
}
"""How a transition reads in a message; the others read `<value> {}`."""


class IllegalTransition(ValueError):
    """The table does not have this transition in this state, or its precondition is not met."""

    def __init__(self, state: State, transition: Transition, hint: str = "") -> None:
        """`hint` says why, or what the operator can do instead."""
        self.state = state
        self.transition = transition
        self.hint = hint
        phrase = _PHRASES.get(transition, f"{transition} {{}}").format(f"a job that is {state}")
        super().__init__(f"cannot {phrase}" + (f": {hint}" if hint else ""))


def next_state(state: State, transition: Transition) -> State:
    """The state that `transition` leads to; raises `IllegalTransition` if the table has no row."""
    try:
        return TRANSITIONS[state, transition]
    except KeyError:
        raise IllegalTransition(state, transition) from None
