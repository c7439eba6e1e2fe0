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
from jobs.tenants import hold_owner
from worker.app.callback_policy import CallbackPolicy
from worker.app.enqueue import InvalidRequest, is_granted
from worker.clock import Clock
from worker.store.callback_outbox import CallbackOutbox
from worker.store.enqueue_facts import EnqueueFacts, EnqueueFactsStore, OpenJobs
from worker.store.holds import MAX_HOLDS, MAX_HOLDS_OF_OWNER

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
CALLBACKS_RETRY_S: Final = 30


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


@dataclass(frozen=True, slots=True)
class _Caller:
    """Whose jobs are to be enqueued."""

    token: str
    limits: TokenLimits
    hold_owner: str

    @property
    def counts_open(self) -> bool:
        return bool(self.limits.open_jobs or self.limits.open_bytes)


class EnqueueGuard:
    """Checks the enqueues of one API process."""

    def __init__(
        self,
        facts: EnqueueFactsStore,
        clock: Clock,
        callbacks: CallbackPolicy,
        outbox: CallbackOutbox,
    ) -> None:
        self._store = facts
        self._clock = clock
        self._callbacks = callbacks
        self._outbox = outbox
        self._facts = EnqueueFacts()
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()
        self._new_lanes: set[str] = set()
        self._seen_tags: OrderedDict[str, None] = OrderedDict()
        self._counted: dict[str, OpenJobs] = {}
        """Open jobs of each token that has a limit of them, with those enqueued since the read."""

    async def admit(
        self, token: str, limits: TokenLimits, requests: Sequence[JobRequest], *, tenant: str = ""
    ) -> list[LimitReached | None]:
        """Let a token enqueue jobs, in their order: for each None, or why it may not.

        Raises `RedisMemoryFull`, and the first `LimitReached` where none of them may. What is
        refused takes nothing. Limits are checked before the jobs are known to be new: a repeated
        request counts.
        """
        caller = _Caller(token, limits, hold_owner(tenant, token))
        await self._refresh(token if caller.counts_open else None)
        facts = self._facts
        if MEMORY_SHARE * facts.max_memory <= facts.used_memory < facts.max_memory:
            raise RedisMemoryFull(facts)  # a full one refuses by itself, and says so
        found = [self._refusal(caller, request) for request in requests]
        refusals = [one for one in found if one is not None]
        if refusals and len(refusals) == len(found):
            raise refusals[0]
        return found

    async def refresh(self) -> None:
        """Read what `refuse_account` compares with, where nothing is to be enqueued now."""
        await self._refresh(None)

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
            self._outbox.used_bytes = self._facts.callback_bytes
            self._counted = dict(self._facts.open_jobs)
            self._new_lanes.clear()
        finally:
            self._reading = None

    # Limits.

    def _refusal(self, caller: _Caller, request: JobRequest) -> LimitReached | None:
        """Let a job be enqueued, and count it; or why not."""
        lane = str(Lane(request.account, request.kind, request.target))
        is_new_lane = lane not in self._facts.lanes and lane not in self._new_lanes
        tags = {tag for tag in request.tags if tag not in self._seen_tags}
        limits = caller.limits
        spent = (
            ("enqueues_per_s", limits.enqueues_per_s, 1.0, BURST_S, 1),
            (
                "new_lanes_per_min",
                limits.new_lanes_per_min,
                60.0,
                NEW_NAMES_BURST_MIN,
                int(is_new_lane),
            ),
            ("new_tags_per_min", limits.new_tags_per_min, 60.0, NEW_NAMES_BURST_MIN, len(tags)),
        )
        try:
            self._refuse_callbacks(request)
            if is_new_lane:
                self._refuse_new_lane(caller)
            if caller.counts_open:
                self._refuse_open(caller, request)
            for name, limit, period_s, burst, count in spent:
                if limit and count:
                    self._refuse_faster(caller.token, name, limit, period_s, burst)
        except LimitReached as refusal:
            return refusal
        for name, limit, _, _, count in spent:
            if limit and count:
                self._buckets[caller.token, name].balance -= count
        if is_new_lane:
            self._new_lanes.add(lane)
        self._remember_tags(tags)
        if caller.counts_open:
            found = self._counted.get(caller.token, OpenJobs())
            size = found.input_bytes + len(request.inputs)
            self._counted[caller.token] = OpenJobs(found.jobs + 1, size)
        return None

    def _refuse_callbacks(self, request: JobRequest) -> None:
        if self._outbox.refuses_jobs and self._callbacks.has_callbacks(request):
            raise callbacks_full(self._outbox)

    def _refuse_new_lane(self, caller: _Caller) -> None:
        known = len(self._facts.lanes) + len(self._new_lanes)
        if known >= MAX_LANES:
            detail = (
                f"{known} lanes (account, kind and target) have jobs, and {MAX_LANES} may: enqueue"
                " for targets that have jobs, or wait until others have none"
            )
            raise LimitReached("lanes", detail, OPEN_RETRY_S)
        if self._facts.hold_count >= MAX_HOLDS:
            raise too_many_holds("nothing is enqueued for targets without queued jobs")
        count = self._facts.target_holds.get(caller.hold_owner, 0)
        if count >= MAX_HOLDS_OF_OWNER:
            raise _too_many_of_owner(caller, count)

    def _refuse_open(self, caller: _Caller, request: JobRequest) -> None:
        token, limits = caller.token, caller.limits
        found = self._counted.get(token, OpenJobs())
        if limits.open_jobs and found.jobs + 1 > limits.open_jobs:
            detail = (
                f"{found.jobs} jobs of token {token!r} have not settled, and {limits.open_jobs} may"
                " be open at once: wait until some have"
            )
            raise LimitReached("open_jobs", detail, OPEN_RETRY_S)
        if limits.open_bytes and found.input_bytes + len(request.inputs) > limits.open_bytes:
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

    def _remember_tags(self, tags: set[str]) -> None:
        self._seen_tags |= dict.fromkeys(tags)
        while len(self._seen_tags) > MAX_SEEN_TAGS:
            self._seen_tags.popitem(last=False)


_WORDS: Final = {
    "enqueues_per_s": "{:g} jobs a second",
    "new_lanes_per_min": "jobs of {:g} new targets or accounts a minute",
    "new_tags_per_min": "jobs with {:g} new tags a minute",
}


def callbacks_full(outbox: CallbackOutbox) -> LimitReached:
    """The refusal while callbacks that wait take most of their room."""
    detail = (
        f"callbacks take {outbox.used_bytes:,} of {outbox.max_bytes:,} bytes"
        " (KNOUDS_CALLBACK_OUTBOX_BYTES), so no job with callbacks is enqueued: an operator looks"
        " at those that are pending or failed"
    )
    return LimitReached("callbacks", detail, CALLBACKS_RETRY_S)


def too_many_holds(effect: str) -> LimitReached:
    """The refusal while as many holds stand as may."""
    detail = f"{MAX_HOLDS} holds stand, so {effect}: an operator releases those whose cause is gone"
    return LimitReached("holds", detail, HOLDS_RETRY_S)


def _too_many_of_owner(caller: _Caller, count: int) -> LimitReached:
    """The refusal while the jobs of a token or its tenant have placed as many holds as they may."""
    is_tenant = caller.hold_owner != caller.token
    whose = "this tenant" if is_tenant else f"token {caller.token!r}"
    detail = (
        f"{count} targets are on hold after jobs of {whose}, and no more may be: use targets that"
        " the provider does not refuse; an operator releases holds whose cause is gone"
    )
    return LimitReached("holds", detail, HOLDS_RETRY_S)
