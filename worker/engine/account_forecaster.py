"""What is ahead of accounts, from the ledger, the queues and the balances that people entered."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Final

from jobs.credits.charges import MICRO, Dimension, Measure
from jobs.credits.forecast import AccountForecast, AccountSpending, Balance, account_forecast
from jobs.credits.report import days_between
from jobs.lanes import Lane
from worker.store import Store
from worker.store.read.lane_counts import LaneCount

CORRECTED_DAYS: Final = 8
"""Costs of so many days may still be corrected: the provider's list is asked for a week."""

KEPT_S: Final = 3_600.0
"""How long sums of earlier days are kept."""


class AccountForecaster:
    """Looks ahead for one namespace. It keeps sums of days long ago for an hour."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._old_days: dict[str, Counter[str]] = {}
        self._old_days_read_at = 0.0

    async def forecasts(
        self, lanes: Sequence[LaneCount], estimates: Mapping[Lane, float | None], now: float
    ) -> list[AccountForecast]:
        """What is ahead of each account that has queued jobs, spends credits or has a balance."""
        queued = {one.lane: one.queued for one in lanes if one.queued}
        per_hour = await self._store.metrics.series.credits_of_accounts(now)
        balances = await self._store.balances.all()
        names = {lane.account for lane in queued} | per_hour.keys() | balances.keys()
        found: list[AccountForecast] = []
        for name in sorted(names):
            waiting = [
                (count, estimates.get(lane))
                for lane, count in queued.items()
                if lane.account == name
            ]
            spending = await self._spending(name, per_hour.get(name, 0.0), balances.get(name), now)
            found.append(account_forecast(name, waiting, spending))
        return found

    async def spent(self, days: Collection[str], now: float) -> dict[str, float]:
        """Account → credits that the ledger has of some days (UTC, `2026-11-27`)."""
        today = datetime.fromtimestamp(now, UTC).date()
        if not 0 <= now - self._old_days_read_at < KEPT_S:
            self._old_days.clear()
            self._old_days_read_at = now
        old = {day for day in days if (today - date.fromisoformat(day)).days >= CORRECTED_DAYS}
        missing = [day for day in days if day not in old or day not in self._old_days]
        read: dict[str, Counter[str]] = {day: Counter() for day in missing}
        async for one in self._store.ledger.sums(missing, Dimension.LANE, (Measure.CREDITS,)):
            read[one.day][one.name.partition("/")[0]] += one.amount
        self._old_days |= {day: read[day] for day in read.keys() & old}
        totals: Counter[str] = Counter()
        for day in days:
            totals.update(read[day] if day in read else self._old_days[day])
        return {account: amount / MICRO for account, amount in totals.items()}

    async def _spending(
        self, account: str, per_hour: float, balance: Balance | None, now: float
    ) -> AccountSpending:
        if balance is None:
            return AccountSpending(round(per_hour, 6), None, 0.0)
        today = datetime.fromtimestamp(now, UTC).date()
        days = days_between(min(date.fromisoformat(balance.day), today), today)
        spent = (await self.spent(days, now)).get(account, 0.0)
        return AccountSpending(round(per_hour, 6), balance, spent)
