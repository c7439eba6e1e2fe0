"""What people and apps read: jobs, groups, why a job waits, how everything stands."""

from dataclasses import dataclass

from jobs.holds import Hold
from jobs.records import Job
from jobs.states import State
from jobs.why import Blocker, Surroundings, why_not_running
from worker.caps import LaneCaps
from worker.clock import Clock
from worker.store import Store
from worker.store.fleet import Heartbeat, QuotaSeen
from worker.store.queries import Group, LaneCount


@dataclass(frozen=True, slots=True)
class Whole:
    """A job with its inputs and result (JSON text)."""

    job: Job
    inputs: bytes
    result: bytes | None


@dataclass(frozen=True, slots=True)
class GroupSeen:
    """A group, with what its jobs are likely to cost."""

    group: Group
    est_cost: float | None
    """Credits, from what the target's last run cost; None where none has run."""


@dataclass(frozen=True, slots=True)
class Stats:
    """How everything stands."""

    states: dict[State, int]
    oldest: dict[State, float]
    """Seconds since the oldest job of each state got there."""
    lanes: list[LaneCount]
    quota: dict[str, QuotaSeen]
    workers: list[Heartbeat]
    holds: int
    rates: dict[str, float]


class Review:
    """Reads of one namespace."""

    def __init__(self, store: Store, clock: Clock, caps: LaneCaps, lease_s: float) -> None:
        self._store = store
        self._clock = clock
        self._caps = caps
        self._lease_s = lease_s

    async def job(self, job_id: str) -> Whole | None:
        """One job, whole."""
        stored = await self._store.jobs.load(job_id)
        if stored is None:
            return None
        inputs, result = await self._store.jobs.payloads(job_id)
        return Whole(stored.job, inputs or b"{}", result)

    async def why(self, job: Job) -> tuple[Blocker, ...]:
        """What keeps a job from running."""
        now = self._clock.now()
        position = None
        if job.state is State.QUEUED and not job.free_pass:
            position = await self._store.lanes.position(job.lane, job.id)
        around = Surroundings(
            gates=await self._store.gates.standing(),
            position=position,
            active=(await self._store.lanes.active([job.lane]))[0],
            cap=self._caps.of(job.lane),
            workers=len(await self.live_workers()),
        )
        return why_not_running(job, around, now)

    async def live_workers(self) -> list[Heartbeat]:
        """Workers whose heartbeat is fresh."""
        fresh = self._clock.now() - 3 * self._lease_s
        return [beat for beat in await self._store.fleet.workers() if beat.seen_at >= fresh]

    async def holds(self) -> list[tuple[Hold, int]]:
        """Every hold, with the number of jobs it parked."""
        holds = await self._store.gates.holds()
        counts = await self._store.queries.held([hold.id for hold in holds])
        return list(zip(holds, counts, strict=True))

    async def groups(self, state: State) -> list[GroupSeen]:
        """Parked jobs or dead letters by code and lane, the largest group first."""
        groups = await self._store.queries.groups(state)
        costs = await self._store.fleet.costs()
        return [
            GroupSeen(group, _estimate(costs.get(f"{g.kind}/{g.target}"), group.count))
            for group in groups
            for g in [group.lane]
        ]

    async def stats(self) -> Stats:
        """How everything stands, in a bounded number of reads."""
        now = self._clock.now()
        states, since = await self._store.queries.states()
        return Stats(
            states=states,
            oldest={state: max(0.0, now - moment) for state, moment in since.items()},
            lanes=await self._store.queries.lane_counts(),
            quota=await self._store.fleet.quotas(),
            workers=await self.live_workers(),
            holds=len(await self._store.gates.holds()),
            rates=await self._store.queries.rates(now),
        )


def _estimate(cost: float | None, count: int) -> float | None:
    return None if cost is None else cost * count
