"""The timekeeper: knows how long runs of a target take, and so when to look at the next one.

Every worker adds the runs whose end it saw to a sketch that all share, and reads back what the
others added, in one round trip every few seconds. From a sketch that changed enough it makes a new
schedule. Where the provider limits looks, it raises their price until they fit.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Final
from zlib import crc32

import structlog

from jobs.job import Job
from jobs.lanes import Lane, executions
from jobs.polling.estimator import learn, worth_learning
from jobs.polling.price import steered
from jobs.polling.samples import (
    KEPT,
    Distribution,
    Seen,
    Waiting,
    horizon,
    seen_at,
    seen_between,
)
from jobs.polling.schedules import Learned, PollSchedule, learned
from jobs.rate_limits import WINDOW_S, Bucket
from worker.engine.wakeups import Bell
from worker.store import Store
from worker.store.durations import Target, decode_sketch, target_of

log: Final = structlog.get_logger(__name__)

TICK_S: Final = 3.0
"""How often sketches are exchanged."""

UNUSED_S: Final = 600.0
"""A lane of which no run was looked at for so long is not followed any more."""

LANES_MOST: Final = 1_000
"""Lanes that are followed."""

QUOTA_FRESH_S: Final = 600.0
"""A limit that was told longer ago says nothing."""

COLD_AGE_S: Final = 20.0
"""The age that a run of an unknown target is taken to have, to guess how often it is looked at."""


@dataclass(slots=True)
class _Known:
    """What is known of a target."""

    rows: list[bytes] = field(default_factory=list[bytes])
    """Its sketch, as last read."""
    learned_from: list[bytes] = field(default_factory=list[bytes])
    believed: Distribution | None = None
    near_s: float = 0.1
    """The price of its last plan."""

    @property
    def is_news(self) -> bool:
        """Whether enough runs ended since to learn again."""
        fresh = sum((Counter(self.rows) - Counter(self.learned_from)).values())
        return worth_learning(len(self.rows), fresh)


class Timekeeper:
    """Learns how long runs take; answers at once from what it knows."""

    name = "timekeeper"

    def __init__(
        self,
        store: Store,
        usual: PollSchedule,
        polls_per_run: float,
        *,
        window_s: float = WINDOW_S,
    ) -> None:
        self._store = store
        self._window_s = window_s
        self._usual = usual
        self._polls_per_run = polls_per_run
        self._waiting: dict[Target, Waiting] = {}
        """Runs whose end this worker saw, until they count."""
        self._known: dict[Target, _Known] = {}
        self._schedules: dict[Lane, PollSchedule] = {}
        self._asked: set[Lane] = set()
        """Lanes whose schedule was asked for since the last tick."""
        self._used_at: dict[Lane, float] = {}
        self._prices: dict[str, float] = {}
        """What a look is worth, in seconds of delay, by account; none: looks are not scarce."""
        self.bell = Bell()

    # What the poller and the submitter ask and tell.

    def schedule(self, lane: Lane) -> PollSchedule:
        """When to look at runs of a lane."""
        self._asked.add(lane)
        return self._schedules.get(lane, self._usual)

    def looked(self, job: Job, found_at: float, running_at: float | None) -> None:
        """A poll found a run ended, which an earlier one (None: none) had found running."""
        if (began := _began(job)) is not None and found_at >= began:
            running_s = None if running_at is None else max(0.0, running_at - began)
            self._add(job.lane, seen_between(began, running_s, found_at - began, _lot(job)))

    def told(self, job: Job, ended_at: float) -> None:
        """The end of a run was told when it came: by a webhook, or the answer of a sync run."""
        if (began := _began(job)) is not None and ended_at >= began:
            self._add(job.lane, seen_at(began, ended_at - began, _lot(job)))

    def _add(self, lane: Lane, run: Seen) -> None:
        self._asked.add(lane)
        self._waiting.setdefault(target_of(lane), Waiting()).add(run)

    # The service.

    async def tick(self, now: float) -> float:
        """Exchange sketches, learn from those that changed, and see what looks may cost."""
        self._follow(now)
        if self._used_at:
            await self._exchange(now)
            news = [target for target, known in self._known.items() if known.is_news]
            for target in news:
                self._learn(target)
                await asyncio.sleep(0)
            moved = await self._price(now)
            for lane in self._used_at:
                if lane not in self._schedules or lane.account in moved or target_of(lane) in news:
                    self._schedules[lane] = self._made(lane)
                    await asyncio.sleep(0)
        return TICK_S

    def _follow(self, now: float) -> None:
        """Keep to the lanes that are in use."""
        for lane in self._asked:
            self._used_at.pop(lane, None)
            self._used_at[lane] = now
        self._asked = set()
        while self._used_at:
            oldest = next(iter(self._used_at))
            if len(self._used_at) <= LANES_MOST and self._used_at[oldest] >= now - UNUSED_S:
                break
            del self._used_at[oldest]
        self._schedules = {n: s for n, s in self._schedules.items() if n in self._used_at}
        targets = {target_of(lane) for lane in self._used_at}
        self._known = {target: self._known.get(target, _Known()) for target in targets}

    async def _exchange(self, now: float) -> None:
        ripe = self._ripen(now)
        try:
            found = await self._store.durations.exchange(ripe, list(self._known))
        except BaseException:
            for target, runs in ripe.items():
                waiting = self._waiting.setdefault(target, Waiting())
                waiting.runs = [*runs, *waiting.runs]
            raise
        for target, rows in found.items():
            self._known[target].rows = rows

    def _ripen(self, now: float) -> dict[Target, list[Seen]]:
        """Let go of the runs that count by now."""
        found: dict[Target, list[Seen]] = {}
        for target, waiting in list(self._waiting.items()):
            known = self._known.get(target)
            horizon_s = horizon(known.believed if known else None, waiting.runs)
            if ripe := waiting.ripe(horizon_s, now):
                found[target] = ripe[-KEPT:]
            if waiting.over:
                del self._waiting[target]
        return found

    def _learn(self, target: Target) -> None:
        known = self._known[target]
        sketch = decode_sketch(known.rows)
        first = known.believed is None
        known.believed, known.learned_from = learn(sketch), known.rows
        if first and known.believed is not None:
            log.info("durations.learned", target=target, runs=len(sketch))

    def _made(self, lane: Lane) -> PollSchedule:
        """The schedule of a lane, at the price of its account."""
        usual, price = self._usual, self._prices.get(lane.account, 0.0)
        known = self._known[target_of(lane)]
        if known.believed is None:
            return PollSchedule(usual.min_s, usual.max_s, price) if price else usual
        made = learned(
            known.believed,
            looks=self._polls_per_run,
            min_s=usual.min_s,
            max_s=usual.max_s,
            least_price_s=price,
            near_s=known.near_s,
        )
        if made.price_s > price:
            known.near_s = made.price_s
        return made

    # Where looks are limited.

    async def _price(self, now: float) -> set[str]:
        """Set the price of every account; returns those whose price moved."""
        buckets = await self._store.quota.buckets()
        moved: set[str] = set()
        for account in {lane.account for lane in self._used_at}:
            allowed = self._allowed(buckets.get(executions(account)), now)
            before = self._prices.get(account, 0.0)
            if allowed is None and not before:
                continue
            price = steered(before, await self._wanted(account), allowed)
            if price != before:
                moved.add(account)
                self._prices[account] = price
                if not price:
                    del self._prices[account]
            if bool(price) != bool(before):
                log.info("polls.priced", account=account, price_s=round(price, 3))
        return moved

    def _allowed(self, bucket: Bucket | None, now: float) -> float | None:
        """Looks a second that an account may take; None where no limit is known."""
        if bucket is None or not bucket.limit or bucket.seen_at < now - QUOTA_FRESH_S:
            return None
        return bucket.limit / self._window_s

    async def _wanted(self, account: str) -> float:
        """Looks a second that all runs of an account in flight come to, by present schedules."""
        lanes = [lane for lane in self._used_at if lane.account == account]
        active = await self._store.lanes.active(lanes)
        return sum(
            count * _rate(self._schedules.get(lane, self._usual))
            for lane, count in zip(lanes, active, strict=True)
        )


def _began(job: Job) -> float | None:
    """When the provider took the run; None where its end says nothing of how long others take."""
    return None if job.cancel_requested else job.submitted_at


def _lot(job: Job) -> int:
    """A number that has nothing to do with how long the job ran."""
    return crc32(job.id.encode())


def _rate(schedule: PollSchedule) -> float:
    """Looks a second that one run comes to."""
    if isinstance(schedule, Learned):
        return schedule.plan.looks / max(schedule.plan.mean_s, schedule.min_s)
    return 1 / schedule.after(COLD_AGE_S, 0.5)
