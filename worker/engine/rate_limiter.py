"""Spends the provider's rate limits to the last request, together with all other workers.

Requests are granted before they are made and settled when they are answered; what the answers tell
goes to the shared bucket some moments later, all of a moment's answers as one change. An account
without limits is known as such after its first success, and costs nothing from then on.
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
from worker.store.jobs import JobStore
from worker.store.rate_limits import NEW_BUCKET, RateLimitStore

log: Final = structlog.get_logger(__name__)

TICK_S: Final = 1.0
FORGET_AFTER_S: Final = 86_400.0
"""A route of which nothing was heard for a day is forgotten."""

TOO_MANY_REQUESTS: Final = 429


@dataclass(slots=True)
class _PendingReports:
    """What was learned of a route since it was last written."""

    reported: dict[float, tuple[RateLimitHeaders, float, bool]] = field(
        default_factory=dict[float, tuple[RateLimitHeaders, float, bool]]
    )
    """End of a window → the least that was told of it, first when, and whether with a 429."""
    without_limits: int = 0
    """Answers without a word on limits."""
    has_success: bool = False
    """One of these was a success."""
    answered: int = 0
    unreported: int = 0


class RateLimiter:
    """Grants requests, and learns from answers."""

    name = "rate_limiter"

    def __init__(
        self,
        store: RateLimitStore,
        jobs: JobStore,
        clock: Clock,
        admission_wakeup: Wakeup,
        *,
        window_s: float = rate_limits.WINDOW_S,
        is_shared: bool = False,
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._clock = clock
        self._admission_wakeup = admission_wakeup
        self._window_s = window_s
        self._is_shared = is_shared
        """Submits and polls of an account draw on one bucket."""
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
        rest = rate_limits.current_allowance(bucket, now)
        if not self._is_shared or bucket.limit is None:
            return rest
        looks = await self._jobs.count_polls_until(max(now, bucket.reset_at or now))
        return rate_limits.reserve_for_polls(rest, bucket.limit, looks)

    def bucket(self, route: Scope) -> RateLimitBucket:
        """The bucket of a route as it was last read."""
        return self._buckets.get(self._bucket_scope(route), NEW_BUCKET)

    def _bucket_scope(self, route: Scope) -> Scope:
        """Whose bucket a route draws on: its own, or its account's."""
        return Scope(route.partition("/")[0]) if self._is_shared else route

    async def take(self, route: Scope, normal: int, urgent: int, now: float) -> int:
        """Grant so many requests, urgent ones first; returns how many there were."""
        if self.bucket(route).is_unlimited:
            return normal + urgent
        granted = 0

        def decide(bucket: RateLimitBucket) -> RateLimitBucket:
            nonlocal granted
            rest = rate_limits.current_allowance(bucket, now)
            first = min(urgent, rest.urgent)
            granted = first + max(0, min(normal, rest.normal - first, rest.urgent - first))
            return rate_limits.grant(bucket, granted, now)

        bucket = self._bucket_scope(route)
        self._buckets[bucket] = await self._store.change(bucket, decide)
        return granted

    async def take_polls(self, route: Scope, count: int, now: float) -> int:
        """Grant looks at runs; before submits of the same bucket they go first."""
        usual, urgent = (0, count) if self._is_shared else (count, 0)
        return await self.take(route, usual, urgent, now)

    def record_answered(self, route: Scope, count: int = 1, *, unreported: int = 0) -> None:
        """Granted requests were answered or not made; `spent`: made, and answered much later."""
        if count and not self.bucket(route).is_unlimited:
            news = self._pending_for(route)
            news.answered += count
            news.unreported += unreported
            self.wakeup.notify()

    def record_response(
        self, route: Scope, reported: ReportedRateLimit | None, status: int
    ) -> None:
        """Note what a response reports of its route's limits; the next tick writes it."""
        succeeded = 200 <= status < 300  # noqa: PLR2004
        if reported is None or reported.remaining is None:
            if not self.bucket(route).is_unlimited:
                news = self._pending_for(route)
                news.without_limits += 1
                news.has_success = news.has_success or succeeded
                self.wakeup.notify()
            return
        now = self._clock.now()
        told = self._complete_headers(route, reported, now)
        news = self._pending_for(route)
        least, first, refused = news.reported.get(told.reset_at, (told, now, False))
        if told.remaining < least.remaining:
            least = told
        news.reported[told.reset_at] = least, first, refused or status == TOO_MANY_REQUESTS
        self.wakeup.notify()

    def _complete_headers(
        self, route: Scope, headers: ReportedRateLimit, now: float
    ) -> RateLimitHeaders:
        """What headers say, with what is known in place of those that are missing."""
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
        """Write what was learned since the last tick."""
        for route in list(self._pending):
            await self._write(route, now)
        if now >= self._forget_at:
            self._forget_at = now + FORGET_AFTER_S / 24
            await self._store.remove_stale(now - FORGET_AFTER_S)
        return TICK_S

    async def _write(self, route: Scope, now: float) -> None:
        fresh = self._pending.pop(route)
        try:
            self._buckets[route] = await self._store.change(
                route, lambda bucket: self._apply(bucket, fresh, now)
            )
        except BaseException:
            self._pending_for(
                route
            ).answered += fresh.answered  # what was told, the next answer tells again
            raise
        self._admission_wakeup.notify()

    def _apply(
        self, bucket: RateLimitBucket, reports: _PendingReports, now: float
    ) -> RateLimitBucket:
        if reports.without_limits and not reports.reported:
            for _ in range(min(reports.without_limits, 10)):
                bucket = rate_limits.apply_no_headers(bucket, now, succeeded=reports.has_success)
        for _, (told, first, refused) in sorted(reports.reported.items()):
            bucket = rate_limits.apply_headers(
                bucket, told, first, refused=refused, window_s=self._window_s
            )
        return rate_limits.resolve_grants(bucket, reports.answered, unreported=reports.unreported)
