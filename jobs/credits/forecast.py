"""When an account runs out of credits, and what waits will cost: estimates, for people."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from jobs.credits.estimates import total_estimate

HOUR_S: Final = 3_600.0


class Balance(msgspec.Struct, frozen=True, tag_field="schema", tag=1, forbid_unknown_fields=True):
    """The credits of an account as a person entered them: the provider has no API for it."""

    account: str
    credits: float
    entered_at: float
    """Unix seconds."""
    by: str
    day: str
    """The day (UTC) on which it was entered."""
    spent_that_day: float
    """What the ledger had for that day when it was entered."""

    def left(self, spent_since_day: float) -> float:
        """The credits that are left, as far as the ledger knows; may be less than 0.

        `spent_since_day`: what the ledger has for `day` and all later days now.
        """
        return round(self.credits - (spent_since_day - self.spent_that_day), 6)


class AccountForecast(NamedTuple):
    """What is ahead of one account. Amounts are credits; None is unknown."""

    account: str
    waiting_jobs: int
    """Queued jobs."""
    waiting_cost: float | None
    """What these are likely to cost; None where nothing is known of one of their targets."""
    per_hour: float
    """Credits that became known in the last hour."""
    balance: Balance | None
    left: float | None
    """What is left of the balance."""
    dry_in_s: float | None
    """When nothing is left at this pace; None without a balance or a pace."""
    covers_waiting: bool | None
    """Whether what is left is enough for the queued jobs."""


class AccountSpending(NamedTuple):
    """What an account spends."""

    per_hour: float
    """Credits that became known in the last hour."""
    balance: Balance | None
    spent_since_day: float
    """What the ledger has since the day of the balance."""


def account_forecast(
    account: str, waiting: Sequence[tuple[int, float | None]], spending: AccountSpending
) -> AccountForecast:
    """The forecast of one account; `waiting`: of each lane, its queued jobs and their estimate."""
    per_hour, balance, spent = spending
    cost = total_estimate([(each, count) for count, each in waiting])
    left = None if balance is None else balance.left(spent)
    dry_in_s = None
    if left is not None and per_hour > 0:
        dry_in_s = max(0.0, left) / per_hour * HOUR_S
    return AccountForecast(
        account,
        waiting_jobs=sum(count for count, _ in waiting),
        waiting_cost=cost,
        per_hour=per_hour,
        balance=balance,
        left=left,
        dry_in_s=dry_in_s,
        covers_waiting=None if left is None or cost is None else left >= cost,
    )
