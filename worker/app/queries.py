"""What apps and operators read: jobs, groups, why a job waits, statistics."""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from jobs.breakers import Breaker, BreakerState
from jobs.breakers.texts import limits_submits
from jobs.credits.estimates import total_estimate
from jobs.effects import PollHistory
from jobs.evidence.records import EvidenceFinding, UncertainSubmit
from jobs.fairness import FairPlace
from jobs.holds import Hold
from jobs.job import UNCERTAIN, Job
from jobs.lanes import JobId, Lane, Scope, cap_of_lane, covers, target_name
from jobs.newer import NEWER_SCHEMA, is_newer
from jobs.rate_limits import RateLimitBucket, wait_s
from jobs.states import State
from jobs.why import UNKNOWN_BUCKET, Blocker, WhyContext, why_not_running
from worker.app.budget_waits import BudgetWaits
from worker.app.budgets import Budgets
from worker.app.credit_warnings import CreditWarning, CreditWarnings
from worker.app.eta import Eta, EtaEstimator
from worker.app.parents import find_parent_blockers
from worker.app.readiness import Readiness
from worker.app.shown_ids import is_of_tenant
from worker.app.visible_texts import visible
from worker.clock import Clock
from worker.engine.cost_estimator import CostEstimator
from worker.engine.unreadable_records import dead_letter_unreadable, load_records
from worker.engine.worker_problems import redis_blocker, submit_blocker
from worker.store import Store
from worker.store.evidence import ReconcileOff
from worker.store.jobs import NewerRecord
from worker.store.payloads import StoredPayloads
from worker.store.read.filter import Filter
from worker.store.read.lane_counts import LaneCount
from worker.store.read.queries import JobGroup, Page
from worker.store.refusals import RedisRefusal
from worker.store.webhooks import Orphan
from worker.store.workers import ALIVE_LEASES, Heartbeat

MAX_CLOCK_SKEW_S: Final = 60.0
"""How far the clocks of our machines may be apart."""

MAX_DELIVERY_DELAY_S: Final = 600.0
"""How late a delivery may come: the provider retries failed ones."""

MAX_ORPHANS_READ: Final = 2_000
MAX_ORPHANS_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class JobDetails:
    """A job with its inputs and result."""

    job: Job
    payloads: StoredPayloads
    eta: Eta | None = None
    """When it is likely to end; None where it does not run, or that is unknown."""


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """A group of jobs, with what they are likely to cost."""

    group: JobGroup
    est_cost: float | None
    """Credits, see `jobs.credits.estimates`; None where that is unknown."""
    findings: Mapping[EvidenceFinding, int]
    """Of an uncertain group: how many of its jobs have each finding."""


@dataclass(frozen=True, slots=True)
class BreakerSummary:
    """A breaker, with the number of jobs that are queued in its scope."""

    breaker: Breaker
    queued_jobs: int


MAX_DRAIN_TIMES: Final = 200
"""Lanes, the longest ones, for which it is estimated when their last job is sent."""


@dataclass(frozen=True, slots=True)
class UncertainEvidence:
    """What is known of a submit whose outcome is unknown."""

    sent_at: float | None
    ended_at: float | None
    http_status: int | None
    message: str
    """The last response."""
    executions: tuple[Orphan, ...]
    """Runs of the same target that webhooks reported after it was sent, and that have no job."""
    submit: UncertainSubmit | None = None
    """The finding about it, with its rows."""

    def execution_of(self, request_id: str | None) -> str | None:
        """The execution that a webhook reported with the request id of a row; None if none did."""
        if request_id is None:
            return None
        same = (run for run in self.executions if run.request_id == request_id)
        return next((run.execution_id for run in same), None)


@dataclass(frozen=True, slots=True)
class QueueStats:
    """Counts, lanes, limits, workers and rates of one namespace."""

    states: dict[State, int]
    oldest_age_s: dict[State, float]
    """By state: for how many seconds its oldest job is in it."""
    lanes: list[LaneCount]
    rate_limits: dict[Scope, RateLimitBucket]
    """Routes whose limit is known."""
    drain_s: dict[Lane, float]
    """Seconds until the last job of a lane can be sent, where its route has a limit."""
    workers: list[Heartbeat]
    """Those that live. Not known while `redis_problems` keep heartbeats from being written."""
    redis_problems: list[RedisRefusal]
    """What Redis refuses, in the order to mend it."""
    hold_count: int
    reconcile_off: list[ReconcileOff]
    """Accounts where a late row switched `reconcile` off."""
    breakers: list[BreakerSummary]
    """Those that stop submits or slow them down."""
    rates: dict[str, float]
    credit_warnings: list[CreditWarning]


class Queries:
    """Reads of one namespace, with the texts that the caller may see, see `visible_texts`."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        estimator: CostEstimator,
        *,
        caps: Mapping[str, int],
        key_caps: Mapping[str, int],
        lease_s: float,
        window_s: float,
    ) -> None:
        self._store = store
        self._clock = clock
        self._estimator = estimator
        self.caps = caps
        self.key_caps = key_caps
        self._lease_s = lease_s
        self._window_s = window_s
        self._credit_warnings = CreditWarnings(store, clock, Budgets(store, clock, estimator))
        self._eta_estimator = EtaEstimator(store.durations)
        self._budget_waits = BudgetWaits(store, estimator)
        self.readiness = Readiness(store)

    async def job(
        self, job_id: str, before_payloads: Callable[[int], Awaitable[None]] | None = None
    ) -> JobDetails | None:
        """One job with inputs, result and ETA; None if there is none of that id.

        `before_payloads` gets the bytes that inputs and result have, before they are read.
        """
        job, size_bytes = await asyncio.gather(
            self.shown_job(job_id), self._store.payloads.size_bytes(job_id)
        )
        if job is None:
            return None
        if before_payloads is not None:
            await before_payloads(size_bytes)
        payloads = await self._store.payloads.read(job_id)
        eta = (await self.etas([job])).get(job.id)
        return JobDetails(job, payloads, eta)

    async def shown_job(self, job_id: str) -> Job | None:
        """One job to show; of a newer record what can be read, see `jobs.newer`."""
        (job,) = await self.shown_jobs([job_id])
        return job

    async def shown_jobs(self, job_ids: Sequence[str]) -> list[Job | None]:
        """Jobs to show in the order of their ids, as `shown_job`."""
        records = await load_records(self._store.jobs, job_ids, self._clock.now())
        return visible(
            [
                found.shown if isinstance(found, NewerRecord) else found.job if found else None
                for found in records
            ]
        )

    async def job_page(self, job_filter: Filter, limit: int, cursor: str | None = None) -> Page:
        """A page of jobs, newest first; unreadable records on it become dead letters.

        Raises `BadCursor`.
        """
        page = await self._store.read.queries.page(job_filter, limit, cursor)
        await dead_letter_unreadable(self._store.jobs, page.unreadable, self._clock.now())
        return visible(page)

    async def metadata(self, jobs: Sequence[Job]) -> dict[str, bytes]:
        """By job id, what apps gave their jobs (JSON text)."""
        return await self._store.payloads.metadata([job.id for job in jobs if job.has_metadata])

    async def etas(self, jobs: Sequence[Job]) -> dict[JobId, Eta]:
        """By job id, when the running jobs are likely to end, where that is known."""
        return await self._eta_estimator.etas(jobs, self._clock.now())

    async def why(self, job: Job) -> tuple[Blocker, ...]:
        """What keeps a job from running."""
        job = visible(job)
        if is_newer(job) and job.reason is not None:
            return (Blocker(NEWER_SCHEMA, job.reason.message, job.reason.action),)
        now = self._clock.now()
        position = None
        if job.state is State.QUEUED and not job.bypass_hold and job.waits_for_budget is None:
            position = await self._store.lanes.position(job.lane, job.id)
        if (place := await self._fair_place(job, position)) is not None:
            position = place.ahead
        ahead = (
            await self._store.lanes.route_jobs_ahead(job.lane, position)
            if position is not None
            else 0
        )
        active = (await self._store.lanes.active_counts([job.lane]))[0]
        workers = await self.live_workers()
        staying = [worker for worker in workers if not worker.is_leaving]
        gates = await self._store.holds.gates()
        context = WhyContext(
            gates=gates,
            ahead_in_lane=position,
            ahead_on_route=ahead,
            bucket=(await self._store.rate_limits.buckets()).get(job.lane.route, UNKNOWN_BUCKET),
            window_s=self._window_s,
            active=active,
            cap=cap_of_lane(gates.caps_over(self.caps), job.lane),
            fair_place=place,
            workers=len(staying),
            stopped_workers=submit_blocker(staying),
            redis_refusal=redis_blocker(await self.readiness.problems()),
            drained_workers=sum(worker.drained and not worker.stopping for worker in workers),
            waits_for_poll=bool(staying)
            and all(job.account in worker.unproved_accounts for worker in staying),
            parents=await find_parent_blockers(self._store.jobs, job, now),
            budgets=await self._budget_waits.blockers(job, active, now),
            poll_history=await self._poll_history(job),
            poll_failure=next((one.poll_failure for one in workers if one.poll_failure), ""),
        )
        return why_not_running(job, visible(context), now)

    async def _fair_place(self, job: Job, position: int | None) -> FairPlace | None:
        """Where a job that waits in its lane takes turns with those of other fair keys."""
        place = None if position is None else await self._store.lanes.fair_queues.place(job)
        cap = None if job.fair_key is None else cap_of_lane(self.key_caps, job.lane)
        return None if place is None else replace(place, cap=cap)

    async def _poll_history(self, job: Job) -> PollHistory:
        """What the polls of its run said; read only for a run that is polled."""
        is_polled = job.execution_id is not None and job.next_poll_at is not None
        return await self._store.polls.history(job) if is_polled else PollHistory()

    async def evidence(self, job: Job) -> UncertainEvidence | None:
        """What is known of an uncertain job's submit; None for another job.

        A tenant is shown no runs: one that belongs to no job may be another tenant's.
        """
        job = visible(job)
        is_unknown = job.parked_as == UNCERTAIN or job.awaits_finding
        if not is_unknown or job.reason is None:
            return None
        last = job.attempts[-1] if job.attempts else None
        sent_at = job.sent_at or (last.started_at if last else None)
        return UncertainEvidence(
            sent_at=sent_at,
            ended_at=last.ended_at if last else None,
            http_status=job.reason.http_status,
            message=job.reason.message,
            executions=() if is_of_tenant() else await self._possible_matches(job, sent_at),
            submit=job.last_uncertain_submit,
        )

    async def _possible_matches(self, job: Job, sent_at: float | None) -> tuple[Orphan, ...]:
        """Orphan deliveries from the sending until the run must have ended."""
        if not sent_at:
            return ()
        until = sent_at + job.deadline_s + MAX_DELIVERY_DELAY_S
        orphans = await self._store.webhooks.orphans(
            sent_at - MAX_CLOCK_SKEW_S, until, MAX_ORPHANS_READ
        )
        same = [orphan for orphan in orphans if target_name(job.kind, job.target) in orphan.targets]
        owners = await self._store.webhooks.jobs_of([orphan.execution_id for orphan in same])
        found = [orphan for orphan, jobs in zip(same, owners, strict=True) if not jobs]
        return visible(tuple(found[:MAX_ORPHANS_SHOWN]))

    async def live_workers(self) -> list[Heartbeat]:
        """The last heartbeats of the workers that live."""
        alive_since = self._clock.now() - ALIVE_LEASES * self._lease_s
        heartbeats = await self._store.workers.heartbeats()
        return visible([beat for beat in heartbeats if beat.seen_at >= alive_since])

    async def holds(self) -> list[tuple[Hold, int]]:
        """Every hold, with the number of jobs it parked, oldest first."""
        holds = visible(await self._store.holds.list_all())
        counts = await self._store.read.queries.held_counts([hold.id for hold in holds])
        return list(zip(holds, counts, strict=True))

    async def breakers(self) -> list[BreakerSummary]:
        """Breakers that are open or probing, or that count failures; the open ones first."""
        lanes, _ = await self._store.read.queries.lane_counts()
        return visible(_breaker_summaries(await self._store.breakers.list_all(), lanes))

    async def breaker_summary(self, breaker: Breaker) -> BreakerSummary:
        """One breaker, with the number of jobs that are queued in its scope."""
        lanes, _ = await self._store.read.queries.lane_counts()
        return visible(BreakerSummary(breaker, queued_in(breaker.scope, lanes)))

    async def groups(self, state: State) -> list[GroupSummary]:
        """Parked jobs or dead letters by code and lane, the largest group first."""
        groups, unreadable = await self._store.read.queries.groups(state)
        if unreadable:
            await dead_letter_unreadable(self._store.jobs, unreadable, self._clock.now())
            groups, _ = await self._store.read.queries.groups(state)
        costs = await self._estimator.estimates({group.lane for group in groups})
        uncertain = [
            (group.sample.reason.group, group.lane)
            for group in groups
            if group.code == UNCERTAIN and group.sample.reason is not None
        ]
        counts = await self._store.evidence.findings(uncertain)
        findings = dict(zip(uncertain, counts, strict=True))
        return [
            GroupSummary(
                visible(group),
                total_estimate([(costs[g], group.count)]),
                findings.get((group.sample.reason.group, g), {}) if group.sample.reason else {},
            )
            for group in groups
            for g in [group.lane]
        ]

    async def stats(self) -> QueueStats:
        """The statistics, in a bounded number of reads."""
        now = self._clock.now()
        lanes, unreadable = await self._store.read.queries.lane_counts()
        if unreadable:
            await dead_letter_unreadable(self._store.jobs, unreadable, now)
            lanes, _ = await self._store.read.queries.lane_counts()
        states, oldest = await self._store.read.queries.state_counts()
        limits = await self._known_limits()
        breakers = visible(_breaker_summaries(await self._store.breakers.list_all(), lanes))
        return QueueStats(
            states=states,
            oldest_age_s={state: max(0.0, now - since) for state, since in oldest.items()},
            lanes=lanes,
            rate_limits=limits,
            drain_s=self._drain_times_s(lanes, limits, now),
            workers=await self.live_workers(),
            redis_problems=await self.readiness.problems(),
            hold_count=len(await self._store.holds.list_all()),
            reconcile_off=await self._store.evidence.reconcile_off(),
            breakers=[one for one in breakers if limits_submits(one.breaker, now)],
            rates=await self._store.read.queries.rates(now),
            credit_warnings=await self._credit_warnings.list_all(),
        )

    def _drain_times_s(
        self, lanes: Sequence[LaneCount], rate_limits: Mapping[Scope, RateLimitBucket], now: float
    ) -> dict[Lane, float]:
        times_s: dict[Lane, float] = {}
        for one in heapq.nlargest(MAX_DRAIN_TIMES, lanes, key=lambda lane: lane.queued):
            bucket = rate_limits.get(one.lane.route)
            if bucket is None or not one.queued:
                continue
            others = (o.queued for o in lanes if o.lane.route == one.lane.route and o is not one)
            ahead = one.queued - 1 + sum(min(count, one.queued) for count in others)
            if (wait := wait_s(bucket, ahead, now, self._window_s)) is not None:
                times_s[one.lane] = wait
        return times_s

    async def _known_limits(self) -> dict[Scope, RateLimitBucket]:
        buckets = await self._store.rate_limits.buckets()
        return {route: bucket for route, bucket in buckets.items() if bucket.limit is not None}


def queued_in(scope: Scope, lanes: Sequence[LaneCount]) -> int:
    """Number of jobs that are queued in the lanes of a scope."""
    return sum(one.queued for one in lanes if covers(scope, one.lane))


def _breaker_summaries(
    breakers: Sequence[Breaker], lanes: Sequence[LaneCount]
) -> list[BreakerSummary]:
    shown = [
        BreakerSummary(one, queued_in(one.scope, lanes)) for one in breakers if not one.is_clean
    ]
    order = (BreakerState.OPEN, BreakerState.PROBING, BreakerState.CLOSED)
    return sorted(shown, key=lambda one: (order.index(one.breaker.state), -one.queued_jobs))
