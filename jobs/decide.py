"""What an answer of the provider does to a job: the verdict table, applied.

Pure: the shell loads the job, asks here, commits `Decision.job` under the precondition that nobody
changed the job meanwhile, and then performs the effects.
"""

from collections.abc import Callable
from typing import Final, assert_never

from jobs import transitions
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
)
from jobs.error_table import ACTION_ATTEMPTS_SPENT, Disposition, ErrorRule, action_text, hold_scope
from jobs.holds import CoolDown, Hold, hold_id
from jobs.job import Job, Reason
from jobs.lanes import Scope
from jobs.outcomes import (
    Accepted,
    Finished,
    Lost,
    NotSent,
    PollFailed,
    PollOutcome,
    ProviderError,
    Refused,
    RunCancelled,
    RunFailed,
    RunMissing,
    StillRunning,
    SubmitOutcome,
)
from jobs.polling.schedules import STUCK_POLL_INTERVAL_S
from jobs.states import Mode, OnUncertain, State

UNREACHABLE_COOL_DOWN_S: Final = 5.0
"""Cool-down of an account whose provider could not be reached, and of a lane after a 503."""

RATE_LIMITED_COOL_DOWN_S: Final = 10.0
"""Cool-down after a 429 that names no `Retry-After`."""

RATE_LIMITED_MIN_S: Final = 1.0
"""Cool-down after a 429 whose `Retry-After` is over already."""


# The answer to a submit.


def decide_submit(
    job: Job,
    outcome: SubmitOutcome,
    context: DecisionContext,
) -> Decision:
    """What the answer to a submit (async or sync) does."""
    match outcome:
        case Accepted():
            return _accepted(job, outcome, context)
        case Finished():
            done = transitions.succeed(job, context.now, outcome)
            return Decision(done, _hold_effects(job), result=outcome.result)
        case NotSent():
            cool = CoolDown(
                Scope(job.account), context.now + UNREACHABLE_COOL_DOWN_S, "unreachable"
            )
            return _unless_cancelled(
                job,
                context,
                lambda: transitions.return_to_queue(job, context.now, why=outcome.why),
                StartCoolDown(cool),
            )
        case Lost():
            return _lost(job, outcome, context)
        case Refused():
            verdict = context.rules.error_table.rule_for_submit(outcome.error)
            return _apply_rule(job, verdict, outcome.error, context)
        case _:
            assert_never(outcome)


def _accepted(job: Job, outcome: Accepted, context: DecisionContext) -> Decision:
    first_look_s = min(
        context.rules.poll_schedule.next_delay_s(0.0, context.jitter), job.deadline_s
    )
    next_poll_at = context.now + first_look_s
    taken = transitions.accept(job, context.now, outcome, next_poll_at=next_poll_at)
    if job.cancel_requested and taken.state is State.RUNNING:
        taken = transitions.request_cancel(taken, context.now)
    return Decision(taken, _hold_effects(job))


def _hold_effects(job: Job) -> tuple[Effect, ...]:
    return (HoldOpened(job.opening_hold_ids),) if job.opening_hold_ids else ()


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
            until = context.now + _rate_limit_wait_s(error.retry_after_s)
            cool = CoolDown(job.lane.route, until, error.display_code)
            return _unless_cancelled(
                job,
                context,
                lambda: transitions.return_to_queue(job, context.now, why=error.display_code),
                StartCoolDown(cool),
            )
        case Disposition.PARK:
            return _parked(job, rule, error, context)
        case Disposition.UNCERTAIN:
            why = error.message or rule.meaning
            lost = Lost(f"{error.display_code}: {why}", error.http_status)
            return _lost(job, lost, context)
        case Disposition.DEAD:
            return _dead_lettered(job, rule, error, context)
        case Disposition.RETRY:
            return _retried(job, error, context)
        case Disposition.COOL:
            until = context.now + max(error.retry_after_s or 0.0, UNREACHABLE_COOL_DOWN_S)
            lane = CoolDown(Scope(str(job.lane)), until, error.display_code)
            return _retried(job, error, context, StartCoolDown(lane))
        case _:
            assert_never(rule.disposition)


def _unless_cancelled(
    job: Job,
    context: DecisionContext,
    otherwise: Callable[[], Job],
    *effects: Effect,
    polls: int = 0,
) -> Decision:
    """What would wait, retry, park or die is cancelled where a person asked for that."""
    if job.cancel_requested:
        return Decision(transitions.cancel(job, context.now, polls=polls), effects)
    return Decision(otherwise(), effects)


def _parked(
    job: Job,
    rule: ErrorRule,
    error: ProviderError,
    context: DecisionContext,
    polls: int = 0,
) -> Decision:
    scope = hold_scope(rule, error, job.lane)
    reason = Reason(
        code=error.display_code,
        http_status=error.http_status,
        message=error.message or rule.meaning,
        action=action_text(rule, error, job.lane),
        action_url=context.rules.base_url + rule.action_path if rule.action_path else None,
        hold_id=hold_id(scope, error.display_code),
    )
    put_up = PlaceHold(
        Hold(
            id=hold_id(scope, error.display_code),
            scope=scope,
            code=error.display_code,
            created_at=context.now,
            http_status=reason.http_status,
            message=reason.message,
            action=reason.action,
            action_url=reason.action_url,
        ),
    )
    return _unless_cancelled(
        job,
        context,
        lambda: transitions.park_refused(job, context.now, error, reason, polls=polls),
        put_up,
        polls=polls,
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
    *effects: Effect,
    polls: int = 0,
) -> Decision:
    def spend() -> Job:
        attempt = job.spent + 1
        if attempt < job.max_attempts:
            due_at = context.now + context.rules.backoff.wait_s(
                attempt, context.jitter, error.retry_after_s
            )
            return transitions.retry(job, context.now, error, due_at=due_at, polls=polls)
        reason = Reason(
            code=error.display_code,
            http_status=error.http_status,
            message=f"{error.message or error.display_code} "
            f"(attempt {attempt} of {job.max_attempts})",
            action=ACTION_ATTEMPTS_SPENT,
        )
        return transitions.dead_letter(job, context.now, error, reason, polls=polls)

    return _unless_cancelled(job, context, spend, *effects, polls=polls)


def _lost(
    job: Job,
    outcome: Lost,
    context: DecisionContext,
    polls: int = 0,
) -> Decision:
    """An unknown outcome: parks, also where a cancel was asked, for the run may be paid."""
    wants_retry = job.on_uncertain is OnUncertain.RETRY and not job.cancel_requested
    if wants_retry and job.state in (State.SUBMITTING, State.RUNNING):
        fault = ProviderError(transitions.UNCERTAIN, outcome.why, outcome.http_status)
        return _retried(job, fault, context, polls=polls)
    doubted = transitions.park_uncertain(
        job, context.now, why=outcome.why, http_status=outcome.http_status, polls=polls
    )
    return Decision(doubted)


def _rate_limit_wait_s(retry_after_s: float | None) -> float:
    """Seconds to wait after a 429: what it says, but never no time at all."""
    return (
        RATE_LIMITED_COOL_DOWN_S
        if retry_after_s is None
        else max(RATE_LIMITED_MIN_S, retry_after_s)
    )


# What a look at a run (poll or webhook) shows.


def decide_poll(
    job: Job,
    outcome: PollOutcome,
    history: PollHistory,
    context: DecisionContext,
) -> Decision | PollLater:
    """What a look at a run does; `looks` are those before this one."""
    polls = history.polls + 1
    match outcome:
        case Finished():
            done = transitions.succeed(job, context.now, outcome, polls=polls)
            return Decision(done, result=outcome.result)
        case RunCancelled(result=result, cost=cost):
            if result is None:
                return Decision(
                    transitions.cancel(job, context.now, note="at the provider", polls=polls)
                )
            done = transitions.succeed(job, context.now, Finished(result, cost), polls=polls)
            return Decision(done, result=result)
        case RunFailed(error=fault):
            return _run_failed(job, fault, polls, context)
        case Lost():
            return Decision(
                transitions.park_uncertain(
                    job, context.now, why=outcome.why, http_status=outcome.http_status, polls=polls
                )
            )
        case StillRunning():
            return _still_running(job, polls, context)
        case RunMissing():
            return _run_missing(job, history, context)
        case PollFailed():
            return _poll_failed(job, outcome, history, context)
        case _:
            assert_never(outcome)


def _run_failed(
    job: Job,
    error: ProviderError,
    polls: int,
    context: DecisionContext,
) -> Decision:
    if job.state is State.CANCELLING:
        return Decision(transitions.cancel(job, context.now, note=error.display_code, polls=polls))
    verdict = context.rules.error_table.rule_for_failed_run(error)
    if job.state is State.PARKED:
        reason = Reason(
            code=error.display_code,
            message=error.message or verdict.meaning,
            action="The run failed after its deadline. Release to submit it again, or discard",
        )
        return Decision(transitions.park_failed_run(job, context.now, error, reason, polls=polls))
    match verdict.disposition:
        case Disposition.PARK:
            return _parked(job, verdict, error, context, polls)
        case Disposition.DEAD:
            return _dead_lettered(job, verdict, error, context, polls)
        case Disposition.RETRY | Disposition.WAIT | Disposition.SYNC | Disposition.COOL:
            return _retried(job, error, context, polls=polls)
        case Disposition.UNCERTAIN:
            return _lost(job, Lost(error.message or error.display_code), context, polls)
        case _:
            assert_never(verdict.disposition)


def _still_running(
    job: Job,
    polls: int,
    context: DecisionContext,
) -> Decision | PollLater:
    if job.state is State.PARKED:
        next_look = context.now + STUCK_POLL_INTERVAL_S * (0.9 + 0.2 * context.jitter)
        return PollLater(next_look, PollHistory(polls, last_running_at=context.now))
    if job.deadline_at is not None and context.now >= job.deadline_at:
        return Decision(
            transitions.park_stuck(
                job, context.now, next_poll_at=context.now + STUCK_POLL_INTERVAL_S
            )
        )
    age = context.now - (job.submitted_at or context.now)
    next_look = context.now + context.rules.poll_schedule.next_delay_s(age, context.jitter)
    if job.deadline_at is not None:
        next_look = min(
            next_look, max(job.deadline_at, context.now + context.rules.poll_schedule.min_s)
        )
    return PollLater(next_look, PollHistory(polls, last_running_at=context.now))


def _run_missing(
    job: Job,
    history: PollHistory,
    context: DecisionContext,
) -> Decision | PollLater:
    missing = history.missing_in_row + 1
    if missing >= context.rules.max_missing_polls:
        why = f"the provider does not know execution {job.execution_id} ({missing} looks)"
        return Decision(
            transitions.park_uncertain(
                job, context.now, why=why, http_status=404, polls=history.polls + 1
            )
        )
    next_look = context.now + context.rules.poll_schedule.failure_delay_s(missing, context.jitter)
    return PollLater(next_look, PollHistory(history.polls + 1, 0, missing, history.last_running_at))


def _poll_failed(
    job: Job,
    outcome: PollFailed,
    history: PollHistory,
    context: DecisionContext,
) -> Decision | PollLater:
    """The run is paid for: it stays `running`, and is looked at again.

    Past its deadline a person is told, as of any run that nobody saw ending.
    """
    overdue = job.deadline_at is not None and context.now >= job.deadline_at
    if overdue and job.state is not State.PARKED:
        next_look = context.now + STUCK_POLL_INTERVAL_S
        return Decision(
            transitions.park_stuck(
                job, context.now, next_poll_at=next_look, poll_failure=outcome.why
            )
        )
    troubles = history.failures_in_row + 1
    pause = context.rules.poll_schedule.failure_delay_s(
        troubles, context.jitter, outcome.retry_after_s
    )
    effects: tuple[Effect, ...] = ()
    if outcome.http_status == 429:  # noqa: PLR2004
        wait = _rate_limit_wait_s(outcome.retry_after_s)
        effects = (
            StartCoolDown(CoolDown(Scope(f"{job.account}/executions"), context.now + wait, "429")),
        )
    history = PollHistory(
        history.polls + 1, troubles, history.missing_in_row, history.last_running_at
    )
    return PollLater(context.now + pause, history, effects)
