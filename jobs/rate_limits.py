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

RESERVE: Final = 5
"""The provider advises to wait when fewer remain [D]: these are kept for urgent requests."""

WINDOW_S: Final = 60.0
"""Length of the provider's windows [D]."""

OPENING_SHARE: Final = 10
"""A new window opens with a tenth of the limit, until its first answer."""

UNANSWERED_S: Final = 10.0
"""Opening requests of which nothing was heard for so long (their worker died) do not count."""

TRUST_MOST: Final = 1_024
"""Requests at once while no answer tells of limits."""

PLENTY: Final = 1 << 30


class Bucket(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One route's window. Times in Unix seconds of our own clock."""

    limit: int | None = None
    """Requests a window; None: not known, or there is no limit."""
    remaining: int | None = None
    """The least that an answer of this window said remains."""
    told_reset: float = 0.0
    """The window's end as the provider tells it, in whole seconds."""
    reset_at: float | None = None
    """The window's end, as exactly as we know it; never later than told."""
    out: int = 0
    """Requests of this window that are granted and not answered."""
    opening: int = 0
    """Requests granted since the window ended: nothing is known of the next one yet."""
    granted_at: float = 0.0
    """When the last request was granted."""
    trust: int = 1
    """While no answer tells of limits: requests at once, doubled by each answer."""
    unlimited: bool = False
    """A success told of no limit."""
    warned: bool = False
    """The last word was a 429: the next window opens with a single request."""
    seen_at: float = 0.0
    """When an answer last told something."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the headers of one answer say."""

    limit: int
    remaining: int
    reset_at: float


@dataclass(frozen=True, slots=True)
class Left:
    """Requests that may be granted now: to anyone, and to urgent ones."""

    usual: int
    urgent: int


UNBOUND: Final = Left(PLENTY, PLENTY)


def left(bucket: Bucket, now: float) -> Left:
    """What may be granted now."""
    if bucket.unlimited:
        return UNBOUND
    if bucket.limit is None:
        return _both(bucket.trust - _heard_of(bucket, now))
    if bucket.reset_at is not None and now < bucket.reset_at:
        rest = (bucket.remaining or 0) - bucket.out
        return Left(max(0, rest - RESERVE), max(0, rest))
    first = 1 if bucket.warned else max(1, bucket.limit // OPENING_SHARE)
    return _both(first - _heard_of(bucket, now))


def after_looks(rest: Left, limit: int, looks: int) -> Left:
    """What submits may take of a bucket they share with looks, so many of them due in the window.

    Runs that are paid for are looked at first, but not with more than half of the limit.
    """
    kept = min(looks, limit // 2)
    return Left(max(0, rest.usual - kept), max(0, rest.urgent - kept))


def _both(count: int) -> Left:
    return Left(max(0, count), max(0, count))


def _heard_of(bucket: Bucket, now: float) -> int:
    """Opening requests whose answers can still come."""
    return bucket.opening if now < bucket.granted_at + UNANSWERED_S else 0


def grant(bucket: Bucket, count: int, now: float) -> Bucket:
    """The bucket after so many requests were granted."""
    if bucket.unlimited or count == 0:
        return bucket
    in_window = bucket.reset_at is not None and now < bucket.reset_at
    if in_window and bucket.limit is not None:
        return msgspec.structs.replace(bucket, out=bucket.out + count, granted_at=now)
    opening = _heard_of(bucket, now) + count
    return msgspec.structs.replace(bucket, opening=opening, granted_at=now)


def settle(bucket: Bucket, count: int, *, spent: int = 0) -> Bucket:
    """The bucket after granted requests were answered, or were not made.

    `spent` of them were made, and their answers (those of sync runs) come too late to tell.
    """
    opening = max(0, bucket.opening - max(0, count - bucket.out))
    remaining = bucket.remaining
    if remaining is not None and spent:
        remaining = max(0, remaining - spent)
    out = max(0, bucket.out - count)
    return msgspec.structs.replace(bucket, out=out, opening=opening, remaining=remaining)


def learn(bucket: Bucket, told: Told, now: float, *, refused: bool, window_s: float) -> Bucket:
    """The bucket after an answer told of its limits; `refused`: it was a 429.

    The provider rounds the end of a window up to a second. The window began, at the latest, with
    the first answer that told of it, so it ends within `window_s` from then, too.
    """
    over = bucket.reset_at is None or now >= bucket.reset_at
    if told.reset_at < bucket.told_reset and not over:
        return bucket  # the late word of an earlier window
    if told.reset_at == bucket.told_reset and bucket.limit is not None:
        later = over or refused  # it is longer than we thought
        return msgspec.structs.replace(
            bucket,
            limit=told.limit,
            remaining=min(told.remaining, bucket.remaining or 0),
            reset_at=told.reset_at if later else bucket.reset_at,
            warned=bucket.warned or refused,
            seen_at=now,
        )
    return Bucket(
        limit=told.limit,
        remaining=told.remaining,
        told_reset=told.reset_at,
        reset_at=told.reset_at if refused else min(told.reset_at, now + window_s),
        out=bucket.opening,
        granted_at=bucket.granted_at,
        warned=refused,
        seen_at=now,
    )


def learn_silence(bucket: Bucket, now: float, *, succeeded: bool) -> Bucket:
    """The bucket after an answer without a word on limits: successes of limited routes have one."""
    if bucket.reset_at is not None and now < bucket.reset_at:
        return bucket  # this window's limit is known
    if succeeded:
        return Bucket(unlimited=True, seen_at=now)
    if bucket.limit is None and not bucket.unlimited:
        trust = min(TRUST_MOST, bucket.trust * 2)
        return msgspec.structs.replace(bucket, trust=trust, seen_at=now)
    return bucket


def wait_s(bucket: Bucket, ahead: int, now: float, window_s: float = WINDOW_S) -> float | None:
    """Seconds until a request is granted that has `ahead` before it; None where that is unknown."""
    if bucket.unlimited:
        return 0.0
    if bucket.limit is None:
        return None
    in_window = bucket.reset_at is not None and now < bucket.reset_at
    have = left(bucket, now).usual if in_window else max(0, bucket.limit - RESERVE)
    if ahead < have:
        return 0.0
    until_next = bucket.reset_at - now if in_window and bucket.reset_at is not None else window_s
    windows = math.floor((ahead - have) / max(1, bucket.limit - RESERVE))
    return until_next + windows * window_s
