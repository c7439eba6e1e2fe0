"""The summary of the overview: everything that needs an operator, in one list.

An item is on the list if the program does not continue with it on its own, or if the provider fails
so that submits are stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from jobs.breakers import BreakerState
from jobs.breakers.texts import advice_text, breaker_text, cause_text
from jobs.holds import Hold, HoldPhase
from jobs.job import MANUAL, STUCK, UNCERTAIN
from jobs.states import State
from jobs.why import ACTION_DRAINED
from worker.app.credit_warnings import CreditWarningCause
from worker.app.queries import GroupSummary, QueueStats, queued_in
from worker.dashboard.views.formatting import count, jobs_waiting_text, label_text
from worker.engine.worker_problems import (
    WorkerProblem,
    capitalized,
    failing_services,
    refusal_text,
    worker_problems,
)
from worker.store.refusals import RedisRefusal
from worker.store.workers import Heartbeat

CREDIT_PAGES: Final = {
    CreditWarningCause.BUDGET_NEAR: "/budgets",
    CreditWarningCause.BUDGET_CLOSED: "/budgets",
    CreditWarningCause.BUDGET_UNREADABLE: "/budgets",
    CreditWarningCause.BALANCE_LOW: "/credits",
}

MAX_NAMED: Final = 3
"""Items that the headline names; the list below it has all of them."""


@dataclass(frozen=True, slots=True)
class AttentionItem:
    """One item that waits for an operator."""

    headline: str
    """A few words for the headline of the summary."""
    text: str
    action: str
    href: str
    """The page where the operator acts."""


@dataclass(frozen=True, slots=True)
class OverviewSummary:
    """One line for everything, and the items behind it."""

    text: str
    items: tuple[AttentionItem, ...]

    @property
    def is_healthy(self) -> bool:
        """Whether nothing needs an operator."""
        return not self.items


def summarize(
    stats: QueueStats,
    holds: Sequence[tuple[Hold, int]],
    parked: Sequence[GroupSummary],
    dead: Sequence[GroupSummary],
    now: float,
) -> OverviewSummary:
    """What needs an operator: Redis, workers, breakers, holds, credits, parked and dead jobs."""
    items = [
        *_redis(stats.redis_problems),
        *_workers(stats),
        *_breakers(stats, now),
        *_holds(stats, holds),
        *_credits(stats),
        *_reconcile_off(stats),
        *_parked(parked, {hold.id for hold, _ in holds}),
        *_dead(dead),
    ]
    if not items:
        return OverviewSummary("All good: nothing needs your attention", ())
    named = "; ".join(item.headline for item in items[:MAX_NAMED])
    more = f"; and {len(items) - MAX_NAMED} more" if len(items) > MAX_NAMED else ""
    verb = "needs" if len(items) == 1 else "need"
    text = f"{count(len(items), 'issue')} {verb} your attention: {named}{more}"
    return OverviewSummary(text, tuple(items))


def _redis(problems: Sequence[RedisRefusal]) -> list[AttentionItem]:
    return [
        AttentionItem(one.reason, refusal_text(one), capitalized(one.fix), "/#workers")
        for one in problems
    ]


def _workers(stats: QueueStats) -> list[AttentionItem]:
    found: list[AttentionItem] = []
    waiting = sum(
        stats.states.get(state, 0)
        for state in (State.QUEUED, State.RUNNING, State.SUBMITTING, State.RETRYING)
    )
    is_known = bool(stats.workers) or not stats.redis_problems
    if not stats.workers and waiting and is_known:
        text = f"No worker is running, and {jobs_waiting_text(waiting)} for one"
        action = "Start one: knouds-worker worker"
        found.append(AttentionItem("no worker is running", text, action, "/#workers"))
    elif waiting and is_known and all(worker.is_leaving for worker in stats.workers):
        text = f"Every worker is drained or stopping, and {jobs_waiting_text(waiting)} for one"
        action = ACTION_DRAINED
        found.append(AttentionItem("no worker takes jobs", text, action, "/#workers"))
    silent = [beat for beat in stats.workers if beat.polls_failing_since is not None]
    if silent:
        short = f"polls of {count(len(silent), 'worker')} get no answer"
        action = "Nothing, where the provider is down: paid runs are polled again by themselves"
        found.append(
            AttentionItem(short, f"{short}: {silent[0].poll_failure}", action, "/#workers")
        )
    unproved = sorted({account for beat in stats.workers for account in beat.unproved_accounts})
    if unproved:
        short = f"submits of {', '.join(unproved)} wait for a poll"
        text = f"{short}: no poll of the last runs was answered, so no more are paid for"
        action = "They go on with the first answer. If it stays, check the API key and the provider"
        found.append(AttentionItem(short, text, action, "/#workers"))
    found += _worker_problems(stats.workers)
    failing = [beat for beat in stats.workers if failing_services(beat)]
    if failing:
        verb = "has" if len(failing) == 1 else "have"
        name, error = next(iter(failing_services(failing[0]).items()))
        text = f"{count(len(failing), 'worker')} {verb} a problem: {name} ({error})"
        action = "Read the worker's log; the Workers table names every problem"
        found.append(AttentionItem("a worker has errors", text, action, "/#workers"))
    return found


def _worker_problems(workers: Sequence[Heartbeat]) -> list[AttentionItem]:
    """What the workers say of themselves: each problem once, those first that stop submits."""
    named: dict[str, list[tuple[Heartbeat, WorkerProblem]]] = {}
    for beat in workers:
        for problem in worker_problems(beat):
            named.setdefault(problem.name, []).append((beat, problem))
    found: list[AttentionItem] = []
    for same in sorted(named.values(), key=lambda same: not same[0][1].stops_submits):
        beat, problem = same[0]
        others = f" and {count(len(same) - 1, 'more worker')}" if len(same) > 1 else ""
        text = f"{beat.id}{others}: {problem.text}"
        action = capitalized(problem.fix)
        found.append(AttentionItem(problem.headline, text, action, "/#workers"))
    return found


def _breakers(stats: QueueStats, now: float) -> list[AttentionItem]:
    found: list[AttentionItem] = []
    for summary in stats.breakers:
        breaker = summary.breaker
        if breaker.state is BreakerState.CLOSED and not breaker.is_relapsing(now):
            continue  # one failure slows it down for some seconds: not yet an outage
        text = f"{breaker_text(breaker, now)}; {jobs_waiting_text(summary.queued_jobs)}"
        short = f"{cause_text(breaker, now)} ({breaker.scope})"
        href = f"/holds#{breaker.id}"
        found.append(AttentionItem(short, text, advice_text(breaker, now), href))
    return found


def _holds(stats: QueueStats, holds: Sequence[tuple[Hold, int]]) -> list[AttentionItem]:
    found: list[AttentionItem] = []
    for hold, jobs in holds:
        if hold.phase is not HoldPhase.CLOSED or hold.is_manual:
            continue
        behind = queued_behind(hold, stats)
        text = f"{hold.code} on {hold.scope}: {waiting_text(jobs, behind)}"
        short = f"{hold.code} on {hold.scope} ({jobs_waiting_text(jobs + behind)})"
        found.append(AttentionItem(short, text, hold.action, f"/holds#{hold.id}"))
    return found


def _credits(stats: QueueStats) -> list[AttentionItem]:
    return [
        AttentionItem(one.headline, one.text, one.action, CREDIT_PAGES[one.cause])
        for one in stats.credit_warnings
    ]


def _reconcile_off(stats: QueueStats) -> list[AttentionItem]:
    return [
        AttentionItem(
            f"reconcile is switched off for {one.account}",
            f"A run of {one.job_id} was listed after its job had been submitted again, so no job of"
            f" account {one.account} is submitted again by itself",
            "Raise KNOUDS_EVIDENCE_GRACE_S, then: knouds-worker parked reconcile-on " + one.account,
            f"/jobs/{one.job_id}",
        )
        for one in stats.reconcile_off
    ]


def queued_behind(hold: Hold, stats: QueueStats) -> int:
    """Number of jobs that are queued in the lanes of a hold."""
    return queued_in(hold.scope, stats.lanes)


def waiting_text(parked_jobs: int, queued_jobs: int) -> str:
    """How many jobs wait behind a hold."""
    text = f"{count(parked_jobs, 'job')} parked"
    return text + (f", {count(queued_jobs, 'job')} queued behind it" if queued_jobs else "")


def _parked(groups: Sequence[GroupSummary], hold_ids: set[str]) -> list[AttentionItem]:
    """Groups of parked jobs, without those that a hold on the list covers."""
    found: list[AttentionItem] = []
    for summary in groups:
        group = summary.group
        reason = group.sample.reason
        if reason is not None and reason.hold_id in hold_ids:
            continue
        headlines = {
            UNCERTAIN: f"{count(group.count, 'uncertain job')} on {group.lane.target}"
            + (f" ({label_text(group.cause)})" if group.cause else ""),
            STUCK: f"{count(group.count, 'stuck run')} on {group.lane.target}",
            MANUAL: f"{count(group.count, 'job')} parked by an operator",
        }
        other = f"{group.code} on {group.lane.target} ({count(group.count, 'job')})"
        short = headlines.get(group.code, other)
        cause = f" ({label_text(group.cause)})" if group.cause else ""
        text = f"{group.code}{cause} on {group.lane}: {count(group.count, 'job')} parked"
        found.append(
            AttentionItem(short, text, reason.action if reason else "", group_href(summary))
        )
    return found


def _dead(groups: Sequence[GroupSummary]) -> list[AttentionItem]:
    found: list[AttentionItem] = []
    for summary in groups:
        group, reason = summary.group, summary.group.sample.reason
        dead = count(group.count, "dead letter")
        text = f"{group.code} on {group.lane}: {dead}"
        short = f"{dead}: {group.code} on {group.lane.target}"
        found.append(
            AttentionItem(short, text, reason.action if reason else "", group_href(summary))
        )
    return found


def group_query(summary: GroupSummary) -> Mapping[str, str]:
    """The filter fields that select the jobs of a group."""
    lane = summary.group.lane
    return {
        "code": summary.group.code,
        **({"cause": summary.group.cause} if summary.group.cause else {}),
        "account": lane.account,
        "kind": lane.kind,
        "target": lane.target,
    }


def group_href(summary: GroupSummary, narrow: Mapping[str, str] | None = None) -> str:
    """The page of a group's jobs, narrowed by more filter fields."""
    return f"/{summary.group.state}?{urlencode({**group_query(summary), **(narrow or {})})}"
