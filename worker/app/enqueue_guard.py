"""What keeps one token from filling Redis or the queue: checked before its jobs are written.

It costs no round trip: the facts are at most `FACTS_MAX_AGE_S` old and shared by all enqueues.
Rates and new names are counted in this process, so each API process grants them.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from config.values import TokenLimits
from jobs.lanes import Lane
from jobs.requests import JobRequest
from worker.app.enqueue import InvalidRequest, is_granted
from worker.clock import Clock
from worker.store.enqueue_facts import EnqueueFacts, EnqueueFactsStore, OpenJobs
from worker.store.holds import MAX_HOLDS

FACTS_MAX_AGE_S: Final = 2.0
BURST_S: Final = 20.0
"""A token that was quiet may enqueue as many jobs at once as its rate allows in so many seconds."""

NEW_NAMES_BURST_MIN: Final = 10.0
"""The same for lanes and tags that are new, in minutes."""

MAX_LANES: Final = 10_000
"""Lanes with jobs, of all accounts: more are refused."""

MEMORY_SHARE: Final = 0.8
"""Share of Redis' memory above which nothing is enqueued, so that workers can still write."""

MAX_TOKENS: Final = 10_000
MAX_SEEN_TAGS: Final = 100_000
OPEN_RETRY_S: Final = 5
"""When to try again where jobs have to settle first."""

MEMORY_RETRY_S: Final = 30
HOLDS_RETRY_S: Final = 60


class LimitReached(Exception):
    """A token may not enqueue so much now; `name` is that of the limit."""

    def __init__(self, name: str, detail: str, retry_after_s: float) -> None:
        self.name = name
        self.retry_after_s = max(1, ceil(retry_after_s))
        super().__init__(detail)


class RedisMemoryFull(Exception):
    """Redis is nearly full, so that nothing is enqueued."""

    def __init__(self, facts: EnqueueFacts) -> None:
        super().__init__(
            f"Redis uses {facts.used_memory:,} of {facts.max_memory:,} bytes, and jobs are enqueued"
            f" below {MEMORY_SHARE:.0%} only, so that those on record can end: try again"
        )


@dataclass(slots=True)
class _Bucket:
    """Grants while it has one; what it grants may be more than it has, and is made up for."""

    balance: float
    updated_at: float

    def wait_s(self, now: float, rate: float, capacity: float) -> float:
        """Seconds until it grants again; 0 where it does now."""
        passed = max(0.0, now - self.updated_at)
        self.balance = min(capacity, self.balance + passed * rate)
        self.updated_at = now
        return max(0.0, (1.0 - self.balance) / rate)


class EnqueueGuard:
    """Checks the enqueues of one API process."""

    def __init__(self, facts: EnqueueFactsStore, clock: Clock) -> None:
        self._store = facts
        self._clock = clock
        self._facts = EnqueueFacts()
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()
        self._new_lanes: set[str] = set()
        self._seen_tags: OrderedDict[str, None] = OrderedDict()
        self._counted: dict[str, OpenJobs] = {}
        """Open jobs of each token that has a limit of them, with those enqueued since the read."""

    async def admit(self, token: str, limits: TokenLimits, requests: Sequence[JobRequest]) -> None:
        """Let a token enqueue jobs; raises `LimitReached` or `RedisMemoryFull`, and takes nothing.

        Limits are checked before the jobs are known to be new: a repeated request counts.
        """
        counts_open = bool(limits.open_jobs or limits.open_bytes)
        await self._refresh(token if counts_open else None)
        facts = self._facts
        if MEMORY_SHARE * facts.max_memory <= facts.used_memory < facts.max_memory:
            raise RedisMemoryFull(facts)  # a full one refuses by itself, and says so
        lanes = {str(Lane(one.account, one.kind, one.target)) for one in requests}
        lanes -= facts.lanes | self._new_lanes
        tags = {tag for one in requests for tag in one.tags if tag not in self._seen_tags}
        _refuse_too_many_lanes(len(facts.lanes | self._new_lanes), len(lanes))
        if lanes and facts.hold_count >= MAX_HOLDS:
            raise too_many_holds("nothing is enqueued for targets without queued jobs")
        if counts_open:
            self._refuse_open(token, limits, requests)
        spent = (
            ("enqueues_per_s", limits.enqueues_per_s, 1.0, BURST_S, len(requests)),
            ("new_lanes_per_min", limits.new_lanes_per_min, 60.0, NEW_NAMES_BURST_MIN, len(lanes)),
            ("new_tags_per_min", limits.new_tags_per_min, 60.0, NEW_NAMES_BURST_MIN, len(tags)),
        )
        for name, limit, period_s, burst, count in spent:
            if limit and count:
                self._refuse_faster(token, name, limit, period_s, burst)
        for name, limit, _, _, count in spent:
            if limit and count:
                self._buckets[token, name].balance -= count
        self._remember(token, lanes, tags, requests, counts_open=counts_open)

    def refuse_account(self, request: JobRequest, granted: Sequence[str] | None) -> None:
        """Raise `InvalidRequest` for an account that no worker has an API key for.

        Until workers have reported their accounts, each is accepted. `granted`: which of them the
        caller may use, and so may know of.
        """
        known = self._facts.accounts
        if known and request.account not in known:
            shown = [one for one in sorted(known) if is_granted(one, granted)]
            use = f"use one of {', '.join(shown[:20])}, or " if shown else ""
            raise InvalidRequest(
                "account",
                f"has no API key: {use}add a key for it"
                " to KNOUDS_API_KEYS of the workers and restart them",
            )

    # Facts.

    async def _refresh(self, token: str | None) -> None:
        """Read the facts where they are too old; callers that come meanwhile share the read."""
        is_new = token is not None and token not in self._counted
        if is_new and token is not None:
            self._counted[token] = OpenJobs()
        is_old = not 0 <= self._clock.now() - self._read_at < FACTS_MAX_AGE_S
        if self._reading is None and (is_old or is_new):
            self._reading = asyncio.create_task(self._read(), name="read enqueue facts")
        if self._reading is not None:
            await asyncio.shield(self._reading)

    async def _read(self) -> None:
        try:
            self._read_at = self._clock.now()
            self._facts = await self._store.read(list(self._counted))
            self._counted = dict(self._facts.open_jobs)
            self._new_lanes.clear()
        finally:
            self._reading = None

    # Limits.

    def _refuse_open(self, token: str, limits: TokenLimits, requests: Sequence[JobRequest]) -> None:
        found = self._counted.get(token, OpenJobs())
        jobs = found.jobs + len(requests)
        size = found.input_bytes + sum(len(one.inputs) for one in requests)
        if limits.open_jobs and jobs > limits.open_jobs:
            detail = (
                f"{found.jobs} jobs of token {token!r} have not settled, and {limits.open_jobs} may"
                " be open at once: wait until some have"
            )
            raise LimitReached("open_jobs", detail, OPEN_RETRY_S)
        if limits.open_bytes and size > limits.open_bytes:
            detail = (
                f"the inputs of the open jobs of token {token!r} are {found.input_bytes} bytes, and"
                f" may be {limits.open_bytes}: wait until some have settled"
            )
            raise LimitReached("open_bytes", detail, OPEN_RETRY_S)

    def _refuse_faster(
        self, token: str, name: str, limit: float, period_s: float, burst: float
    ) -> None:
        now, key = self._clock.now(), (token, name)
        capacity = max(1.0, limit * burst)
        bucket = self._buckets.pop(key, None) or _Bucket(capacity, now)
        self._buckets[key] = bucket
        if len(self._buckets) > MAX_TOKENS:
            self._buckets.popitem(last=False)
        wait_s = bucket.wait_s(now, limit / period_s, capacity)
        if wait_s:
            detail = f"token {token!r} may enqueue {_WORDS[name].format(limit)}: slow down"
            raise LimitReached(name, detail, wait_s)

    def _remember(
        self,
        token: str,
        lanes: set[str],
        tags: set[str],
        requests: Sequence[JobRequest],
        *,
        counts_open: bool,
    ) -> None:
        self._new_lanes |= lanes
        self._seen_tags |= dict.fromkeys(tags)
        while len(self._seen_tags) > MAX_SEEN_TAGS:
            self._seen_tags.popitem(last=False)
        if counts_open:
            found = self._counted.get(token, OpenJobs())
            size = sum(len(one.inputs) for one in requests)
            self._counted[token] = OpenJobs(found.jobs + len(requests), found.input_bytes + size)


_WORDS: Final = {
    "enqueues_per_s": "{:g} jobs a second",
    "new_lanes_per_min": "jobs of {:g} new targets or accounts a minute",
    "new_tags_per_min": "jobs with {:g} new tags a minute",
}


def too_many_holds(effect: str) -> LimitReached:
    """The refusal while as many holds stand as may."""
    detail = f"{MAX_HOLDS} holds stand, so {effect}: an operator releases those whose cause is gone"
    return LimitReached("holds", detail, HOLDS_RETRY_S)


def _refuse_too_many_lanes(known: int, new: int) -> None:
    if new and known + new > MAX_LANES:
        detail = (
            f"{known} lanes (account, kind and target) have jobs, and {MAX_LANES} may: enqueue for"
            " targets that have jobs, or wait until others have none"
        )
        raise LimitReached("lanes", detail, OPEN_RETRY_S)
