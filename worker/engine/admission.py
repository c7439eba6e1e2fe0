"""Admission: moves jobs from open lanes to the arq queue, as slots, gates and caps allow.

It looks at lanes, never at the jobs behind the first few of each: a backlog costs nothing while it
waits.
"""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Final

import structlog

from jobs.admission import Pick, choose
from jobs.holds import Gates
from jobs.lanes import JobId, Lane
from jobs.moves import admit
from jobs.places import Index
from jobs.records import Job
from jobs.states import State
from worker.arq_entries import submit_entry
from worker.caps import LaneCaps
from worker.clock import Clock
from worker.engine.bells import Bell
from worker.engine.recollection import Recollection
from worker.engine.submitter import Submitter
from worker.store import Store
from worker.store.changes import Extra, Limit, Stored, WakeUp, gate_step, lane_cap
from worker.store.jobs import NotWritten
from worker.store.lanes import Queues

log: Final = structlog.get_logger(__name__)

IDLE_S: Final = 0.5
"""Pause while there is nothing to admit; a bell cuts it short."""

BUSY_S: Final = 0.05
"""Pause while jobs wait and no slot is free here."""

ENTRY_TTL_MS: Final = 86_400_000
"""arq's entries live a day; the rescuer admits again long before."""


class Admission:
    """Admits jobs for the slots of this worker."""

    name = "admission"

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        bell: Bell,
        submitter: Submitter,
        caps: LaneCaps,
        recollection: Recollection,
        max_jobs: int,
        lease_s: float,
    ) -> None:
        self._store = store
        self._clock = clock
        self.bell = bell
        self._submitter = submitter
        self._caps = caps
        self._recollection = recollection
        self._max_jobs = max_jobs
        self._lease_s = lease_s
        self.closed = False
        """The worker is stopping: it takes nothing more on."""
        self.fleet_size = 1
        """Live workers, this one among them; the heartbeat keeps it up to date."""

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
        admitted = await self._admit_passes(queues, gates, free, now)
        admitted += await self._admit_lanes(queues, gates, free - admitted, now)
        return BUSY_S if admitted else self._pause(queues, gates, now)

    def _free(self, queues: Queues) -> int:
        own = self._max_jobs - self._submitter.submitting - self._submitter.sync_runs
        fleet = self._max_jobs * self.fleet_size - queues.submitting
        return min(own, fleet)

    def _pause(self, queues: Queues, gates: Gates, now: float) -> float:
        """Until the first cool-down of a waiting lane ends, at most the idle pause."""
        ends = [
            cooling.until - now
            for lane in queues.lanes
            if (cooling := gates.cooling(lane.scopes, now)) is not None
        ]
        return max(0.0, min([IDLE_S, *ends]))

    async def _admit_passes(self, queues: Queues, gates: Gates, free: int, now: float) -> int:
        """Jobs that a person released through a closed gate go first."""
        if not queues.passes or free <= 0:
            return 0
        ids = await self._store.lanes.passes(free)
        picked: list[Stored] = []
        for job_id, stored in zip(ids, await self._store.jobs.load_many(ids), strict=True):
            if stored is None:
                await self._store.jobs.strike_missing(Index.PASS, "", job_id)
            elif stored.job.state is not State.QUEUED:
                await self._store.jobs.strike(stored, Index.PASS)
            elif gates.admits(stored.job.lane, now, free_pass=True):
                picked.append(stored)
        return await self._commit(picked, gates)

    async def _admit_lanes(self, queues: Queues, gates: Gates, free: int, now: float) -> int:
        lanes = [lane for lane in queues.lanes if gates.admits(lane, now)]
        if free <= 0 or not lanes:
            return 0
        heads = await self._store.lanes.heads(lanes, free)
        for lane, head in zip(lanes, heads, strict=True):
            if not head:
                await self._store.lanes.retire(lane)
        room = await self._room(lanes)
        picks = choose(lanes, heads, free, room)
        stored = await self._load(picks)
        admitted = await self._commit(stored, gates)
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

    async def _load(self, picks: Sequence[Pick]) -> list[Stored]:
        ids = [pick.job_id for pick in picks]
        found: list[Stored] = []
        for pick, stored in zip(picks, await self._store.jobs.load_many(ids), strict=True):
            name = str(pick.lane)
            if stored is None:
                await self._store.jobs.strike_missing(Index.LANE, name, pick.job_id)
            elif stored.job.state is not State.QUEUED or stored.job.lane != pick.lane:
                await self._store.jobs.strike(stored, Index.LANE, name)
            else:
                found.append(stored)
        return found

    async def _commit(self, picked: Sequence[Stored], gates: Gates) -> int:
        written = await asyncio.gather(*(self._admit(stored, gates) for stored in picked))
        return sum(isinstance(result, Stored) for result in written)

    async def _admit(self, stored: Stored, gates: Gates) -> Stored | NotWritten:
        job = stored.job
        now = self._clock.now()
        hop = secrets.token_hex(4)
        opening = () if job.free_pass else gates.opening(job.lane)
        after = admit(
            job,
            now,
            hop=hop,
            lease_until=now + self._lease_s,
            gates=tuple(hold.id for hold in opening),
        )
        limits = tuple(gate_step(hold.id, hold.step) for hold in opening)
        extra = Extra(limits=(*limits, *self._cap(job)), wake_up=_wake_up(job.id, hop, now))
        return await self._store.jobs.commit(stored, after, extra)

    def _cap(self, job: Job) -> tuple[Limit, ...]:
        cap = self._caps.of(job.lane)
        return () if cap is None else (lane_cap(job.lane, cap),)


def _wake_up(job_id: JobId, hop: str, now: float) -> WakeUp:
    arq_id, payload = submit_entry(job_id, hop, now)
    return WakeUp(arq_id, payload, int(now * 1000), ENTRY_TTL_MS)
