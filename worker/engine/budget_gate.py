"""Budgets at admission: which jobs fit, which wait, and what those that are admitted reserve."""

from collections.abc import Collection, Sequence
from typing import Final

import structlog

from jobs import transitions
from jobs.budgets.room import FITS, BudgetAnswer, BudgetDecision, BudgetRoom, BudgetStatus
from jobs.indexes import Index
from jobs.job import BUDGET, Job
from jobs.lanes import JobId, Lane
from jobs.states import State
from worker.engine.estimate_cache import EstimateCache
from worker.store import Store
from worker.store.budgets import budget_check
from worker.store.commit import VersionedJob
from worker.store.preconditions import BudgetCheck, Limit, lane_cap

log: Final = structlog.get_logger(__name__)

MAX_AGE_S: Final = 1.0
"""How old the room may be; the commit of an admission checks it exactly."""

CAUSE_SHOWN_S: Final = 10.0
"""How long it is believed that a lane has a parked job that shows why the others wait."""

UNPRICED_PAUSE_S: Final = 300.0
"""How long a lane of unknown cost waits for the cost of its last run: nobody may ever name it."""

QueuedJob = tuple[VersionedJob, bytes]
"""A queued job and its inputs."""


class BudgetGate:
    """What budgets admit. They are read at most once a second: without any they cost nothing."""

    def __init__(self, store: Store, estimates: EstimateCache) -> None:
        self._store = store
        self._estimates = estimates
        self._room = BudgetRoom(())
        self._statuses: dict[str, BudgetStatus] = {}
        self.version: int | None = None
        """Of what was read: the commit of an admission checks that it is the present one."""
        self._unpriced: set[Lane] = set()
        self._read_at: float | None = None
        self._decisions: dict[JobId, BudgetDecision] = {}
        self._cause_shown: dict[Lane, float] = {}
        self.has_moved = False
        """Whether a job left its lane since the last reading, so that others are first, or what was
        read has changed since: the next tick is due at once."""

    async def read(self, lanes: Collection[Lane], now: float) -> None:
        """Begin a tick: read what is outdated, and where there are budgets also the estimates."""
        self._decisions.clear()
        self.has_moved = False
        if self._read_at is None or not 0 <= now - self._read_at < MAX_AGE_S:
            self.version, budgets = await self._store.budgets.read()
            self._room = BudgetRoom(await self._store.budgets.with_use(budgets, now))
            self._statuses = {one.budget.name: one for one in self._room.statuses}
            self._read_at = now
            self._cause_shown = {
                lane: at for lane, at in self._cause_shown.items() if 0 <= now - at < CAUSE_SHOWN_S
            }
        self._unpriced = set()
        if not self._room.is_empty:
            await self._estimates.refresh(lanes, now)
            await self._find_unpriced(
                [one for one in lanes if self._room.has_lane_budget(one)], now
            )

    def admits(self, lane: Lane) -> bool:
        """Whether the budgets of its account, route and target leave room for a job of a lane.

        Also where no job of it can ever fit, until one is parked to show that.
        """
        if self._room.is_empty:
            return True
        if lane in self._unpriced:
            return False
        found = self._room.of_lane(lane, self._estimates.of(lane)).answer
        return found is BudgetAnswer.FITS or (
            found is BudgetAnswer.NEVER_FITS and lane not in self._cause_shown
        )

    def runs_singly(self, lane: Lane) -> bool:
        """Whether nothing is known of what a run costs, and budgets of the lane apply."""
        if self._room.is_empty or self._estimates.of(lane) is not None:
            return False
        return self._room.has_lane_budget(lane)

    async def within(self, queued: Sequence[QueuedJob], now: float) -> list[QueuedJob]:
        """The jobs that fit. Those that wait for a tag or batch leave their lane until it has room.

        Of jobs that can never fit, one of each lane is parked.
        """
        if self._room.is_empty or not queued:
            return list(queued)
        lanes = {stored.job.lane for stored, _ in queued}
        await self._estimates.refresh(lanes, now)
        await self._find_unpriced(lanes, now)
        fitting: list[QueuedJob] = []
        for stored, inputs in queued:
            found = self._room.of_job(stored.job, self._estimates.of(stored.job.lane))
            if found.by is None and found.is_cost_unknown and stored.job.lane in self._unpriced:
                continue
            if found.by is None:
                self._room.take(found.reservations)
                self._decisions[stored.job.id] = found
                fitting.append((stored, inputs))
            elif found.answer is BudgetAnswer.WAITS or not await self._park_first(
                stored, found.by, now
            ):
                await self._keep_out(stored, found.by)
        return fitting

    def decision(self, job: Job) -> BudgetDecision:
        """What was decided about a job in this tick."""
        return self._decisions.get(job.id, FITS)

    def checks(self, job: Job) -> tuple[BudgetCheck, ...]:
        """The preconditions of its admission."""
        return tuple(
            budget_check(self._statuses[one.budget], one.amount)
            for one in self.decision(job).reservations
        )

    def limits(self, job: Job) -> tuple[Limit, ...]:
        """One at a time, where nothing is known of what a run costs."""
        return (lane_cap(job.lane, 1),) if self.decision(job).is_cost_unknown else ()

    def record_refused(self, job: Job, *, is_gated: bool) -> None:
        """Its admission was refused: what was read of its budgets may be outdated.

        `is_gated`: a gate has changed, or the version of budgets and caps has.
        """
        if is_gated:
            self._read_at, self.has_moved = None, True
        if reservations := self.decision(job).reservations:
            self._room.close(reservations)

    async def _find_unpriced(self, lanes: Collection[Lane], now: float) -> None:
        """Find the lanes whose last run has ended and whose cost is not known yet, or just now.

        Nothing was reserved for it: the next one waits until the cost is known, or long enough.
        """
        unknown = [lane for lane in lanes if self._estimates.of(lane) is None]
        if unknown:
            since = now - UNPRICED_PAUSE_S
            self._unpriced |= await self._store.budgets.unpriced_lanes(unknown, since)

    async def _keep_out(self, stored: VersionedJob, by: BudgetStatus) -> None:
        """Move a job out of its lane, unless the budget is one of the lane."""
        if by.budget.is_for_lanes:
            return
        waiting = transitions.wait_for_budget(stored.job, by.budget.name)
        self.has_moved = True
        await self._store.jobs.commit(stored, waiting)

    async def _park_first(self, stored: VersionedJob, by: BudgetStatus, now: float) -> bool:
        """Park the first job of a lane that can never fit; whether it was parked."""
        lane = stored.job.lane
        if lane in self._cause_shown:
            return False
        self._cause_shown[lane] = now
        if await self._store.jobs.members(Index.GROUP, f"{State.PARKED}|{BUDGET}|{lane}", 1):
            return False
        parked = transitions.park_over_budget(stored.job, now, by, self._estimates.of(lane))
        log.warning("budget.never_fits", job_id=stored.job.id, budget=by.budget.name)
        return isinstance(await self._store.jobs.commit(stored, parked), VersionedJob)
