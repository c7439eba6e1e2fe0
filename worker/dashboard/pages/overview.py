"""The overview: what needs a person, and how everything stands."""

import asyncio
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from jobs.holds import Gates, Phase
from jobs.rate_limits import Bucket
from jobs.states import State
from worker.app.queries import Stats
from worker.dashboard.page_request import Visit
from worker.dashboard.pages.holds import seen_holds
from worker.dashboard.views.history import history_charts, wanted_window
from worker.dashboard.views.summary import verdict
from worker.store.metrics.series import Window
from worker.store.read.queries import LaneCount

LANES_SHOWN: Final = 40
"""Lanes in the table, the busiest first."""


@dataclass(frozen=True, slots=True)
class Meter:
    """The quota of a route as a gauge."""

    route: str
    limit: int
    remaining: int
    reset_at: float | None
    seen_at: float

    @property
    def used(self) -> int:
        """Requests gone of this window."""
        return max(0, self.limit - self.remaining)


@dataclass(frozen=True, slots=True)
class LaneSeen:
    """A lane with what stands over it."""

    count: LaneCount
    cap: int | None
    gate: str
    """Why nothing of it is sent, or how gently; empty where the gate is open."""
    drain_s: float | None
    """Seconds until its last job can be sent, where a limit of the provider tells."""


async def overview_page(visit: Visit) -> web.StreamResponse:
    """How everything stands."""
    office = visit.office
    stats, holds, parked, dead, gates, webhooks = await asyncio.gather(
        office.review.stats(),
        office.review.holds(),
        office.review.groups(State.PARKED),
        office.review.groups(State.DEAD),
        office.store.gates.standing(),
        office.store.queries.webhook_health(visit.now),
    )
    window = wanted_window(visit.request.query.get("window", ""))
    return await visit.answer(
        "overview.html",
        verdict=verdict(stats, holds, parked, dead),
        stats=stats,
        meters=_meters(stats, visit.now),
        lanes=_lanes(visit, stats, gates),
        lanes_more=max(0, len(stats.lanes) - LANES_SHOWN),
        holds=seen_holds(stats, holds),
        webhooks=webhooks,
        webhook_secret=bool(office.settings.webhook_secrets),
        charts=await history_charts(visit, window),
        window=window,
        windows=tuple(Window),
    )


def _meters(stats: Stats, now: float) -> list[Meter]:
    """The routes whose limit is known; a window that is over counts as untouched."""
    return [
        Meter(route, seen.limit, _left(seen, now), seen.reset_at, seen.seen_at)
        for route, seen in sorted(stats.quota.items())
        if seen.limit
    ]


def _left(seen: Bucket, now: float) -> int:
    limit = seen.limit or 0
    if seen.remaining is None or (seen.reset_at is not None and seen.reset_at <= now):
        return limit
    return min(limit, max(0, seen.remaining))


def _lanes(visit: Visit, stats: Stats, gates: Gates) -> list[LaneSeen]:
    busiest = sorted(stats.lanes, key=lambda one: (-(one.queued + one.active), str(one.lane)))[
        :LANES_SHOWN
    ]
    return [
        LaneSeen(
            one,
            visit.office.caps.of(one.lane),
            _gate(one, gates, visit.now),
            stats.drain.get(one.lane),
        )
        for one in busiest
    ]


def _gate(one: LaneCount, gates: Gates, now: float) -> str:
    if (closed := gates.closed_by(one.lane)) is not None:
        return f"closed: {closed.code}"
    opening = [hold for hold in gates.opening(one.lane) if hold.phase is Phase.OPENING]
    if opening:
        return f"opening, {opening[0].step} at once"
    cooling = gates.cooling(one.lane.scopes, now)
    return "" if cooling is None else f"cools down: {cooling.why}"
