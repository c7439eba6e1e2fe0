"""The constructors of a job's next version: one function a move, its precondition in the table.

Each takes a job and facts, and returns a new job; none reads a clock. `lifecycle.TABLE` refuses
what may not happen.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from jobs.answers import Accepted, Fault, Finished
from jobs.lifecycle import IllegalMove, Move, after
from jobs.poison import UNREADABLE
from jobs.records import ATTEMPTS_KEPT, EVENTS_KEPT, Attempt, Event, Job, Reason
from jobs.states import Mode, State
from jobs.verdicts import ACTION_MANUAL, ACTION_STUCK, ACTION_UNCERTAIN

UNCERTAIN: Final = "uncertain"
STUCK: Final = "stuck"
MANUAL: Final = "manual"

_NOT_SUBMITTING: Final[dict[str, Any]] = {
    "hop": None,
    "lease_until": None,
    "owner": None,
    "sent_at": None,
    "gates": (),
}
_NOT_AT_PROVIDER: Final[dict[str, Any]] = {
    **_NOT_SUBMITTING,
    "execution_id": None,
    "webhook": False,
    "submitted_at": None,
    "deadline_at": None,
    "next_poll_at": None,
}


def _move(
    job: Job,
    move: Move,
    now: float,
    *,
    by: str = "",
    note: str = "",
    changes: Mapping[str, Any] | None = None,
) -> Job:
    state = after(job.state, move)
    return msgspec.structs.replace(
        job,
        state=state,
        since=job.since if state is job.state else now,
        updated_at=now,
        **_noted(job, Event(at=now, name=move.value, by=by, note=note)),
        **(changes or {}),
    )


def _noted(job: Job, event: Event) -> dict[str, Any]:
    """The history with one more event; what no longer fits is counted."""
    events = (*job.events, event)
    dropped = max(0, len(events) - EVENTS_KEPT)
    return {"events": events[dropped:], "events_dropped": job.events_dropped + dropped}


def _closed(job: Job, now: float, outcome: str, **facts: Any) -> tuple[Attempt, ...]:
    """The attempts, the one under way closed with its outcome."""
    last = job.open_attempt
    if last is None:
        return job.attempts
    done = msgspec.structs.replace(last, ended_at=now, outcome=outcome, **facts)
    return (*job.attempts[:-1], done)[-ATTEMPTS_KEPT:]


def _taken_back(job: Job) -> tuple[Attempt, ...]:
    """The attempts without the one under way: it never reached the provider, or may not count."""
    return job.attempts[:-1] if job.open_attempt else job.attempts


def _fault_facts(fault: Fault, polls: int) -> dict[str, Any]:
    return {
        "http_status": fault.http_status,
        "code": fault.name,
        "message": fault.message or None,
        "provider_status": fault.provider_status,
        "polls": polls,
    }


def _queued(job: Job, now: float) -> dict[str, Any]:
    """Back in line, at its old age: waiting does not lose a job its place."""
    return {
        **_NOT_AT_PROVIDER,
        "queued_at": now if job.queued_at is None else job.queued_at,
        "due_at": None,
        "reason": None,
        "free_pass": False,
    }


# The clock and admission.


def come_due(job: Job, now: float) -> Job:
    """`scheduled` or `retrying` → `queued`: its time has come."""
    return _move(job, Move.COME_DUE, now, changes=_queued(job, now) | {"queued_at": now})


def admit(job: Job, now: float, *, hop: str, lease_until: float, gates: tuple[str, ...]) -> Job:
    """`queued` → `submitting`: the intent, on record before a byte is sent."""
    changes = {"hop": hop, "lease_until": lease_until, "gates": gates}
    return _move(job, Move.ADMIT, now, changes=changes)


# The submit.


def _begun(job: Job, now: float, mode: Mode) -> dict[str, Any]:
    number = job.submits + 1
    attempt = Attempt(number=number, mode=mode, started_at=now)
    return {
        "mode": mode,
        "sent_at": now,
        "submits": number,
        "attempts": (*job.attempts, attempt)[-ATTEMPTS_KEPT:],
    }


def send(job: Job, now: float, *, owner: str, lease_until: float) -> Job:
    """`submitting`, marked: the request is written next; from here the outcome can be unknown."""
    if job.state is State.SUBMITTING and job.sent_at is not None:
        raise IllegalMove(job.state, Move.SEND, "its request may be under way")
    changes = _begun(job, now, Mode.ASYNC)
    return _move(
        job,
        Move.SEND,
        now,
        by=owner,
        changes=changes | {"owner": owner, "lease_until": lease_until},
    )


def open_connection(job: Job, now: float, *, owner: str, lease_until: float) -> Job:
    """`submitting` → `running`: a sync run is written next and its connection stays open.

    After a refused async submit (`ASYNC_NOT_SUPPORTED`) it is the same attempt, now sync.
    """
    last = job.open_attempt
    if last is None:
        changes = _begun(job, now, Mode.SYNC)
    else:
        again = msgspec.structs.replace(last, mode=Mode.SYNC)
        changes = {"mode": Mode.SYNC, "sent_at": now, "attempts": (*job.attempts[:-1], again)}
    return _move(
        job,
        Move.OPEN,
        now,
        by=owner,
        changes=changes | {"owner": owner, "lease_until": lease_until, "submitted_at": now},
    )


def give_back(job: Job, now: float, *, why: str) -> Job:
    """Back to `queued`: never sent, told to wait, or its gate closed. Spends nothing."""
    if job.state is State.RUNNING and job.mode is not Mode.SYNC:
        raise IllegalMove(job.state, Move.GIVE_BACK, "the provider has it")
    taken_back = job.open_attempt is not None
    return _move(
        job,
        Move.GIVE_BACK,
        now,
        note=why,
        changes=_queued(job, now)
        | {
            "attempts": _taken_back(job),
            "submits": job.submits - taken_back,
            "free_pass": job.free_pass,
        },
    )


# The provider's word.


def accept(job: Job, now: float, answer: Accepted, *, next_poll_at: float) -> Job:
    """`submitting` → `running`: the provider took it, its execution id is on record.

    Also where the answer came so late that the job is parked as `uncertain`: it is the answer. A
    sync run that is answered like this is polled from here on.
    """
    _only_parked_as(job, Move.ACCEPT, UNCERTAIN)
    if job.execution_id is not None and job.state in (State.RUNNING, State.CANCELLING):
        raise IllegalMove(job.state, Move.ACCEPT, "it has been accepted before")
    attempts = _reopened(job)
    if attempts:
        facts = {"execution_id": answer.execution_id, "request_id": answer.request_id}
        attempts = (*attempts[:-1], msgspec.structs.replace(attempts[-1], **facts))
    return _move(
        job,
        Move.ACCEPT,
        now,
        changes=_NOT_SUBMITTING
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
    _only_parked_as(job, Move.SUCCEED, UNCERTAIN, STUCK)
    facts: dict[str, Any] = {"cost": answer.cost, "polls": polls}
    for name in ("execution_id", "request_id"):
        if (value := getattr(answer, name)) is not None:
            facts[name] = value
    cost = job.cost if answer.cost is None else (job.cost or 0.0) + answer.cost
    job = msgspec.structs.replace(job, attempts=_reopened(job))
    return _move(
        job,
        Move.SUCCEED,
        now,
        changes=_NOT_SUBMITTING
        | {
            "execution_id": answer.execution_id or job.execution_id,
            "finished_at": now,
            "queued_at": None,
            "deadline_at": None,
            "next_poll_at": None,
            "cost": cost,
            "reason": None,
            "free_pass": False,
            "attempts": _closed(job, now, "succeeded", **facts),
        },
    )


def note_result(job: Job, note: str) -> Job:
    """The same job, with a word on what became of its result."""
    return msgspec.structs.replace(job, result_note=note)


def retry(job: Job, now: float, fault: Fault, *, due_at: float, polls: int = 0) -> Job:
    """→ `retrying`: the attempt is spent, the backoff runs until `due_at`."""
    reason = Reason(code=fault.name, http_status=fault.http_status, message=fault.message)
    return _move(
        job,
        Move.RETRY,
        now,
        note=fault.name,
        changes=_NOT_AT_PROVIDER
        | {
            "due_at": due_at,
            "spent": job.spent + 1,
            "reason": reason,
            "free_pass": False,
            "attempts": _closed(job, now, "failed", **_fault_facts(fault, polls)),
        },
    )


def bury(job: Job, now: float, fault: Fault, reason: Reason, *, polls: int = 0) -> Job:
    """→ `dead`: a dead letter, until a person requeues or discards it."""
    return _move(
        job,
        Move.BURY,
        now,
        note=reason.code,
        changes=_NOT_SUBMITTING
        | {
            "finished_at": now,
            "next_poll_at": None,
            "spent": job.spent + (job.open_attempt is not None),
            "reason": reason,
            "free_pass": False,
            "attempts": _closed(job, now, "failed", **_fault_facts(fault, polls)),
        },
    )


def hold(job: Job, now: float, fault: Fault, reason: Reason, *, polls: int = 0) -> Job:
    """→ `parked` by a 401, 402 or 403: the submit was refused, nothing is spent."""
    return _move(
        job,
        Move.HOLD,
        now,
        note=reason.code,
        changes=_NOT_AT_PROVIDER
        | {
            "reason": reason,
            "free_pass": False,
            "attempts": _closed(job, now, "refused", **_fault_facts(fault, polls)),
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
    return _move(
        job,
        Move.HOLD,
        now,
        note=UNCERTAIN,
        changes=_NOT_SUBMITTING
        | {
            "sent_at": job.sent_at,
            "next_poll_at": None,
            "reason": reason,
            "free_pass": False,
            "attempts": _closed(job, now, "uncertain", **facts),
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
    return _move(job, Move.HOLD, now, note=STUCK, changes=changes)


def fail_while_parked(job: Job, now: float, fault: Fault, reason: Reason, *, polls: int = 0) -> Job:
    """`parked` for another reason: a stuck run that failed after all waits for its person."""
    return _move(
        job,
        Move.HOLD,
        now,
        note=reason.code,
        changes=_NOT_AT_PROVIDER
        | {
            "reason": reason,
            "spent": job.spent + (job.open_attempt is not None),
            "attempts": _closed(job, now, "failed", **_fault_facts(fault, polls)),
        },
    )


# Cancelling.


def note_cancel_sent(job: Job, now: float) -> Job:
    """The same job: the provider was asked to cancel its run."""
    return msgspec.structs.replace(
        job, cancel_sent=True, updated_at=now, **_noted(job, Event(at=now, name="cancel_sent"))
    )


def ask_cancel(job: Job, now: float, *, by: str = "", note: str = "") -> Job:
    """A person asks to cancel what the provider has, or is just being handed.

    The provider gets as long as the run had to say how it ended.
    """
    _only_parked_as(job, Move.ASK_CANCEL, STUCK)
    next_poll_at = now if job.execution_id else job.next_poll_at
    return _move(
        job,
        Move.ASK_CANCEL,
        now,
        by=by,
        note=note,
        changes={
            "cancel_requested": True,
            "cancel_sent": False,
            "next_poll_at": next_poll_at,
            "deadline_at": now + job.deadline_s if job.deadline_at else None,
            "reason": None,
        },
    )


def cancel(job: Job, now: float, *, by: str = "", note: str = "", polls: int = 0) -> Job:
    """→ `cancelled`."""
    return _move(
        job,
        Move.CANCEL,
        now,
        by=by,
        note=note,
        changes=_NOT_SUBMITTING
        | {
            "finished_at": now,
            "due_at": None,
            "next_poll_at": None,
            "reason": None,
            "free_pass": False,
            "attempts": _closed(job, now, "cancelled", polls=polls),
        },
    )


# People.


_NOT_CANCELLED: Final[dict[str, Any]] = {"cancel_requested": False, "cancel_sent": False}
"""A person who sends a job on takes back the wish to cancel it."""


def park(job: Job, now: float, *, by: str, note: str = "") -> Job:
    """→ `parked` as `manual`: a person wants it to wait."""
    reason = Reason(code=MANUAL, message=note, action=ACTION_MANUAL)
    changes = {"due_at": None, "reason": reason, "free_pass": False}
    return _move(job, Move.PARK, now, by=by, note=note, changes=changes)


def release(job: Job, now: float, *, by: str, note: str = "", free_pass: bool = False) -> Job:
    """`parked` → `queued`, or back to `running` for a stuck run, which gets another deadline.

    With `free_pass` this one job is sent even though its gate is closed.
    """
    if job.parked_as == UNCERTAIN:
        raise IllegalMove(
            job.state,
            Move.RELEASE,
            "its outcome is unknown; resolve it: attach an execution id, resubmit, or discard",
        )
    if job.parked_as == STUCK:
        return _move(
            job,
            Move.KEEP_WATCHING,
            now,
            by=by,
            note=note,
            changes=_NOT_CANCELLED
            | {"reason": None, "deadline_at": now + job.deadline_s, "next_poll_at": now},
        )
    changes = _queued(job, now) | _NOT_CANCELLED | {"free_pass": free_pass}
    return _move(job, Move.RELEASE, now, by=by, note=note, changes=changes)


def attach(job: Job, now: float, execution_id: str, *, by: str, note: str = "") -> Job:
    """An uncertain job → `running`: the person found its execution; it is polled from here on."""
    _only_unsettled(job, Move.ATTACH)
    return _move(
        job,
        Move.ATTACH,
        now,
        by=by,
        note=note,
        changes=_NOT_SUBMITTING
        | _NOT_CANCELLED
        | {
            "execution_id": execution_id,
            "mode": Mode.ASYNC,
            "submitted_at": job.sent_at or now,
            "deadline_at": now + job.deadline_s,
            "next_poll_at": now,
            "reason": None,
            "attempts": _found(job, now, execution_id),
        },
    )


def _found(job: Job, now: float, execution_id: str) -> tuple[Attempt, ...]:
    """The attempts, the uncertain one under way again with the execution id that was found."""
    *earlier, last = _reopened(job) or (Attempt(number=1, mode=Mode.ASYNC, started_at=now),)
    found = msgspec.structs.replace(last, mode=Mode.ASYNC, execution_id=execution_id)
    return (*earlier, found)


def _reopened(job: Job) -> tuple[Attempt, ...]:
    """The attempts, one that ended uncertain under way again."""
    if not job.attempts or job.attempts[-1].outcome != UNCERTAIN:
        return job.attempts
    again = msgspec.structs.replace(
        job.attempts[-1], ended_at=None, outcome=None, http_status=None, code=None, message=None
    )
    return (*job.attempts[:-1], again)


def resubmit(job: Job, now: float, *, by: str, note: str = "") -> Job:
    """An uncertain or stuck job → `queued`, on a person's word: this may pay twice."""
    _only_unsettled(job, Move.RESUBMIT)
    attempts = _closed(job, now, STUCK)
    return _move(
        job,
        Move.RESUBMIT,
        now,
        by=by,
        note=note,
        changes=_queued(job, now) | _NOT_CANCELLED | {"attempts": attempts},
    )


def requeue(job: Job, now: float, *, by: str, note: str = "") -> Job:
    """`dead` → `queued`: a new set of attempts, the history kept."""
    if job.reason is not None and job.reason.code == UNREADABLE:
        hint = "its record could not be read, so nobody knows what it was; discard it"
        raise IllegalMove(job.state, Move.REQUEUE, hint)
    changes = (
        _queued(job, now) | _NOT_CANCELLED | {"queued_at": now, "spent": 0, "finished_at": None}
    )
    return _move(job, Move.REQUEUE, now, by=by, note=note, changes=changes)


def discard(job: Job, now: float, *, by: str, note: str = "") -> Job:
    """`parked` or `dead` → `cancelled`: a person gave it up; the reason stays on record."""
    return _move(
        job,
        Move.DISCARD,
        now,
        by=by,
        note=note,
        changes={
            "finished_at": now,
            "next_poll_at": None,
            "attempts": _closed(job, now, "discarded"),
        },
    )


def _only_unsettled(job: Job, move: Move) -> None:
    if job.state is State.PARKED and job.parked_as not in (UNCERTAIN, STUCK):
        raise IllegalMove(job.state, move, f"its outcome is known ({job.parked_as}); release it")


def _only_parked_as(job: Job, move: Move, *codes: str) -> None:
    """Of the parked, only those whose run the provider may have."""
    if job.state is State.PARKED and job.parked_as not in codes:
        raise IllegalMove(job.state, move, f"the provider does not have it ({job.parked_as})")
