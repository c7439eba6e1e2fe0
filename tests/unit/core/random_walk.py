"""Every legal step that a job can take next, for random walks.

Outcomes go through `jobs.decide`, as in the program.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple, assert_never

import msgspec

from jobs import transitions
from jobs.decide import decide_poll, decide_submit
from jobs.effects import Decision, DecisionContext, DecisionRules, PollHistory
from jobs.error_table import ErrorTable
from jobs.evidence.records import EvidenceFinding
from jobs.indexes import accepts_run_updates
from jobs.job import STUCK, UNCERTAIN, Job
from jobs.outcomes import (
    Accepted,
    CallFailure,
    Finished,
    Lost,
    NotSent,
    PollOutcome,
    ProviderError,
    Refused,
    RunCancelled,
    RunFailed,
    RunMissing,
    StillRunning,
    SubmitOutcome,
)
from jobs.start_by import is_expired
from jobs.states import State
from jobs.transitions import JobEdit
from worker.provider.knouds.error_rows import ERROR_RULES

LEASE_S: Final = 30.0
STEP_S: Final = 1.5
"""Seconds between two steps."""


class WalkStep(NamedTuple):
    """One step: its name, whether an operator takes it, and the job's next version."""

    name: str
    by_operator: bool
    take: Callable[[], Job]


ERRORS: Final = (
    ProviderError("EXECUTION_FAILED", "", 500),
    ProviderError("INSUFFICIENT_CREDITS", "", 402),
    ProviderError("grant_exhausted", "", 402),
    ProviderError("INVALID_INPUTS", "", 400),
    ProviderError(None, "", 502),
    ProviderError(None, "", 503),
    ProviderError("NEW_CODE", "", 403),
)
ON_SUBMIT: Final[tuple[SubmitOutcome, ...]] = (
    Accepted("ex"),
    Finished(b"{}", 1.0),
    NotSent("refused"),
    Lost("lost"),
    Refused(ProviderError(None, "", 429)),
    Refused(ProviderError("ASYNC_NOT_SUPPORTED", "", 400)),
    *(Refused(error) for error in ERRORS),
)
ON_POLL: Final[tuple[PollOutcome, ...]] = (
    Finished(b"{}", 1.0),
    RunCancelled(),
    RunCancelled(b"{}"),
    Lost("no result"),
    Finished(b"{}", execution_id="another"),
    StillRunning("new_status"),
    RunMissing(ProviderError(None, "", 404)),
    CallFailure("no way"),
    StillRunning("processing"),
    *(RunFailed(error) for error in ERRORS),
)


def steps(job: Job, now: float) -> list[WalkStep]:
    """The steps that a job can take; none of them raises."""
    program = _finding_steps if job.awaits_finding else _program_steps
    return [*program(job, now), *_operator_steps(job, now)]


def walked(job: Job, choices: list[int], now: float) -> list[tuple[Job, WalkStep, Job]]:
    """A walk in which each choice takes one of the steps: before, step and after of each."""
    walk: list[tuple[Job, WalkStep, Job]] = []
    for choice in choices:
        now += STEP_S
        options = steps(job, now)
        if not options:
            break
        step = options[choice % len(options)]
        walk.append((job, step, step.take()))
        job = walk[-1][2]
    return walk


def _program_steps(job: Job, now: float) -> list[WalkStep]:
    match job.state:
        case State.SCHEDULED | State.RETRYING:
            return [
                WalkStep("promote", False, lambda: transitions.promote(job, now)),
                *_expiry(job, now),
            ]
        case State.WAITING:
            return [*_parent_steps(job, now), *_expiry(job, now)]
        case State.QUEUED:
            admissions = (_admission(job, now, hold_ids) for hold_ids in ((), ("gate-1",)))
            return [*admissions, *_expiry(job, now)]
        case State.SUBMITTING if job.sent_at is None:
            return [
                WalkStep("send", False, lambda: _send(job, now)),
                WalkStep("open", False, lambda: _open(job, now)),
                WalkStep(
                    "return_to_queue",
                    False,
                    lambda: transitions.return_to_queue(job, now, why="gate closed"),
                ),
            ]
        case State.SUBMITTING:
            return _submit_steps(job, ON_SUBMIT, now)
        case State.RUNNING | State.CANCELLING if job.execution_id is None:
            return _submit_steps(job, ON_SUBMIT, now)
        case State.RUNNING | State.CANCELLING:
            return _poll_steps(job, now)
        case State.PARKED:
            return _steps_of_the_parked(job, now)
        case State.DEAD | State.SUCCEEDED | State.CANCELLED:
            return []
        case _:
            assert_never(job.state)


def _steps_of_the_parked(job: Job, now: float) -> list[WalkStep]:
    if accepts_run_updates(job):
        return _poll_steps(job, now)
    return _submit_steps(job, ON_SUBMIT[:2], now) if job.parked_as == UNCERTAIN else []


def _parent_steps(job: Job, now: float) -> list[WalkStep]:
    return [
        WalkStep("promote", False, lambda: transitions.promote_child(job, now)),
        WalkStep("park", False, lambda: transitions.park_for_parent(job, now, "gone")),
        WalkStep("park", False, lambda: transitions.park_for_result(job, now, "gone")),
    ]


def _finding_steps(job: Job, now: float) -> list[WalkStep]:
    """A finding arrives: it is sent again, or an operator has to decide."""

    def found(finding: EvidenceFinding) -> Job:
        submits = tuple(
            msgspec.structs.replace(submit, finding=finding) for submit in job.uncertain_submits
        )
        known = transitions.record_findings(job, now, submits)
        if finding is EvidenceFinding.NOT_STARTED:
            return transitions.resubmit_not_started(known, now)
        return transitions.park_awaiting(known, now)

    answers = _submit_steps(job, ON_SUBMIT[:2], now)
    return answers + [
        WalkStep(f"found {finding}", False, partial(found, finding))
        for finding in (EvidenceFinding.NOT_STARTED, EvidenceFinding.STARTED)
    ]


def _expiry(job: Job, now: float) -> list[WalkStep]:
    if not is_expired(job, now):
        return []
    return [WalkStep("expire", False, lambda: transitions.expire(job, now))]


def _admission(job: Job, now: float, hold_ids: tuple[str, ...]) -> WalkStep:
    lease_until = now + LEASE_S
    return WalkStep(
        "admit",
        False,
        lambda: transitions.admit(
            job, now, submit_token=f"h{now:g}", lease_until=lease_until, opening_hold_ids=hold_ids
        ),
    )


def _send(job: Job, now: float) -> Job:
    return transitions.send(job, now, owner="w1", lease_until=now + LEASE_S)


def _open(job: Job, now: float) -> Job:
    return transitions.open_connection(job, now, owner="w1", lease_until=now + LEASE_S)


def _context(now: float) -> DecisionContext:
    return DecisionContext(now, 0.5, DecisionRules(ErrorTable(ERROR_RULES), max_missing_polls=1))


def _submit_steps(job: Job, answers: tuple[SubmitOutcome, ...], now: float) -> list[WalkStep]:
    def answered(answer: SubmitOutcome) -> Job:
        decision = decide_submit(job, answer, _context(now))
        return _open(decision.job, now) if decision.submit_sync else decision.job

    return [WalkStep(f"{answer}", False, partial(answered, answer)) for answer in answers]


def _poll_steps(job: Job, now: float) -> list[WalkStep]:
    def polled(answer: PollOutcome, at: float) -> Job:
        outcome = decide_poll(job, answer, PollHistory(), _context(at))
        return outcome.job if isinstance(outcome, Decision) else job

    overdue = (job.deadline_at or now) + 1
    return [
        *(WalkStep(f"{answer}", False, partial(polled, answer, now)) for answer in ON_POLL),
        WalkStep("overdue", False, lambda: polled(StillRunning("processing"), max(now, overdue))),
    ]


def _operator_steps(job: Job, now: float) -> list[WalkStep]:
    """The actions that the table allows operators, by the names of the transitions."""
    return [WalkStep(name, True, take) for name, take in _operator_actions(job, now).items()]


OperatorActions = dict[str, Callable[[], Job]]


def _operator_actions(job: Job, now: float) -> OperatorActions:
    cancel: OperatorActions = {"cancel": lambda: transitions.cancel(job, now, by="ann")}
    ask: OperatorActions = {
        "request_cancel": lambda: transitions.request_cancel(job, now, by="ann")
    }
    match job.state:
        case State.QUEUED | State.SCHEDULED | State.RETRYING:
            parking = {"park_manual": lambda: transitions.park_manual(job, now, by="ann")}
            return cancel | parking | _edits(job, now)
        case State.WAITING:
            return cancel | _edits(job, now)
        case State.SUBMITTING if job.sent_at is None:
            return cancel | ask
        case State.SUBMITTING | State.RUNNING:
            return ask
        case State.CANCELLING if job.execution_id is not None and not job.cancel_sent:
            return {"cancel_sent": lambda: transitions.mark_cancel_sent(job, now)}
        case State.PARKED:
            return _actions_on_the_parked(job, now, cancel, ask)
        case State.DEAD:
            return (
                _discard(job, now)
                | _edits(job, now)
                | {"requeue": lambda: transitions.requeue(job, now, by="ann")}
            )
        case State.CANCELLING | State.SUCCEEDED | State.CANCELLED:
            return {}
        case _:
            assert_never(job.state)


def _actions_on_the_parked(
    job: Job, now: float, cancel: OperatorActions, ask: OperatorActions
) -> OperatorActions:
    release: OperatorActions = {"release": lambda: transitions.release(job, now, by="ann")}
    resolve: OperatorActions = {
        "resubmit": lambda: transitions.resubmit(job, now, by="ann"),
        "attach": lambda: transitions.attach(job, now, "ex-found", by="ann"),
    }
    passing: OperatorActions = {
        "pass": lambda: transitions.release(job, now, by="ann", bypass_hold=True)
    }
    if job.parked_as == STUCK:
        return release | resolve | ask | _discard(job, now)
    if job.parked_as == UNCERTAIN:
        return resolve | cancel | _discard(job, now)
    return release | passing | cancel | _discard(job, now) | _edits(job, now)


def _edits(job: Job, now: float) -> OperatorActions:
    """Other tags and another priority; where it waits for a time, or could, another one."""
    if job.awaits_finding:
        return {}
    other = JobEdit(priority=job.priority + 1, tags=() if job.tags else ("z",))
    found: OperatorActions = {"edited": lambda: transitions.edit(job, now, other, by="ann")}
    if job.state in (State.SCHEDULED, State.QUEUED):
        later = JobEdit(run_at=now + 20)
        found["reschedule"] = lambda: transitions.edit(job, now, later, by="ann")
    return found


def _discard(job: Job, now: float) -> OperatorActions:
    return {"discard": lambda: transitions.discard(job, now, by="ann")}
