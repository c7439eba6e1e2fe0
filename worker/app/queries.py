"""What people and apps read: jobs, groups, why a job waits, how everything stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jobs.concurrency import LaneCaps
from jobs.holds import Hold
from jobs.job import Job
from jobs.lanes import JobId, Lane, Scope
from jobs.rate_limits import Bucket, wait_s
from jobs.states import State
from jobs.transitions import UNCERTAIN
from jobs.why import UNKNOWN, Blocker, Surroundings, why_not_running
from worker.app.eta import Eta, Forecast
from worker.clock import Clock
from worker.store import Store
from worker.store.read.queries import Group, LaneCount
from worker.store.webhooks import Orphan
from worker.store.workers import ALIVE_LEASES, Heartbeat

SKEW_S: Final = 60.0
"""How far our clocks may be apart."""

LATE_S: Final = 600.0
"""How late a delivery may come: a failed one is tried again."""

STRAYS_READ: Final = 2_000
STRAYS_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Whole:
    """A job with its inputs and result (JSON text)."""

    job: Job
    inputs: bytes
    result: bytes | None
    eta: Eta | None = None
    """When it is likely to end; None where it does not run, or nobody knows."""


@dataclass(frozen=True, slots=True)
class GroupSeen:
    """A group, with what its jobs are likely to cost."""

    group: Group
    est_cost: float | None
    """Credits, from what the target's last run cost; None where none has run."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a submit whose outcome nobody knows."""

    sent_at: float | None
    ended_at: float | None
    http_status: int | None
    message: str
    """How it ended for us."""
    executions: tuple[Orphan, ...]
    """Runs of the same target that were told of after it was sent and belong to no job."""


@dataclass(frozen=True, slots=True)
class Stats:
    """How everything stands."""

    states: dict[State, int]
    oldest: dict[State, float]
    """Seconds since the oldest job of each state got there."""
    lanes: list[LaneCount]
    quota: dict[Scope, Bucket]
    """Routes with a limit that is known."""
    drain: dict[Lane, float]
    """Seconds until the last job of a lane can be sent, where its route has a limit."""
    workers: list[Heartbeat]
    holds: int
    rates: dict[str, float]


class Review:
    """Reads of one namespace."""

    def __init__(
        self, store: Store, clock: Clock, caps: LaneCaps, lease_s: float, window_s: float
    ) -> None:
        self._store = store
        self._clock = clock
        self._caps = caps
        self._lease_s = lease_s
        self._window_s = window_s
        self._forecast = Forecast(store.durations)

    async def job(self, job_id: str) -> Whole | None:
        """One job, whole."""
        stored = await self._store.jobs.load(job_id)
        if stored is None:
            return None
        inputs, result = await self._store.jobs.payloads(job_id)
        eta = (await self.etas([stored.job])).get(stored.job.id)
        return Whole(stored.job, inputs or b"{}", result, eta)

    async def etas(self, jobs: Sequence[Job]) -> dict[JobId, Eta]:
        """When those of the jobs that run are likely to end, where that is known."""
        return await self._forecast.etas(jobs, self._clock.now())

    async def why(self, job: Job) -> tuple[Blocker, ...]:
        """What keeps a job from running."""
        now = self._clock.now()
        position = None
        if job.state is State.QUEUED and not job.free_pass:
            position = await self._store.lanes.position(job.lane, job.id)
        ahead = await self._store.lanes.ahead(job.lane, position) if position is not None else 0
        around = Surroundings(
            gates=await self._store.gates.standing(),
            position=position,
            ahead=ahead,
            bucket=(await self._store.quota.buckets()).get(job.lane.route, UNKNOWN),
            window_s=self._window_s,
            active=(await self._store.lanes.active([job.lane]))[0],
            cap=self._caps.of(job.lane),
            workers=len(await self.live_workers()),
        )
        return why_not_running(job, around, now)

    async def evidence(self, job: Job) -> Evidence | None:
        """What is known of an uncertain job's submit; None for another job."""
        if job.parked_as != UNCERTAIN or job.reason is None:
            return None
        last = job.attempts[-1] if job.attempts else None
        sent_at = job.sent_at or (last.started_at if last else None)
        return Evidence(
            sent_at=sent_at,
            ended_at=last.ended_at if last else None,
            http_status=job.reason.http_status,
            message=job.reason.message,
            executions=() if sent_at is None else await self._strays(job, sent_at),
        )

    async def _strays(self, job: Job, sent_at: float) -> tuple[Orphan, ...]:
        """Runs told of from the sending on until the run should long have ended."""
        until = sent_at + job.deadline_s + LATE_S
        orphans = await self._store.webhooks.orphans(sent_at - SKEW_S, until, STRAYS_READ)
        same = [orphan for orphan in orphans if f"{job.kind}/{job.target}" in orphan.targets]
        owners = await self._store.webhooks.jobs_of([orphan.execution_id for orphan in same])
        found = [orphan for orphan, jobs in zip(same, owners, strict=True) if not jobs]
        return tuple(found[:STRAYS_SHOWN])

    async def live_workers(self) -> list[Heartbeat]:
        """Workers whose heartbeat is fresh."""
        fresh = self._clock.now() - ALIVE_LEASES * self._lease_s
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
        lanes, quota = await self._store.queries.lane_counts(), await self._limited()
        return Stats(
            states=states,
            oldest={state: max(0.0, now - moment) for state, moment in since.items()},
            lanes=lanes,
            quota=quota,
            drain=self._drain(lanes, quota, now),
            workers=await self.live_workers(),
            holds=len(await self._store.gates.holds()),
            rates=await self._store.queries.rates(now),
        )

    def _drain(
        self, lanes: Sequence[LaneCount], quota: Mapping[Scope, Bucket], now: float
    ) -> dict[Lane, float]:
        found: dict[Lane, float] = {}
        for one in lanes:
            bucket = quota.get(one.lane.route)
            if bucket is None or not one.queued:
                continue
            others = (o.queued for o in lanes if o.lane.route == one.lane.route and o is not one)
            ahead = one.queued - 1 + sum(min(count, one.queued) for count in others)
            if (wait := wait_s(bucket, ahead, now, self._window_s)) is not None:
                found[one.lane] = wait
        return found

    async def _limited(self) -> dict[Scope, Bucket]:
        buckets = await self._store.quota.buckets()
        return {route: bucket for route, bucket in buckets.items() if bucket.limit is not None}


def _estimate(cost: float | None, count: int) -> float | None:
    return None if cost is None else cost * count
