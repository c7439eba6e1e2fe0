"""When a request is sent again, and after how long."""

from __future__ import annotations

import random
from dataclasses import dataclass

import httpx

from .errors import ApiError, RateLimitError, UnavailableError
from .requests import Request

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

_UNAVAILABLE = 503


@dataclass(frozen=True)
class RetryPolicy:
    """At most `max_tries`, with full jitter, at least what `Retry-After` says."""

    max_tries: int = 6
    base_s: float = 0.25
    cap_s: float = 10.0
    max_retry_after_s: float = 60.0
    """A longer `Retry-After` raises the error instead."""

    def delay_s(self, request: Request, error: Exception, tries: int) -> float | None:
        """Seconds until the next try; None if there is none."""
        if tries >= self.max_tries or not _may_repeat(request, error):
            return None
        floor_s = (error.retry_after_s or 0.0) if isinstance(error, ApiError) else 0.0
        if floor_s > self.max_retry_after_s:
            return None
        backoff_s = min(self.cap_s, self.base_s * 2 ** (tries - 1))
        return floor_s + random.uniform(0, backoff_s)  # noqa: S311 - spreads load, hides nothing


def _may_repeat(request: Request, error: Exception) -> bool:
    if isinstance(error, RateLimitError):  # refused before anything was done
        return True
    if isinstance(error, UnavailableError):
        return request.is_repeatable or error.status == _UNAVAILABLE
    if isinstance(error, ApiError):
        return False
    return request.is_repeatable or isinstance(error, _NOT_SENT)
