"""The provider's state, and the money and news that the end of a run brings."""

import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from worker.sandbox.config import SandboxConfig
from worker.sandbox.faults.catalogue import refusal
from worker.sandbox.faults.queue import FaultQueue
from worker.sandbox.provider.accounts import Accounts, ApiKey, Contract, Hook, KeyState
from worker.sandbox.provider.catalogue import SandboxMode, Target, draw_duration
from worker.sandbox.provider.ledger import Ledger
from worker.sandbox.provider.limits import Limiter, RateLimitResult, SandboxBucket
from worker.sandbox.provider.replies import NO_HEADERS, SandboxReply, encode
from worker.sandbox.provider.runs import INCOMPLETE, RunEnd, SandboxRun, webhook_payload
from worker.sandbox.provider.tiers import Tier, reaches
from worker.sandbox.provider.timers import Delivery, SettleRun, TimerQueue


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody let in, and the rate-limit headers due to them on success."""

    key: ApiKey
    headers: Mapping[str, str]


class SandboxState:
    """Everything the sandbox remembers. All of it synchronous; `now` is an argument."""

    def __init__(self, config: SandboxConfig, timers: TimerQueue) -> None:
        self.config = config
        self.timers = timers
        self.accounts = Accounts(config)
        self.limiter = Limiter(config)
        self.faults = FaultQueue()
        self.ledger = Ledger()
        self.runs: dict[str, SandboxRun] = {}
        self._rngs: dict[str, random.Random] = {}
        self._share_rng = self._seeded_rng("shares")

    def _seeded_rng(self, name: str) -> random.Random:
        return random.Random(f"{self.config.seed}:{name}")  # noqa: S311 - repeatable on purpose

    def draw_chance(self, share: float) -> bool:
        """Tell whether a chance of `share` has come up."""
        return share > 0 and self._share_rng.random() < share

    def duration_of(self, target: Target) -> float:
        """Draw how long a run takes; each target has its own repeatable sequence."""
        name = f"{target.kind}/{target.name}"
        dice = self._rngs.get(name)
        if dice is None:
            dice = self._rngs[name] = self._seeded_rng(name)
        config = self.config
        median = target.median_s if config.median_s is None else config.median_s
        sigma = target.sigma if config.sigma is None else config.sigma
        cap = target.cap_s if config.cap_s is None else config.cap_s
        return draw_duration(dice, median, sigma, cap) / config.speed

    def new_id(self) -> str:
        """Return an execution id.

        Never from the seed: two sandboxes of one seed must not hand out the same id, or what one
        of them left in a database would be taken for a run of the other.
        """
        return str(uuid.uuid4())

    # -- letting in

    def admit(
        self, key: str | None, bucket: SandboxBucket | None, now: float
    ) -> Caller | SandboxReply:
        """Check a key and its rate limit; return who calls, or the refusal."""
        found = self.identify(key)
        if isinstance(found, SandboxReply) or bucket is None:
            return found if isinstance(found, SandboxReply) else Caller(found, NO_HEADERS)
        quota = self.limiter.check(found.user, bucket, now)
        if quota is None:
            return Caller(found, NO_HEADERS)
        return Caller(found, quota.headers()) if quota.is_allowed else rate_limited(quota, now)

    def identify(self, key: str | None) -> ApiKey | SandboxReply:
        """Return the key of that text, or the refusal it earns."""
        found = self.accounts.keys.get(key or "")
        if found is None:
            return refusal("HTTP_401")
        match found.state:
            case KeyState.REVOKED:
                return refusal("HTTP_401")
            case KeyState.LEGACY:
                return refusal("LEGACY_KEY_RETIRED")
            case KeyState.VALID:
                free = found.user.tier is Tier.FREE
                return refusal("API_KEY_ACCESS_DENIED") if free else found
            case _:
                assert_never(found.standing)

    # -- money

    def grant_left(self, key: ApiKey, target: Target) -> int | None:
        """Return the trial runs left of a model; None where it runs on credits."""
        if target.grant is None or reaches(key.user.tier, Tier.ENTERPRISE):
            return None
        return key.user.grants.get(target.name, target.grant)

    def reserve(self, run: SandboxRun) -> None:
        """Take the price of a run that has started: now if async, at its end if sync."""
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
        """Settle the money of a run that has ended."""
        if run.mode is SandboxMode.SYNC:
            run.key.user.held -= run.cost
            if run.end is RunEnd.COMPLETED:
                self._charge(run)
            else:
                self._refund(run)
        elif (
            run.failure is not None and run.failure.code == INCOMPLETE and run.end is RunEnd.FAILED
        ):
            self._refund(run)

    # -- the end of a run

    def schedule_settlement(self, run: SandboxRun) -> None:
        """Note the end of `run` where somebody but a poller must learn of it."""
        matters = (
            run.mode is SandboxMode.SYNC or run.key.hook is not None or run.failure is not None
        )
        if matters and run.ends_at != float("inf"):
            self.timers.push(run.ends_at, SettleRun(run))

    def settle(self, run: SandboxRun, now: float) -> None:
        """Do once what the end of `run` calls for; nothing if it has not ended."""
        if run.is_settled or not run.has_ended(now):
            return
        for delivery, delay_s in self.finalize(run, now):
            self.timers.push(now + delay_s, delivery)

    def finalize(self, run: SandboxRun, now: float) -> list[tuple[Delivery, float]]:
        """Square the money of an ended run; return its webhooks and how long each is held back."""
        run.is_settled = True
        self._settle_cost(run)
        hook = run.key.hook
        if hook is None or run.mode is SandboxMode.SYNC:
            return []
        knobs = run.options.webhook
        lost = None if knobs is None else knobs.lost
        if self.draw_chance(hook.lost) if lost is None else lost:
            return []
        doubled = None if knobs is None else knobs.doubled
        copies = 2 if (self.draw_chance(hook.doubled) if doubled is None else doubled) else 1
        delivery = Delivery(hook, encode(webhook_payload(run, now)), run)
        return [(delivery, self._delivery_delay_s(run, hook)) for _ in range(copies)]

    def _delivery_delay_s(self, run: SandboxRun, hook: Hook) -> float:
        knobs = run.options.webhook
        if knobs is not None and knobs.delay_s is not None:
            return knobs.delay_s
        return hook.delay_s + hook.jitter_s * self._share_rng.random()


def denied(key: ApiKey, required: str) -> SandboxReply:
    """Return the refusal of a key that lacks a capability, in its contract's words."""
    match key.contract:
        case Contract.CAPABILITY:
            return refusal("CAPABILITY_DENIED", required=required)
        case Contract.SCOPE:
            return refusal(
                "SCOPE_DENIED", required=required, actual=sorted(key.effective_capabilities())
            )
        case _:
            assert_never(key.contract)


def rate_limited(quota: RateLimitResult, now: float) -> SandboxReply:
    """Return the 429 with its header and body fields."""
    wait = quota.retry_after(now)
    reply = refusal("RATE_LIMIT_EXCEEDED", tier=quota.tier, limit=quota.limit, retryAfter=wait)
    return reply.with_headers({"Retry-After": str(wait), **quota.headers()})
