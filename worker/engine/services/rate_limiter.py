"""Uses the provider's rate limits to the last request, together with all other workers.

Requests are granted before they are made and settled when they are answered. What the responses
report is written to the shared bucket a little later, as one change. An account without limits is
known as such after its first success, and costs nothing from then on.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import structlog

from jobs import rate_limits
from jobs.lanes import Scope
from jobs.rate_limits import Allowance, RateLimitBucket, RateLimitHeaders
from worker.clock import Clock
from worker.engine.wakeups import Wakeup
from worker.provider.port import ReportedRateLimit
from worker.store.polls import PollStore
from worker.store.rate_limits import NEW_BUCKET, RateLimitStore

log: Final = structlog.get_logger(__name__)

TICK_S: Final = 1.0
FORGET_AFTER_S: Final = 86_400.0
"""A bucket that was not used for a day is removed."""

TOO_MANY_REQUESTS: Final = 429


@dataclass(slots=True)
class _PendingReports:
    """What the responses of a route reported since the bucket was last written."""

    reported: dict[float, tuple[RateLimitHeaders, float, bool]] = field(
        default_factory=dict[float, tuple[RateLimitHeaders, float, bool]]
    )
    """End of a window → the report with the fewest requests remaining, when the first report of the
    window came, and whether one was a 429."""
    without_limits: int = 0
    """Responses without rate-limit headers, less 429s."""
    has_success: bool = False
    """One of these was a success."""
    is_refused: bool = False
    """There was a 429 without rate-limit headers."""
    answered: int = 0
    unreported: int = 0


@dataclass(slots=True)
class _Grant:
    """A request for grants, applied to the bucket as it is at each try."""

    normal: int
    urgent: int
    now: float
    granted: int = 0
    """How many the last try granted."""

    def apply(self, bucket: RateLimitBucket) -> RateLimitBucket:
        """The bucket after the grants, urgent ones first."""
        left = rate_limits.current_allowance(bucket, self.now)
        urgent = min(self.urgent, left.urgent)
        normal = max(0, min(self.normal, left.normal - urgent, left.urgent - urgent))
        self.granted = urgent + normal
        return rate_limits.grant(bucket, self.granted, self.now)


class RateLimiter:
    """Grants requests, and learns the limits from the responses."""

    name = "rate_limiter"

    def __init__(
        self,
        store: RateLimitStore,
        polls: PollStore,
        clock: Clock,
        admission_wakeup: Wakeup,
        *,
        window_s: float = rate_limits.WINDOW_S,
        is_shared: bool = False,
    ) -> None:
        self._store = store
        self._polls = polls
        self._clock = clock
        self._admission_wakeup = admission_wakeup
        self._window_s = window_s
        self._is_shared = is_shared
        """Submits and polls of an account use one bucket."""
        self._pending: dict[Scope, _PendingReports] = {}
        self._buckets: dict[Scope, RateLimitBucket] = {}
        self._forget_at = 0.0
        self.wakeup = Wakeup()

    async def allowances(self, routes: Iterable[Scope], now: float) -> dict[Scope, Allowance]:
        """What submits of these routes have left."""
        self._buckets = await self._store.buckets()
        return {route: await self._allowance(route, now) for route in set(routes)}

    async def _allowance(self, route: Scope, now: float) -> Allowance:
        bucket = self.bucket(route)
        left = rate_limits.current_allowance(bucket, now)
        if not self._is_shared or bucket.limit is None:
            return left
        polls = await self._polls.count_until(max(now, bucket.reset_at or now))
        return rate_limits.reserve_for_polls(left, bucket.limit, polls)

    def bucket(self, route: Scope) -> RateLimitBucket:
        """The bucket of a route as it was last read."""
        return self._buckets.get(self._bucket_scope(route), NEW_BUCKET)

    def _bucket_scope(self, route: Scope) -> Scope:
        """The scope of the bucket that a route uses: its own, or its account's."""
        return Scope(route.partition("/")[0]) if self._is_shared else route

    async def take(self, route: Scope, normal: int, urgent: int, now: float) -> int:
        """Grant up to `normal` + `urgent` requests, urgent ones first; returns how many."""
        if self.bucket(route).is_unlimited:
            return normal + urgent
        grant, bucket = _Grant(normal, urgent, now), self._bucket_scope(route)
        self._buckets[bucket] = await self._store.change(bucket, grant.apply)
        return grant.granted

    async def take_polls(self, route: Scope, count: int, now: float) -> int:
        """Grant up to `count` polls; they come before submits of the same bucket."""
        normal, urgent = (0, count) if self._is_shared else (count, 0)
        return await self.take(route, normal, urgent, now)

    def record_answered(self, route: Scope, count: int = 1, *, unreported: int = 0) -> None:
        """Settle granted requests that were answered, or not made.

        `unreported`: how many of them were made, with a response too late for the window.
        """
        if count and not self.bucket(route).is_unlimited:
            pending = self._pending_for(route)
            pending.answered += count
            pending.unreported += unreported
            self.wakeup.notify()

    def record_response(
        self, route: Scope, reported: ReportedRateLimit | None, status: int
    ) -> None:
        """Note what a response reports of its route's limits; the next tick writes it."""
        succeeded = 200 <= status < 300  # noqa: PLR2004
        if reported is None or reported.remaining is None:
            refused = status == TOO_MANY_REQUESTS
            if refused or not self.bucket(route).is_unlimited:
                pending = self._pending_for(route)
                pending.is_refused = pending.is_refused or refused
                pending.without_limits += not refused
                pending.has_success = pending.has_success or succeeded
                self.wakeup.notify()
            return
        now = self._clock.now()
        report = self._complete_headers(route, reported, now)
        pending = self._pending_for(route)
        least, first_at, refused = pending.reported.get(report.reset_at, (report, now, False))
        if report.remaining < least.remaining:
            least = report
        pending.reported[report.reset_at] = (
            least,
            first_at,
            refused or status == TOO_MANY_REQUESTS,
        )
        self.wakeup.notify()

    def _complete_headers(
        self, route: Scope, headers: ReportedRateLimit, now: float
    ) -> RateLimitHeaders:
        """The headers, with what is known of the bucket in place of missing ones."""
        known = self.bucket(route)
        remaining = headers.remaining or 0
        limit = headers.limit if headers.limit is not None else max(remaining, known.limit or 0)
        if headers.reset_at is not None:
            return RateLimitHeaders(limit, remaining, headers.reset_at)
        within = known.reset_at is not None and now < known.reset_at
        return RateLimitHeaders(
            limit, remaining, known.reported_reset_at if within else now + self._window_s
        )

    def _pending_for(self, route: Scope) -> _PendingReports:
        return self._pending.setdefault(self._bucket_scope(route), _PendingReports())

    async def tick(self, now: float) -> float:
        """Write what was reported since the last tick."""
        for route in list(self._pending):
            await self._write(route, now)
        if now >= self._forget_at:
            self._forget_at = now + FORGET_AFTER_S / 24
            await self._store.remove_stale(now - FORGET_AFTER_S)
        return TICK_S

    async def _write(self, route: Scope, now: float) -> None:
        pending = self._pending.pop(route)
        try:
            self._buckets[route] = await self._store.change(
                route, lambda bucket: self._apply(bucket, pending, now)
            )
        except BaseException:
            # The next response reports the limits again; answered requests are counted once.
            self._pending_for(route).answered += pending.answered
            raise
        self._admission_wakeup.notify()

    def _apply(
        self, bucket: RateLimitBucket, reports: _PendingReports, now: float
    ) -> RateLimitBucket:
        if reports.is_refused and not reports.reported:
            bucket = rate_limits.apply_refusal_without_headers(bucket, now)
        elif reports.without_limits and not reports.reported:
            for _ in range(min(reports.without_limits, 10)):
                bucket = rate_limits.apply_no_headers(bucket, now, succeeded=reports.has_success)
        for _, (report, first_at, refused) in sorted(reports.reported.items()):
            bucket = rate_limits.apply_headers(
                bucket, report, first_at, refused=refused, window_s=self._window_s
            )
        return rate_limits.resolve_grants(bucket, reports.answered, unreported=reports.unreported)
