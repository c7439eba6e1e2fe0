"""The constructors of a job's next version, one function for each transition.

Each takes a job, the time and facts, and returns a new job. `jobs.lifecycle.TRANSITIONS` is the
precondition of each, and some add their own; both raise `IllegalTransition`. The modules are
divided by who causes a transition.
"""

from jobs.transitions.budgets import park_over_budget, reserve, wait_for_budget
from jobs.transitions.cancelling import cancel, mark_cancel_sent, request_cancel
from jobs.transitions.costs import record_costs
from jobs.transitions.dependencies import (
    check_parents_later,
    park_for_parent,
    park_for_result,
    promote_child,
)
from jobs.transitions.editing import EDITABLE, JobEdit, edit, is_editable
from jobs.transitions.erasure import erase_payloads, has_erased_run, without_texts
from jobs.transitions.evidence import (
    await_finding,
    park_awaiting,
    record_findings,
    record_late_answer,
    resubmit_not_started,
)
from jobs.transitions.operator import attach, discard, park_manual, release, requeue, resubmit
from jobs.transitions.provider import (
    accept,
    dead_letter,
    find_run,
    park_failed_run,
    park_refused,
    park_stuck,
    park_uncertain,
    record_other_run,
    record_status,
    retry,
    set_result_note,
    succeed,
)
from jobs.transitions.worker import (
    admit,
    expire,
    open_connection,
    park_inputs_lost,
    promote,
    return_to_queue,
    send,
    stop_counting,
)

__all__ = [
    "EDITABLE",
    "JobEdit",
    "accept",
    "admit",
    "attach",
    "await_finding",
    "cancel",
    "check_parents_later",
    "dead_letter",
    "discard",
    "edit",
    "erase_payloads",
    "expire",
    "find_run",
    "has_erased_run",
    "is_editable",
    "mark_cancel_sent",
    "open_connection",
    "park_awaiting",
    "park_failed_run",
    "park_for_parent",
    "park_for_result",
    "park_inputs_lost",
    "park_manual",
    "park_over_budget",
    "park_refused",
    "park_stuck",
    "park_uncertain",
    "promote",
    "promote_child",
    "record_costs",
    "record_findings",
    "record_late_answer",
    "record_other_run",
    "record_status",
    "release",
    "request_cancel",
    "requeue",
    "reserve",
    "resubmit",
    "resubmit_not_started",
    "retry",
    "return_to_queue",
    "send",
    "set_result_note",
    "stop_counting",
    "succeed",
    "wait_for_budget",
    "without_texts",
]
