"""Transitions that the provider's answers cause, or their absence.

`polls` is how many polls the attempt took.
"""

from typing import Any, Final

import msgspec

from jobs.error_table import ACTION_POSTPONED, ACTION_STUCK, ACTION_UNCERTAIN
from jobs.evidence.records import UncertainSubmit
from jobs.job import STUCK, UNCERTAIN, Job, JobEvent, JobOutage, Reason
from jobs.lifecycle import IllegalTransition, Transition
from jobs.outcomes import Accepted, Finished, ProviderError
from jobs.states import Mode, State
from jobs.transitions.builders import (
    CLEARED_RUN,
    CLEARED_SUBMIT,
    attempt_closed,
    attempt_reopened,
    error_facts,
    history_with,
    next_version,
    require_parked_as,
    with_run_ids,
)
from jobs.transitions.evidence import with_uncertain_submit, without_last_submit

NEW_STATUS: Final = "new_status"
"""Name of the event that a run has a status that we do not know, or no longer has one."""
OTHER_RUN: Final = "other_run"
"""Name of the event that an answer named another run."""


def accept(job: Job, now: float, outcome: Accepted, *, next_poll_at: float) -> Job:
    """`submitting` → `running`: the provider accepted it, and its execution id is on record.

    Also for a late answer to a job that is parked as `uncertain`. A sync run that is answered with
    an execution id is polled from here on. Raises `IllegalTransition` if it has an execution.
    """
    require_parked_as(job, Transition.ACCEPT, UNCERTAIN)
    if job.execution_id is not None and job.state in (State.RUNNING, State.CANCELLING):
        raise IllegalTransition(job.state, Transition.ACCEPT, "it was accepted before")
    _require_same_execution(job, Transition.ACCEPT, outcome.execution_id)
    attempts = attempt_reopened(job)
    if attempts:
        attempts = (*attempts[:-1], with_run_ids(attempts[-1], outcome))
    return next_version(
        job,
        Transition.ACCEPT,
        now,
        **CLEARED_SUBMIT,
        mode=Mode.ASYNC,
        execution_id=job.execution_id or outcome.execution_id,
        expects_webhook=outcome.expects_webhook,
        submitted_at=now,
        deadline_at=now + job.deadline_s,
        next_poll_at=next_poll_at,
        attempts=attempts,
        uncertain_submits=without_last_submit(job),
        due_at=None,
        reason=None,
    )


def succeed(job: Job, now: float, outcome: Finished, *, polls: int = 0) -> Job:
    """→ `succeeded`. The store keeps the result itself beside the record."""
    require_parked_as(job, Transition.SUCCEED, UNCERTAIN, STUCK)
    _require_same_execution(job, Transition.SUCCEED, outcome.execution_id)
    facts: dict[str, Any] = {
        "cost": outcome.cost,
        "polls": polls,
        "duration_s": outcome.duration_s,
    }
    if job.attempts:
        last = with_run_ids(job.attempts[-1], outcome)
        facts |= {"execution_id": last.execution_id, "request_id": last.request_id}
    cost = job.cost if outcome.cost is None else (job.cost or 0.0) + outcome.cost
    job = msgspec.structs.replace(
        job, attempts=attempt_reopened(job), uncertain_submits=without_last_submit(job)
    )
    return next_version(
        job,
        Transition.SUCCEED,
        now,
        **CLEARED_SUBMIT,
        execution_id=job.execution_id or outcome.execution_id,
        finished_at=now,
        outage=None,
        queued_at=None,
        deadline_at=None,
        next_poll_at=None,
        cost=cost,
        due_at=None,
        uncertain_submits=without_last_submit(job),
        reason=None,
        attempts=attempt_closed(job, now, "succeeded", **facts),
    )


def _require_same_execution(job: Job, transition: Transition, execution_id: str | None) -> None:
    """Refuse an answer about another run than the one on record: it is never overwritten."""
    ours = job.execution_id
    if ours is None or execution_id is None or execution_id.casefold() == ours.casefold():
        return
    hint = f"its execution is {ours}, and the answer names {execution_id}"
    raise IllegalTransition(job.state, transition, hint)


def find_run(job: Job, now: float, *, next_poll_at: float) -> Job:
    """`uncertain` → `running`: a poll found its run, which gets a new deadline."""
    require_parked_as(job, Transition.FIND_RUN, UNCERTAIN)
    if job.execution_id is None:
        raise IllegalTransition(job.state, Transition.FIND_RUN, "it has no execution")
    return next_version(
        job,
        Transition.FIND_RUN,
        now,
        **CLEARED_SUBMIT,
        deadline_at=now + job.deadline_s,
        next_poll_at=next_poll_at,
        reason=None,
        attempts=attempt_reopened(job),
        uncertain_submits=without_last_submit(job),
    )


def record_status(job: Job, now: float, status: str | None, *, next_poll_at: float) -> Job:
    """The job in the same state, with a status of its run that we do not know; None: a known one.

    The job itself if the status is on record.
    """
    last = job.open_attempt
    if last is None or last.provider_status == status:
        return job
    noted = msgspec.structs.replace(last, provider_status=status)
    event = JobEvent(at=now, name=NEW_STATUS, note=status or "a known one again")
    return msgspec.structs.replace(
        job,
        updated_at=now,
        next_poll_at=next_poll_at,
        attempts=(*job.attempts[:-1], noted),
        **history_with(job, event),
    )


def record_other_run(job: Job, now: float, other: str, *, next_poll_at: float | None = None) -> Job:
    """The job in the same state, with an event: an answer named another run and was ignored.

    The job itself if that is on record.
    """
    if any(event.name == OTHER_RUN and event.note == other for event in job.events):
        return job
    event = JobEvent(at=now, name=OTHER_RUN, note=other)
    return msgspec.structs.replace(
        job,
        updated_at=now,
        next_poll_at=job.next_poll_at if next_poll_at is None else next_poll_at,
        **history_with(job, event),
    )


def set_result_note(job: Job, note: str) -> Job:
    """The job in the same state, with a note about its result."""
    return msgspec.structs.replace(job, result_note=note)


def retry(
    job: Job,
    now: float,
    error: ProviderError,
    *,
    due_at: float,
    spends: int = 1,
    outage: JobOutage | None = None,
    polls: int = 0,
) -> Job:
    """→ `retrying`: the backoff runs until `due_at`.

    `spends` attempts are spent: none in an outage, more than one where attempts that were given
    back are charged, and less than none where attempts are given back.
    """
    is_postponed = outage is not None and outage.is_postponed
    reason = Reason(
        code=error.display_code,
        http_status=error.http_status,
        message=error.message,
        action=ACTION_POSTPONED if is_postponed else "",
    )
    return next_version(
        job,
        Transition.RETRY,
        now,
        note=error.display_code,
        **CLEARED_RUN,
        due_at=due_at,
        spent=job.spent + spends,
        outage=outage,
        reason=reason,
        uncertain_submits=_uncertain_submits(job, now, error),
        attempts=attempt_closed(job, now, "failed", **error_facts(error, polls)),
    )


def dead_letter(
    job: Job, now: float, error: ProviderError, reason: Reason, *, polls: int = 0
) -> Job:
    """→ `dead`: a dead letter until an operator requeues or discards it."""
    return next_version(
        job,
        Transition.DEAD_LETTER,
        now,
        note=reason.code,
        **CLEARED_SUBMIT,
        finished_at=now,
        next_poll_at=None,
        spent=job.spent + (job.open_attempt is not None),
        reason=reason,
        attempts=attempt_closed(job, now, "failed", **error_facts(error, polls)),
        uncertain_submits=_uncertain_submits(job, now, error),
    )


def _uncertain_submits(job: Job, now: float, error: ProviderError) -> tuple[UncertainSubmit, ...]:
    """The uncertain submits of a job; that of its last attempt is one if `error` says so."""
    if error.code != UNCERTAIN:
        return job.uncertain_submits
    return with_uncertain_submit(job, now, error.http_status)


def park_refused(
    job: Job, now: float, error: ProviderError, reason: Reason, *, polls: int = 0
) -> Job:
    """→ `parked` by a 401, 402 or 403: the submit was refused. No attempt is spent."""
    return next_version(
        job,
        Transition.PARK_REFUSED,
        now,
        note=reason.code,
        **CLEARED_RUN,
        reason=reason,
        attempts=attempt_closed(job, now, "refused", **error_facts(error, polls)),
    )


def park_uncertain(
    job: Job,
    now: float,
    *,
    why: str,
    http_status: int | None = None,
    cause: str = "",
    polls: int = 0,
    next_poll_at: float | None = None,
) -> Job:
    """→ `parked` as `uncertain`: it is unknown whether the run exists. An operator resolves it.

    `cause` groups jobs: `HTTP_502`, `worker_lost` and so on (`jobs.outcomes.LostCause`). With
    `next_poll_at` the run on record is polled on: the provider may still report its end.
    """
    reason = Reason(
        code=UNCERTAIN,
        http_status=http_status,
        message=why,
        action=ACTION_UNCERTAIN,
        cause=cause,
    )
    cleared: dict[str, Any] = CLEARED_SUBMIT | {"sent_at": job.sent_at}
    facts = {"http_status": http_status, "code": UNCERTAIN, "message": why, "polls": polls}
    return next_version(
        job,
        Transition.PARK_UNCERTAIN,
        now,
        note=UNCERTAIN,
        **cleared,
        next_poll_at=next_poll_at,
        reason=reason,
        attempts=attempt_closed(job, now, "uncertain", **facts),
        uncertain_submits=with_uncertain_submit(job, now, http_status),
    )


def park_stuck(job: Job, now: float, *, next_poll_at: float, poll_failure: str = "") -> Job:
    """→ `parked` as `stuck`: its run is past its deadline. The attempt stays open.

    The run is still processing or, if `poll_failure` says why, cannot be polled.
    """
    minutes = job.deadline_s / 60
    status = job.open_attempt.provider_status if job.open_attempt else None
    if poll_failure:
        message = f"no end known after {minutes:.3g} min ({poll_failure})"
    elif status:
        message = f"no end known after {minutes:.3g} min (its status is {status!r}, which is new)"
    else:
        message = f"still processing after {minutes:.3g} min"
    reason = Reason(
        code=STUCK,
        message=message,
        action=ACTION_STUCK,
    )
    return next_version(
        job, Transition.PARK_STUCK, now, note=STUCK, reason=reason, next_poll_at=next_poll_at
    )


def park_failed_run(
    job: Job, now: float, error: ProviderError, reason: Reason, *, polls: int = 0
) -> Job:
    """`parked` with another reason: a polled run has failed, and waits for an operator."""
    job = msgspec.structs.replace(
        job, attempts=attempt_reopened(job), uncertain_submits=without_last_submit(job)
    )
    return next_version(
        job,
        Transition.PARK_FAILED_RUN,
        now,
        note=reason.code,
        **CLEARED_RUN,
        reason=reason,
        spent=job.spent + (job.open_attempt is not None),
        attempts=attempt_closed(job, now, "failed", **error_facts(error, polls)),
    )
