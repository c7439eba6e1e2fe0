"""The provider's rate limits: what is left of a route's window, and who may use it.

A bucket is what is known about the limit of one account's route (`default/model`,
`default/executions`), shared by all workers. The provider counts requests in windows. The headers
of each answer report the limit, the requests that remain, and the end of the window [D].

What may still be sent is the least `remaining` that any answer of the window reported, less the
requests that are granted and not yet answered, which the provider may or may not have counted. So
the limit is never exceeded, in whatever order answers arrive, and once all are answered the number
is exact.

A new window opens with a few requests. The first answer reports its true end and limit (the tier
may have changed, another program may use the account), and the rest may follow at once.

[D]: the provider's documentation, see docs/provider.md.
"""

import math
from dataclasses import dataclass
from typing import Final

import msgspec

URGENT_RESERVE: Final = 5
"""The provider advises to wait when fewer remain [D]. These are reserved for urgent requests."""

WINDOW_S: Final = 60.0
"""Length of the provider's windows [D]."""

OPENING_DIVISOR: Final = 10
"""Until its first answer, a new window gets a tenth of the limit."""

UNANSWERED_TIMEOUT_S: Final = 10.0
"""Opening requests without an answer for this long (their worker was lost) no longer count."""

MAX_TRIAL_LIMIT: Final = 1_024
"""Most requests at once while no answer reports a limit."""

UNBOUNDED: Final = 1 << 30


class RateLimitBucket(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag_field="schema",
    tag=1,
    forbid_unknown_fields=True,
):
    """The current window of one route. Times are Unix seconds of our own clock."""

    limit: int | None = None
    """Requests in a window. None: unknown, or there is no limit."""
    remaining: int | None = None
    """The least that an answer of this window reported."""
    reported_reset_at: float = 0.0
    """The window's end as the provider reports it, in whole seconds."""
    reset_at: float | None = None
    """The window's end as exactly as it is known; never later than reported."""
    in_flight: int = 0
    """Requests of this window that are granted and not answered."""
    opening_requests: int = 0
    """Requests granted since the last window ended: nothing is known about the new one yet."""
    granted_at: float = 0.0
    """When the last request was granted."""
    trial_limit: int = 1
    """Requests at once while no answer reports a limit; each answer but a 429 doubles it."""
    is_unlimited: bool = False
    """A successful answer reported no limit."""
    last_was_429: bool = False
    """The last answer was a 429: the next window opens with a single request."""
    reported_at: float = 0.0
    """When an answer last changed the bucket."""


@dataclass(frozen=True, slots=True)
class RateLimitHeaders:
    """The rate-limit headers of one answer."""

    limit: int
    remaining: int
    reset_at: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """Requests that may be granted now: to any request, and to an urgent one."""

    normal: int
    urgent: int


NO_LIMIT: Final = Allowance(UNBOUNDED, UNBOUNDED)


def current_allowance(bucket: RateLimitBucket, now: float) -> Allowance:
    """The requests that may be granted now."""
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
    """What submits may use of a bucket that they share with `due_polls` polls in this window.

    Polls go first, because their runs are paid for, but get at most half of the limit.
    """
    kept = min(due_polls, limit // 2)
    return Allowance(max(0, allowance.normal - kept), max(0, allowance.urgent - kept))


def _same_for_all(count: int) -> Allowance:
    return Allowance(max(0, count), max(0, count))


def _awaited_openings(bucket: RateLimitBucket, now: float) -> int:
    """Opening requests that can still be answered."""
    return bucket.opening_requests if now < bucket.granted_at + UNANSWERED_TIMEOUT_S else 0


def grant(bucket: RateLimitBucket, count: int, now: float) -> RateLimitBucket:
    """The bucket after `count` requests were granted."""
    if bucket.is_unlimited or count == 0:
        return bucket
    in_window = bucket.reset_at is not None and now < bucket.reset_at
    if in_window and bucket.limit is not None:
        return msgspec.structs.replace(bucket, in_flight=bucket.in_flight + count, granted_at=now)
    opening = _awaited_openings(bucket, now) + count
    return msgspec.structs.replace(bucket, opening_requests=opening, granted_at=now)


def resolve_grants(bucket: RateLimitBucket, count: int, *, unreported: int = 0) -> RateLimitBucket:
    """The bucket after `count` granted requests were answered, or were not made.

    `unreported` of them were made, but their answers (of sync runs) come too late to report a
    limit of this window.
    """
    opening = max(0, bucket.opening_requests - max(0, count - bucket.in_flight))
    remaining = bucket.remaining
    if remaining is not None and unreported:
        remaining = max(0, remaining - unreported)
    in_flight = max(0, bucket.in_flight - count)
    return msgspec.structs.replace(
        bucket, in_flight=in_flight, opening_requests=opening, remaining=remaining
    )


def apply_headers(
    bucket: RateLimitBucket,
    headers: RateLimitHeaders,
    now: float,
    *,
    refused: bool,
    window_s: float,
) -> RateLimitBucket:
    """The bucket after an answer with rate-limit headers; `refused`: it was a 429.

    The provider rounds the end of a window up to a full second. But the window began no later than
    its first answer, so it also ends within `window_s` after that.
    """
    is_over = bucket.reset_at is None or now >= bucket.reset_at
    if headers.reset_at < bucket.reported_reset_at and not is_over:
        return bucket  # a late answer of an earlier window
    if headers.reset_at == bucket.reported_reset_at and bucket.limit is not None:
        is_longer = is_over or refused  # the window lasts longer than assumed
        return msgspec.structs.replace(
            bucket,
            limit=headers.limit,
            remaining=min(headers.remaining, bucket.remaining or 0),
            reset_at=headers.reset_at if is_longer else bucket.reset_at,
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
    """The bucket after an answer without rate-limit headers.

    Every successful answer of a limited route has them, so a success without them means no limit;
    but after a 429 without them, it doubles what may be sent at once.
    """
    if bucket.reset_at is not None and now < bucket.reset_at:
        return bucket  # the limit of this window is known
    if bucket.limit is None and bucket.last_was_429 and bucket.trial_limit < MAX_TRIAL_LIMIT:
        trial_limit = bucket.trial_limit * 2 if succeeded else bucket.trial_limit
        return msgspec.structs.replace(bucket, trial_limit=trial_limit, reported_at=now)
    if succeeded:
        return RateLimitBucket(is_unlimited=True, reported_at=now)
    if bucket.limit is None and not bucket.is_unlimited:
        trial_limit = min(MAX_TRIAL_LIMIT, bucket.trial_limit * 2)
        return msgspec.structs.replace(bucket, trial_limit=trial_limit, reported_at=now)
    return bucket


def apply_refusal_without_headers(bucket: RateLimitBucket, now: float) -> RateLimitBucket:
    """The bucket after a 429 without rate-limit headers: what follows begins with one request.

    Nothing grows before a request is not refused. Where the limit is known, other answers have said
    what is left of the window; the 429's own `Retry-After` is a cool-down, which comes to it.
    """
    if bucket.limit is not None:
        return bucket
    return RateLimitBucket(
        opening_requests=bucket.opening_requests,
        granted_at=bucket.granted_at,
        last_was_429=True,
        reported_at=now,
    )


def wait_s(
    bucket: RateLimitBucket, ahead: int, now: float, window_s: float = WINDOW_S
) -> float | None:
    """Seconds until a request with `ahead` others before it is granted; None if that is unknown."""
    if bucket.is_unlimited:
        return 0.0
    if bucket.limit is None:
        return None
    in_window = bucket.reset_at is not None and now < bucket.reset_at
    per_window = bucket.limit - URGENT_RESERVE
    left = current_allowance(bucket, now).normal if in_window else max(0, per_window)
    if ahead < left:
        return 0.0
    until_next_s = bucket.reset_at - now if in_window and bucket.reset_at is not None else window_s
    more_windows = math.floor((ahead - left) / max(1, per_window))
    return until_next_s + more_windows * window_s
