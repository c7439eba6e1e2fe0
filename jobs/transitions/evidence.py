"""Transitions of submits whose outcome is unknown, as the provider's list of runs tells more.

A job under `reconcile` waits in `retrying` for its finding. Nothing else but `not_started` sends it
again: its due time is only a limit, after which it parks.
"""

from typing import Any, Final

import msgspec

from jobs.error_table import ACTION_UNCERTAIN
from jobs.evidence.records import (
    MAX_SUBMITS_KEPT,
    EvidenceFinding,
    UncertainSubmit,
)
from jobs.job import ATTEMPTS_KEPT, UNCERTAIN, Attempt, Job, JobEvent, Reason
from jobs.lifecycle import IllegalTransition, Transition
from jobs.outcomes import Accepted, Finished
from jobs.transitions.builders import (
    CLEARED_SUBMIT,
    attempt_closed,
    history_with,
    next_version,
    queue_changes,
    with_run_ids,
)

AWAIT_FINDING_S: Final = 6 * 3_600.0
"""How long a job under `reconcile` waits for its finding before it parks as uncertain."""

_SUCCESS: Final = range(200, 300)


def with_uncertain_submit(
    job: Job, now: float, http_status: int | None = None
) -> tuple[UncertainSubmit, ...]:
    """The uncertain submits of a job, with that of its last attempt."""
    last = job.attempts[-1] if job.attempts else None
    if last is None:
        return job.uncertain_submits
    is_answered = http_status is not None and http_status in _SUCCESS
    has_id = last.execution_id is not None or last.request_id is not None
    known = [submit for submit in job.uncertain_submits if submit.number != last.number]
    submit = UncertainSubmit(
        number=last.number,
        mode=last.mode,
        sent_at=job.sent_at or last.started_at,
        sent_as=job.sent_as,
        is_accepted=is_answered or has_id or job.execution_id is not None,
        request_id=last.request_id,
        check_at=now,
    )
    return (*known, submit)[-MAX_SUBMITS_KEPT:]


def without_last_submit(job: Job) -> tuple[UncertainSubmit, ...]:
    """The uncertain submits of a job, without that of its last attempt: its outcome is known."""
    last = job.attempts[-1].number if job.attempts else None
    return tuple(submit for submit in job.uncertain_submits if submit.number != last)


def await_finding(
    job: Job,
    now: float,
    *,
    why: str,
    http_status: int | None = None,
    cause: str = "",
    polls: int = 0,
) -> Job:
    """→ `retrying`: the outcome is unknown, and it is sent again only if it did not start.

    No attempt is spent.
    """
    facts = {"http_status": http_status, "code": UNCERTAIN, "message": why, "polls": polls}
    cleared: dict[str, Any] = CLEARED_SUBMIT | {"sent_at": job.sent_at}
    return next_version(
        job,
        Transition.AWAIT_FINDING,
        now,
        note=UNCERTAIN,
        **cleared,
        due_at=now + AWAIT_FINDING_S,
        reason=Reason(code=UNCERTAIN, http_status=http_status, message=why, cause=cause),
        attempts=attempt_closed(job, now, "uncertain", **facts),
        uncertain_submits=with_uncertain_submit(job, now, http_status),
    )


def resubmit_not_started(job: Job, now: float) -> Job:
    """`retrying` → `queued`: the finding of its last submit is `not_started`.

    Raises `IllegalTransition` for any other finding.
    """
    if not job.awaits_finding or job.finding is not EvidenceFinding.NOT_STARTED:
        hint = f"the finding is {job.finding}, not {EvidenceFinding.NOT_STARTED}"
        raise IllegalTransition(job.state, Transition.RESUBMIT_NOT_STARTED, hint)
    return next_version(job, Transition.RESUBMIT_NOT_STARTED, now, **queue_changes(job, now))


def park_awaiting(job: Job, now: float, *, note: str = "") -> Job:
    """`retrying` → `parked` as `uncertain`: the finding allows no resubmit, or takes too long."""
    if not job.awaits_finding:
        raise IllegalTransition(
            job.state, Transition.PARK_UNCERTAIN, "it does not wait for a finding"
        )
    reason = msgspec.structs.replace(job.reason or Reason(code=UNCERTAIN), action=ACTION_UNCERTAIN)
    return next_version(
        job, Transition.PARK_UNCERTAIN, now, note=note or UNCERTAIN, due_at=None, reason=reason
    )


def record_findings(job: Job, now: float, submits: tuple[UncertainSubmit, ...]) -> Job:
    """The job in the same state, with what is known of its uncertain submits now."""
    before = {submit.number: submit for submit in job.uncertain_submits}
    changed = [
        submit
        for submit in submits
        if (known := before.get(submit.number)) is not None and known.finding != submit.finding
    ]
    events: dict[str, Any] = {}
    if changed:
        note = ", ".join(f"{submit.finding}" for submit in changed)
        events = history_with(job, JobEvent(at=now, name="finding", note=note))
    return msgspec.structs.replace(job, updated_at=now, uncertain_submits=submits, **events)


def record_late_answer(job: Job, now: float, number: int, outcome: Accepted | Finished) -> Job:
    """The job in the same state: an earlier submit was answered after a newer one was sent.

    Its run exists beside that of the newer one: the answer is on record, and its finding says so.
    """
    attempts = tuple(
        _answered(attempt, outcome) if attempt.number == number else attempt
        for attempt in job.attempts
    )[-ATTEMPTS_KEPT:]
    submits = tuple(
        msgspec.structs.replace(
            submit,
            finding=EvidenceFinding.STARTED,
            is_final=True,
            is_accepted=True,
            request_id=submit.request_id or outcome.request_id,
            note="its answer came after the job was submitted again",
        )
        if submit.number == number
        else submit
        for submit in job.uncertain_submits
    )
    note = f"attempt {number}: execution {outcome.execution_id or 'not named'}"
    told = outcome.cost if isinstance(outcome, Finished) else None
    return msgspec.structs.replace(
        job,
        updated_at=now,
        attempts=attempts,
        cost=job.cost if told is None else (job.cost or 0.0) + told,
        uncertain_submits=submits,
        **history_with(job, JobEvent(at=now, name="late_answer", note=note)),
    )


def _answered(attempt: Attempt, outcome: Accepted | Finished) -> Attempt:
    answered = with_run_ids(attempt, outcome)
    if isinstance(outcome, Finished) and outcome.cost is not None:
        answered = msgspec.structs.replace(answered, cost=outcome.cost, cost_source=None)
    return answered


__all__ = [
    "await_finding",
    "park_awaiting",
    "record_findings",
    "record_late_answer",
    "resubmit_not_started",
    "with_uncertain_submit",
    "without_last_submit",
]
