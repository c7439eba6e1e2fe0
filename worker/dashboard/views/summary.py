"""What needs a person, in one list: the verdict of the overview.

Nothing here is a matter of taste: a thing is on the list when the program will not go on with it by
itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from jobs.holds import Hold, Phase
from jobs.lanes import covers
from jobs.states import State
from jobs.transitions import MANUAL, STUCK, UNCERTAIN
from worker.app.queries import GroupSeen, Stats
from worker.dashboard.views.formatting import count, waits

TOLD: Final = 3
"""Things that the verdict names; the list below it has them all."""


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that waits for a person."""

    short: str
    """A few words for the verdict."""
    text: str
    action: str
    href: str
    """The page where it is done."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How everything stands, in one line."""

    text: str
    needs: tuple[Need, ...]

    @property
    def is_well(self) -> bool:
        """Whether nothing needs anybody."""
        return not self.needs


def verdict(
    stats: Stats,
    holds: Sequence[tuple[Hold, int]],
    parked: Sequence[GroupSeen],
    dead: Sequence[GroupSeen],
) -> Verdict:
    """What needs a person, the gravest first."""
    needs = [
        *_workers(stats),
        *_holds(stats, holds),
        *_parked(parked, {hold.id for hold, _ in holds}),
        *_dead(dead),
    ]
    if not needs:
        return Verdict("All well: nothing needs you", ())
    named = "; ".join(need.short for need in needs[:TOLD])
    more = f"; and {len(needs) - TOLD} more" if len(needs) > TOLD else ""
    verb = "needs" if len(needs) == 1 else "need"
    return Verdict(f"{count(len(needs), 'thing')} {verb} you: {named}{more}", tuple(needs))


def _workers(stats: Stats) -> list[Need]:
    found: list[Need] = []
    waiting = sum(
        stats.states.get(state, 0)
        for state in (State.QUEUED, State.RUNNING, State.SUBMITTING, State.RETRYING)
    )
    if not stats.workers and waiting:
        text = f"No worker is running, and {waits(waiting)} for one"
        action = "Start one: knouds-worker worker"
        found.append(Need("no worker is running", text, action, "/#workers"))
    troubled = [beat for beat in stats.workers if beat.failures]
    if troubled:
        text = f"{count(len(troubled), 'worker')} restart a service that fails"
        action = "Read the worker's log; the table of workers names the services"
        found.append(Need("a worker has trouble", text, action, "/#workers"))
    return found


def _holds(stats: Stats, holds: Sequence[tuple[Hold, int]]) -> list[Need]:
    found: list[Need] = []
    for hold, jobs in holds:
        if hold.phase is not Phase.CLOSED or hold.code == MANUAL:
            continue
        behind = queued_behind(hold, stats)
        text = f"{hold.code} on {hold.scope}: {waiting_text(jobs, behind)}"
        short = f"{hold.code} on {hold.scope} ({waits(jobs + behind)})"
        found.append(Need(short, text, hold.action, f"/holds#{hold.id}"))
    return found


def queued_behind(hold: Hold, stats: Stats) -> int:
    """Jobs that are queued in lanes which a hold closes."""
    return sum(lane.queued for lane in stats.lanes if covers(hold.scope, lane.lane))


def waiting_text(parked: int, behind: int) -> str:
    """How many jobs wait for a hold."""
    told = f"{count(parked, 'job')} parked"
    return told + (f", {count(behind, 'job')} queued behind it" if behind else "")


def _parked(groups: Sequence[GroupSeen], standing: set[str]) -> list[Need]:
    """Groups that no hold speaks for already."""
    found: list[Need] = []
    for seen in groups:
        group = seen.group
        reason = group.sample.reason
        if reason is not None and reason.hold_id in standing:
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
        found.append(Need(short, text, reason.action if reason else "", group_href(seen)))
    return found


def _dead(groups: Sequence[GroupSeen]) -> list[Need]:
    found: list[Need] = []
    for seen in groups:
        group, reason = seen.group, seen.group.sample.reason
        dead = count(group.count, "dead letter")
        text = f"{group.code} on {group.lane}: {dead}"
        short = f"{dead}: {group.code} on {group.lane.target}"
        found.append(Need(short, text, reason.action if reason else "", group_href(seen)))
    return found


def group_query(seen: GroupSeen) -> Mapping[str, str]:
    """The filter that finds a group's jobs."""
    lane = seen.group.lane
    return {
        "code": seen.group.code,
        "account": lane.account,
        "kind": lane.kind,
        "target": lane.target,
    }


def group_href(seen: GroupSeen, narrow: Mapping[str, str] | None = None) -> str:
    """The page of a group's jobs, those that fit a narrower filter."""
    return f"/{seen.group.state}?{urlencode({**group_query(seen), **(narrow or {})})}"
