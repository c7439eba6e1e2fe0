"""What an outcome makes of a job: values that `Completion` asks, once per try.

Each holds the outcome and the version of the job that it belongs to, and decides None when the job
has moved on. They do no I/O; time and jitter are arguments.
"""

from dataclasses import dataclass, replace
from typing import Final, assert_never

from jobs import transitions
from jobs.decide import decide_poll, decide_submit
from jobs.effects import Decision, DecisionContext, DecisionRules, PollHistory, PollLater
from jobs.indexes import accepts_run_updates
from jobs.job import UNCERTAIN, Job, Reason
from jobs.lifecycle import TRANSITIONS, Transition
from jobs.outcomes import (
    Accepted,
    Finished,
    Lost,
    LostCause,
    PollOutcome,
    ProviderError,
    SubmitOutcome,
)
from jobs.states import SETTLED, State
from jobs.tenants import app_job_id, tenant_of
from worker.engine.webhook_policy import WebhookPolicy

INTERNAL: Final = "INTERNAL_ERROR"
_OK: Final = 200

INTERNAL_ACTION: Final = "Report this fault of the worker with the job's id; requeue after a fix"


def may_submit(job: Job, submit_token: str) -> bool:
    """Whether this submit is still the job's next step, and nothing was sent for it."""
    return (
        job.state is State.SUBMITTING and job.submit_token == submit_token and job.sent_at is None
    )


def _awaits_outcome(job: Job, submitted: Job) -> bool:
    """Whether the job still waits for the outcome of this submit."""
    active = job.state in (State.SUBMITTING, State.RUNNING, State.CANCELLING)
    return active and job.submit_token == submitted.submit_token


def _returned_or_cancelled(job: Job, now: float, why: str) -> Decision:
    """Nothing was sent: the job returns to the queue, or is cancelled if that was requested."""
    if job.cancel_requested:
        return Decision(transitions.cancel(job, now, note="never sent"))
    return Decision(transitions.return_to_queue(job, now, why=why))


@dataclass(frozen=True, slots=True)
class UnsentDecider:
    """A submit that was not begun: the gate closed after admission."""

    submit_token: str
    why: str

    def decide(self, job: Job, now: float, jitter: float) -> Decision | None:
        """Return the job to the queue, or cancel it."""
        del jitter
        if not may_submit(job, self.submit_token):
            return None
        return _returned_or_cancelled(job, now, self.why)


@dataclass(frozen=True, slots=True)
class FencedOutDecider:
    """A submit that was stopped before its first byte: the job had changed, or its mark was late.

    A sync run that was stopped after its mark is `running` by then.
    """

    submitted: Job

    def decide(self, job: Job, now: float, jitter: float) -> Decision | None:
        """Return the job to the queue; cancel it if only a cancel was requested meanwhile."""
        del jitter
        if not _awaits_outcome(job, self.submitted) or job.sent_at != self.submitted.sent_at:
            return None
        return _returned_or_cancelled(job, now, "changed before it was sent")


@dataclass(frozen=True, slots=True)
class NoSyncSlotDecider:
    """A job that has to be run sync, and no slot for a sync run is free here.

    Nothing of it is at the provider: either nothing was sent, or the provider refused the async
    submit because its target has no async mode.
    """

    submitted: Job

    def decide(self, job: Job, now: float, jitter: float) -> Decision | None:
        """Return the job to the queue with nothing spent, or cancel it."""
        del jitter
        ours = self.submitted
        same = job.submit_token == ours.submit_token and job.sent_at == ours.sent_at
        if job.state is not State.SUBMITTING or not same:
            return None
        return _returned_or_cancelled(job, now, "every slot for sync runs is taken")


@dataclass(frozen=True, slots=True)
class SubmitDecider:
    """The outcome of a submit."""

    submitted: Job
    """The job as it was when the request was sent."""
    outcome: SubmitOutcome
    rules: DecisionRules

    def decide(self, job: Job, now: float, jitter: float) -> Decision | None:
        """Apply the outcome; a late one also counts for a job that is uncertain because of it."""
        context = DecisionContext(now, jitter, self.rules)
        if (other := self._other_run(job)) is not None:
            noted = transitions.record_other_run(job, now, other)
            return None if noted is job else Decision(noted)
        if _awaits_outcome(job, self.submitted):
            return decide_submit(job, self.outcome, context)
        if not isinstance(self.outcome, Accepted | Finished):
            return None
        if _is_unresolved(job, self.submitted.submits):
            return decide_submit(job, self.outcome, context)
        if any(submit.number == self.submitted.submits for submit in job.uncertain_submits):
            return _late_answer(job, self.submitted.submits, self.outcome, now)
        return None

    def run_taken(self, execution_id: str, owner: str) -> "SubmitDecider":
        """The same submit, if the run that its answer names is another job's: an unknown outcome.

        The 2xx stays on record, so that no evidence can say that nothing was started.
        """
        of_same = tenant_of(owner) == tenant_of(self.submitted.id)
        whose = f"job {app_job_id(owner)}" if of_same else "a job of another tenant"
        why = f"the answer names execution {execution_id}, which is the run of {whose}"
        return replace(self, outcome=Lost(why, _OK, LostCause.RUN_TAKEN))

    def _other_run(self, job: Job) -> str | None:
        """The run that a late answer names, if another one is on record, which stays."""
        is_late = job.submits == self.submitted.submits and job.state not in SETTLED
        if not isinstance(self.outcome, Accepted | Finished) or not is_late:
            return None
        named, ours = self.outcome.execution_id, job.execution_id
        if named is None or ours is None or named.casefold() == ours.casefold():
            return None
        return f"execution {named} (late answer to submit {self.submitted.submits})"


def _is_unresolved(job: Job, number: int) -> bool:
    """Whether the outcome of attempt `number` is unknown and nothing newer was sent."""
    last = job.attempts[-1] if job.attempts else None
    if job.submits != number or last is None or not last.is_uncertain:
        return False
    unsent = job.state in (State.QUEUED, State.RETRYING) or (
        job.state is State.SUBMITTING and job.sent_at is None
    )
    return unsent or job.parked_as == UNCERTAIN


def _late_answer(
    job: Job, number: int, outcome: Accepted | Finished, now: float
) -> Decision | None:
    """A newer attempt was sent meanwhile: the answer is recorded once, and changes no state."""
    known = next(submit for submit in job.uncertain_submits if submit.number == number)
    if known.is_accepted:
        return None
    return Decision(transitions.record_late_answer(job, now, number, outcome))


@dataclass(frozen=True, slots=True)
class ConnectionCutDecider:
    """A sync run whose connection a shutdown cut."""

    submitted: Job
    rules: DecisionRules

    def decide(self, job: Job, now: float, jitter: float) -> Decision | None:
        """Return it to the queue if nothing was sent; else its outcome is lost."""
        if not _awaits_outcome(job, self.submitted):
            return None
        if job.sent_at is None:
            return Decision(transitions.return_to_queue(job, now, why="shutdown"))
        lost = Lost("its connection was cut at shutdown", cause=LostCause.SHUTDOWN)
        return decide_submit(job, lost, DecisionContext(now, jitter, self.rules))


@dataclass(frozen=True, slots=True)
class RescueDecider:
    """A submit whose worker is gone: its lease has run out."""

    found: Job
    rules: DecisionRules

    def decide(self, job: Job, now: float, jitter: float) -> Decision | None:
        """Rescue exactly the version that was found: any other has a worker again.

        Never sent: it returns to the queue. Sent: the outcome is lost.
        """
        if job is not self.found or job.execution_id is not None:
            return None
        match job.state:
            case State.SUBMITTING if job.sent_at is None:
                return _returned_or_cancelled(job, now, "admitted, but never sent")
            case State.SUBMITTING | State.RUNNING | State.CANCELLING:
                why = f"worker {job.owner} was lost while the request was under way"
                lost = Lost(why, cause=LostCause.WORKER)
                return decide_submit(job, lost, DecisionContext(now, jitter, self.rules))
            case (
                State.SCHEDULED
                | State.WAITING
                | State.QUEUED
                | State.RETRYING
                | State.PARKED
                | State.SUCCEEDED
                | State.DEAD
                | State.CANCELLED
            ):
                return None
            case _:
                assert_never(job.state)


@dataclass(frozen=True, slots=True)
class PollDecider:
    """The outcome of a poll, or of a webhook that reports the same."""

    execution_id: str | None
    outcome: PollOutcome
    history: PollHistory
    """The polls before this one."""
    webhook_policy: WebhookPolicy

    def decide(self, job: Job, now: float, jitter: float) -> Decision | PollLater | None:
        """Apply the outcome to the job of this run; a result also ends an uncertain job."""
        late = job.parked_as == UNCERTAIN and isinstance(self.outcome, Finished)
        if job.execution_id != self.execution_id or not (accepts_run_updates(job) or late):
            return None
        rules = self.webhook_policy.rules(
            job.lane,
            has_webhook=job.expects_webhook and job.state is State.RUNNING,
            is_cancelling=job.state is State.CANCELLING,
        )
        context = DecisionContext(now, jitter, rules)
        return decide_poll(job, self.outcome, self.history, context)


@dataclass(frozen=True, slots=True)
class IsolationDecider:
    """A job that makes the worker's own code raise."""

    error_name: str

    def decide(self, job: Job, now: float, jitter: float) -> Decision | None:
        """Make it a dead letter; `uncertain` where its request may have started a run."""
        del jitter
        what = f"{self.error_name} in the worker"
        if job.sent_at is not None and job.execution_id is None:
            if (job.state, Transition.PARK_UNCERTAIN) in TRANSITIONS:
                parked = transitions.park_uncertain(job, now, why=what, cause=LostCause.INTERNAL)
                return Decision(parked)
            return None
        if (job.state, Transition.DEAD_LETTER) not in TRANSITIONS:
            return None
        if job.execution_id is None:
            message = what
        else:
            message = f"{what}; run {job.execution_id} may still go on at the provider"
        reason = Reason(code=INTERNAL, message=message, action=INTERNAL_ACTION)
        return Decision(transitions.dead_letter(job, now, ProviderError(INTERNAL, what), reason))
