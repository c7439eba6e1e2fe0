"""Learns how long runs of a target take, and plans their polls accordingly.

Every worker adds the durations it observed to samples that all workers share, and reads what the
others added, in one round trip every few seconds. When enough samples are new, it makes a new
schedule. Where the provider limits polls, it raises their price until they fit the limit.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Final
from zlib import crc32

import structlog

from jobs.job import Job
from jobs.lanes import Lane, polls_scope
from jobs.polling.estimator import estimate_durations, is_worth_estimating
from jobs.polling.price import adjusted_price_s
from jobs.polling.samples import (
    MAX_SAMPLES,
    Distribution,
    DurationSample,
    PendingSamples,
    completion_horizon_s,
    sample_at,
    sample_between,
)
from jobs.polling.schedules import PlannedSchedule, PollSchedule, planned_schedule
from jobs.rate_limits import WINDOW_S, RateLimitBucket
from worker.engine.wakeups import Wakeup
from worker.store import Store
from worker.store.durations import TargetName, decode_sketch, target_of

log: Final = structlog.get_logger(__name__)

TICK_S: Final = 3.0
"""How often samples are exchanged."""

UNUSED_AFTER_S: Final = 600.0
"""A lane without a poll for this long is no longer planned."""

MAX_LANES: Final = 1_000
"""Lanes that are planned at once."""

LIMIT_MAX_AGE_S: Final = 600.0
"""A limit that was reported longer ago is ignored."""

UNKNOWN_RUN_AGE_S: Final = 20.0
"""The assumed age of a run of an unknown target, to estimate how often it is polled."""


@dataclass(slots=True)
class _LearnedTarget:
    """What is known of a target."""

    sketch_rows: list[bytes] = field(default_factory=list[bytes])
    """Its samples, as last read."""
    learned_rows: list[bytes] = field(default_factory=list[bytes])
    estimate: Distribution | None = None
    last_price_s: float = 0.1
    """The price of its last plan."""

    @property
    def is_worth_learning(self) -> bool:
        """Whether enough samples are new since the last estimate."""
        new = sum((Counter(self.sketch_rows) - Counter(self.learned_rows)).values())
        return is_worth_estimating(len(self.sketch_rows), new)


class PollPlanner:
    """Plans polls; answers at once from what it has learned."""

    name = "poll_planner"

    def __init__(
        self,
        store: Store,
        default_schedule: PollSchedule,
        polls_per_run: float,
        *,
        window_s: float = WINDOW_S,
    ) -> None:
        self._store = store
        self._window_s = window_s
        self._default_schedule = default_schedule
        self._polls_per_run = polls_per_run
        self._pending: dict[TargetName, PendingSamples] = {}
        """Samples of this worker, until they are complete enough to count."""
        self._targets: dict[TargetName, _LearnedTarget] = {}
        self._schedules: dict[Lane, PollSchedule] = {}
        self._requested: set[Lane] = set()
        """Lanes whose schedule was read since the last tick."""
        self._used_at: dict[Lane, float] = {}
        self._prices_s: dict[str, float] = {}
        """By account, the price of a poll in seconds of delay; none where polls are not limited."""
        self.wakeup = Wakeup()

    # For the poller and the submitter.

    def schedule(self, lane: Lane) -> PollSchedule:
        """When to poll runs of a lane."""
        self._requested.add(lane)
        return self._schedules.get(lane, self._default_schedule)

    def record_polled_end(self, job: Job, found_at: float, running_at: float | None) -> None:
        """Record that a poll found a run ended; `running_at`: when a poll last found it running."""
        if (started := _started_at(job)) is not None and found_at >= started:
            running_s = None if running_at is None else max(0.0, running_at - started)
            self._add_sample(
                job.lane, sample_between(started, running_s, found_at - started, _sampling_key(job))
            )

    def record_reported_end(self, job: Job, ended_at: float) -> None:
        """Record an end that was reported at once: by a webhook, or the response of a sync run."""
        if (started := _started_at(job)) is not None and ended_at >= started:
            self._add_sample(job.lane, sample_at(started, ended_at - started, _sampling_key(job)))

    def _add_sample(self, lane: Lane, sample: DurationSample) -> None:
        self._requested.add(lane)
        self._pending.setdefault(target_of(lane), PendingSamples()).add(sample)

    # The service.

    async def tick(self, now: float) -> float:
        """Exchange samples, make estimates and prices; returns the seconds until the next tick."""
        self._track_lanes(now)
        if self._used_at:
            await self._exchange(now)
            learned = [t for t, target in self._targets.items() if target.is_worth_learning]
            for target in learned:
                self._learn(target)
                await asyncio.sleep(0)
            repriced = await self._update_prices(now)
            for lane in self._used_at:
                is_known = lane in self._schedules
                if not is_known or lane.account in repriced or target_of(lane) in learned:
                    self._schedules[lane] = self._build_schedule(lane)
                    await asyncio.sleep(0)
        return TICK_S

    def _track_lanes(self, now: float) -> None:
        """Plan only the lanes that are in use."""
        for lane in self._requested:
            self._used_at.pop(lane, None)
            self._used_at[lane] = now
        self._requested = set()
        while self._used_at:
            oldest = next(iter(self._used_at))
            if len(self._used_at) <= MAX_LANES and self._used_at[oldest] >= now - UNUSED_AFTER_S:
                break
            del self._used_at[oldest]
        self._schedules = {n: s for n, s in self._schedules.items() if n in self._used_at}
        targets = {target_of(lane) for lane in self._used_at}
        self._targets = {target: self._targets.get(target, _LearnedTarget()) for target in targets}

    async def _exchange(self, now: float) -> None:
        complete = self._take_complete(now)
        try:
            found = await self._store.durations.exchange(complete, list(self._targets))
        except BaseException:
            for target, samples in complete.items():
                pending = self._pending.setdefault(target, PendingSamples())
                pending.samples = [*samples, *pending.samples]
            raise
        for target, rows in found.items():
            self._targets[target].sketch_rows = rows

    def _take_complete(self, now: float) -> dict[TargetName, list[DurationSample]]:
        """Take the samples that count by now: no shorter run can still be missing."""
        found: dict[TargetName, list[DurationSample]] = {}
        for target, pending in list(self._pending.items()):
            known = self._targets.get(target)
            horizon_s = completion_horizon_s(known.estimate if known else None, pending.samples)
            if complete := pending.pop_complete(horizon_s, now):
                found[target] = complete[-MAX_SAMPLES:]
            if pending.is_idle:
                del self._pending[target]
        return found

    def _learn(self, target: TargetName) -> None:
        known = self._targets[target]
        sketch = decode_sketch(known.sketch_rows)
        first = known.estimate is None
        known.estimate, known.learned_rows = estimate_durations(sketch), known.sketch_rows
        if first and known.estimate is not None:
            log.info("durations.learned", target=target, runs=len(sketch))

    def _build_schedule(self, lane: Lane) -> PollSchedule:
        """The schedule of a lane, at the present price of its account."""
        default, price = self._default_schedule, self._prices_s.get(lane.account, 0.0)
        known = self._targets[target_of(lane)]
        if known.estimate is None:
            return PollSchedule(default.min_s, default.max_s, price) if price else default
        schedule = planned_schedule(
            known.estimate,
            polls_per_run=self._polls_per_run,
            min_s=default.min_s,
            max_s=default.max_s,
            min_price_s=price,
            start_price_s=known.last_price_s,
        )
        if schedule.price_s > price:
            known.last_price_s = schedule.price_s
        return schedule

    # Where polls are limited.

    async def _update_prices(self, now: float) -> set[str]:
        """Set the price of every account; returns the accounts whose price changed."""
        buckets = await self._store.rate_limits.buckets()
        repriced: set[str] = set()
        for account in {lane.account for lane in self._used_at}:
            allowed = self._allowed_polls_per_s(buckets.get(polls_scope(account)), now)
            before = self._prices_s.get(account, 0.0)
            if allowed is None and not before:
                continue
            price = adjusted_price_s(before, await self._wanted_polls_per_s(account), allowed)
            if price != before:
                repriced.add(account)
                self._prices_s[account] = price
                if not price:
                    del self._prices_s[account]
            if bool(price) != bool(before):
                log.info("polls.priced", account=account, price_s=round(price, 3))
        return repriced

    def _allowed_polls_per_s(self, bucket: RateLimitBucket | None, now: float) -> float | None:
        """Polls per second that an account may make; None where no limit is known."""
        if bucket is None or not bucket.limit or bucket.reported_at < now - LIMIT_MAX_AGE_S:
            return None
        return bucket.limit / self._window_s

    async def _wanted_polls_per_s(self, account: str) -> float:
        """Polls per second of all runs of an account in flight, by their present schedules."""
        lanes = [lane for lane in self._used_at if lane.account == account]
        active = await self._store.lanes.active_counts(lanes)
        return sum(
            count * _polls_per_s(self._schedules.get(lane, self._default_schedule))
            for lane, count in zip(lanes, active, strict=True)
        )


def _started_at(job: Job) -> float | None:
    """When the provider accepted the run; None where it was cancelled, so is no sample."""
    return None if job.cancel_requested else job.submitted_at


def _sampling_key(job: Job) -> int:
    """A number that is independent of how long the job ran."""
    return crc32(job.id.encode())


def _polls_per_s(schedule: PollSchedule) -> float:
    """Polls per second of one run."""
    if isinstance(schedule, PlannedSchedule):
        return schedule.plan.expected_polls / max(schedule.plan.mean_s, schedule.min_s)
    return 1 / schedule.next_delay_s(UNKNOWN_RUN_AGE_S, 0.5)
