"""Rate limits: per user, per route, per window, with the headers the provider sends."""

import math
from dataclasses import dataclass
from enum import StrEnum

from worker.sandbox.config import SandboxConfig
from worker.sandbox.provider.accounts import User
from worker.sandbox.provider.tiers import PLANS, Tier


class SandboxBucket(StrEnum):
    """The routes that are counted, each separately."""

    WORKFLOW = "workflow"
    MODEL = "model"
    EXECUTION = "execution"
    USAGE = "usage"
    ACCOUNT = "account"
    """All routes of a user together: where this one is limited, the others are not counted."""


@dataclass(frozen=True, slots=True)
class LimitRule:
    """A limit per window of `window_s` seconds. `limit` None: by the tier; 0: unlimited."""

    limit: int | None
    window_s: float

    def limit_for(self, tier: Tier) -> int | None:
        """Return the requests per window for a user of `tier`; None when unlimited."""
        limit = PLANS[tier].limit if self.limit is None else self.limit
        return limit or None


@dataclass(slots=True)
class LimitWindow:
    """One user's requests on one route. It starts with the first request after the last window."""

    started_at: float
    used: int = 0


@dataclass(frozen=True, slots=True)
class RateLimitResult:
    """The limiter's decision on one request."""

    tier: Tier
    limit: int
    remaining: int
    reset_at: float
    is_allowed: bool

    def headers(self) -> dict[str, str]:
        """Return the documented headers; the reset is in whole unix seconds, rounded up."""
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(math.ceil(self.reset_at)),
        }


class Limiter:
    """The rules and the windows in use."""

    def __init__(self, config: SandboxConfig) -> None:
        self.rules = {
            SandboxBucket.WORKFLOW: LimitRule(config.limit, config.window_s),
            SandboxBucket.MODEL: LimitRule(config.limit, config.window_s),
            SandboxBucket.EXECUTION: LimitRule(config.poll_limit or 0, config.window_s),
            SandboxBucket.USAGE: LimitRule(0, config.window_s),
            SandboxBucket.ACCOUNT: LimitRule(0, config.window_s),
        }
        self.windows: dict[tuple[str, SandboxBucket], LimitWindow] = {}

    def check(self, user: User, bucket: SandboxBucket, now: float) -> RateLimitResult | None:
        """Count one request; None when the route is unlimited for this user."""
        if self.rules[SandboxBucket.ACCOUNT].limit_for(user.tier) is not None:
            bucket = SandboxBucket.ACCOUNT
        rule = self.rules[bucket]
        limit = rule.limit_for(user.tier)
        if limit is None:
            return None
        window = self.windows.get((user.id, bucket))
        if window is None or now >= window.started_at + rule.window_s:
            window = self.windows[user.id, bucket] = LimitWindow(now)
        is_allowed = window.used < limit
        if is_allowed:
            window.used += 1
        reset_at = window.started_at + rule.window_s
        return RateLimitResult(user.tier, limit, limit - window.used, reset_at, is_allowed)

    def set_limit(
        self, bucket: SandboxBucket, limit: int | None, window_s: float | None
    ) -> LimitRule:
        """Set the rule of a route and end its windows; `window_s` None keeps the present length."""
        rule = LimitRule(limit, self.rules[bucket].window_s if window_s is None else window_s)
        self.rules[bucket] = rule
        self.windows = {key: used for key, used in self.windows.items() if key[1] is not bucket}
        return rule
