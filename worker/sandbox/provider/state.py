"""The provider's state, and what the end of a run causes: charges and webhooks."""

import math
import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from worker.sandbox.config import SandboxConfig
from worker.sandbox.faults.fault_table import documented_reply
from worker.sandbox.faults.queue import FaultQueue
from worker.sandbox.provider.accounts import Accounts, ApiKey, Contract, Hook, KeyState
from worker.sandbox.provider.catalogue import (
    SandboxMode,
    Target,
    draw_duration,
    listed_workflows,
)
from worker.sandbox.provider.ledger import Ledger
from worker.sandbox.provider.limits import Limiter, RateLimitResult, SandboxBucket
from worker.sandbox.provider.replies import NO_HEADERS, encode
from worker.sandbox.provider.responses import SandboxRefusal, SendReply, refused
from worker.sandbox.provider.runs import INCOMPLETE, RunState, SandboxRun, webhook_payload
from worker.sandbox.provider.tiers import Tier, reaches
from worker.sandbox.provider.timers import Delivery, TimerQueue
from worker.sandbox.provider.usage_rows import UsageBook


@dataclass(frozen=True, slots=True)
class Caller:
    """An admitted caller, and the rate-limit headers of their response."""

    key: ApiKey
    headers: Mapping[str, str]


class SandboxState:
    """The sandbox's memory. Its methods are synchronous; `now` is an argument, in Unix seconds."""

    def __init__(self, config: SandboxConfig, timers: TimerQueue) -> None:
        self.config = config
        self.timers = timers
        self.accounts = Accounts(config)
        self.limiter = Limiter(config)
        self.faults = FaultQueue()
        self.ledger = Ledger()
        self.runs: dict[str, SandboxRun] = {}
        self.usage = UsageBook()
        self.workflows = listed_workflows()
        self._rngs: dict[str, random.Random] = {}
        self._share_rng = self._seeded_rng("shares")

    def _seeded_rng(self, name: str) -> random.Random:
        return random.Random(f"{self.config.seed}:{name}")  # noqa: S311 - it must be repeatable

    def draw_chance(self, share: float) -> bool:
        """Draw with the probability `share`."""
        return share > 0 and self._share_rng.random() < share

    def duration_of(self, target: Target) -> float:
        """Draw the duration of a run; each target has its own repeatable sequence."""
        name = f"{target.kind}/{target.name}"
        rng = self._rngs.get(name)
        if rng is None:
            rng = self._rngs[name] = self._seeded_rng(name)
        config = self.config
        median = target.median_s if config.median_s is None else config.median_s
        sigma = target.sigma if config.sigma is None else config.sigma
        cap = target.cap_s if config.cap_s is None else config.cap_s
        return draw_duration(rng, median, sigma, cap) / config.speed

    def new_id(self) -> str:
        """Return an execution id.

        It does not depend on the seed: two sandboxes with one seed must not use the same id, or a
        run of one, left in a database, would be taken for a run of the other.
        """
        return str(uuid.uuid4())

    # Admission.

    def admit(self, key: str | None, bucket: SandboxBucket | None, now: float) -> Caller:
        """Return the caller with that key; raises `SandboxRefusal` by key or rate limit."""
        found = self._identify(key)
        quota = None if bucket is None else self.limiter.check(found.user, bucket, now)
        if quota is None:
            return Caller(found, NO_HEADERS)
        if not quota.is_allowed:
            raise rate_limited(quota, now)
        return Caller(found, quota.headers())

    def _identify(self, key: str | None) -> ApiKey:
        found = self.accounts.keys.get(key or "")
        if found is None or found.state is KeyState.REVOKED:
            raise refused("HTTP_401")
        if found.state is KeyState.LEGACY:
            raise refused("LEGACY_KEY_RETIRED")
        if found.user.tier is Tier.FREE:
            raise refused("API_KEY_ACCESS_DENIED")
        return found

    # Credits.

    def grant_left(self, key: ApiKey, target: Target) -> int | None:
        """Return the trial runs left of a model; None where it runs on credits."""
        if target.grant is None or reaches(key.user.tier, Tier.ENTERPRISE):
            return None
        return key.user.grants.get(target.name, target.grant)

    def reserve(self, run: SandboxRun) -> None:
        """Charge an async run that has started, or reserve the price of a sync run."""
        user = run.key.user
        if run.uses_grant:
            left = self.grant_left(run.key, run.target)
            user.grants[run.target.name] = (left or 0) - 1
        if run.mode is SandboxMode.ASYNC:
            self._charge(run)
        else:
            user.held += run.cost

    def _charge(self, run: SandboxRun) -> None:
        run.is_charged = True
        run.key.user.credits -= run.cost
        entry = self.ledger.labels[run.options.label]
        entry.charged += 1
        entry.credits += run.cost

    def _refund(self, run: SandboxRun) -> None:
        if run.uses_grant:
            run.key.user.grants[run.target.name] = 1 + run.key.user.grants.get(run.target.name, 0)
        if run.is_charged:
            run.is_refunded = True
            run.key.user.credits += run.cost
            entry = self.ledger.labels[run.options.label]
            entry.refunded += 1
            entry.credits -= run.cost

    def _settle_cost(self, run: SandboxRun) -> None:
        """Charge or refund a run that has ended."""
        if run.mode is SandboxMode.SYNC:
            run.key.user.held -= run.cost
            if run.end is RunState.COMPLETED:
                self._charge(run)
            else:
                self._refund(run)
        elif run.end is RunState.FAILED and run.failure and run.failure.code == INCOMPLETE:
            self._refund(run)

    # The end of a run.

    def schedule_settlement(self, run: SandboxRun) -> None:
        """Set a timer for the end of `run` where it causes a charge, a refund or a webhook."""
        has_effect = (
            run.mode is SandboxMode.SYNC or run.key.hook is not None or run.failure is not None
        )
        if has_effect and run.ends_at != float("inf"):
            self.timers.push(run.ends_at, run)

    def settle(self, run: SandboxRun, now: float) -> None:
        """Settle a run that has ended, once; do nothing where it has not ended."""
        if run.is_settled or not run.has_ended(now):
            return
        for delivery, delay_s in self.finalize(run, now):
            self.timers.push(now + delay_s, delivery)

    def finalize(self, run: SandboxRun, now: float) -> list[tuple[Delivery, float]]:
        """Settle the cost of an ended run; return its webhooks and the delay of each in seconds."""
        run.is_settled = True
        self._settle_cost(run)
        hook = run.key.hook
        if hook is None or run.mode is SandboxMode.SYNC:
            return []
        options = run.options.webhook
        lost = None if options is None else options.lost
        if self.draw_chance(hook.lost) if lost is None else lost:
            return []
        doubled = None if options is None else options.doubled
        copies = 2 if (self.draw_chance(hook.doubled) if doubled is None else doubled) else 1
        delivery = Delivery(hook, encode(webhook_payload(run, now)), run)
        return [(delivery, self._delivery_delay_s(run, hook)) for _ in range(copies)]

    def finish_async_runs(
        self, now: float, *, execution_id: str | None, label: str | None, target: str | None
    ) -> list[str]:
        """End the async runs that match every value given, stuck ones too; return their ids."""
        finished: list[str] = []
        for run in self.runs.values():
            is_match = (
                run.mode is SandboxMode.ASYNC
                and execution_id in (None, run.id)
                and label in (None, run.options.label)
                and target in (None, run.target.name)
            )
            if is_match and not run.has_ended(now):
                run.ends_at = now
                self.settle(run, now)
                finished.append(run.id)
        return finished

    def _delivery_delay_s(self, run: SandboxRun, hook: Hook) -> float:
        options = run.options.webhook
        if options is not None and options.delay_s is not None:
            return options.delay_s
        return hook.delay_s + hook.jitter_s * self._share_rng.random()


def require_capability(key: ApiKey, route: str, target: str | None = None) -> None:
    """Raise `SandboxRefusal`, in the words of the key's contract, where it lacks a capability."""
    required = key.missing_capability(route, target)
    if required is None:
        return
    match key.contract:
        case Contract.CAPABILITY:
            raise refused("CAPABILITY_DENIED", required=required)
        case Contract.SCOPE:
            actual = sorted(key.effective_capabilities())
            raise refused("SCOPE_DENIED", required=required, actual=actual)
        case _:
            assert_never(key.contract)


def rate_limited(quota: RateLimitResult, now: float) -> SandboxRefusal:
    """Return the 429 with its headers and body fields."""
    wait_s = max(1, math.ceil(quota.reset_at - now))
    headers = {"Retry-After": str(wait_s), **quota.headers()}
    fields = {"tier": quota.tier, "limit": quota.limit, "retryAfter": wait_s}
    reply = documented_reply("RATE_LIMIT_EXCEEDED", **fields)
    return SandboxRefusal(SendReply(reply.with_headers(headers)))
