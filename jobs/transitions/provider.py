"""Moves that follow from the provider's word, or from its silence."""

from typing import Any

import msgspec

from jobs.error_table import ACTION_STUCK, ACTION_UNCERTAIN
from jobs.job import Job, Reason
from jobs.lifecycle import IllegalMove, Move
from jobs.outcomes import Accepted, Fault, Finished
from jobs.states import Mode, State
from jobs.transitions.builders import (
    NOT_AT_PROVIDER,
    NOT_SUBMITTING,
    STUCK,
    UNCERTAIN,
    closed,
    fault_facts,
    moved,
    only_parked_as,
    reopened,
)


def accept(job: Job, now: float, answer: Accepted, *, next_poll_at: float) -> Job:
    """`submitting` → `running`: the provider took it, its execution id is on record.

    Also where the answer came so late that the job is parked as `uncertain`: it is the answer. A
    sync run that is answered like this is polled from here on.
    """
    only_parked_as(job, Move.ACCEPT, UNCERTAIN)
    if job.execution_id is not None and job.state in (State.RUNNING, State.CANCELLING):
        raise IllegalMove(job.state, Move.ACCEPT, "it has been accepted before")
    attempts = reopened(job)
    if attempts:
        facts = {"execution_id": answer.execution_id, "request_id": answer.request_id}
        attempts = (*attempts[:-1], msgspec.structs.replace(attempts[-1], **facts))
    return moved(
        job,
        Move.ACCEPT,
        now,
        changes=NOT_SUBMITTING
        | {
            "mode": Mode.ASYNC,
            "execution_id": answer.execution_id,
            "webhook": answer.webhook,
            "submitted_at": now,
            "deadline_at": now + job.deadline_s,
            "next_poll_at": next_poll_at,
            "attempts": attempts,
            "free_pass": False,
            "reason": None,
        },
    )


def succeed(job: Job, now: float, answer: Finished, *, polls: int = 0) -> Job:
    """→ `succeeded`: there is a result."""
    only_parked_as(job, Move.SUCCEED, UNCERTAIN, STUCK)
    facts: dict[str, Any] = {"cost": answer.cost, "polls": polls}
    for name in ("execution_id", "request_id"):
        if (value := getattr(answer, name)) is not None:
            facts[name] = value
    cost = job.cost if answer.cost is None else (job.cost or 0.0) + answer.cost
    job = msgspec.structs.replace(job, attempts=reopened(job))
    return moved(
        job,
        Move.SUCCEED,
        now,
        changes=NOT_SUBMITTING
        | {
            "execution_id": answer.execution_id or job.execution_id,
            "finished_at": now,
            "queued_at": None,
            "deadline_at": None,
            "next_poll_at": None,
            "cost": cost,
            "reason": None,
            "free_pass": False,
            "attempts": closed(job, now, "succeeded", **facts),
        },
    )


def note_result(job: Job, note: str) -> Job:
    """The same job, with a word on what became of its result."""
    return msgspec.structs.replace(job, result_note=note)


def retry(job: Job, now: float, fault: Fault, *, due_at: float, polls: int = 0) -> Job:
    """→ `retrying`: the attempt is spent, the backoff runs until `due_at`."""
    reason = Reason(code=fault.name, http_status=fault.http_status, message=fault.message)
    return moved(
        job,
        Move.RETRY,
        now,
        note=fault.name,
        changes=NOT_AT_PROVIDER
        | {
            "due_at": due_at,
            "spent": job.spent + 1,
            "reason": reason,
            "free_pass": False,
            "attempts": closed(job, now, "failed", **fault_facts(fault, polls)),
        },
    )


def bury(job: Job, now: float, fault: Fault, reason: Reason, *, polls: int = 0) -> Job:
    """→ `dead`: a dead letter, until a person requeues or discards it."""
    return moved(
        job,
        Move.BURY,
        now,
        note=reason.code,
        changes=NOT_SUBMITTING
        | {
            "finished_at": now,
            "next_poll_at": None,
            "spent": job.spent + (job.open_attempt is not None),
            "reason": reason,
            "free_pass": False,
            "attempts": closed(job, now, "failed", **fault_facts(fault, polls)),
        },
    )


def hold(job: Job, now: float, fault: Fault, reason: Reason, *, polls: int = 0) -> Job:
    """→ `parked` by a 401, 402 or 403: the submit was refused, nothing is spent."""
    return moved(
        job,
        Move.HOLD,
        now,
        note=reason.code,
        changes=NOT_AT_PROVIDER
        | {
            "reason": reason,
            "free_pass": False,
            "attempts": closed(job, now, "refused", **fault_facts(fault, polls)),
        },
    )


def doubt(job: Job, now: float, *, why: str, http_status: int | None = None, polls: int = 0) -> Job:
    """→ `parked` as `uncertain`: nobody knows whether this run exists. A person resolves it."""
    reason = Reason(
        code=UNCERTAIN,
        http_status=http_status,
        message=why,
        action=ACTION_UNCERTAIN,
    )
    facts = {"http_status": http_status, "code": UNCERTAIN, "message": why, "polls": polls}
    return moved(
        job,
        Move.HOLD,
        now,
        note=UNCERTAIN,
        changes=NOT_SUBMITTING
        | {
            "sent_at": job.sent_at,
            "next_poll_at": None,
            "reason": reason,
            "free_pass": False,
            "attempts": closed(job, now, "uncertain", **facts),
        },
    )


def overdue(job: Job, now: float, *, next_poll_at: float, unseen: str = "") -> Job:
    """→ `parked` as `stuck`: past its deadline. Its attempt stays open.

    Still processing, or, where `unseen` says why, not to be looked at.
    """
    minutes = job.deadline_s / 60
    reason = Reason(
        code=STUCK,
        message=f"no end seen after {minutes:.3g} min ({unseen})"
        if unseen
        else f"still processing after {minutes:.3g} min",
        action=ACTION_STUCK,
    )
    changes = {"reason": reason, "next_poll_at": next_poll_at}
    return moved(job, Move.HOLD, now, note=STUCK, changes=changes)


def fail_while_parked(job: Job, now: float, fault: Fault, reason: Reason, *, polls: int = 0) -> Job:
    """`parked` for another reason: a stuck run that failed after all waits for its person."""
    return moved(
        job,
        Move.HOLD,
        now,
        note=reason.code,
        changes=NOT_AT_PROVIDER
        | {
            "reason": reason,
            "spent": job.spent + (job.open_attempt is not None),
            "attempts": closed(job, now, "failed", **fault_facts(fault, polls)),
        },
    )
