"""The provider's rate limits: what is left of a route's window, and who may take it.

A bucket is what is known of one account's route (`default/model`, `default/executions`), shared by
all workers. The provider counts requests in windows and tells with each answer the limit, what
remained, and when the window ends [D]. What may still be sent is the least that any answer of the
window said remains, less the requests that were granted and not yet answered: the provider may or
may not have counted those. So nobody overspends, however the answers overtake each other, and once
all are answered the number is exact.

The next window opens with a few requests. The first answer tells its true end and limit (another
tier, another program on the same account), and the rest follows at once.
"""

import math
from dataclasses import dataclass
from typing import Final

import msgspec

URGENT_RESERVE: Final = 5
"""The provider advises to wait when fewer remain [D]: these are kept for urgent requests."""

WINDOW_S: Final = 60.0
"""Length of the provider's windows [D]."""

OPENING_DIVISOR: Final = 10
"""A new window opens with a tenth of the limit, until its first answer."""

UNANSWERED_TIMEOUT_S: Final = 10.0
"""Opening requests of which nothing was heard for so long (their worker died) do not count."""

MAX_TRIAL_LIMIT: Final = 1_024
"""Requests at once while no answer tells of limits."""

UNBOUNDED: Final = 1 << 30


class RateLimitBucket(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One route's window. Times in Unix seconds of our own clock."""

    limit: int | None = None
    """Requests a window; None: not known, or there is no limit."""
    remaining: int | None = None
    """The least that an answer of this window said remains."""
    reported_reset_at: float = 0.0
    """The window's end as the provider tells it, in whole seconds."""
    reset_at: float | None = None
    """The window's end, as exactly as we know it; never later than told."""
    in_flight: int = 0
    """Requests of this window that are granted and not answered."""
    opening_requests: int = 0
    """Requests granted since the window ended: nothing is known of the next one yet."""
    granted_at: float = 0.0
    """When the last request was granted."""
    trial_limit: int = 1
    """While no answer tells of limits: requests at once, doubled by each answer."""
    is_unlimited: bool = False
    """A success told of no limit."""
    last_was_429: bool = False
    """The last word was a 429: the next window opens with a single request."""
    reported_at: float = 0.0
    """When an answer last told something."""


@dataclass(frozen=True, slots=True)
class RateLimitHeaders:
    """What the headers of one answer say."""

    limit: int
    remaining: int
    reset_at: float


@dataclass(frozen=True, slots=True)
class Allowance:
    """Requests that may be granted now: to anyone, and to urgent ones."""

    normal: int
    urgent: int


NO_LIMIT: Final = Allowance(UNBOUNDED, UNBOUNDED)


def current_allowance(bucket: RateLimitBucket, now: float) -> Allowance:
    """What may be granted now."""
    if bucket.is_unlimited:
        return NO_LIMIT
    if bucket.limit is None:
        return _same_for_all(bucket.trial_limit - _awaited_openings(bucket, now))
    if bucket.reset_at is not None and now < bucket.reset_at:
        rest = (bucket.remaining or 0) - bucket.in_flight
        return Allowance(max(0, rest - URGENT_RESERVE), max(0, rest))
    first = 1 if bucket.last_was_429 else max(1, bucket.limit // OPENING_DIVISOR)
    return _same_for_all(first - _awaited_openings(bucket, now))


def reserve_for_polls(allowance: Allowance, limit: int, due_polls: int) -> Allowance:
    """What submits may take of a bucket they share with looks, so many of them due in the window.

    Runs that are paid for are looked at first, but not with more than half of the limit.
    """
    kept = min(due_polls, limit // 2)
    return Allowance(max(0, allowance.normal - kept), max(0, allowance.urgent - kept))


def _same_for_all(count: int) -> Allowance:
    return Allowance(max(0, count), max(0, count))


def _awaited_openings(bucket: RateLimitBucket, now: float) -> int:
    """Opening requests whose answers can still come."""
    return bucket.opening_requests if now < bucket.granted_at + UNANSWERED_TIMEOUT_S else 0


def grant(bucket: RateLimitBucket, count: int, now: float) -> RateLimitBucket:
    """The bucket after so many requests were granted."""
    if bucket.is_unlimited or count == 0:
        return bucket
    in_window = bucket.reset_at is not None and now < bucket.reset_at
    if in_window and bucket.limit is not None:
        return msgspec.structs.replace(bucket, in_flight=bucket.in_flight + count, granted_at=now)
    opening = _awaited_openings(bucket, now) + count
    return msgspec.structs.replace(bucket, opening_requests=opening, granted_at=now)


def resolve_grants(bucket: RateLimitBucket, count: int, *, unreported: int = 0) -> RateLimitBucket:
    """The bucket after granted requests were answered, or were not made.

    `spent` of them were made, and their answers (those of sync runs) come too late to tell.
    """
    opening = max(0, bucket.opening_requests - max(0, count - bucket.in_flight))
    remaining = bucket.remaining
    if remaining is not None and unreported:
        remaining = max(0, remaining - unreported)
    out = max(0, bucket.in_flight - count)
    return msgspec.structs.replace(
        bucket, in_flight=out, opening_requests=opening, remaining=remaining
    )


def apply_headers(
    bucket: RateLimitBucket,
    headers: RateLimitHeaders,
    now: float,
    *,
    refused: bool,
    window_s: float,
) -> RateLimitBucket:
    """The bucket after an answer told of its limits; `refused`: it was a 429.

    The provider rounds the end of a window up to a second. The window began, at the latest, with
    the first answer that told of it, so it ends within `window_s` from then, too.
    """
    over = bucket.reset_at is None or now >= bucket.reset_at
    if headers.reset_at < bucket.reported_reset_at and not over:
        return bucket  # the late word of an earlier window
    if headers.reset_at == bucket.reported_reset_at and bucket.limit is not None:
        later = over or refused  # it is longer than we thought
        return msgspec.structs.replace(
            bucket,
            limit=headers.limit,
            remaining=min(headers.remaining, bucket.remaining or 0),
            reset_at=headers.reset_at if later else bucket.reset_at,
            last_was_429=bucket.last_was_429 or refused,
            reported_at=now,
        )
    return RateLimitBucket(
        limit=headers.limit,
        remaining=headers.remaining,
        reported_reset_at=headers.reset_at,
        reset_at=headers.reset_at if refused else min(headers.reset_at, now + window_s),
        in_flight=bucket.opening_requests,
        granted_at=bucket.granted_at,
        last_was_429=refused,
        reported_at=now,
    )


def apply_no_headers(bucket: RateLimitBucket, now: float, *, succeeded: bool) -> RateLimitBucket:
    """The bucket after an answer without a word on limits: successes of limited routes have one."""
    if bucket.reset_at is not None and now < bucket.reset_at:
        return bucket  # this window's limit is known
    if succeeded:
        return RateLimitBucket(is_unlimited=True, reported_at=now)
    if bucket.limit is None and not bucket.is_unlimited:
        trust = min(MAX_TRIAL_LIMIT, bucket.trial_limit * 2)
        return msgspec.structs.replace(bucket, trial_limit=trust, reported_at=now)
    return bucket


def wait_s(
    bucket: RateLimitBucket, ahead: int, now: float, window_s: float = WINDOW_S
) -> float | None:
    """Seconds until a request is granted that has `ahead` before it; None where that is unknown."""
    if bucket.is_unlimited:
        return 0.0
    if bucket.limit is None:
        return None
    in_window = bucket.reset_at is not None and now < bucket.reset_at
    have = (
        current_allowance(bucket, now).normal
        if in_window
        else max(0, bucket.limit - URGENT_RESERVE)
    )
    if ahead < have:
        return 0.0
    until_next = bucket.reset_at - now if in_window and bucket.reset_at is not None else window_s
    windows = math.floor((ahead - have) / max(1, bucket.limit - URGENT_RESERVE))
    return until_next + windows * window_s
