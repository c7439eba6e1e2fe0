"""What an answer of the provider does to a job: the verdict table, applied.

Pure: the shell loads the job, asks here, commits `Decision.job` under the precondition that nobody
changed the job meanwhile, and then performs the effects.
"""

import hashlib
from collections.abc import Callable
from typing import Final, assert_never

from jobs import transitions
from jobs.effects import (
    Cool,
    Decision,
    Effect,
    LookAgain,
    Looks,
    Moment,
    Opened,
    PutUp,
    RememberSync,
)
from jobs.error_table import ACTION_SPENT, Disposition, Verdict, action_text, reach_of
from jobs.holds import CoolDown, Hold
from jobs.job import Job, Reason
from jobs.lanes import Scope
from jobs.outcomes import (
    Accepted,
    Fault,
    Finished,
    Lost,
    Missing,
    NoLook,
    NotSent,
    PollAnswer,
    Refused,
    RunCancelled,
    RunFailed,
    StillRunning,
    SubmitAnswer,
)
from jobs.polling.schedules import STUCK_EVERY_S
from jobs.states import Mode, OnUncertain, State

UNREACHABLE_S: Final = 5.0
"""Cool-down of an account whose provider could not be reached, and of a lane after a 503."""

RATE_LIMITED_S: Final = 10.0
"""Cool-down after a 429 that names no `Retry-After`."""

RATE_LIMITED_LEAST_S: Final = 1.0
"""Cool-down after a 429 whose `Retry-After` is over already."""


def hold_id(scope: Scope, code: str) -> str:
    """The id of the hold that stands for a cause in a scope: the same cause, the same id."""
    return "hold-" + hashlib.blake2s(f"{scope}|{code}".encode(), digest_size=5).hexdigest()


# The answer to a submit.


def decide_submit(
    job: Job,
    answer: SubmitAnswer,
    at: Moment,
) -> Decision:
    """What the answer to a submit (async or sync) does."""
    match answer:
        case Accepted():
            return _accepted(job, answer, at)
        case Finished():
            done = transitions.succeed(job, at.now, answer)
            return Decision(done, _opened(job), result=answer.result)
        case NotSent():
            cool = CoolDown(Scope(job.account), at.now + UNREACHABLE_S, "unreachable")
            return _unless_cancelled(
                job, at, lambda: transitions.give_back(job, at.now, why=answer.why), Cool(cool)
            )
        case Lost():
            return _lost(job, answer, at)
        case Refused():
            verdict = at.rules.verdicts.on_call(answer.fault)
            return _by_verdict(job, verdict, answer.fault, at)
        case _:
            assert_never(answer)


def _accepted(job: Job, answer: Accepted, at: Moment) -> Decision:
    first_look_s = min(at.rules.schedule.after(0.0, at.jitter), job.deadline_s)
    next_poll_at = at.now + first_look_s
    taken = transitions.accept(job, at.now, answer, next_poll_at=next_poll_at)
    if job.cancel_requested and taken.state is State.RUNNING:
        taken = transitions.ask_cancel(taken, at.now)
    return Decision(taken, _opened(job))


def _opened(job: Job) -> tuple[Effect, ...]:
    return (Opened(job.gates),) if job.gates else ()


def _by_verdict(
    job: Job,
    verdict: Verdict,
    fault: Fault,
    at: Moment,
) -> Decision:
    match verdict.disposition:
        case Disposition.SYNC if job.mode is Mode.SYNC:
            return _retried(job, fault, at)
        case Disposition.SYNC:
            remember = RememberSync(job.lane, at.now + at.rules.sync_memory_s)
            if job.cancel_requested:
                return Decision(transitions.cancel(job, at.now), (remember,))
            return Decision(job, (remember,), submit_sync=True)
        case Disposition.WAIT:
            until = at.now + _rate_limited(fault.retry_after_s)
            cool = CoolDown(job.lane.route, until, fault.name)
            return _unless_cancelled(
                job, at, lambda: transitions.give_back(job, at.now, why=fault.name), Cool(cool)
            )
        case Disposition.PARK:
            return _parked(job, verdict, fault, at)
        case Disposition.UNCERTAIN:
            why = fault.message or verdict.meaning
            lost = Lost(f"{fault.name}: {why}", fault.http_status)
            return _lost(job, lost, at)
        case Disposition.DEAD:
            return _buried(job, verdict, fault, at)
        case Disposition.RETRY:
            return _retried(job, fault, at)
        case Disposition.COOL:
            until = at.now + max(fault.retry_after_s or 0.0, UNREACHABLE_S)
            lane = CoolDown(Scope(str(job.lane)), until, fault.name)
            return _retried(job, fault, at, Cool(lane))
        case _:
            assert_never(verdict.disposition)


def _unless_cancelled(
    job: Job,
    at: Moment,
    otherwise: Callable[[], Job],
    *effects: Effect,
    polls: int = 0,
) -> Decision:
    """What would wait, retry, park or die is cancelled where a person asked for that."""
    if job.cancel_requested:
        return Decision(transitions.cancel(job, at.now, polls=polls), effects)
    return Decision(otherwise(), effects)


def _parked(
    job: Job,
    verdict: Verdict,
    fault: Fault,
    at: Moment,
    polls: int = 0,
) -> Decision:
    scope = reach_of(verdict, fault, job.lane)
    reason = Reason(
        code=fault.name,
        http_status=fault.http_status,
        message=fault.message or verdict.meaning,
        action=action_text(verdict, fault, job.lane),
        action_url=at.rules.base_url + verdict.where if verdict.where else None,
        hold_id=hold_id(scope, fault.name),
    )
    put_up = PutUp(
        Hold(
            id=hold_id(scope, fault.name),
            scope=scope,
            code=fault.name,
            created_at=at.now,
            http_status=reason.http_status,
            message=reason.message,
            action=reason.action,
            action_url=reason.action_url,
        ),
    )
    return _unless_cancelled(
        job,
        at,
        lambda: transitions.hold(job, at.now, fault, reason, polls=polls),
        put_up,
        polls=polls,
    )


def _buried(job: Job, verdict: Verdict, fault: Fault, at: Moment, polls: int = 0) -> Decision:
    reason = Reason(
        code=fault.name,
        http_status=fault.http_status,
        message=fault.message or verdict.meaning,
        action=action_text(verdict, fault, job.lane),
    )
    return _unless_cancelled(
        job, at, lambda: transitions.bury(job, at.now, fault, reason, polls=polls), polls=polls
    )


def _retried(
    job: Job,
    fault: Fault,
    at: Moment,
    *effects: Effect,
    polls: int = 0,
) -> Decision:
    def spend() -> Job:
        attempt = job.spent + 1
        if attempt < job.max_attempts:
            due_at = at.now + at.rules.backoff.wait(attempt, at.jitter, fault.retry_after_s)
            return transitions.retry(job, at.now, fault, due_at=due_at, polls=polls)
        reason = Reason(
            code=fault.name,
            http_status=fault.http_status,
            message=f"{fault.message or fault.name} (attempt {attempt} of {job.max_attempts})",
            action=ACTION_SPENT,
        )
        return transitions.bury(job, at.now, fault, reason, polls=polls)

    return _unless_cancelled(job, at, spend, *effects, polls=polls)


def _lost(
    job: Job,
    answer: Lost,
    at: Moment,
    polls: int = 0,
) -> Decision:
    """An unknown outcome: parks, also where a cancel was asked, for the run may be paid."""
    wants_retry = job.on_uncertain is OnUncertain.RETRY and not job.cancel_requested
    if wants_retry and job.state in (State.SUBMITTING, State.RUNNING):
        fault = Fault(transitions.UNCERTAIN, answer.why, answer.http_status)
        return _retried(job, fault, at, polls=polls)
    doubted = transitions.doubt(
        job, at.now, why=answer.why, http_status=answer.http_status, polls=polls
    )
    return Decision(doubted)


def _rate_limited(retry_after_s: float | None) -> float:
    """Seconds to wait after a 429: what it says, but never no time at all."""
    return RATE_LIMITED_S if retry_after_s is None else max(RATE_LIMITED_LEAST_S, retry_after_s)


# What a look at a run (poll or webhook) shows.


def decide_poll(
    job: Job,
    answer: PollAnswer,
    looks: Looks,
    at: Moment,
) -> Decision | LookAgain:
    """What a look at a run does; `looks` are those before this one."""
    polls = looks.polls + 1
    match answer:
        case Finished():
            done = transitions.succeed(job, at.now, answer, polls=polls)
            return Decision(done, result=answer.result)
        case RunCancelled(result=result, cost=cost):
            if result is None:
                return Decision(
                    transitions.cancel(job, at.now, note="at the provider", polls=polls)
                )
            done = transitions.succeed(job, at.now, Finished(result, cost), polls=polls)
            return Decision(done, result=result)
        case RunFailed(fault=fault):
            return _run_failed(job, fault, polls, at)
        case Lost():
            return Decision(
                transitions.doubt(
                    job, at.now, why=answer.why, http_status=answer.http_status, polls=polls
                )
            )
        case StillRunning():
            return _still_running(job, polls, at)
        case Missing():
            return _missing(job, looks, at)
        case NoLook():
            return _no_look(job, answer, looks, at)
        case _:
            assert_never(answer)


def _run_failed(
    job: Job,
    fault: Fault,
    polls: int,
    at: Moment,
) -> Decision:
    if job.state is State.CANCELLING:
        return Decision(transitions.cancel(job, at.now, note=fault.name, polls=polls))
    verdict = at.rules.verdicts.on_failed_run(fault)
    if job.state is State.PARKED:
        reason = Reason(
            code=fault.name,
            message=fault.message or verdict.meaning,
            action="The run failed after its deadline. Release to submit it again, or discard",
        )
        return Decision(transitions.fail_while_parked(job, at.now, fault, reason, polls=polls))
    match verdict.disposition:
        case Disposition.PARK:
            return _parked(job, verdict, fault, at, polls)
        case Disposition.DEAD:
            return _buried(job, verdict, fault, at, polls)
        case Disposition.RETRY | Disposition.WAIT | Disposition.SYNC | Disposition.COOL:
            return _retried(job, fault, at, polls=polls)
        case Disposition.UNCERTAIN:
            return _lost(job, Lost(fault.message or fault.name), at, polls)
        case _:
            assert_never(verdict.disposition)


def _still_running(
    job: Job,
    polls: int,
    at: Moment,
) -> Decision | LookAgain:
    if job.state is State.PARKED:
        next_look = at.now + STUCK_EVERY_S * (0.9 + 0.2 * at.jitter)
        return LookAgain(next_look, Looks(polls, running_at=at.now))
    if job.deadline_at is not None and at.now >= job.deadline_at:
        return Decision(transitions.overdue(job, at.now, next_poll_at=at.now + STUCK_EVERY_S))
    age = at.now - (job.submitted_at or at.now)
    next_look = at.now + at.rules.schedule.after(age, at.jitter)
    if job.deadline_at is not None:
        next_look = min(next_look, max(job.deadline_at, at.now + at.rules.schedule.min_s))
    return LookAgain(next_look, Looks(polls, running_at=at.now))


def _missing(
    job: Job,
    looks: Looks,
    at: Moment,
) -> Decision | LookAgain:
    missing = looks.missing + 1
    if missing >= at.rules.missing_limit:
        why = f"the provider does not know execution {job.execution_id} ({missing} looks)"
        return Decision(
            transitions.doubt(job, at.now, why=why, http_status=404, polls=looks.polls + 1)
        )
    next_look = at.now + at.rules.schedule.after_trouble(missing, at.jitter)
    return LookAgain(next_look, Looks(looks.polls + 1, 0, missing, looks.running_at))


def _no_look(
    job: Job,
    answer: NoLook,
    looks: Looks,
    at: Moment,
) -> Decision | LookAgain:
    """The run is paid for: it stays `running`, and is looked at again.

    Past its deadline a person is told, as of any run that nobody saw ending.
    """
    overdue = job.deadline_at is not None and at.now >= job.deadline_at
    if overdue and job.state is not State.PARKED:
        next_look = at.now + STUCK_EVERY_S
        return Decision(transitions.overdue(job, at.now, next_poll_at=next_look, unseen=answer.why))
    troubles = looks.troubles + 1
    pause = at.rules.schedule.after_trouble(troubles, at.jitter, answer.retry_after_s)
    effects: tuple[Effect, ...] = ()
    if answer.http_status == 429:  # noqa: PLR2004
        wait = _rate_limited(answer.retry_after_s)
        effects = (Cool(CoolDown(Scope(f"{job.account}/executions"), at.now + wait, "429")),)
    looks = Looks(looks.polls + 1, troubles, looks.missing, looks.running_at)
    return LookAgain(at.now + pause, looks, effects)
