"""The overview: what needs an operator, jobs, holds, rate limits, lanes and workers."""

import asyncio
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from jobs.breakers.texts import cause_text, limits_submits, state_text
from jobs.holds import Gates, HoldPhase
from jobs.lanes import Lane, cap_of_lane, covers
from jobs.rate_limits import RateLimitBucket
from jobs.states import State
from worker.app.queries import QueueStats
from worker.dashboard.page_request import PageRequest
from worker.dashboard.pages.breakers import breaker_cards
from worker.dashboard.pages.holds import hold_summaries
from worker.dashboard.views.history import history_charts, parse_window
from worker.dashboard.views.summary import summarize
from worker.store.metrics.series import SeriesWindow
from worker.store.read.lane_counts import LaneCount
from worker.store.workers import Heartbeat

LANES_SHOWN: Final = 40
"""Lanes in the table, the busiest first."""


@dataclass(frozen=True, slots=True)
class RateLimitGauge:
    """The rate limit of a route: requests per window."""

    route: str
    limit: int
    remaining: int
    reset_at: float | None
    reported_at: float

    @property
    def used(self) -> int:
        """Requests used in this window."""
        return max(0, self.limit - self.remaining)


@dataclass(frozen=True, slots=True)
class LaneRow:
    """A lane with its cap and its holds."""

    count: LaneCount
    cap: int | None
    admission_text: str
    """What closes or limits admission; empty if it is open."""
    drain_s: float | None
    """Seconds until its last job can be sent; None if no rate limit is known."""


async def overview_page(page_request: PageRequest) -> web.StreamResponse:
    """Render the overview."""
    context = page_request.context
    stats, holds, parked, dead, gates, webhooks = await asyncio.gather(
        context.use_cases.queries.stats(),
        context.use_cases.queries.holds(),
        context.use_cases.queries.groups(State.PARKED),
        context.use_cases.queries.groups(State.DEAD),
        context.gates(),
        context.store.read.queries.webhook_health(page_request.now),
    )
    if not page_request.principal.sees_credits:
        stats = dataclasses.replace(stats, credit_warnings=[])
    window = parse_window(page_request.request.query.get("window", ""))
    return await page_request.render(
        "overview.html",
        summary=summarize(stats, holds, parked, dead, page_request.now),
        breakers=breaker_cards(stats.breakers, page_request.now),
        stats=stats,
        gauges=_rate_limit_gauges(stats, page_request.now),
        lanes=_lanes(page_request, stats, gates),
        lanes_more=max(0, len(stats.lanes) - LANES_SHOWN),
        holds=hold_summaries(stats, holds),
        webhooks=webhooks,
        webhook_secret=bool(context.settings.webhook_secrets),
        charts=history_charts(await context.store.metrics.series.read(window, page_request.now)),
        window=window,
        windows=tuple(SeriesWindow),
    )


def _rate_limit_gauges(stats: QueueStats, now: float) -> list[RateLimitGauge]:
    """The routes with a known limit; a window that has ended counts as unused."""
    return [
        RateLimitGauge(
            route, bucket.limit, _remaining(bucket, now), bucket.reset_at, bucket.reported_at
        )
        for route, bucket in sorted(stats.rate_limits.items())
        if bucket.limit
    ]


def _remaining(bucket: RateLimitBucket, now: float) -> int:
    limit = bucket.limit or 0
    if bucket.remaining is None or (bucket.reset_at is not None and bucket.reset_at <= now):
        return limit
    return min(limit, max(0, bucket.remaining))


def _lanes(page_request: PageRequest, stats: QueueStats, gates: Gates) -> list[LaneRow]:
    busiest = sorted(stats.lanes, key=lambda one: (-(one.queued + one.active), str(one.lane)))[
        :LANES_SHOWN
    ]
    taking = [worker for worker in stats.workers if worker.takes_work]
    caps = gates.caps_over(page_request.context.use_cases.queries.caps)
    return [
        LaneRow(
            one,
            cap_of_lane(caps, one.lane),
            _admission_text(one.lane, gates, page_request.now) or _poll_text(one.lane, taking),
            stats.drain_s.get(one.lane),
        )
        for one in busiest
    ]


def _admission_text(lane: Lane, gates: Gates, now: float) -> str:
    if (closed := gates.closing_hold(lane)) is not None:
        return f"closed: {closed.code}"
    opening = [hold for hold in gates.opening_holds(lane) if hold.phase is HoldPhase.OPENING]
    if opening:
        return f"opening: {opening[0].step} at a time"
    for breaker in gates.breakers:
        if covers(breaker.scope, lane) and limits_submits(breaker, now):
            return f"{cause_text(breaker, now)}; {state_text(breaker, now)}"
    cool_down = gates.running_cool_down(lane.scopes, now)
    return "" if cool_down is None else f"cooling down: {cool_down.why}"


def _poll_text(lane: Lane, taking: Sequence[Heartbeat]) -> str:
    """What to say where every worker that takes jobs waits for a poll of the account."""
    waits = taking and all(lane.account in worker.unproved_accounts for worker in taking)
    return "waits for a poll" if waits else ""
