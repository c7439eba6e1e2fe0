"""The constructors of a job's next version: one function a move, its precondition in the table.

Each takes a job and facts, and returns a new job; none reads a clock. `lifecycle.TABLE` refuses
what may not happen. They are split by who moves.
"""

from jobs.transitions.builders import MANUAL, STUCK, UNCERTAIN
from jobs.transitions.cancelling import ask_cancel, cancel, note_cancel_sent
from jobs.transitions.operator import attach, discard, park, release, requeue, resubmit
from jobs.transitions.provider import (
    accept,
    bury,
    doubt,
    fail_while_parked,
    hold,
    note_result,
    overdue,
    retry,
    succeed,
)
from jobs.transitions.queue import admit, come_due
from jobs.transitions.submitting import give_back, open_connection, send

__all__ = [
    "MANUAL",
    "STUCK",
    "UNCERTAIN",
    "accept",
    "admit",
    "ask_cancel",
    "attach",
    "bury",
    "cancel",
    "come_due",
    "discard",
    "doubt",
    "fail_while_parked",
    "give_back",
    "hold",
    "note_cancel_sent",
    "note_result",
    "open_connection",
    "overdue",
    "park",
    "release",
    "requeue",
    "resubmit",
    "retry",
    "send",
    "succeed",
]
