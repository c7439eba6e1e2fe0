"""The budget keeper: counts what is in flight for a new budget, and lets jobs back in their lanes.

It also says when a budget is nearly used up, closes or reopens (`worker.engine.budget_warnings`),
and notes how fast it is spent (`worker.engine.spending_sampler`).

One worker does it for all. A budget admits nothing until what was in flight when it was set is
counted: each such job gets its reservation written to its record, as if it were admitted now.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Final

import msgspec
import structlog

from jobs import transitions
from jobs.budgets.record import Budget, budget_scopes
from jobs.budgets.room import BudgetAnswer, BudgetRoom, BudgetStatus
from jobs.credits.charges import micro_credits
from jobs.indexes import Index
from jobs.lanes import JobId
from jobs.states import SETTLED, State
from worker.engine.budget_warnings import BudgetWarnings
from worker.engine.cost_estimator import CostEstimator
from worker.engine.spending_sampler import SpendingSampler
from worker.engine.unreadable_records import load_jobs
from worker.engine.wakeups import Wakeup
from worker.engine.worker_parts import WorkerContext
from worker.store.commit import VersionedJob

log: Final = structlog.get_logger(__name__)

TICK_S: Final = 1.0
IDLE_S: Final = 3.0
"""Pause while there are no budgets: a new one is found before it is to be counted."""

LEASE_S: Final = 10.0
RETURNED_AT_ONCE: Final = 100
"""Jobs of one budget that return to their lanes in one tick, at most."""

MAY_BE_IN_FLIGHT: Final = (
    State.SUBMITTING,
    State.RUNNING,
    State.CANCELLING,
    State.PARKED,
    State.RETRYING,
)


class BudgetKeeper:
    """Keeps the budgets of one namespace, while this worker has the lease."""

    name = "budget_keeper"

    def __init__(self, context: WorkerContext, estimator: CostEstimator) -> None:
        self._store = context.store
        self._clock = context.clock
        self._worker_id = context.worker_id
        self._estimator = estimator
        self._warnings = BudgetWarnings(context.store, estimator)
        self._spending = SpendingSampler(context.store.budget_spending)
        self._out_of_room: set[str] = set()
        self._looked_at: dict[str, int] = {}
        """Budget → how many of its waiting jobs were looked at, where the first ones do not fit."""
        self._admission = context.wakeups.admission
        self.wakeup = Wakeup()

    async def tick(self, now: float) -> float:
        """Count what is in flight, and return jobs; returns the seconds until the next tick."""
        budgets = await self._store.budgets.list_all()
        waited_for = await self._store.budgets.waited_for()
        if not budgets and not waited_for:
            return IDLE_S
        if not await self._store.budgets.claim(self._worker_id, LEASE_S):
            return TICK_S
        for budget in budgets:
            if budget.is_counting and not budget.error:
                await self.count_in_flight(budget, now)
        full = False
        self._out_of_room.clear()
        for name in waited_for:
            full = await self._return_jobs(name, now) or full
        statuses = await self._warnings.check(self._out_of_room, now)
        await self._spending.sample(statuses, now)
        return 0.0 if full else TICK_S

    async def count_in_flight(self, budget: Budget, now: float) -> None:
        """Let every job in flight reserve what it may cost; then the budget admits jobs."""
        await self._store.budgets.new_version()  # a worker that does not know it admits nothing
        (status,) = await self._store.budgets.with_use([budget], now)
        count = 1
        while count:
            count = 0
            for state in MAY_BE_IN_FLIGHT:
                async for ids in self._store.jobs.ids_in(Index.STATE, state):
                    count += await self._reserve_all(ids, status, now)
            for state in SETTLED:
                async for ended in self._store.jobs.entered_since(state, budget.set_at):
                    count += await self._reserve_all(ended, status, now)
            await self._store.budgets.claim(self._worker_id, LEASE_S)

        def counted(current: Budget | None) -> Budget | None:
            if current is None or current.generation != budget.generation:
                return current
            return msgspec.structs.replace(current, is_counting=False)

        await self._store.budgets.change(budget.name, counted)
        self._admission.notify()
        log.info("budget.counted", budget=budget.name, scope=budget.scope)

    async def _reserve_all(self, ids: Sequence[str], status: BudgetStatus, now: float) -> int:
        """Write the reservations that some jobs lack; how many lacked one."""
        found = await load_jobs(self._store.jobs, ids, now)
        written = [self._reserve(one, status) for one in found if one is not None]
        return sum(await asyncio.gather(*written))

    async def _reserve(self, stored: VersionedJob, status: BudgetStatus) -> bool:
        """Write the reservation of a job that lacks one; whether it lacked one."""
        if status.budget.scope not in budget_scopes(stored.job):
            return False
        after = transitions.reserve(stored.job, status)
        if after == stored.job:
            return False
        await self._store.jobs.commit(stored, after)  # after a lost race it is looked at again
        return True

    async def _return_jobs(self, name: str, now: float) -> bool:
        """Let jobs back in their lanes that a budget keeps out no more; whether more may follow.

        Where none of the first ones fits, some behind them are looked at, other ones in each tick:
        jobs that cost more than is left keep no others out.
        """
        statuses = await self._store.budgets.statuses(now)
        is_closed = any(one.budget.name == name and one.is_closed for one in statuses)
        count = 1 if is_closed else RETURNED_AT_ONCE
        ids = await self._store.jobs.members(Index.BUDGET, name, count)
        if not ids:
            self._looked_at.pop(name, None)
            await self._store.budgets.retire(name)
            return False
        if is_closed:
            self._out_of_room.add(name)
            return False
        room = BudgetRoom(one for one in statuses if not one.budget.is_for_lanes)
        returned = await self._return(name, ids, room, now)
        if not returned and len(ids) == RETURNED_AT_ONCE:
            first = max(self._looked_at.get(name, 0), RETURNED_AT_ONCE)
            others = await self._store.jobs.members(Index.BUDGET, name, RETURNED_AT_ONCE, first)
            self._looked_at[name] = first + RETURNED_AT_ONCE if others else 0
            returned = await self._return(name, others, room, now)
        if returned:
            self._admission.notify()
        return returned >= RETURNED_AT_ONCE

    async def _return(self, name: str, ids: Sequence[JobId], room: BudgetRoom, now: float) -> int:
        """Let those of some waiting jobs back that fit; how many entries were changed."""
        rows = await load_jobs(self._store.jobs, ids, now)
        jobs = [stored for stored in rows if stored is not None]
        estimates = await self._estimator.estimates({one.job.lane for one in jobs})
        writes: list[Awaitable[object]] = []
        for job_id, stored in zip(ids, rows, strict=True):
            if stored is None:
                writes.append(
                    self._store.jobs.remove_entry_without_record(Index.BUDGET, name, job_id)
                )
                continue
            job = stored.job
            if job.waits_for_budget != name:
                writes.append(self._store.jobs.remove_stale_entry(stored, Index.BUDGET, name))
                continue
            found = room.of_job(job, estimates[job.lane])
            room.take(found.reservations)
            if found.by is not None and found.answer is BudgetAnswer.WAITS:
                cost = micro_credits(estimates[job.lane]) or 1
                if cost > found.by.left:  # not only more than those before it leave
                    self._out_of_room.add(found.by.budget.name)
            after = transitions.wait_for_budget(job, found.by.budget.name if found.by else None)
            if after is not job:
                writes.append(self._store.jobs.commit(stored, after))
        await asyncio.gather(*writes)
        return len(writes)
