"""Says early what becomes of budgets: nearly used up, closed, reopened; once over all workers."""

import math
from collections.abc import Collection, Sequence
from typing import Final, assert_never

import structlog

from jobs.budgets.room import BudgetStatus
from jobs.budgets.waiting import LaneQueues
from jobs.budgets.warnings import BudgetChange, BudgetLevel, BudgetMark, advanced, percent_used
from worker.engine.cost_estimator import CostEstimator
from worker.store import Store
from worker.store.events import BudgetNotice
from worker.store.warnings import StoredMark

log: Final = structlog.get_logger(__name__)

_ABSENT: Final[StoredMark[BudgetMark]] = StoredMark()

QUEUES_READ_S: Final = 10.0
"""How often it is read whether jobs wait in their lanes for a budget that still has something."""


class BudgetWarnings:
    """Part of the budget keeper: one worker does it, once a tick."""

    def __init__(self, store: Store, estimator: CostEstimator) -> None:
        self._store = store
        self._estimator = estimator
        self._queues_read_at: float | None = None

    async def check(self, out_of_room: Collection[str], now: float) -> Sequence[BudgetStatus]:
        """Compare what is used with what was said, and say what is new; returns what is used.

        `out_of_room`: names of the budgets of tags and batches that a job waits for now.
        """
        # Marks first: whoever writes one after this reading makes ours fail.
        marks = (await self._store.warnings.read()).budgets
        statuses = await self._store.budgets.statuses(now)
        short = {*out_of_room, *await self._lanes_out_of_room(statuses, marks, now)}
        for status in statuses:
            name = status.budget.name
            before = marks.pop(name, _ABSENT)
            if before.is_newer:
                continue
            after, changes = advanced(before.mark, status, now, job_waits=name in short)
            if after == before.mark or not await self._store.warnings.mark_budget(
                name, before, after
            ):
                continue
            for change in changes:
                await self._say(change, status, now)
        for name, stale in marks.items():
            if not stale.is_newer:
                await self._store.warnings.mark_budget(name, stale, None)
        return statuses

    async def _lanes_out_of_room(
        self, statuses: Sequence[BudgetStatus], marks: dict[str, StoredMark[BudgetMark]], now: float
    ) -> set[str]:
        """Budgets of lanes that are partly used, and have less left than a queued job costs."""
        partly_used = [
            one
            for one in statuses
            if one.budget.is_for_lanes
            and not one.is_closed
            and one.use.total > 0
            and not _is_marked_closed(marks.get(one.budget.name, _ABSENT), one)
        ]
        last = self._queues_read_at
        if not partly_used or (last is not None and 0 <= now - last < QUEUES_READ_S):
            return set()
        self._queues_read_at = now
        counts = await self._store.lanes.queued_counts()
        queued = {lane: count for lane, count in counts.items() if count}
        queues = LaneQueues(queued, await self._estimator.estimates(queued))
        return queues.without_room(partly_used)

    async def _say(self, change: BudgetChange, status: BudgetStatus, now: float) -> None:
        notice = budget_notice(change, status, now)
        facts = {
            "budget": notice.name,
            "scope": notice.scope,
            "percent": notice.percent,
            "reopens_at": notice.resets_at,
        }
        match change:
            case BudgetChange.WARNING:
                log.warning("budget.warning", **facts)
            case BudgetChange.CLOSED:
                log.warning("budget.closed", **facts)
            case BudgetChange.REOPENED:
                log.info("budget.reopened", **facts)
            case BudgetChange.SET | BudgetChange.REMOVED:
                pass  # in the audit log
            case _:
                assert_never(change)
        await self._store.warnings.announce_budget(notice)


def budget_notice(change: BudgetChange, status: BudgetStatus, now: float) -> BudgetNotice:
    """What the event stream says of a budget."""
    end = status.window.end
    return BudgetNotice(
        name=status.budget.name,
        scope=status.budget.scope,
        change=change,
        percent=percent_used(status),
        at=now,
        resets_at=end if math.isfinite(end) and end > 0 else None,
    )


def _is_marked_closed(stored: StoredMark[BudgetMark], status: BudgetStatus) -> bool:
    mark = stored.mark
    return mark is not None and mark.is_of(status) and mark.level is BudgetLevel.CLOSED
