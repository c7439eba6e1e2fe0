"""The acts that a job's state allows, each with what it will do, said beforehand."""

from collections.abc import Mapping
from dataclasses import dataclass

from jobs.holds import Gates
from jobs.job import Job
from jobs.lanes import target_name
from jobs.states import State
from jobs.transitions import STUCK, UNCERTAIN
from jobs.unreadable import UNREADABLE
from worker.app.action_table import JobAction
from worker.dashboard.views.formatting import credits_text, duration_text


@dataclass(frozen=True, slots=True)
class AvailableAction:
    """One act, and its effect."""

    action: JobAction
    label: str
    effect: str
    is_destructive: bool = False
    """It may pay twice, or gives something up."""


@dataclass(frozen=True, slots=True)
class EffectContext:
    """What the effects depend on beside the job."""

    gates: Gates
    costs: Mapping[str, float]
    retention_s: float


def available_actions(job: Job, context: EffectContext) -> tuple[AvailableAction, ...]:
    """What can be done to a job now, the likeliest first."""
    match job.state:
        case State.SCHEDULED | State.QUEUED | State.RETRYING:
            return (
                AvailableAction(
                    JobAction.PARK, "Park", "Nothing is sent until a person releases it"
                ),
                AvailableAction(
                    JobAction.CANCEL,
                    "Cancel",
                    "Ends it at once; nothing is under way, nothing is paid",
                ),
            )
        case State.SUBMITTING | State.RUNNING:
            return (_request_cancel(),)
        case State.PARKED:
            return _parked(job, context)
        case State.DEAD:
            return _dead(job, context)
        case State.CANCELLING | State.SUCCEEDED | State.CANCELLED:
            return ()


def _parked(job: Job, context: EffectContext) -> tuple[AvailableAction, ...]:
    if job.parked_as == UNCERTAIN:
        return (_attach(), _resubmit(job, context), _discard(context, "a run it may have goes on"))
    if job.parked_as == STUCK:
        longer = f"It is watched for another {duration_text(job.deadline_s)}; nothing is sent again"
        return (
            AvailableAction(JobAction.RELEASE, "Watch on", longer),
            _request_cancel(),
            _resubmit(job, context),
            _discard(context, "its run is not cancelled"),
        )
    return (_release(job, context), _discard(context, "it is never sent"))


def _dead(job: Job, context: EffectContext) -> tuple[AvailableAction, ...]:
    if job.reason is not None and job.reason.code == UNREADABLE:
        return (_discard(context, "nobody can read what it was"),)
    effect = (
        f"A new set of {job.max_attempts} attempts, its history kept; {_cost_text(job, context)}"
    )
    return (
        AvailableAction(JobAction.REQUEUE, "Requeue", effect),
        _discard(context, "it is not sent again"),
    )


def _release(job: Job, context: EffectContext) -> AvailableAction:
    gate = context.gates.closing_hold(job.lane)
    if gate is None:
        return AvailableAction(
            JobAction.RELEASE, "Release", f"Goes back in line; {_cost_text(job, context)}"
        )
    return AvailableAction(
        JobAction.RELEASE,
        "Release this one",
        f"Sent alone through the closed gate on {gate.scope}; refused again, it parks again."
        f" The others wait on; {_cost_text(job, context)}",
    )


def _attach() -> AvailableAction:
    return AvailableAction(
        JobAction.ATTACH,
        "Attach",
        "This execution is its run: it is polled from here on, nothing is sent or paid again",
    )


def _resubmit(job: Job, context: EffectContext) -> AvailableAction:
    effect = f"Sends it again: if the first run exists it is paid twice; {_cost_text(job, context)}"
    return AvailableAction(JobAction.RESUBMIT, "Resubmit", effect, is_destructive=True)


def _request_cancel() -> AvailableAction:
    return AvailableAction(
        JobAction.CANCEL,
        "Cancel",
        "Asks the provider to end its run; what has run may be charged, and it may still finish",
        is_destructive=True,
    )


def _discard(context: EffectContext, consequence: str) -> AvailableAction:
    effect = (
        f"Gives it up: {consequence}. It stays on record for {duration_text(context.retention_s)}"
    )
    return AvailableAction(JobAction.DISCARD, "Discard", effect, is_destructive=True)


def _cost_text(job: Job, context: EffectContext) -> str:
    return credits_text(context.costs.get(target_name(job.kind, job.target)))
