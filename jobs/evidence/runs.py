"""The submits on record as evidence sees them: which rows they may have caused."""

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from jobs.credits.closing import awaits_cost
from jobs.evidence.records import UncertainSubmit
from jobs.job import Attempt, Job
from jobs.states import Kind, Mode, State
from jobs.usage import UsageRow

SERVER_ERROR: Final = 500
SUCCESS: Final = range(200, 300)

DURATION_SLACK_S: Final = 5.0
"""How much longer than our measurement a row's duration may be."""

DURATION_SHARE: Final = 0.5
"""A row's duration is at least this share of what we measured, less the slack: the rest is the
network and the provider's queue."""


ANSWERED_SLACK_S: Final = 0.25
ANSWERED_SLACK_SHARE: Final = 0.02
"""How far a row's duration may be from the one in the answer: the larger of both."""


class RunCertainty(Enum):
    """How sure it is that a submit has a row."""

    NAMED = auto()
    """It has the request id that its row has."""
    CERTAIN = auto()
    """Its run exists, but no answer named its request id: it has one row."""
    POSSIBLE = auto()
    """It may have a row: it was answered with a server error, or its outcome is unknown and it is
    no longer compared."""
    UNDER_WAY = auto()
    """It was sent and is not answered yet."""
    UNCERTAIN = auto()
    """Its outcome is unknown: the submit that a finding is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOnRecord:
    """One submit of a job on record. Times are Unix seconds."""

    job_id: str
    kind: Kind
    target: str
    mode: Mode
    sent_at: float
    certainty: RunCertainty
    number: int = 0
    """Of its attempt."""
    ended_at: float | None = None
    """When its answer or its end came; None while there is none."""
    request_id: str | None = None
    credits: float | None = None
    awaits_cost: bool = False
    """Its cost is an estimate, until a row names it."""
    code: str | None = None
    """The error code that a submit was answered with."""
    duration_s: float | None = None
    """Seconds that the run took, by the provider's answer."""
    measured_s: float | None = None
    """Seconds from the sending of a sync run to its answer, by our clock."""
    submit: UncertainSubmit | None = None
    """Set exactly where the outcome is uncertain and a finding is kept."""


def runs_of(job: Job) -> list[RunOnRecord]:
    """Every submit of a job that may have a row."""
    uncertain = {submit.number: submit for submit in job.uncertain_submits}
    found: list[RunOnRecord] = []
    for attempt in job.attempts:
        submit = uncertain.pop(attempt.number, None)
        run = _run_of(job, attempt, submit)
        if run is not None:
            found.append(run)
    found += [_uncertain_run(job, submit) for submit in uncertain.values()]
    return found


def _run_of(job: Job, attempt: Attempt, submit: UncertainSubmit | None) -> RunOnRecord | None:
    certainty = _certainty(job, attempt, submit)
    if certainty is None:
        return None
    if certainty is RunCertainty.UNCERTAIN and submit is not None:
        credit = None if awaits_cost(attempt) else attempt.cost
        return replace(
            _uncertain_run(job, submit), credits=credit, awaits_cost=awaits_cost(attempt)
        )
    is_answered_sync = attempt.mode is Mode.SYNC and attempt.ended_at is not None
    return RunOnRecord(
        job_id=job.id,
        kind=job.kind,
        target=job.target,
        mode=attempt.mode,
        sent_at=attempt.started_at,
        certainty=certainty,
        number=attempt.number,
        ended_at=attempt.ended_at,
        request_id=attempt.request_id,
        credits=None if awaits_cost(attempt) else attempt.cost,
        awaits_cost=awaits_cost(attempt),
        duration_s=attempt.duration_s,
        code=attempt.code if certainty is RunCertainty.POSSIBLE else None,
        measured_s=(attempt.ended_at or 0.0) - attempt.started_at if is_answered_sync else None,
    )


def _certainty(job: Job, attempt: Attempt, submit: UncertainSubmit | None) -> RunCertainty | None:
    """How sure the row of an attempt is; None where it surely has none."""
    if attempt.request_id is not None and submit is None:
        return RunCertainty.NAMED
    if submit is not None:
        return RunCertainty.UNCERTAIN
    if attempt.execution_id is not None:
        return RunCertainty.CERTAIN
    if attempt.outcome is None:
        is_open = job.state in (State.SUBMITTING, State.RUNNING, State.CANCELLING)
        return RunCertainty.UNDER_WAY if is_open else RunCertainty.POSSIBLE
    if attempt.outcome == "succeeded":
        return RunCertainty.CERTAIN
    status = attempt.http_status
    if attempt.outcome in ("failed", "refused") and status is not None:
        is_refusal = status < SERVER_ERROR and status not in SUCCESS
        return None if is_refusal else RunCertainty.POSSIBLE
    return RunCertainty.POSSIBLE


def _uncertain_run(job: Job, submit: UncertainSubmit) -> RunOnRecord:
    return RunOnRecord(
        job_id=job.id,
        kind=job.kind,
        target=job.target,
        mode=submit.mode,
        sent_at=submit.sent_at,
        certainty=RunCertainty.UNCERTAIN,
        number=submit.number,
        request_id=submit.request_id,
        submit=submit,
    )


def agrees(row: UsageRow, run: RunOnRecord) -> bool:
    """Whether status, credits, duration and code of a row fit a submit; time and target aside."""
    match run.certainty:
        case RunCertainty.POSSIBLE:
            same_code = row.code is None or run.code is None or row.code == run.code
            return row.status == "failed" and same_code if run.code else True
        case RunCertainty.CERTAIN:
            if run.measured_s is None and run.duration_s is None:
                return True
            return row.status != "failed" and _same_credits(row, run) and _same_duration(row, run)
        case RunCertainty.NAMED | RunCertainty.UNDER_WAY | RunCertainty.UNCERTAIN:
            return True


def _same_credits(row: UsageRow, run: RunOnRecord) -> bool:
    return row.credits is None or run.credits is None or abs(row.credits - run.credits) < 1e-6  # noqa: PLR2004


def _same_duration(row: UsageRow, run: RunOnRecord) -> bool:
    if row.duration_s is None:
        return True
    if run.duration_s is not None:
        slack_s = max(ANSWERED_SLACK_S, ANSWERED_SLACK_SHARE * run.duration_s)
        return abs(row.duration_s - run.duration_s) <= slack_s
    measured_s = run.measured_s or 0.0
    least = measured_s * DURATION_SHARE - DURATION_SLACK_S
    return least <= row.duration_s <= measured_s + DURATION_SLACK_S
