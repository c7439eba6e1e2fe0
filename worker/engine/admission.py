"""Admission: moves jobs from open lanes to the arq queue, as slots, gates and caps allow.

It looks at lanes, never at the jobs behind the first few of each: a backlog costs nothing while it
waits.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from jobs.admission import Pick, choose
from jobs.concurrency import LaneCaps
from jobs.holds import Gates
from jobs.indexes import Index
from jobs.job import Job
from jobs.lanes import Lane, Scope
from jobs.rate_limits import Allowance
from jobs.states import State
from jobs.transitions import admit
from worker.clock import Clock
from worker.engine.rate_limiter import RateLimiter
from worker.engine.redis_recovery import RedisRecovery
from worker.engine.submitter import Submitter
from worker.engine.unreadable_records import load_jobs_with_inputs
from worker.engine.wakeups import Wakeup, Wakeups
from worker.store import Store
from worker.store.arq_codec import submit_entry
from worker.store.commit import Limit, SideWrites, VersionedJob, WakeUp, canary_limit, lane_cap
from worker.store.jobs import CommitRefused
from worker.store.lanes import QueueSnapshot

log: Final = structlog.get_logger(__name__)

IDLE_S: Final = 0.5
"""Pause while there is nothing to admit; a bell cuts it short."""

BUSY_S: Final = 0.05
"""Pause while jobs wait and no slot is free here."""

MAX_JOBS_PER_ENTRY: Final = 32
"""Jobs of one arq entry: so many of a batch go to one worker."""

ENTRY_TTL_MS: Final = 86_400_000
"""arq's entries live a day; the rescuer admits again long before."""


QueuedJob = tuple[VersionedJob, bytes]
"""A queued job and its inputs."""


class Admission:
    """Admits jobs for the slots of this worker."""

    name = "admission"

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        wakeups: Wakeups,
        submitter: Submitter,
        caps: LaneCaps,
        redis_recovery: RedisRecovery,
        rate_limiter: RateLimiter,
        max_jobs: int,
        lease_s: float,
    ) -> None:
        self._store = store
        self._clock = clock
        self._wakeups = wakeups
        self._submitter = submitter
        self._caps = caps
        self._redis_recovery = redis_recovery
        self._rate_limiter = rate_limiter
        self._served = 0
        self._max_jobs = max_jobs
        self._lease_s = lease_s
        self.is_closed = False
        """The worker is stopping: it takes nothing more on."""
        self.worker_count = 1
        """Live workers, this one among them; the heartbeat keeps it up to date."""

    @property
    def wakeup(self) -> Wakeup:
        """What wakes it."""
        return self._wakeups.admission

    def set_worker_count(self, count: int) -> None:
        """Learn how many workers live."""
        self.worker_count = count

    async def tick(self, now: float) -> float:
        """Admit what may be sent now; returns the seconds until the next look."""
        if self.is_closed:
            return IDLE_S
        queues = await self._store.lanes.snapshot()
        if not queues.lanes and not queues.bypass_count:
            return IDLE_S
        free = self._free_slots(queues)
        if free <= 0:
            return BUSY_S
        gates = await self._store.holds.gates()
        if not self._redis_recovery.is_trusted(now):
            self._redis_recovery.wakeup.notify()
            return BUSY_S
        left = await self._rate_limiter.allowances((lane.route for lane in queues.lanes), now)
        admitted = await self._admit_bypassing(queues, gates, free, now)
        admitted += await self._admit_lanes(queues, gates, left, free - admitted, now)
        return BUSY_S if admitted else self._idle_pause_s(queues, gates, now)

    def _free_slots(self, queues: QueueSnapshot) -> int:
        own = self._max_jobs - self._submitter.submitting - self._submitter.sync_runs
        fleet = self._max_jobs * self.worker_count - queues.submitting_count
        return min(own, fleet)

    def _idle_pause_s(self, queues: QueueSnapshot, gates: Gates, now: float) -> float:
        """Until the first cool-down or window of a waiting lane ends, at most the idle pause."""
        ends = [
            cooling.until
            for lane in queues.lanes
            if (cooling := gates.running_cool_down(lane.scopes, now)) is not None
        ]
        resets = (self._rate_limiter.bucket(lane.route).reset_at for lane in queues.lanes)
        ends += [reset for reset in resets if reset is not None and reset > now]
        return max(0.0, min([IDLE_S, *(end - now for end in ends)]))

    async def _admit_bypassing(
        self, queues: QueueSnapshot, gates: Gates, free_slots: int, now: float
    ) -> int:
        """Jobs that a person released through a closed gate go first."""
        if not queues.bypass_count or free_slots <= 0:
            return 0
        ids = await self._store.lanes.bypass_jobs(free_slots)
        picked: list[QueuedJob] = []
        rows = await load_jobs_with_inputs(self._store.jobs, ids, now)
        for job_id, found in zip(ids, rows, strict=True):
            if found is None:
                await self._store.jobs.remove_entry_without_record(Index.BYPASS, "", job_id)
            elif found[0].job.state is not State.QUEUED:
                await self._store.jobs.remove_stale_entry(found[0], Index.BYPASS)
            elif gates.admits(found[0].job.lane, now, bypass_hold=True):
                picked.append(found)
        return await self._admit_all(await self._take_grants(picked, now), gates)

    async def _admit_lanes(
        self,
        queues: QueueSnapshot,
        gates: Gates,
        allowances: Mapping[Scope, Allowance],
        free_slots: int,
        now: float,
    ) -> int:
        """The first of the open lanes, as many as there are slots and requests for."""
        lanes = [
            lane
            for lane in queues.lanes
            if gates.admits(lane, now) and allowances[lane.route].urgent
        ]
        if free_slots <= 0 or not lanes:
            return 0
        heads = await self._store.lanes.heads(lanes, free_slots)
        for lane, head in zip(lanes, heads, strict=True):
            if not head:
                await self._store.lanes.retire(lane)
        room = await self._cap_remaining(lanes)
        picks = choose(
            lanes, heads, free_slots, room, allowances=allowances, picked_before=self._served
        )
        waiting = await self._take_grants(await self._load(picks, now), now)
        admitted = await self._admit_all(waiting, gates)
        self._served += admitted
        await self._store.lanes.record_turns(
            {pick.lane: now + number * 1e-6 for number, pick in enumerate(picks)}
        )
        return admitted

    async def _cap_remaining(self, lanes: Sequence[Lane]) -> dict[Lane, int]:
        """How many more each capped lane may run."""
        caps = {lane: cap for lane in lanes if (cap := self._caps.of(lane)) is not None}
        active = await self._store.lanes.active_counts(list(caps))
        return {
            lane: max(0, cap - running)
            for (lane, cap), running in zip(caps.items(), active, strict=True)
        }

    async def _load(self, picks: Sequence[Pick], now: float) -> list[QueuedJob]:
        ids = [pick.job_id for pick in picks]
        waiting: list[QueuedJob] = []
        rows = await load_jobs_with_inputs(self._store.jobs, ids, now)
        for pick, found in zip(picks, rows, strict=True):
            name = str(pick.lane)
            if found is None:
                await self._store.jobs.remove_entry_without_record(Index.LANE, name, pick.job_id)
            elif found[0].job.state is not State.QUEUED or found[0].job.lane != pick.lane:
                await self._store.jobs.remove_stale_entry(found[0], Index.LANE, name)
            else:
                waiting.append(found)
        return waiting

    async def _take_grants(self, queued: Sequence[QueuedJob], now: float) -> list[QueuedJob]:
        """Those for whom there is a request: their routes' buckets are shared, others may take."""
        granted: list[QueuedJob] = []
        routes: dict[Scope, list[QueuedJob]] = {}
        for one in queued:
            routes.setdefault(one[0].job.lane.route, []).append(one)
        for route, ours in routes.items():
            urgent = sum(stored.job.priority > 0 for stored, _ in ours)
            count = await self._rate_limiter.take(route, len(ours) - urgent, urgent, now)
            ours.sort(key=lambda one: one[0].job.priority <= 0)
            granted += ours[:count]
        return granted

    async def _admit_all(self, queued: Sequence[QueuedJob], gates: Gates) -> int:
        """Write the intents and the wake-ups for them; returns how many were admitted.

        All of it goes out in one round trip. Should it break off between an intent and its wake-up,
        the lease of the intent ends, and the rescuer puts the job back in line: it was never sent.
        """
        if not queued:
            return 0
        now = self._clock.now()
        hops = [secrets.token_hex(4) for _ in queued]
        *written, _ = await asyncio.gather(
            *(
                self._admit(stored, hop, gates, now)
                for (stored, _), hop in zip(queued, hops, strict=True)
            ),
            *(self._store.jobs.wake(entry) for entry in _wake_ups(queued, hops, now)),
        )
        admitted = 0
        for result, (stored, inputs) in zip(written, queued, strict=False):
            if isinstance(result, VersionedJob):
                self._submitter.cache_admitted(result, inputs)
                admitted += 1
            else:
                self._rate_limiter.record_answered(stored.job.lane.route)
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
        )
        limits = tuple(canary_limit(hold.id, hold.step) for hold in opening)
        extra = SideWrites(limits=(*limits, *self._cap_limits(job)))
        return await self._store.jobs.commit(stored, after, extra)

    def _cap_limits(self, job: Job) -> tuple[Limit, ...]:
        cap = self._caps.of(job.lane)
        return () if cap is None else (lane_cap(job.lane, cap),)


def _wake_ups(
    queued: Sequence[QueuedJob], submit_tokens: Sequence[str], now: float
) -> list[WakeUp]:
    """The arq entries for jobs that are admitted together."""
    pairs = [(stored.job.id, hop) for (stored, _), hop in zip(queued, submit_tokens, strict=True)]
    shares = [pairs[n : n + MAX_JOBS_PER_ENTRY] for n in range(0, len(pairs), MAX_JOBS_PER_ENTRY)]
    entries = [submit_entry(share, now) for share in shares]
    return [WakeUp(arq_id, data, int(now * 1000), ENTRY_TTL_MS) for arq_id, data in entries]
