"""Every action of an operator: its name, the states it is allowed in, the role, and what it does.

The API, the dashboard, the command line, bulk actions and the audit read this one table. Whether an
action is allowed for one job is decided by `jobs.transitions`, which also reads why it is parked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from config.values import Role
from jobs.states import State


class JobAction(StrEnum):
    """What an operator can do to a job. The value is the name in URLs and in the audit."""

    RELEASE = "release"
    ATTACH = "attach"
    RESUBMIT = "resubmit"
    REQUEUE = "requeue"
    PARK = "park"
    CANCEL = "cancel"
    DISCARD = "discard"


class BreakerAction(StrEnum):
    """What an operator can do to a breaker; stopping by hand is a hold."""

    PROBE_BREAKER = "probe_breaker"
    RESET_BREAKER = "reset_breaker"


class HoldAction(StrEnum):
    """What an operator can do to a scope. The value is the name in the audit."""

    SET_HOLD = "hold"
    RELEASE_HOLD = "release_hold"


class WorkerAction(StrEnum):
    """What an operator can do to a worker. The value is the name in the audit."""

    DRAIN = "drain"
    UNDO_DRAIN = "undo_drain"


class PayloadAction(StrEnum):
    """What an operator can do to the payloads of a job. The value is the name in the audit."""

    ERASE = "erase_payloads"


class CapAction(StrEnum):
    """What an operator can do to a concurrency cap. The value is the name in the audit."""

    SET_CAP = "set_cap"
    REMOVE_CAP = "remove_cap"


class EditAction(StrEnum):
    """What an operator can change of a job. The value is the name in the audit."""

    EDIT = "edit"


class CreditAction(StrEnum):
    """What an operator can enter about credits. The value is the name in the audit."""

    SET_BALANCE = "set_balance"


class CallbackAction(StrEnum):
    """What an operator can do to a callback. The value is the name in the audit."""

    RESEND = "resend_callback"


class BudgetAction(StrEnum):
    """What an operator can do to a budget. The value is the name in the audit."""

    SET_BUDGET = "set_budget"
    REMOVE_BUDGET = "remove_budget"


class ScheduleAction(StrEnum):
    """What an operator can do to a schedule. The value is the name in the audit."""

    SET_SCHEDULE = "set_schedule"
    REMOVE_SCHEDULE = "remove_schedule"
    ENABLE_SCHEDULE = "enable_schedule"
    DISABLE_SCHEDULE = "disable_schedule"
    RUN_SCHEDULE = "run_schedule"


class BatchAction(StrEnum):
    """What can be done to a batch. The audit has a seal; the others have that of a bulk action."""

    CREATE = "create_batch"
    SEAL = "seal_batch"
    CANCEL = "cancel_batch"
    REQUEUE_FAILED = "requeue_failed"


@dataclass(frozen=True, slots=True)
class ActionRow:
    """One action."""

    states: tuple[State, ...]
    """The states it is allowed in, in the order of a job's life; empty for actions on a scope."""
    effect: str
    """What it does, in words for a button's hint, a page and a help text."""
    past_tense: str
    """What to report after it, as `Requeued`."""
    is_destructive: bool = False
    """It may pay twice, or it gives something up: ask before it."""
    role: Role = Role.OPERATE
    """The role a token needs."""


_QUEUE: Final = (State.SCHEDULED, State.RETRYING, State.QUEUED)

ACTION_TABLE: Final[
    Mapping[
        JobAction
        | HoldAction
        | BreakerAction
        | WorkerAction
        | PayloadAction
        | EditAction
        | CapAction
        | CreditAction
        | BudgetAction
        | ScheduleAction
        | CallbackAction
        | BatchAction,
        ActionRow,
    ]
] = {
    JobAction.RELEASE: ActionRow(
        (State.PARKED,),
        "Returns it to the queue; a stuck run is watched for another deadline",
        "Released",
    ),
    JobAction.ATTACH: ActionRow(
        (State.PARKED,),
        "This execution is its run: it is polled from now on, nothing is sent or paid again",
        "Attached",
    ),
    JobAction.RESUBMIT: ActionRow(
        (State.PARKED,),
        "Sends it again; if the first run exists, it is paid twice",
        "Resubmitted",
        is_destructive=True,
    ),
    JobAction.REQUEUE: ActionRow(
        (State.DEAD,),
        "Returns it to the queue with a new set of attempts; its history is kept",
        "Requeued",
    ),
    JobAction.PARK: ActionRow(
        _QUEUE,
        "Nothing is sent until an operator releases it",
        "Parked",
    ),
    JobAction.CANCEL: ActionRow(
        (
            State.CANCELLING,
            State.SCHEDULED,
            State.WAITING,
            State.RETRYING,
            State.QUEUED,
            State.SUBMITTING,
            State.RUNNING,
            State.PARKED,
        ),
        "Cancels it at once, or asks the provider to cancel its run, which may still be charged",
        "Cancelled",
        is_destructive=True,
    ),
    JobAction.DISCARD: ActionRow(
        (State.PARKED, State.DEAD),
        "Gives it up: it ends as cancelled and stays on record until retention removes it",
        "Discarded",
        is_destructive=True,
    ),
    HoldAction.SET_HOLD: ActionRow(
        (),
        "Nothing is sent in the scope until an operator releases the hold",
        "Hold placed",
    ),
    HoldAction.RELEASE_HOLD: ActionRow(
        (),
        "Opens the gate and returns the jobs it parked to the queue; after a refusal one canary is"
        " sent first",
        "Hold released",
    ),
    BreakerAction.PROBE_BREAKER: ActionRow(
        (),
        "Makes the next probe now, and jobs due whose next try waits for a success of their lane",
        "Probe requested",
    ),
    BreakerAction.RESET_BREAKER: ActionRow(
        (),
        "Closes the breaker: submits go again at once, and its pauses start over",
        "Breaker reset",
    ),
    WorkerAction.DRAIN: ActionRow(
        (),
        "The worker takes no new jobs until the drain is undone or it is restarted. It finishes its"
        " submits and sync runs, and goes on polling",
        "Drained",
    ),
    WorkerAction.UNDO_DRAIN: ActionRow((), "The worker takes new jobs again", "Drain undone"),
    CreditAction.SET_BALANCE: ActionRow(
        (),
        "Enters what the provider's billing page shows; the ledger carries it on from now",
        "Balance set",
    ),
    CallbackAction.RESEND: ActionRow(
        (),
        "Sends the callback again, now, with the same id and body, and tries it for three more"
        " days",
        "Sent again",
    ),
    BatchAction.CREATE: ActionRow(
        (),
        "Keeps its jobs on record until all of them have settled",
        "Batch created",
        role=Role.ENQUEUE,
    ),
    BatchAction.SEAL: ActionRow(
        (),
        "No more jobs may join it: it is complete once all have settled",
        "Batch sealed",
        role=Role.ENQUEUE,
    ),
    BatchAction.CANCEL: ActionRow(
        (),
        "No more jobs may join it, and those that have not settled are cancelled; parked ones stay",
        "Batch cancelled",
        is_destructive=True,
    ),
    BatchAction.REQUEUE_FAILED: ActionRow(
        (),
        "Queues its dead letters again, with the inputs they have",
        "Dead letters requeued",
    ),
    BudgetAction.SET_BUDGET: ActionRow(
        (),
        "Limits what the runs of its scope may cost; what is in flight counts from now on",
        "Budget set",
    ),
    BudgetAction.REMOVE_BUDGET: ActionRow(
        (),
        "Its scope is limited no more, and jobs that wait for it go on",
        "Budget removed",
        is_destructive=True,
    ),
    ScheduleAction.SET_SCHEDULE: ActionRow(
        (),
        "Enqueues its job at each tick of its cron line from now on",
        "Schedule set",
    ),
    ScheduleAction.REMOVE_SCHEDULE: ActionRow(
        (),
        "Enqueues nothing any more; jobs that it has enqueued go on",
        "Schedule removed",
        is_destructive=True,
    ),
    ScheduleAction.ENABLE_SCHEDULE: ActionRow(
        (),
        "Enqueues its job at each tick from now on; ticks that have passed are not made up for",
        "Schedule enabled",
    ),
    ScheduleAction.DISABLE_SCHEDULE: ActionRow(
        (),
        "Enqueues nothing until it is enabled; jobs that it has enqueued go on",
        "Schedule disabled",
    ),
    ScheduleAction.RUN_SCHEDULE: ActionRow(
        (),
        "Enqueues its job once, now, whether it is enabled and whatever runs",
        "Enqueued",
    ),
    PayloadAction.ERASE: ActionRow(
        (State.SUCCEEDED, State.CANCELLED, State.PARKED, State.DEAD),
        "Erases its inputs, its result and the provider's messages for good; the record stays, and"
        " it cannot be sent again",
        "Erased",
        is_destructive=True,
    ),
    EditAction.EDIT: ActionRow(
        (State.SCHEDULED, State.WAITING, State.RETRYING, State.QUEUED, State.PARKED, State.DEAD),
        "Changes its priority, its tags or its times; what was reserved of budgets stays there",
        "Edited",
    ),
    CapAction.SET_CAP: ActionRow(
        (),
        "Each lane of the scope has so many jobs at the provider at once, at most, from now on",
        "Cap set",
    ),
    CapAction.REMOVE_CAP: ActionRow(
        (),
        "What the settings say counts for the scope again",
        "Cap removed",
    ),
}
