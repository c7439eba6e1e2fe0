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
from jobs.rate_limits import Bucket, Left, Told
from worker.clock import Clock
from worker.engine.wakeups import Bell
from worker.provider.port import QuotaSeen
from worker.store.jobs import JobStore
from worker.store.rate_limits import NEW, QuotaStore

log: Final = structlog.get_logger(__name__)

LOOK_S: Final = 1.0
FORGET_S: Final = 86_400.0
"""A route of which nothing was heard for a day is forgotten."""

TOO_MANY: Final = 429


@dataclass(slots=True)
class _News:
    """What was learned of a route since it was last written."""

    told: dict[float, tuple[Told, float, bool]] = field(
        default_factory=dict[float, tuple[Told, float, bool]]
    )
    """End of a window → the least that was told of it, first when, and whether with a 429."""
    silent: int = 0
    """Answers without a word on limits."""
    succeeded: bool = False
    """One of these was a success."""
    settled: int = 0
    spent: int = 0


class Quota:
    """Grants requests, and learns from answers."""

    name = "quota"

    def __init__(
        self,
        store: QuotaStore,
        jobs: JobStore,
        clock: Clock,
        bell: Bell,
        *,
        window_s: float = rate_limits.WINDOW_S,
        shared: bool = False,
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._clock = clock
        self._admission = bell
        self._window_s = window_s
        self._shared = shared
        """Submits and polls of an account draw on one bucket."""
        self._news: dict[Scope, _News] = {}
        self._known: dict[Scope, Bucket] = {}
        self._forget_at = 0.0
        self.bell = Bell()

    async def left(self, routes: Iterable[Scope], now: float) -> dict[Scope, Left]:
        """What submits of these routes have left."""
        self._known = await self._store.buckets()
        return {route: await self._left(route, now) for route in set(routes)}

    async def _left(self, route: Scope, now: float) -> Left:
        bucket = self.known(route)
        rest = rate_limits.left(bucket, now)
        if not self._shared or bucket.limit is None:
            return rest
        looks = await self._jobs.polls_until(max(now, bucket.reset_at or now))
        return rate_limits.after_looks(rest, bucket.limit, looks)

    def known(self, route: Scope) -> Bucket:
        """The bucket of a route as it was last read."""
        return self._known.get(self._bucket(route), NEW)

    def _bucket(self, route: Scope) -> Scope:
        """Whose bucket a route draws on: its own, or its account's."""
        return Scope(route.partition("/")[0]) if self._shared else route

    async def take(self, route: Scope, usual: int, urgent: int, now: float) -> int:
        """Grant so many requests, urgent ones first; returns how many there were."""
        if self.known(route).unlimited:
            return usual + urgent
        granted = 0

        def decide(bucket: Bucket) -> Bucket:
            nonlocal granted
            rest = rate_limits.left(bucket, now)
            first = min(urgent, rest.urgent)
            granted = first + max(0, min(usual, rest.usual - first, rest.urgent - first))
            return rate_limits.grant(bucket, granted, now)

        bucket = self._bucket(route)
        self._known[bucket] = await self._store.change(bucket, decide)
        return granted

    async def take_looks(self, route: Scope, count: int, now: float) -> int:
        """Grant looks at runs; before submits of the same bucket they go first."""
        usual, urgent = (0, count) if self._shared else (count, 0)
        return await self.take(route, usual, urgent, now)

    def settle(self, route: Scope, count: int = 1, *, spent: int = 0) -> None:
        """Granted requests were answered or not made; `spent`: made, and answered much later."""
        if count and not self.known(route).unlimited:
            news = self._of(route)
            news.settled += count
            news.spent += spent
            self.bell.ring()

    def saw(self, account: str, route: Scope, seen: QuotaSeen | None, status: int) -> None:
        """Take what an answer told of its route's limits; written by the next tick."""
        del account
        succeeded = 200 <= status < 300  # noqa: PLR2004
        if seen is None or seen.remaining is None:
            if not self.known(route).unlimited:
                news = self._of(route)
                news.silent += 1
                news.succeeded = news.succeeded or succeeded
                self.bell.ring()
            return
        now = self._clock.now()
        told = self._told(route, seen, now)
        news = self._of(route)
        least, first, refused = news.told.get(told.reset_at, (told, now, False))
        if told.remaining < least.remaining:
            least = told
        news.told[told.reset_at] = least, first, refused or status == TOO_MANY
        self.bell.ring()

    def _told(self, route: Scope, seen: QuotaSeen, now: float) -> Told:
        """What headers say, with what is known in place of those that are missing."""
        known = self.known(route)
        remaining = seen.remaining or 0
        limit = seen.limit if seen.limit is not None else max(remaining, known.limit or 0)
        if seen.reset_at is not None:
            return Told(limit, remaining, seen.reset_at)
        within = known.reset_at is not None and now < known.reset_at
        return Told(limit, remaining, known.told_reset if within else now + self._window_s)

    def _of(self, route: Scope) -> _News:
        return self._news.setdefault(self._bucket(route), _News())

    async def tick(self, now: float) -> float:
        """Write what was learned since the last tick."""
        for route in list(self._news):
            await self._write(route, now)
        if now >= self._forget_at:
            self._forget_at = now + FORGET_S / 24
            await self._store.forget_silent(now - FORGET_S)
        return LOOK_S

    async def _write(self, route: Scope, now: float) -> None:
        fresh = self._news.pop(route)
        try:
            self._known[route] = await self._store.change(
                route, lambda bucket: self._apply(bucket, fresh, now)
            )
        except BaseException:
            self._of(route).settled += fresh.settled  # what was told, the next answer tells again
            raise
        self._admission.ring()

    def _apply(self, bucket: Bucket, news: _News, now: float) -> Bucket:
        if news.silent and not news.told:
            for _ in range(min(news.silent, 10)):
                bucket = rate_limits.learn_silence(bucket, now, succeeded=news.succeeded)
        for _, (told, first, refused) in sorted(news.told.items()):
            bucket = rate_limits.learn(
                bucket, told, first, refused=refused, window_s=self._window_s
            )
        return rate_limits.settle(bucket, news.settled, spent=news.spent)
