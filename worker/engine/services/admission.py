"""Admission: moves jobs from open lanes to the arq queue, as slots, gates and caps allow.

It reads the first few jobs of each lane, or of the next fair keys in it, never those behind them: a
backlog costs nothing.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

import structlog

from jobs.admission import FreeSlots, choose
from jobs.breaker_room import BreakerRoom, breaker_room
from jobs.breakers import Breaker
from jobs.holds import Gates, HoldPhase
from jobs.indexes import holds_sync_slot
from jobs.job import Job
from jobs.lanes import Lane, Scope, cap_of_lane
from jobs.rate_limits import Allowance
from jobs.states import Mode
from jobs.transitions import admit
from worker.engine.arq_entries import arq_entries
from worker.engine.breaker_reporter import BreakerReporter
from worker.engine.budget_gate import BudgetGate, QueuedJob
from worker.engine.estimate_cache import EstimateCache
from worker.engine.fair_lanes import FairLanes
from worker.engine.keyless_lanes import KeylessLanes
from worker.engine.poll_proof import PollProof
from worker.engine.probe_choice import other_inputs_first
from worker.engine.queued_jobs import QueuedJobLoader
from worker.engine.services.rate_limiter import RateLimiter
from worker.engine.services.redis_recovery import RedisRecovery
from worker.engine.shutdown_deadline import ShutdownDeadline
from worker.engine.slots import SlotCounter
from worker.engine.wakeups import Wakeup
from worker.engine.worker_parts import WorkerContext
from worker.store.commit import VersionedJob
from worker.store.jobs import CommitRefused
from worker.store.lanes import QueueSnapshot
from worker.store.preconditions import Limit, canary_limit, lane_cap
from worker.store.side_writes import SideWrites

log: Final = structlog.get_logger(__name__)

IDLE_S: Final = 0.5
"""Pause while there is nothing to admit; a wake-up ends it early."""

BUSY_S: Final = 0.05
"""Pause while jobs wait and this worker has no free slot."""

MAX_BYPASSING_READ: Final = 500
"""Jobs released through a closed gate that one tick reads at most: where the first of them wait for
a slot of one sort, those of the other sort behind them are admitted."""

MIN_PUT_OFF_S: Final = 5.0
LANES_CHECKED_PER_S: Final = 50
"""Closed lanes that are looked at again in a second, where there are many."""


class SubmitStep(Protocol):
    """What admission needs of the submit step."""

    def cache_admitted(self, stored: VersionedJob, inputs: bytes) -> None:
        """Keep an admitted job for its submit."""
        ...


class Admission:
    """Admits jobs for the free slots of this worker, until it stops."""

    name = "admission"

    def __init__(
        self,
        context: WorkerContext,
        submit_step: SubmitStep,
        *,
        caps: Mapping[str, int],
        key_caps: Mapping[str, int],
        slots: SlotCounter,
        redis_recovery: RedisRecovery,
        rate_limiter: RateLimiter,
        shutdown_deadline: ShutdownDeadline,
        poll_proof: PollProof,
        breakers: BreakerReporter,
        estimates: EstimateCache,
    ) -> None:
        self._store = context.store
        self._clock = context.clock
        self._wakeups = context.wakeups
        self._lease_s = context.lease_s
        self._worker_id = context.worker_id
        self._submit_step = submit_step
        self._slots = slots
        self._default_caps = self._caps = caps
        self._redis_recovery = redis_recovery
        self._rate_limiter = rate_limiter
        self._shutdown_deadline = shutdown_deadline
        self._poll_proof = poll_proof
        self._breakers = breakers
        self._estimates = estimates
        self._budgets = BudgetGate(context.store, estimates)
        self._admitted_count = 0
        self._keyless_lanes = KeylessLanes(context.store, context.accounts)
        self._loader = QueuedJobLoader(context.store)
        self._fair_lanes = FairLanes(context.store, key_caps)

    @property
    def wakeup(self) -> Wakeup:
        """Ends the pause between two ticks early."""
        return self._wakeups.admission

    async def tick(self, now: float) -> float:
        """Admit the jobs that may be sent now; returns the seconds until the next tick."""
        if self._shutdown_deadline.has_started or not self._slots.takes_work:
            return IDLE_S
        if self._store.payloads.lacking:
            return IDLE_S
        queues = await self._store.lanes.snapshot(now)
        if not queues.lanes and not queues.bypass_count:
            return IDLE_S
        looked_at = queues.lanes
        queues = replace(queues, lanes=await self._keyless_lanes.own(looked_at, now))
        free = self._slots.free(queues)
        if not free.has_any:
            return BUSY_S
        # Its version is read first: whoever changes a cap after the gates are read changes it.
        await self._budgets.read(queues.lanes, now)
        gates = self._breakers.with_noted(await self._store.holds.gates(), now)
        self._caps = gates.caps_over(self._default_caps)
        self._poll_proof.waiting_holds = gates.waiting_for_poll(
            gates.polled_accounts if queues.is_window else (lane.account for lane in queues.lanes)
        )
        if not self._redis_recovery.is_trusted(now):
            self._redis_recovery.wakeup.notify()
            return BUSY_S
        allowances = await self._rate_limiter.allowances((lane.route for lane in queues.lanes), now)
        self._fair_lanes.begin()
        left = await self._admit_bypassing(queues, gates, free, now)
        left = await self._admit_lanes(queues, gates, allowances, left, now)
        if queues.is_window:
            turns = self._turns(looked_at, queues.lane_count, gates, now)
            await self._store.lanes.record_turns(turns)
            return BUSY_S
        has_moved = self._budgets.has_moved or self._fair_lanes.has_moved
        if left != free or free.submits <= 0 or has_moved:
            return BUSY_S
        return self._idle_pause_s(queues, gates, now)

    def _idle_pause_s(self, queues: QueueSnapshot, gates: Gates, now: float) -> float:
        """Seconds until the first cool-down or window of a lane ends, at most the idle pause."""
        ends = [
            cooling.until
            for lane in queues.lanes
            if (cooling := gates.running_cool_down(lane.scopes, now)) is not None
        ]
        probes = (breaker.next_probe_at for breaker in gates.breakers)
        ends += [at for at in probes if at is not None and at > now]
        resets = (self._rate_limiter.bucket(lane.route).reset_at for lane in queues.lanes)
        ends += [reset for reset in resets if reset is not None and reset > now]
        return max(0.0, min([IDLE_S, *(end - now for end in ends)]))

    async def _admit_bypassing(
        self, queues: QueueSnapshot, gates: Gates, free_slots: FreeSlots, now: float
    ) -> FreeSlots:
        """Admit first the jobs that an operator released through a closed gate.

        Returns the slots that are left, as the next method.
        """
        if not queues.bypass_count:
            return free_slots
        picked: list[QueuedJob] = []
        left, first = free_slots, 0
        while left.has_any and first < min(queues.bypass_count, MAX_BYPASSING_READ):
            count = left.of_lane(is_sync_only=False) + left.of_lane(is_sync_only=True)
            for found in await self._loader.bypassing(first, count, now):
                is_sync = gates.is_sync_only(found[0].job.lane, now)
                if not left.of_lane(is_sync_only=is_sync):
                    continue
                if gates.admits(found[0].job.lane, now, bypass_hold=True, worker=self._worker_id):
                    picked.append(found)
                    left = left.less(submits=not is_sync, sync_runs=is_sync)
            first += count
        picked = await self._budgets.within(picked, now)
        admitted = await self._admit_all(await self._take_grants(picked, now), gates)
        return _left_after(free_slots, admitted)

    async def _admit_lanes(
        self,
        queues: QueueSnapshot,
        gates: Gates,
        allowances: Mapping[Scope, Allowance],
        free_slots: FreeSlots,
        now: float,
    ) -> FreeSlots:
        """Admit the first jobs of the open lanes, as slots and rate limits allow."""
        sync_only = {lane for lane in queues.lanes if gates.is_sync_only(lane, now)}
        room = await self._breaker_room(gates, queues.lanes, now)
        lanes = [
            lane
            for lane in queues.lanes
            if free_slots.of_lane(is_sync_only=lane in sync_only)
            and gates.admits(lane, now, worker=self._worker_id)
            and room.of_lane(lane)
            and allowances[lane.route].urgent
            and self._budgets.admits(lane)
            and (lane in sync_only or self._poll_proof.left(lane.account))
        ]
        if not lanes:
            return free_slots
        counts = [
            max(room.heads(lane), free_slots.of_lane(is_sync_only=lane in sync_only))
            for lane in lanes
        ]
        heads = await self._store.lanes.heads(lanes, self._fair_lanes.counts(lanes, counts))
        for lane, head in zip(lanes, heads, strict=True):
            if not head:
                await self._store.lanes.retire(lane)
        heads = await self._fair_lanes.in_turn(lanes, heads, counts, now)
        heads = [room.in_turn(lane, head) for lane, head in zip(lanes, heads, strict=True)]
        heads = await other_inputs_first(self._store, room, lanes, heads, now)
        cap_remaining = room.within(await self._cap_remaining(lanes), lanes)
        cap_remaining = room.unslowed_first(cap_remaining, lanes, heads)
        picks = choose(
            lanes,
            heads,
            free_slots,
            cap_remaining,
            sync_only=sync_only,
            allowances=room.allowances(allowances),
            picked_before=self._admitted_count,
        )
        picks = self._poll_proof.within(picks, sync_only)
        picked = await self._loader.picked(picks, self._fair_lanes.key_of, now)
        fitting = await self._budgets.within(picked, now)
        granted = await self._take_grants(fitting, now)
        admitted = await self._admit_all(granted, gates)
        self._admitted_count += len(admitted)
        await self._store.lanes.record_turns(
            {pick.lane: now + number * 1e-6 for number, pick in enumerate(picks)}
        )
        return _left_after(free_slots, admitted)

    async def _breaker_room(self, gates: Gates, lanes: Sequence[Lane], now: float) -> BreakerRoom:
        """What breakers that probe leave of their steps; free of charge while there are none."""
        counting = {b.id: b for lane in lanes for b in self._limiting(gates, lane, now)}
        if not counting:
            return BreakerRoom({}, {})
        counts = await self._store.lanes.gate_counts(list(counting))
        return breaker_room(counting.values(), counts, now)

    def _limiting(self, gates: Gates, lane: Lane, now: float) -> tuple[Breaker, ...]:
        return gates.limiting_breakers(lane, now, self._worker_id)

    async def _cap_remaining(self, lanes: Sequence[Lane]) -> dict[Lane, int]:
        """How many more each capped lane may run."""
        caps = {lane: cap for lane in lanes if (cap := self._cap_of(lane)) is not None}
        active = await self._store.lanes.active_counts(list(caps))
        return {
            lane: max(0, cap - running)
            for (lane, cap), running in zip(caps.items(), active, strict=True)
        }

    def _cap_of(self, lane: Lane) -> int | None:
        cap = cap_of_lane(self._caps, lane)
        return 1 if self._budgets.runs_singly(lane) and cap != 0 else cap

    async def _take_grants(self, queued: Sequence[QueuedJob], now: float) -> list[QueuedJob]:
        """The jobs for which their route's rate limit grants a request, urgent ones first."""
        granted: list[QueuedJob] = []
        by_route: dict[Scope, list[QueuedJob]] = {}
        for entry in queued:
            by_route.setdefault(entry[0].job.lane.route, []).append(entry)
        for route, entries in by_route.items():
            urgent = sum(stored.job.priority > 0 for stored, _ in entries)
            count = await self._rate_limiter.take(route, len(entries) - urgent, urgent, now)
            entries.sort(key=lambda entry: entry[0].job.priority <= 0)
            granted += entries[:count]
        return granted

    async def _admit_all(self, queued: Sequence[QueuedJob], gates: Gates) -> list[Job]:
        """Write the admissions and their arq entries; returns the jobs that were admitted.

        All of it goes out in one round trip. When it fails between an admission and its entry, the
        lease ends and the rescuer returns the job to the queue: it was never sent.
        """
        if not queued:
            return []
        now = self._clock.now()
        await self._estimates.refresh([stored.job.lane for stored, _ in queued], now)
        tokens = [secrets.token_hex(4) for _ in queued]
        ids = [stored.job.id for stored, _ in queued]
        entries = arq_entries(list(zip(ids, tokens, strict=True)), now)
        *written, _ = await asyncio.gather(
            *(
                self._admit(stored, token, gates, now)
                for (stored, _), token in zip(queued, tokens, strict=True)
            ),
            *(self._store.jobs.wake(entry) for entry in entries),
        )
        admitted: list[Job] = []
        for result, (stored, inputs) in zip(written, queued, strict=False):
            if isinstance(result, VersionedJob):
                self._submit_step.cache_admitted(result, inputs)
                admitted.append(result.job)
            else:
                self._rate_limiter.record_answered(stored.job.lane.route)
                self._budgets.record_refused(stored.job, is_gated=result is CommitRefused.GATED)
        self._wakeups.arq_queue.notify()
        return admitted

    async def _admit(
        self, stored: VersionedJob, submit_token: str, gates: Gates, now: float
    ) -> VersionedJob | CommitRefused:
        job = stored.job
        opening = () if job.bypass_hold else gates.opening_holds(job.lane)
        after = admit(
            job,
            now,
            submit_token=submit_token,
            lease_until=now + self._lease_s,
            opening_hold_ids=tuple(hold.id for hold in opening),
            mode=Mode.SYNC if gates.is_sync_only(job.lane, now) else Mode.ASYNC,
            passed=gates.passed_breakers(job.lane, now, self._worker_id),
            estimate=self._estimates.of(job.lane),
            reservations=self._budgets.decision(job).reservations,
        )
        limits = tuple(canary_limit(hold.id, hold.step) for hold in opening)
        limits += tuple(
            canary_limit(breaker.id, breaker.submits_allowed(now) or 0)
            for breaker in self._limiting(gates, job.lane, now)
        )
        limits += (*self._cap_limits(job), *self._budgets.limits(job))
        limits += self._fair_lanes.limits(job)
        side_writes = SideWrites(
            limits=limits,
            budgets=self._budgets.checks(job),
            budgets_version=self._budgets.version,
            fair_turn=self._fair_lanes.turn(job, now),
        )
        return await self._store.jobs.commit(stored, after, side_writes)

    def _cap_limits(self, job: Job) -> tuple[Limit, ...]:
        cap = cap_of_lane(self._caps, job.lane)
        return () if cap is None else (lane_cap(job.lane, cap),)

    def _turns(
        self, lanes: Sequence[Lane], lane_count: int, gates: Gates, now: float
    ) -> dict[Lane, float]:
        """Of many lanes, when each that was looked at takes its next turn, Unix seconds.

        Those behind a closed hold or budget are put off, so that they do not keep others waiting:
        for longer the more lanes there are. The release of a hold makes them due.
        """
        later = now + max(MIN_PUT_OFF_S, lane_count / LANES_CHECKED_PER_S)
        return {
            lane: later
            if _is_behind_closed_hold(gates, lane) or not self._budgets.admits(lane)
            else now
            for lane in lanes
        }


def _is_behind_closed_hold(gates: Gates, lane: Lane) -> bool:
    hold = gates.closing_hold(lane)
    return hold is not None and hold.phase is HoldPhase.CLOSED


def _left_after(free_slots: FreeSlots, admitted: Sequence[Job]) -> FreeSlots:
    """The slots that are left after these admissions."""
    sync_runs = sum(holds_sync_slot(job) for job in admitted)
    return free_slots.less(submits=len(admitted) - sync_runs, sync_runs=sync_runs)
