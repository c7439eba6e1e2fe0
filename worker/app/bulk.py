"""Operator actions on all jobs that a filter matches, as release, requeue or resubmit.

Each job is committed by itself, on the version that was read. A job that changed meanwhile is read
again, and skipped where the action no longer applies. So an interrupted call can be repeated. A
call has one audit entry, with the number of jobs it changed.

**Release** never lets jobs bypass a hold: by id one job is sent alone through a closed gate, but by
filter it would be hundreds. Jobs that a hold parked are queued by releasing the hold, which lets
one canary through and opens in doubling steps. An open gate is open for all jobs, so a hold is
released only where the filter covers everything that waits for it: the jobs it parked, and those
queued behind it. Otherwise the hold and its jobs stay, and the result names the hold. All other
parked jobs return to the queue, where closed gates keep them waiting.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, assert_never

from jobs.evidence.records import EvidenceFinding
from jobs.holds import Hold, HoldPhase
from jobs.indexes import Index
from jobs.job import Job
from jobs.lanes import Lane, covers
from jobs.lifecycle import IllegalTransition
from jobs.states import SETTLED, State
from jobs.workflows import EnqueueWarning
from worker.app.action_table import JobAction
from worker.app.actions import MAX_ACTION_TRIES, Actions, Actor, NoSuchHold, apply_action
from worker.app.bulk_request import (
    SENDING_ACTIONS,
    SWEPT_AGAIN,
    SWEPT_STATES,
    BulkAction,
    BulkCounts,
    BulkRequest,
    hold_kept_message,
)
from worker.app.bulk_results import BulkDone, BulkFailed, BulkJobResult, BulkSkipped, BulkWrite
from worker.app.changed_inputs import patch_note
from worker.app.enqueue import SPACING_S, InvalidRequest
from worker.app.enqueue_checks import EnqueueChecks
from worker.app.evidence_refresh import refresh_findings, why_not_resubmitted
from worker.app.extras import extra_or
from worker.app.patched_inputs import patched_inputs
from worker.clock import Clock
from worker.engine.cost_estimator import CostEstimator
from worker.engine.unreadable_records import (
    dead_letter_unreadable,
    jobs_in,
    load_jobs_with_inputs,
    load_records,
)
from worker.store import Store
from worker.store.commit import VersionedJob
from worker.store.jobs import NewerRecord
from worker.store.side_writes import ANY_EPOCH, SideWrites
from worker.tasks import finish_despite_cancel

READ_BATCH: Final = 200
"""Jobs read at a time."""

MAX_CONCURRENT_WRITES: Final = 32
"""Jobs written at a time: half of the Redis connections, the rest is for other calls."""

MAX_CONCURRENT_PATCHES: Final = 8
"""The same where inputs are patched: each may take megabytes of memory."""

MAX_ERRORS_SHOWN: Final = 20

CHANGED_MEANWHILE: Final = "changed meanwhile"


@dataclass(frozen=True, slots=True)
class _ParkedByHold:
    """What a hold parked, all of it selected."""

    lanes: Counter[Lane]
    ids: set[str]


class BulkActions:
    """Performs operator actions on many jobs."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        actions: Actions,
        max_inputs_bytes: int,
        *,
        estimator: CostEstimator,
        checks: EnqueueChecks,
    ) -> None:
        self.store = store
        self.clock = clock
        self.actions = actions
        self.estimator = estimator
        self.checks = checks
        self.max_inputs_bytes = max_inputs_bytes

    async def run(
        self, request: BulkRequest, actor: Actor, counts: BulkCounts | None = None
    ) -> BulkCounts:
        """Act on every selected job; returns what was done.

        `counts` grow while the call runs. The audit entry is also written when the call fails
        halfway, with what it did until then.
        """
        call = _BulkRun(self, request, actor, counts or BulkCounts())
        try:
            await call.run()
        finally:
            if not request.dry_run:
                changed, now = patch_note(request.patch, self.store.audit), self.clock.now()
                entry = request.audit_entry(now, actor, call.counts.done, changed)
                await finish_despite_cancel(self.store.audit.record(entry))
        call.counts.est_cost = await extra_or(None, self.estimator.total(call.lanes))
        return call.counts


class _BulkRun:
    """One bulk call."""

    def __init__(
        self, bulk: BulkActions, request: BulkRequest, actor: Actor, counts: BulkCounts
    ) -> None:
        self._bulk = bulk
        self._store = bulk.store
        self._request = request
        self._selection = request.selection
        self._actor = actor
        self.counts = counts
        self.lanes: Counter[Lane] = Counter()
        """Lane → jobs that will need a new run."""
        self._started_at = bulk.clock.now()
        self._taken = 0
        self._kept_closed: dict[str, str] = {}
        """Id of a hold that stays closed → why its jobs stay parked."""
        self._released: set[str] = set()
        """Holds whose jobs are counted."""
        self._erased: set[str] = set()
        """Of the jobs that are acted on: those whose inputs were erased."""
        self._counted: set[str] = set()
        """Jobs that are counted and may be read again: they were named, or are not settled."""

    @property
    def _relies_on_findings(self) -> bool:
        wanted = self._selection.filter.finding is EvidenceFinding.NOT_STARTED
        return wanted and self._request.action is BulkAction.RESUBMIT

    @property
    def _remaining(self) -> int | None:
        limit = self._request.limit
        return None if limit is None else max(0, limit - self.counts.done)

    async def run(self) -> None:
        """Act on every selected job."""
        if self._request.action is BulkAction.RELEASE:
            await self._release_holds()
        if self._relies_on_findings and not self._request.dry_run:
            await refresh_findings(self._store, self._bulk.clock, self._selection)
        if self._selection.ids is not None:
            names = [name for name in self._selection.ids if name not in self._counted]
            for first in range(0, len(names), READ_BATCH):
                await self._act_on(names[first : first + READ_BATCH])
            return
        sweep = SWEPT_STATES[self._request.action]
        if self._request.action is BulkAction.CANCEL and not self._request.dry_run:
            sweep = (*sweep, *SWEPT_AGAIN)
        for state in sweep:
            if self._selection.filter.state in (None, state):
                await self._sweep(state)

    async def _sweep(self, state: State) -> None:
        """Act on the jobs in a state, newest first; jobs that enter it meanwhile are not read."""
        wanted, cursor = replace(self._selection.filter, state=state), None
        while self._remaining != 0:
            page = await self._store.read.queries.page(wanted, READ_BATCH, cursor)
            now = self._bulk.clock.now()
            await dead_letter_unreadable(self._store.jobs, page.unreadable, now)
            await self._act_on([job.id for job in page.jobs])
            if (cursor := page.next_cursor) is None:
                return

    async def _act_on(self, ids: Sequence[str]) -> None:
        """Act on these jobs, up to the limit of the call."""
        stored = await load_records(self._store.jobs, ids, self._bulk.clock.now())
        todo = list(zip(ids, stored, strict=True))
        if self._request.action in SENDING_ACTIONS:
            self._erased = await self._store.payloads.erased(ids)
        at_once = MAX_CONCURRENT_WRITES if self._request.patch is None else MAX_CONCURRENT_PATCHES
        while todo and self._remaining != 0:
            size = at_once if self._remaining is None else min(at_once, self._remaining)
            group, todo = todo[:size], todo[size:]
            at = [self._requeue_time(self._taken + n) for n in range(len(group))]
            self._taken += len(group)
            outcomes = await asyncio.gather(
                *(self._act_on_job(*entry, now) for entry, now in zip(group, at, strict=True)),
                return_exceptions=True,
            )
            for (job_id, _), outcome in zip(group, outcomes, strict=True):
                if not isinstance(outcome, BaseException):
                    self._count(job_id, outcome)
            done = [one.after for one in outcomes if isinstance(one, BulkDone)]
            await self._count_lost_inputs([job.id for job in done if job.state is State.QUEUED])
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome

    async def _count_lost_inputs(self, ids: Sequence[str]) -> None:
        """In a dry run, count the jobs that would be queued and have no inputs to send."""
        if self._request.dry_run and self._request.action in SENDING_ACTIONS:
            self.counts.inputs_lost += len(await self._store.payloads.missing_inputs(ids))

    def _requeue_time(self, position: int) -> float | None:
        """When the job at this position counts as requeued; None for other actions: now.

        The newest job is read first, and yet has to be queued behind the older ones.
        """
        if self._request.action is not BulkAction.REQUEUE:
            return None
        return self._started_at + position * (
            -SPACING_S if self._selection.ids is None else SPACING_S
        )

    def _count(self, job_id: str, outcome: BulkJobResult | None) -> None:
        if outcome is None or job_id in self._counted:
            return
        match outcome:
            case BulkDone(after, warnings):
                self.counts.done += 1
                self.counts.list_ids([job_id])
                self.counts.add_warnings(warnings)
                if self._request.action is BulkAction.RELEASE and after.state is State.RUNNING:
                    self.counts.deadlines_extended += 1
                if after.state not in (State.RUNNING, State.CANCELLING):
                    self.lanes[after.lane] += 1
                if after.state in SETTLED:
                    return
            case BulkSkipped(why):
                self.counts.skipped[why] += 1
            case BulkFailed(detail):
                self.counts.failed += 1
                if len(self.counts.errors) < MAX_ERRORS_SHOWN:
                    self.counts.errors.append((job_id, detail))
            case _:
                assert_never(outcome)
        if self._request.action is BulkAction.CANCEL and not self._request.dry_run:
            self._counted.add(job_id)

    # One job.

    async def _act_on_job(
        self, job_id: str, stored: VersionedJob | NewerRecord | None, at: float | None
    ) -> BulkJobResult | None:
        """Act on a job until it is written, or the action does not apply; None: not selected."""
        inputs = None
        for number in range(MAX_ACTION_TRIES):
            if self._request.patch is not None:
                (found,) = await load_jobs_with_inputs(
                    self._store.jobs, [job_id], self._bulk.clock.now()
                )
                stored, given = found or (None, None)
                inputs = given if isinstance(given, bytes) else None
            elif number:
                (stored,) = await load_records(self._store.jobs, [job_id], self._bulk.clock.now())
            if isinstance(stored, NewerRecord):
                return BulkSkipped(stored.why)
            planned = self._plan(stored, inputs, at)
            if not isinstance(planned, BulkWrite):
                return planned
            if planned.after.state is State.QUEUED and job_id in self._erased:
                return BulkSkipped("its inputs were erased: enqueue a new job")
            try:
                warnings = await self._warnings(planned)
            except InvalidRequest as error:
                return BulkFailed(f"{error.field} {error}")
            if self._request.dry_run:
                return BulkDone(planned.after, warnings)
            written = await self._store.jobs.commit(
                planned.before, planned.after, planned.side_writes
            )
            if isinstance(written, VersionedJob):
                return BulkDone(written.job, warnings)
        return BulkSkipped(CHANGED_MEANWHILE)

    async def _warnings(self, planned: BulkWrite) -> tuple[EnqueueWarning, ...]:
        """What is wrong with patched inputs; raises `InvalidRequest` where that is refused."""
        inputs = planned.side_writes.inputs
        if inputs is None:
            return ()
        return (await self._bulk.checks.preview(planned.after.lane, inputs)).warnings

    def _plan(
        self, stored: VersionedJob | None, inputs: bytes | None, at: float | None
    ) -> BulkWrite | BulkSkipped | BulkFailed | None:
        """What to write for a job as it was read, or why nothing is written."""
        named = self._selection.ids is not None
        if stored is None:
            return BulkFailed("there is no such job") if named else BulkSkipped(CHANGED_MEANWHILE)
        job, action = stored.job, self._request.action
        if job.state not in SWEPT_STATES[action]:
            return BulkSkipped(
                f"cannot {action} a job that is {job.state}" if named else CHANGED_MEANWHILE
            )
        if not self._selection.matches(job):
            return None if named else BulkSkipped(CHANGED_MEANWHILE)
        hold_id = job.reason.hold_id if job.reason else None
        if hold_id in self._released:
            return None
        if action is BulkAction.RELEASE and hold_id in self._kept_closed:
            return BulkSkipped(self._kept_closed[hold_id])
        if self._relies_on_findings and (why := why_not_resubmitted(job, self._bulk.clock.now())):
            return BulkSkipped(why)
        try:
            after = self._apply(job, at)
            patch, max_bytes = self._request.patch, self._bulk.max_inputs_bytes
            new_inputs = None if patch is None else patched_inputs(inputs or b"", patch, max_bytes)
        except IllegalTransition as error:
            return BulkSkipped(str(error))
        except InvalidRequest as error:
            return BulkFailed(f"{error.field} {error}")
        if after is job:
            return BulkSkipped("is being cancelled already")
        return BulkWrite(stored, after, SideWrites(inputs=new_inputs, data_epoch=ANY_EPOCH))

    def _apply(self, job: Job, at: float | None) -> Job:
        """The job after the action; raises `IllegalTransition`."""
        now = self._bulk.clock.now() if at is None else max(at, job.updated_at)
        return apply_action(JobAction(self._request.action), job, now, self._actor)

    # Holds.

    async def _release_holds(self) -> None:
        """Release the holds that block selected jobs only."""
        for hold in await self._store.holds.list_all():
            if hold.phase is not HoldPhase.CLOSED or hold.is_manual:
                continue
            # What closes a lane concerns every tenant.
            found = None if self._selection.filter.tenant else await self._parked_by(hold)
            if found is None or not await self._covers_all_queued(hold):
                self._kept_closed[hold.id] = hold_kept_message(
                    hold, "also blocks jobs outside the filter"
                )
                continue
            (parked,) = await self._store.read.queries.held_counts([hold.id])
            if self._remaining is not None and parked > self._remaining:
                self._kept_closed[hold.id] = hold_kept_message(
                    hold, f"parked {parked}, more than the limit leaves"
                )
            elif self._request.dry_run:
                self._count_released(hold, found, parked, parked)
                await self._count_lost_inputs(list(found.ids))
            else:
                await self._release_hold(hold, found, parked)

    async def _release_hold(self, hold: Hold, found: _ParkedByHold, parked: int) -> None:
        try:
            _, released = await self._bulk.actions.release_hold(hold.id, self._actor, audited=False)
        except NoSuchHold:  # it was released meanwhile: its jobs are handled like any other
            return
        self._count_released(hold, found, parked, released)

    def _count_released(self, hold: Hold, found: _ParkedByHold, parked: int, released: int) -> None:
        self._released.add(hold.id)
        if self._selection.ids is not None:
            self._counted |= found.ids
        self.lanes += found.lanes
        self.counts.done += released
        self.counts.list_ids(sorted(found.ids))
        self.counts.holds_released += 1
        if released < parked:
            self.counts.skipped[CHANGED_MEANWHILE] += parked - released

    async def _parked_by(self, hold: Hold) -> _ParkedByHold | None:
        """What a hold parked; None if that is nothing, or includes a job that is not selected."""
        found = _ParkedByHold(Counter(), set())
        now = self._bulk.clock.now()
        async for job in jobs_in(self._store.jobs, Index.HELD, hold.id, now):
            if not self._selection.matches(job):
                return None
            found.lanes[job.lane] += 1
            found.ids.add(job.id)
        return found if found.lanes else None

    async def _covers_all_queued(self, hold: Hold) -> bool:
        """Whether every job that is queued behind a hold is selected."""
        queues = await self._store.lanes.snapshot()
        selection = self._selection.while_queued
        for lane in queues.lanes:
            if not covers(hold.scope, lane) or self._selection.covers_lane(hold, lane):
                continue
            now = self._bulk.clock.now()
            async for job in jobs_in(self._store.jobs, Index.LANE, str(lane), now):
                if not selection.matches(job):
                    return False
        return True
