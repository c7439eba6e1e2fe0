"""When an account is likely to run out of credits within the hour, and when that is said."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from jobs.credits.forecast import HOUR_S, AccountForecast
from jobs.lanes import Lane, Scope
from jobs.rate_limits import WINDOW_S, RateLimitBucket, wait_s

REARM_S: Final = 1_800.0
"""It is said again where it was not likely for so long."""


class BalanceCause(StrEnum):
    """Why an account is likely to run out of credits within the hour."""

    PACE = "pace"
    """What was spent in the last hour is more than is left."""
    WAITING = "waiting"
    """What runs, and what may start within the hour, costs more than is left."""


class BalanceChange(StrEnum):
    """What an event of a balance is about."""

    LOW = "low"
    ENOUGH = "enough"


class BalanceMark(
    msgspec.Struct, frozen=True, tag_field="schema", tag=1, forbid_unknown_fields=True
):
    """That it was said of an account, and how things stood last. Times are Unix seconds."""

    entered_at: float
    """Of the balance that it is about."""
    said_at: float
    low_at: float
    """When it was likely last."""
    cause: BalanceCause
    left: float
    """Credits."""
    ahead: float
    """What runs, and what may start within the hour, is likely to cost."""
    dry_at: float | None
    """When nothing is left at the pace of the last hour; None without one."""


class LaneLoad(NamedTuple):
    """The jobs of one lane that cost credits soon."""

    lane: Lane
    queued: int
    """0 where a closed gate keeps them back."""
    active: int
    """Those that submit or run: what they cost is not in the ledger yet."""
    estimate: float | None
    """The credits of each; None where nothing is known."""


def cost_within_hour(
    loads: Iterable[LaneLoad],
    buckets: dict[Scope, RateLimitBucket],
    now: float,
    window_s: float = WINDOW_S,
) -> float:
    """What runs, and what the rate limits let start within the hour, is likely to cost.

    Jobs of unknown cost are not in it.
    """
    by_route: dict[Scope, list[LaneLoad]] = {}
    for load in loads:
        by_route.setdefault(load.lane.route, []).append(load)
    total = 0.0
    for route, lanes in by_route.items():
        queued = sum(load.queued for load in lanes)
        share = _startable(buckets.get(route), queued, now, window_s) / queued if queued else 0.0
        total += sum((load.active + load.queued * share) * (load.estimate or 0.0) for load in lanes)
    return round(total, 6)


def low_cause(forecast: AccountForecast, ahead: float) -> BalanceCause | None:
    """Why it is likely to run out within the hour; None if it is not, or nothing is known.

    `ahead`: see `cost_within_hour`.
    """
    if forecast.left is None:
        return None
    if forecast.dry_in_s is not None and forecast.dry_in_s <= HOUR_S:
        return BalanceCause.PACE
    return BalanceCause.WAITING if ahead > forecast.left else None


def advanced(
    mark: BalanceMark | None, forecast: AccountForecast, ahead: float, now: float
) -> tuple[BalanceMark | None, BalanceChange | None]:
    """The mark of an account as it is now, and what is to be said."""
    balance, cause = forecast.balance, low_cause(forecast, ahead)
    is_other = mark is not None and (balance is None or mark.entered_at != balance.entered_at)
    if balance is None or forecast.left is None or cause is None:
        is_over = mark is not None and (is_other or not 0 <= now - mark.low_at < REARM_S)
        return (None, BalanceChange.ENOUGH) if is_over else (mark, None)
    is_new = mark is None or is_other
    new = BalanceMark(
        entered_at=balance.entered_at,
        said_at=now if mark is None or is_other else mark.said_at,
        low_at=now,
        cause=cause,
        left=forecast.left,
        ahead=ahead,
        dry_at=None if forecast.dry_in_s is None else now + forecast.dry_in_s,
    )
    return new, BalanceChange.LOW if is_new else None


def _startable(bucket: RateLimitBucket | None, queued: int, now: float, window_s: float) -> int:
    """How many of the queued jobs of a route its rate limit lets start within the hour."""
    if bucket is None or wait_s(bucket, 0, now, window_s) is None:
        return queued
    low, high = 0, queued
    while low < high:
        middle = (low + high + 1) // 2
        wait = wait_s(bucket, middle - 1, now, window_s)
        if wait is not None and wait <= HOUR_S:
            low = middle
        else:
            high = middle - 1
    return low
