"""What needs a person, in one list: the verdict of the overview.

Nothing here is a matter of taste: a thing is on the list when the program will not go on with it by
itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from jobs.holds import Hold, HoldPhase
from jobs.lanes import covers
from jobs.states import State
from jobs.transitions import MANUAL, STUCK, UNCERTAIN
from worker.app.queries import GroupSummary, QueueStats
from worker.dashboard.views.formatting import count, jobs_waiting_text

MAX_NAMED: Final = 3
"""Things that the verdict names; the list below it has them all."""


@dataclass(frozen=True, slots=True)
class AttentionItem:
    """One thing that waits for a person."""

    headline: str
    """A few words for the verdict."""
    text: str
    action: str
    href: str
    """The page where it is done."""


@dataclass(frozen=True, slots=True)
class OverviewSummary:
    """How everything stands, in one line."""

    text: str
    items: tuple[AttentionItem, ...]

    @property
    def is_healthy(self) -> bool:
        """Whether nothing needs anybody."""
        return not self.items


def summarize(
    stats: QueueStats,
    holds: Sequence[tuple[Hold, int]],
    parked: Sequence[GroupSummary],
    dead: Sequence[GroupSummary],
) -> OverviewSummary:
    """What needs a person, the gravest first."""
    needs = [
        *_workers(stats),
        *_holds(stats, holds),
        *_parked(parked, {hold.id for hold, _ in holds}),
        *_dead(dead),
    ]
    if not needs:
        return OverviewSummary("All well: nothing needs you", ())
    named = "; ".join(need.headline for need in needs[:MAX_NAMED])
    more = f"; and {len(needs) - MAX_NAMED} more" if len(needs) > MAX_NAMED else ""
    verb = "needs" if len(needs) == 1 else "need"
    return OverviewSummary(f"{count(len(needs), 'thing')} {verb} you: {named}{more}", tuple(needs))


def _workers(stats: QueueStats) -> list[AttentionItem]:
    found: list[AttentionItem] = []
    waiting = sum(
        stats.states.get(state, 0)
        for state in (State.QUEUED, State.RUNNING, State.SUBMITTING, State.RETRYING)
    )
    if not stats.workers and waiting:
        text = f"No worker is running, and {jobs_waiting_text(waiting)} for one"
        action = "Start one: knouds-worker worker"
        found.append(AttentionItem("no worker is running", text, action, "/#workers"))
    troubled = [beat for beat in stats.workers if beat.failures]
    if troubled:
        text = f"{count(len(troubled), 'worker')} restart a service that fails"
        action = "Read the worker's log; the table of workers names the services"
        found.append(AttentionItem("a worker has trouble", text, action, "/#workers"))
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


def queued_behind(hold: Hold, stats: QueueStats) -> int:
    """Jobs that are queued in lanes which a hold closes."""
    return sum(lane.queued for lane in stats.lanes if covers(hold.scope, lane.lane))


def waiting_text(parked_jobs: int, queued_jobs: int) -> str:
    """How many jobs wait for a hold."""
    told = f"{count(parked_jobs, 'job')} parked"
    return told + (f", {count(queued_jobs, 'job')} queued behind it" if queued_jobs else "")


def _parked(groups: Sequence[GroupSummary], hold_ids: set[str]) -> list[AttentionItem]:
    """Groups that no hold speaks for already."""
    found: list[AttentionItem] = []
    for seen in groups:
        group = seen.group
        reason = group.sample.reason
        if reason is not None and reason.hold_id in hold_ids:
            continue
        where = f"{group.lane.target}"
        match group.code:
            case code if code == UNCERTAIN:
                short = f"{count(group.count, 'uncertain job')} on {where}"
            case code if code == STUCK:
                short = f"{count(group.count, 'stuck run')} on {where}"
            case code if code == MANUAL:
                short = f"{count(group.count, 'job')} parked by a person"
            case code:
                short = f"{code} on {where} ({count(group.count, 'job')})"
        text = f"{group.code} on {group.lane}: {count(group.count, 'job')} parked"
        found.append(AttentionItem(short, text, reason.action if reason else "", group_href(seen)))
    return found


def _dead(groups: Sequence[GroupSummary]) -> list[AttentionItem]:
    found: list[AttentionItem] = []
    for seen in groups:
        group, reason = seen.group, seen.group.sample.reason
        dead = count(group.count, "dead letter")
        text = f"{group.code} on {group.lane}: {dead}"
        short = f"{dead}: {group.code} on {group.lane.target}"
        found.append(AttentionItem(short, text, reason.action if reason else "", group_href(seen)))
    return found


def group_query(summary: GroupSummary) -> Mapping[str, str]:
    """The filter that finds a group's jobs."""
    lane = summary.group.lane
    return {
        "code": summary.group.code,
        "account": lane.account,
        "kind": lane.kind,
        "target": lane.target,
    }


def group_href(summary: GroupSummary, narrow: Mapping[str, str] | None = None) -> str:
    """The page of a group's jobs, those that fit a narrower filter."""
    return f"/{summary.group.state}?{urlencode({**group_query(summary), **(narrow or {})})}"
