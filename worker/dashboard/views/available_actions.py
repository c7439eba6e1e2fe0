"""The actions that a job allows now, each with its effect on this job.

Names, states and general effects come from `worker.app.action_table`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from jobs.holds import Gates
from jobs.job import STUCK, UNCERTAIN, Job
from jobs.lanes import Lane
from jobs.newer import is_newer
from jobs.payloads import CANNOT_BE_SENT, MissingPayload
from jobs.states import State
from jobs.unreadable import UNREADABLE
from worker.app.action_table import ACTION_TABLE, JobAction
from worker.app.bulk_request import BulkAction
from worker.dashboard.views.formatting import credits_text, duration_text


@dataclass(frozen=True, slots=True)
class AvailableAction:
    """One action with its label and its effect on one job."""

    action: JobAction
    label: str
    effect: str
    is_destructive: bool


@dataclass(frozen=True, slots=True)
class EffectContext:
    """What the effects depend on beside the job."""

    gates: Gates
    est_costs: Mapping[Lane, float | None]
    """Lane → credits that one run is likely to cost; absent or None where that is unknown."""
    retention_s: float
    inputs_problem: MissingPayload | None = None
    """Why the job has no inputs: without them it is not sent."""


def available_actions(job: Job, context: EffectContext) -> tuple[AvailableAction, ...]:
    """The actions for one job, the usual one first."""
    return tuple(
        AvailableAction(
            action,
            _label(action, job, context),
            effect_text(action, job, context),
            ACTION_TABLE[action].is_destructive,
        )
        for action in offered_actions(job)
    )


def offered_actions(job: Job) -> tuple[JobAction, ...]:
    """The actions that make sense for a job: its state allows them, and so does its reason.

    None for a job that a newer version wrote: each would be refused.
    """
    if is_newer(job):
        return ()
    return tuple(
        action
        for action in JobAction
        if job.state in ACTION_TABLE[action].states and _fits_reason(action, job)
    )


def is_destructive(action: BulkAction) -> bool:
    """Whether a bulk action may pay twice or gives something up."""
    return ACTION_TABLE[JobAction(action)].is_destructive


def _fits_reason(action: JobAction, job: Job) -> bool:
    match action:
        case JobAction.RELEASE:
            return job.parked_as != UNCERTAIN
        case JobAction.ATTACH:
            return job.parked_as == UNCERTAIN
        case JobAction.RESUBMIT:
            return job.parked_as in (UNCERTAIN, STUCK)
        case JobAction.REQUEUE:
            return job.reason is None or job.reason.code != UNREADABLE
        case JobAction.CANCEL:
            is_parked = job.state is State.PARKED
            return job.state is not State.CANCELLING and (not is_parked or job.parked_as == STUCK)
        case JobAction.PARK | JobAction.DISCARD:
            return True
        case _:
            assert_never(action)


def _label(action: JobAction, job: Job, context: EffectContext) -> str:
    if action is JobAction.RELEASE and job.parked_as == STUCK:
        return "Extend the deadline"
    if action is JobAction.RELEASE and context.gates.closing_hold(job.lane) is not None:
        return "Release only this job"
    return action.capitalize()


def effect_text(action: JobAction, job: Job, context: EffectContext) -> str:
    """What an action does to one job, without a full stop at its end."""
    effect = ACTION_TABLE[action].effect
    cost = credits_text(context.est_costs.get(job.lane))
    if context.inputs_problem is not None and _sends(action, job):
        return CANNOT_BE_SENT[context.inputs_problem]
    match action:
        case JobAction.RELEASE:
            return _release_effect(job, context, cost)
        case JobAction.RESUBMIT:
            return f"{effect} ({cost})"
        case JobAction.REQUEUE:
            return f"{effect} ({job.max_attempts} attempts, {cost})"
        case JobAction.CANCEL:
            if job.state in (State.SUBMITTING, State.RUNNING, State.PARKED):
                return "Asks the provider to cancel its run, which may still finish and be charged"
            return "Cancels it at once; nothing was sent, nothing is charged"
        case JobAction.DISCARD:
            run = {UNCERTAIN: "; its run, if there is one, continues", STUCK: "; its run continues"}
            kept = f" (after {duration_text(context.retention_s)})"
            return f"{effect}{kept}{run.get(job.parked_as or '', '')}"
        case JobAction.ATTACH | JobAction.PARK:
            return effect
        case _:
            assert_never(action)


def _sends(action: JobAction, job: Job) -> bool:
    is_extended = action is JobAction.RELEASE and job.parked_as == STUCK
    sending = (JobAction.RELEASE, JobAction.RESUBMIT, JobAction.REQUEUE)
    return action in sending and not is_extended


def _release_effect(job: Job, context: EffectContext, cost: str) -> str:
    if job.parked_as == STUCK:
        return f"Polls its run for another {duration_text(job.deadline_s)}; nothing is sent again"
    hold = context.gates.closing_hold(job.lane)
    if hold is None:
        return f"Returns it to the queue ({cost})"
    return (
        f"Sends only this job ({cost}), despite the hold on {hold.scope}. If it is refused, it"
        " parks again. Other jobs keep waiting"
    )
