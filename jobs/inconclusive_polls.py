"""What a poll that reports no end of the run does to the job: the next poll, or parked.

The run is paid for. So no failed poll fails the job, and a job that parks over its run is polled on
slowly: the provider may still report the end.
"""

from typing import Final

from jobs import transitions
from jobs.effects import (
    Decision,
    DecisionContext,
    Effect,
    PlaceHold,
    PollHistory,
    PollLater,
    StartCoolDown,
)
from jobs.error_table import action_text
from jobs.holds import Canary, CoolDown, Hold, hold_id
from jobs.job import UNCERTAIN, Job
from jobs.lanes import Scope, polls_scope
from jobs.outcomes import CallFailure, Lost, LostCause, ProviderError, StillRunning
from jobs.polling.schedules import STUCK_POLL_INTERVAL_S
from jobs.states import State

RATE_LIMITED_COOL_DOWN_S: Final = 10.0
"""Cool-down after a 429 without `Retry-After`."""

RATE_LIMITED_MIN_S: Final = 1.0
"""Least cool-down after a 429, also where its `Retry-After` is 0."""

REFUSED_POLL_S: Final = 30.0
"""The first interval after a refused poll; it doubles up to `STUCK_POLL_INTERVAL_S`, since an
operator has to act first."""

PAGE_POLL_S: Final = 5.0
"""The same after a redirect or a page, which may be those of a deploy of the provider."""

EMPTY_POLLS: Final = 5
EMPTY_S: Final = 60.0
"""A run that is `completed` without a usable result is polled until this many polls in a row found
it so, the first of them at least this many seconds ago; then the job parks as `uncertain`."""

MAX_FAILURE_CHARS: Final = 200

UNREADABLE_RUN: Final = "this key can pay for runs but not fetch them"
CHOOSE_READ: Final = (
    "Use an API key with capability execution:read for account {account}: preset Custom, with "
    "execution:read and execution:cancel beside the run capabilities (no other preset names them). "
    "Restart the workers, then release the hold: one paid run is polled first"
)


def rate_limit_wait_s(retry_after_s: float | None) -> float:
    """Seconds to wait after a 429: its `Retry-After`, at least `RATE_LIMITED_MIN_S`."""
    if retry_after_s is None:
        return RATE_LIMITED_COOL_DOWN_S
    return max(RATE_LIMITED_MIN_S, retry_after_s)


def other_run(job: Job, outcome: object) -> str | None:
    """The run that an answer names, if it is not the job's: such an answer says nothing about it.

    `outcome`: of a poll, a webhook or a cancel. An execution id decides; without one, a request id
    that differs from the one on record does.
    """
    execution_id = getattr(outcome, "execution_id", None)
    if execution_id is not None:
        is_ours = execution_id.casefold() == (job.execution_id or "").casefold()
        return None if is_ours else f"execution {execution_id}"
    request_id, ours = getattr(outcome, "request_id", None), job.request_id
    is_ours = request_id is None or ours is None or request_id == ours
    return None if is_ours else f"request {request_id}"


def answered_for_other_run(
    job: Job, other: str, history: PollHistory, context: DecisionContext
) -> Decision | PollLater:
    """The answer is ignored, and counts as a failed poll; the job's history names the run once."""
    failure = CallFailure(f"the poll was answered for another run: {other}")
    later = poll_failed(job, failure, history, context)
    if isinstance(later, Decision):
        return later
    noted = transitions.record_other_run(job, context.now, other, next_poll_at=later.at)
    return later if noted is job else Decision(noted)


def still_running(
    job: Job, outcome: StillRunning, history: PollHistory, context: DecisionContext
) -> Decision | PollLater:
    """Poll later; past its deadline the job parks as `stuck`. A status we do not know is noted.

    A job that is `uncertain` over this run runs again: the provider knows it.
    """
    now = context.now
    schedule = context.rules.poll_schedule
    age_s = now - (job.submitted_at or now)
    if job.parked_as == UNCERTAIN:
        next_poll_at = now + schedule.next_delay_s(age_s, context.jitter)
        found = transitions.find_run(job, now, next_poll_at=next_poll_at)
        is_cancelled = job.cancel_requested
        return Decision(transitions.request_cancel(found, now) if is_cancelled else found)
    is_overdue = job.deadline_at is not None and now >= job.deadline_at
    if job.state is not State.PARKED and is_overdue:
        next_poll_at = now + STUCK_POLL_INTERVAL_S
        noted = _with_status(job, outcome, next_poll_at, context)
        return Decision(transitions.park_stuck(noted, now, next_poll_at=next_poll_at))
    if job.state is State.PARKED:
        next_poll_at = _slow_poll_at(context)
    else:
        next_poll_at = now + schedule.next_delay_s(age_s, context.jitter)
        if job.deadline_at is not None:
            next_poll_at = min(next_poll_at, max(job.deadline_at, now + schedule.min_s))
    noted = _with_status(job, outcome, next_poll_at, context)
    if noted is not job:
        return Decision(noted)
    return PollLater(next_poll_at, PollHistory(history.polls + 1, last_running_at=now))


def _with_status(
    job: Job, outcome: StillRunning, next_poll_at: float, context: DecisionContext
) -> Job:
    status = None if outcome.is_known else outcome.status
    return transitions.record_status(job, context.now, status, next_poll_at=next_poll_at)


def run_missing(job: Job, history: PollHistory, context: DecisionContext) -> Decision | PollLater:
    """Poll again for a while, then park as `uncertain` and poll slowly."""
    missing = history.missing_in_row + 1
    polls = history.polls + 1
    history = PollHistory(polls, 0, missing, history.last_running_at)
    if job.parked_as == UNCERTAIN:
        return PollLater(_slow_poll_at(context), history)
    if missing < context.rules.max_missing_polls:
        delay_s = context.rules.poll_schedule.failure_delay_s(missing, context.jitter)
        return PollLater(context.now + delay_s, history)
    why = f"the provider does not know execution {job.execution_id} ({missing} polls)"
    lost = Lost(why, 404, LostCause.RUN_NOT_FOUND)
    return parked_uncertain(job, lost, context, polls, next_poll_at=_slow_poll_at(context))


def without_result(
    job: Job, outcome: Lost, history: PollHistory, context: DecisionContext
) -> Decision | PollLater:
    """Poll again for a while, then park as `uncertain` and poll slowly: a result may come late."""
    empty, polls = history.empty_in_row + 1, history.polls + 1
    since = context.now if history.empty_since is None else history.empty_since
    later = PollHistory(
        polls,
        last_running_at=history.last_running_at,
        empty_in_row=empty,
        empty_since=since,
        failure=outcome.why,
    )
    if job.parked_as == UNCERTAIN:
        return PollLater(_slow_poll_at(context), later)
    if empty < EMPTY_POLLS or context.now - since < EMPTY_S:
        delay_s = context.rules.poll_schedule.failure_delay_s(empty, context.jitter)
        return PollLater(context.now + delay_s, later)
    why = f"{outcome.why} ({empty} polls in {context.now - since:.0f} s)"
    lost = Lost(why, outcome.http_status, LostCause.NO_RESULT)
    return parked_uncertain(job, lost, context, polls, next_poll_at=_slow_poll_at(context))


def parked_uncertain(
    job: Job,
    outcome: Lost,
    context: DecisionContext,
    polls: int,
    *,
    next_poll_at: float | None = None,
) -> Decision:
    """Park the job as `uncertain`; with `next_poll_at` its run is polled on."""
    parked = transitions.park_uncertain(
        job,
        context.now,
        why=outcome.why,
        http_status=outcome.http_status,
        cause=outcome.cause_name,
        polls=polls,
        next_poll_at=next_poll_at,
    )
    return Decision(parked)


def _slow_poll_at(context: DecisionContext) -> float:
    return context.now + STUCK_POLL_INTERVAL_S * (0.9 + 0.2 * context.jitter)


def poll_failed(
    job: Job,
    outcome: CallFailure,
    history: PollHistory,
    context: DecisionContext,
) -> Decision | PollLater:
    """The job stays `running` and is polled again; past its deadline it parks as `stuck`.

    Where the answer says that nobody can poll (a refused key, a redirect, a page), it stays
    `running` also past its deadline and is polled rarely. A 401 or 403 holds the account's submits.
    """
    is_overdue = job.deadline_at is not None and context.now >= job.deadline_at
    if is_overdue and job.state is not State.PARKED and not outcome.is_no_access:
        stuck = transitions.park_stuck(
            job,
            context.now,
            next_poll_at=context.now + STUCK_POLL_INTERVAL_S,
            poll_failure=outcome.why,
        )
        return Decision(stuck)
    failures = history.failures_in_row + 1
    next_poll_at = context.now + _failure_delay_s(job, outcome, failures, context)
    later = PollHistory(
        history.polls + 1,
        failures,
        last_running_at=history.last_running_at,
        failure=outcome.why[:MAX_FAILURE_CHARS],
    )
    return PollLater(next_poll_at, later, _failure_effects(job, outcome, context))


def _failure_delay_s(
    job: Job, outcome: CallFailure, failures: int, context: DecisionContext
) -> float:
    if job.state is State.PARKED:
        return max(outcome.retry_after_s or 0.0, _slow_poll_at(context) - context.now)
    if not outcome.is_no_access:
        return context.rules.poll_schedule.failure_delay_s(
            failures, context.jitter, outcome.retry_after_s
        )
    first_s = REFUSED_POLL_S if outcome.is_refused else PAGE_POLL_S
    interval_s = min(STUCK_POLL_INTERVAL_S, first_s * 2.0 ** min(failures - 1, 30))
    return max(outcome.retry_after_s or 0.0, interval_s * (0.8 + 0.2 * context.jitter))


def _failure_effects(
    job: Job, outcome: CallFailure, context: DecisionContext
) -> tuple[Effect, ...]:
    if outcome.http_status == 429:  # noqa: PLR2004
        until = context.now + rate_limit_wait_s(outcome.retry_after_s)
        return (StartCoolDown(CoolDown(polls_scope(job.account), until, "429")),)
    if not outcome.is_refused or context.rules.webhooks_arrive:
        return ()
    return (PlaceHold(_poll_hold(job, outcome, context)),)


def _poll_hold(job: Job, outcome: CallFailure, context: DecisionContext) -> Hold:
    """The hold on the account's submits while its paid runs cannot be polled."""
    error = outcome.error or ProviderError(None, outcome.why, outcome.http_status)
    rule = context.rules.error_table.rule_for_submit(error)
    scope, code = Scope(job.account), error.display_code
    said = f"{code}: {error.message}" if error.message else code
    is_key_refused = outcome.http_status == 401  # noqa: PLR2004
    return Hold(
        id=hold_id(scope, code),
        scope=scope,
        code=code,
        created_at=outcome.sent_at or context.now,
        http_status=error.http_status,
        message=f"polls are refused ({said})"
        if is_key_refused
        else f"{UNREADABLE_RUN}: polls are refused ({said})",
        action=action_text(rule, error, job.lane)
        if is_key_refused
        else CHOOSE_READ.format(account=job.account),
        action_url=context.rules.base_url + rule.action_path if rule.action_path else None,
        canary=Canary.POLL,
    )
