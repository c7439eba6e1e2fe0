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
from jobs.rate_limits import Left
from jobs.states import State
from jobs.transitions import admit
from worker.clock import Clock
from worker.engine.rate_limiter import Quota
from worker.engine.redis_recovery import Recollection
from worker.engine.submitter import Submitter
from worker.engine.wakeups import Bell, Bells
from worker.store import Store
from worker.store.arq_codec import submit_entry
from worker.store.commit import Extra, Limit, Stored, WakeUp, gate_step, lane_cap
from worker.store.jobs import NotWritten
from worker.store.lanes import Queues

log: Final = structlog.get_logger(__name__)

IDLE_S: Final = 0.5
"""Pause while there is nothing to admit; a bell cuts it short."""

BUSY_S: Final = 0.05
"""Pause while jobs wait and no slot is free here."""

TOGETHER_MOST: Final = 32
"""Jobs of one arq entry: so many of a batch go to one worker."""

ENTRY_TTL_MS: Final = 86_400_000
"""arq's entries live a day; the rescuer admits again long before."""


Waiting = tuple[Stored, bytes]
"""A queued job and its inputs."""


class Admission:
    """Admits jobs for the slots of this worker."""

    name = "admission"

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        bells: Bells,
        submitter: Submitter,
        caps: LaneCaps,
        recollection: Recollection,
        quota: Quota,
        max_jobs: int,
        lease_s: float,
    ) -> None:
        self._store = store
        self._clock = clock
        self._bells = bells
        self._submitter = submitter
        self._caps = caps
        self._recollection = recollection
        self._quota = quota
        self._served = 0
        self._max_jobs = max_jobs
        self._lease_s = lease_s
        self.closed = False
        """The worker is stopping: it takes nothing more on."""
        self.fleet_size = 1
        """Live workers, this one among them; the heartbeat keeps it up to date."""

    @property
    def bell(self) -> Bell:
        """What wakes it."""
        return self._bells.admission

    def found_fleet(self, size: int) -> None:
        """Learn how many workers live."""
        self.fleet_size = size

    async def tick(self, now: float) -> float:
        """Admit what may be sent now; returns the seconds until the next look."""
        if self.closed:
            return IDLE_S
        queues = await self._store.lanes.queues()
        if not queues.lanes and not queues.passes:
            return IDLE_S
        free = self._free(queues)
        if free <= 0:
            return BUSY_S
        gates = await self._store.gates.standing()
        if not self._recollection.trusts(now):
            self._recollection.bell.ring()
            return BUSY_S
        left = await self._quota.left((lane.route for lane in queues.lanes), now)
        admitted = await self._admit_passes(queues, gates, free, now)
        admitted += await self._admit_lanes(queues, gates, left, free - admitted, now)
        return BUSY_S if admitted else self._pause(queues, gates, now)

    def _free(self, queues: Queues) -> int:
        own = self._max_jobs - self._submitter.submitting - self._submitter.sync_runs
        fleet = self._max_jobs * self.fleet_size - queues.submitting
        return min(own, fleet)

    def _pause(self, queues: Queues, gates: Gates, now: float) -> float:
        """Until the first cool-down or window of a waiting lane ends, at most the idle pause."""
        ends = [
            cooling.until
            for lane in queues.lanes
            if (cooling := gates.cooling(lane.scopes, now)) is not None
        ]
        resets = (self._quota.known(lane.route).reset_at for lane in queues.lanes)
        ends += [reset for reset in resets if reset is not None and reset > now]
        return max(0.0, min([IDLE_S, *(end - now for end in ends)]))

    async def _admit_passes(self, queues: Queues, gates: Gates, free: int, now: float) -> int:
        """Jobs that a person released through a closed gate go first."""
        if not queues.passes or free <= 0:
            return 0
        ids = await self._store.lanes.passes(free)
        picked: list[Waiting] = []
        for job_id, found in zip(ids, await self._store.jobs.load_with_inputs(ids), strict=True):
            if found is None:
                await self._store.jobs.strike_missing(Index.PASS, "", job_id)
            elif found[0].job.state is not State.QUEUED:
                await self._store.jobs.strike(found[0], Index.PASS)
            elif gates.admits(found[0].job.lane, now, free_pass=True):
                picked.append(found)
        return await self._admit_all(await self._granted(picked, now), gates)

    async def _admit_lanes(
        self, queues: Queues, gates: Gates, left: Mapping[Scope, Left], free: int, now: float
    ) -> int:
        """The first of the open lanes, as many as there are slots and requests for."""
        lanes = [
            lane for lane in queues.lanes if gates.admits(lane, now) and left[lane.route].urgent
        ]
        if free <= 0 or not lanes:
            return 0
        heads = await self._store.lanes.heads(lanes, free)
        for lane, head in zip(lanes, heads, strict=True):
            if not head:
                await self._store.lanes.retire(lane)
        room = await self._room(lanes)
        picks = choose(lanes, heads, free, room, left=left, served=self._served)
        waiting = await self._granted(await self._load(picks), now)
        admitted = await self._admit_all(waiting, gates)
        self._served += admitted
        await self._store.lanes.took_turns(
            {pick.lane: now + number * 1e-6 for number, pick in enumerate(picks)}
        )
        return admitted

    async def _room(self, lanes: Sequence[Lane]) -> dict[Lane, int]:
        """How many more each capped lane may run."""
        caps = {lane: cap for lane in lanes if (cap := self._caps.of(lane)) is not None}
        active = await self._store.lanes.active(list(caps))
        return {
            lane: max(0, cap - running)
            for (lane, cap), running in zip(caps.items(), active, strict=True)
        }

    async def _load(self, picks: Sequence[Pick]) -> list[Waiting]:
        ids = [pick.job_id for pick in picks]
        waiting: list[Waiting] = []
        for pick, found in zip(picks, await self._store.jobs.load_with_inputs(ids), strict=True):
            name = str(pick.lane)
            if found is None:
                await self._store.jobs.strike_missing(Index.LANE, name, pick.job_id)
            elif found[0].job.state is not State.QUEUED or found[0].job.lane != pick.lane:
                await self._store.jobs.strike(found[0], Index.LANE, name)
            else:
                waiting.append(found)
        return waiting

    async def _granted(self, waiting: Sequence[Waiting], now: float) -> list[Waiting]:
        """Those for whom there is a request: their routes' buckets are shared, others may take."""
        granted: list[Waiting] = []
        routes: dict[Scope, list[Waiting]] = {}
        for one in waiting:
            routes.setdefault(one[0].job.lane.route, []).append(one)
        for route, ours in routes.items():
            urgent = sum(stored.job.priority > 0 for stored, _ in ours)
            count = await self._quota.take(route, len(ours) - urgent, urgent, now)
            ours.sort(key=lambda one: one[0].job.priority <= 0)
            granted += ours[:count]
        return granted

    async def _admit_all(self, waiting: Sequence[Waiting], gates: Gates) -> int:
        """Write the intents and the wake-ups for them; returns how many were admitted.

        All of it goes out in one round trip. Should it break off between an intent and its wake-up,
        the lease of the intent ends, and the rescuer puts the job back in line: it was never sent.
        """
        if not waiting:
            return 0
        now = self._clock.now()
        hops = [secrets.token_hex(4) for _ in waiting]
        *written, _ = await asyncio.gather(
            *(
                self._admit(stored, hop, gates, now)
                for (stored, _), hop in zip(waiting, hops, strict=True)
            ),
            *(self._store.jobs.wake(entry) for entry in _wake_ups(waiting, hops, now)),
        )
        admitted = 0
        for result, (stored, inputs) in zip(written, waiting, strict=False):
            if isinstance(result, Stored):
                self._submitter.expect(result, inputs)
                admitted += 1
            else:
                self._quota.settle(stored.job.lane.route)
        self._bells.hops.ring()
        return admitted

    async def _admit(
        self, stored: Stored, hop: str, gates: Gates, now: float
    ) -> Stored | NotWritten:
        job = stored.job
        opening = () if job.free_pass else gates.opening(job.lane)
        after = admit(
            job,
            now,
            hop=hop,
            lease_until=now + self._lease_s,
            gates=tuple(hold.id for hold in opening),
        )
        limits = tuple(gate_step(hold.id, hold.step) for hold in opening)
        extra = Extra(limits=(*limits, *self._cap(job)))
        return await self._store.jobs.commit(stored, after, extra)

    def _cap(self, job: Job) -> tuple[Limit, ...]:
        cap = self._caps.of(job.lane)
        return () if cap is None else (lane_cap(job.lane, cap),)


def _wake_ups(waiting: Sequence[Waiting], hops: Sequence[str], now: float) -> list[WakeUp]:
    """The arq entries for jobs that are admitted together."""
    pairs = [(stored.job.id, hop) for (stored, _), hop in zip(waiting, hops, strict=True)]
    shares = [pairs[n : n + TOGETHER_MOST] for n in range(0, len(pairs), TOGETHER_MOST)]
    entries = [submit_entry(share, now) for share in shares]
    return [WakeUp(arq_id, data, int(now * 1000), ENTRY_TTL_MS) for arq_id, data in entries]
