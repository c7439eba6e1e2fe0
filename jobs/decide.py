"""What an outcome of a submit or a poll does to a job: the error table, applied.

Pure functions. The engine loads a job, calls one of them, applies the effects, and commits
`Decision.job` on the condition that the job has not changed meanwhile.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from jobs import inconclusive_polls, transitions
from jobs.breakers import BreakerFailure
from jobs.breakers.signals import (
    account_answered,
    account_unreachable,
    lane_accepted,
    lane_failed,
    lane_passed,
    outcome_known,
    outcome_unknown,
    passes_route,
    with_next_try,
)
from jobs.effects import (
    Decision,
    DecisionContext,
    Effect,
    HoldOpened,
    PlaceHold,
    PollHistory,
    PollLater,
    RememberSyncOnly,
    StartCoolDown,
    with_reports,
)
from jobs.error_table import Disposition, ErrorRule, action_text, hold_scope
from jobs.holds import CoolDown, Hold, hold_id
from jobs.job import UNCERTAIN, Job, Reason
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
from jobs.retries import retried
from jobs.states import Mode, OnUncertain, State
from jobs.tenants import hold_owner, tenant_of

# Outcomes of a submit.


def decide_submit(
    job: Job,
    outcome: SubmitOutcome,
    context: DecisionContext,
) -> Decision:
    """What the outcome of a submit, async or sync, does to the job.

    Raises `IllegalTransition` where the job does not wait for it.
    """
    match outcome:
        case Accepted():
            return _accepted(job, outcome, context)
        case Finished():
            succeeded = transitions.succeed(job, context.now, outcome)
            passed = (*outcome_known(job), lane_accepted(job), lane_passed(job))
            effects = _hold_effects(job, is_ended=True)
            return Decision(succeeded, effects, outcome.result, passed)
        case NotSent():
            decision = _unless_cancelled(
                job,
                context,
                lambda: transitions.return_to_queue(job, context.now, why=outcome.why),
            )
            failure = account_unreachable(job, outcome.why)
            return decision if outcome.is_ours else with_reports(decision, failure)
        case Lost():
            decision = _lost(job, outcome, context)
            if outcome.is_ours:
                return decision
            answered = () if outcome.http_status is None else (account_answered(job),)
            return with_reports(decision, *outcome_unknown(job, outcome), *answered)
        case Refused():
            rule = context.rules.error_table.rule_for_submit(outcome.error)
            decision = _apply_rule(job, rule, outcome.error, context)
            if passes_route(outcome.error, rule):
                return with_reports(decision, *outcome_known(job))
            if rule.disposition in (Disposition.UNCERTAIN, Disposition.NOT_SENT):
                return decision
            return with_reports(decision, account_answered(job))
        case _:
            assert_never(outcome)


def _accepted(job: Job, outcome: Accepted, context: DecisionContext) -> Decision:
    delay_s = context.rules.poll_schedule.next_delay_s(0.0, context.jitter)
    next_poll_at = context.now + min(delay_s, job.deadline_s)
    accepted = transitions.accept(job, context.now, outcome, next_poll_at=next_poll_at)
    if job.cancel_requested and accepted.state is State.RUNNING:
        accepted = transitions.request_cancel(accepted, context.now)
    return Decision(accepted, _hold_effects(job), reports=(*outcome_known(job), lane_accepted(job)))


def _hold_effects(job: Job, *, is_ended: bool = False) -> tuple[Effect, ...]:
    return (HoldOpened(job.opening_hold_ids, is_ended),) if job.opening_hold_ids else ()


def _apply_rule(
    job: Job,
    rule: ErrorRule,
    error: ProviderError,
    context: DecisionContext,
) -> Decision:
    match rule.disposition:
        case Disposition.SYNC if job.mode is Mode.SYNC:
            return _retried(job, error, context)
        case Disposition.SYNC:
            remember = RememberSyncOnly(job.lane, context.now + context.rules.sync_only_memory_s)
            if job.cancel_requested:
                return Decision(transitions.cancel(job, context.now), (remember,))
            return Decision(job, (remember,), submit_sync=True)
        case Disposition.WAIT:
            until = context.now + inconclusive_polls.rate_limit_wait_s(error.retry_after_s)
            cool_down = CoolDown(job.lane.route, until, error.display_code)
            return _unless_cancelled(
                job,
                context,
                lambda: transitions.return_to_queue(job, context.now, why=error.display_code),
                StartCoolDown(cool_down),
            )
        case Disposition.PARK | Disposition.HOLD:
            return _held(job, rule, error, context)
        case Disposition.UNCERTAIN:
            why = f"{error.display_code}: {error.message or rule.meaning}"
            return decide_submit(job, Lost(why, error.http_status), context)
        case Disposition.NOT_SENT:
            why = f"{error.display_code}: {error.message or rule.meaning}"
            return _not_written(job, error, why, context)
        case Disposition.DEAD:
            return _dead_lettered(job, rule, error, context)
        case Disposition.RETRY | Disposition.COOL:
            return _retried(job, error, context, waits=rule.disposition is Disposition.COOL)
        case _:
            assert_never(rule.disposition)


def _unless_cancelled(
    job: Job,
    context: DecisionContext,
    otherwise: Callable[[], Job],
    *effects: Effect,
    polls: int = 0,
) -> Decision:
    """`otherwise()`, or `cancelled` where an operator requested a cancel: nothing is under way."""
    if job.cancel_requested:
        return Decision(transitions.cancel(job, context.now, polls=polls), effects)
    return Decision(otherwise(), effects)


def _held(
    job: Job,
    rule: ErrorRule,
    error: ProviderError,
    context: DecisionContext,
    polls: int = 0,
) -> Decision:
    """The job behind a new hold: parked, or in the queue if the provider's API was not reached."""
    hold = _hold(job, rule, error, context)
    if rule.disposition is Disposition.HOLD:
        return _unless_cancelled(
            job,
            context,
            lambda: transitions.return_to_queue(job, context.now, why=hold.code),
            PlaceHold(hold),
        )
    reason = Reason(
        code=hold.code,
        http_status=hold.http_status,
        message=hold.message,
        action=hold.action,
        action_url=hold.action_url,
        hold_id=hold.id,
    )
    return _unless_cancelled(
        job,
        context,
        lambda: transitions.park_refused(job, context.now, error, reason, polls=polls),
        PlaceHold(hold),
        polls=polls,
    )


def _hold(job: Job, rule: ErrorRule, error: ProviderError, context: DecisionContext) -> Hold:
    """The hold that a refusal places."""
    if error.location and f"{context.rules.base_url}/".lower().startswith(f"{error.location}/"):
        error = replace(error, location=None)
    if error.wants_tls and context.rules.base_url.startswith("http://"):
        error = replace(error, location="https://" + context.rules.base_url.removeprefix("http://"))
    scope, code = hold_scope(rule, error, job.lane), rule.own_code or error.display_code
    return Hold(
        id=hold_id(scope, code),
        scope=scope,
        code=code,
        created_at=context.now,
        http_status=error.http_status,
        message=error.message or rule.meaning,
        action=action_text(rule, error, job.lane),
        action_url=context.rules.base_url + rule.action_path if rule.action_path else None,
        placed_for=hold_owner(tenant_of(job.id), job.enqueued_by),
    )


def _dead_lettered(
    job: Job, rule: ErrorRule, error: ProviderError, context: DecisionContext, polls: int = 0
) -> Decision:
    reason = Reason(
        code=error.display_code,
        http_status=error.http_status,
        message=error.message or rule.meaning,
        action=action_text(rule, error, job.lane),
    )
    return _unless_cancelled(
        job,
        context,
        lambda: transitions.dead_letter(job, context.now, error, reason, polls=polls),
        polls=polls,
    )


def _retried(
    job: Job,
    error: ProviderError,
    context: DecisionContext,
    *,
    is_run: bool = False,
    waits: bool = False,
    polls: int = 0,
) -> Decision:
    reports = (lane_failed(job, error, is_run=is_run),) if context.rules.outage_limit_s else ()
    if job.cancel_requested:
        cancelled = transitions.cancel(job, context.now, polls=polls)
        return Decision(cancelled, reports=_with_next_try(reports, None, context))
    next_ = retried(job, error, context, is_run=is_run, waits=waits, polls=polls)
    return Decision(
        next_.usual,
        reports=_with_next_try(reports, next_.in_quiet_lane, context),
        job_in_outage=next_.in_outage,
        job_in_quiet_lane=next_.in_quiet_lane,
    )


def _not_written(job: Job, error: ProviderError, why: str, context: DecisionContext) -> Decision:
    """Refused before it was fully written: nothing was started, and no attempt is spent.

    It may be the size of this job's inputs, which other jobs do not show, so it backs off itself.
    """
    decision = decide_submit(job, NotSent(why), context)
    if job.cancel_requested or not context.rules.outage_limit_s:
        return decision
    waiting = retried(job, replace(error, message=error.message or why), context, waits=True)
    return replace(decision, job=waiting.usual)


def _with_next_try(
    failures: tuple[BreakerFailure, ...], job: Job | None, context: DecisionContext
) -> tuple[BreakerFailure, ...]:
    return tuple(with_next_try(failure, job, context.now) for failure in failures)


def _lost(
    job: Job,
    outcome: Lost,
    context: DecisionContext,
    polls: int = 0,
) -> Decision:
    """An unknown outcome parks the job, also after a cancel request: the run may be paid for."""
    wants_retry = job.on_uncertain is OnUncertain.RETRY and not job.cancel_requested
    if wants_retry and job.state in (State.SUBMITTING, State.RUNNING):
        error = ProviderError(UNCERTAIN, outcome.why, outcome.http_status)
        return Decision(retried(job, error, context, polls=polls).usual)
    if job.on_uncertain is OnUncertain.RECONCILE and _can_await_finding(job):
        awaiting = transitions.await_finding(
            job,
            context.now,
            why=outcome.why,
            http_status=outcome.http_status,
            cause=outcome.cause_name,
            polls=polls,
        )
        return Decision(awaiting)
    return inconclusive_polls.parked_uncertain(job, outcome, context, polls)


def _can_await_finding(job: Job) -> bool:
    """Whether nothing proves yet that its run exists, and nobody asked to cancel it."""
    is_active = job.state in (State.SUBMITTING, State.RUNNING)
    return is_active and job.execution_id is None and not job.cancel_requested


# Outcomes of a poll or a webhook.


def decide_poll(
    job: Job,
    outcome: PollOutcome,
    history: PollHistory,
    context: DecisionContext,
) -> Decision | PollLater:
    """What the outcome of a poll or a webhook does to the job. `history` is of the polls before.

    Raises `IllegalTransition` where the run does not move the job any more.
    """
    if (other := inconclusive_polls.other_run(job, outcome)) is not None:
        return inconclusive_polls.answered_for_other_run(job, other, history, context)
    return _decide_own_run(job, outcome, history, context)


def _decide_own_run(
    job: Job, outcome: PollOutcome, history: PollHistory, context: DecisionContext
) -> Decision | PollLater:
    polls = history.polls + 1
    match outcome:
        case Finished():
            succeeded = transitions.succeed(job, context.now, outcome, polls=polls)
            return Decision(succeeded, (), outcome.result, (lane_passed(job),))
        case RunCancelled(result=result, cost=cost) if result is not None:
            return _decide_own_run(job, Finished(result, cost), history, context)
        case RunCancelled():
            return _run_cancelled(job, polls, context)
        case RunFailed(error=error):
            return _run_failed(job, error, polls, context)
        case Lost():
            return inconclusive_polls.without_result(job, outcome, history, context)
        case StillRunning():
            return inconclusive_polls.still_running(job, outcome, history, context)
        case RunMissing():
            return inconclusive_polls.run_missing(job, history, context)
        case CallFailure():
            return inconclusive_polls.poll_failed(job, outcome, history, context)
        case _:
            assert_never(outcome)


def _run_cancelled(job: Job, polls: int, context: DecisionContext) -> Decision:
    if job.parked_as == UNCERTAIN:
        job = transitions.find_run(job, context.now, next_poll_at=context.now)
    return Decision(transitions.cancel(job, context.now, note="at the provider", polls=polls))


def _run_failed(
    job: Job,
    error: ProviderError,
    polls: int,
    context: DecisionContext,
) -> Decision:
    if job.state is State.CANCELLING:
        return Decision(transitions.cancel(job, context.now, note=error.display_code, polls=polls))
    rule = context.rules.error_table.rule_for_failed_run(error)
    if job.state is State.PARKED:
        reason = Reason(
            code=error.display_code,
            message=error.message or rule.meaning,
            action="The run failed after it parked. Release to submit it again, or discard",
        )
        return Decision(transitions.park_failed_run(job, context.now, error, reason, polls=polls))
    match rule.disposition:
        case Disposition.PARK:
            return _held(job, rule, error, context, polls)
        case Disposition.DEAD:
            return _dead_lettered(job, rule, error, context, polls)
        case (
            Disposition.RETRY
            | Disposition.WAIT
            | Disposition.SYNC
            | Disposition.COOL
            | Disposition.HOLD
            | Disposition.NOT_SENT
        ):
            return _retried(job, error, context, is_run=True, polls=polls)
        case Disposition.UNCERTAIN:
            return _lost(job, Lost(error.message or error.display_code), context, polls)
        case _:
            assert_never(rule.disposition)
