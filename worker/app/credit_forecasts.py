"""What is ahead: what queued jobs will cost, and when an account runs out of credits."""

from datetime import UTC, date, datetime

from jobs.credits.charges import (
    MAX_CREDITS,
    MICRO,
    Dimension,
    Measure,
    day_of,
    micro_credits,
)
from jobs.credits.forecast import AccountForecast, AccountSpending, Balance, account_forecast
from jobs.credits.report import days_between
from worker.app.action_table import CreditAction
from worker.app.actions import Actor
from worker.app.enqueue import InvalidRequest
from worker.clock import Clock
from worker.engine.cost_estimator import CostEstimator
from worker.store import Store
from worker.store.commit import NewAuditEntry


class CreditForecasts:
    """Looks ahead, from the ledger, the queues and the balances that people entered."""

    def __init__(self, store: Store, clock: Clock, estimator: CostEstimator) -> None:
        self._store = store
        self._clock = clock
        self._estimator = estimator

    async def set_balance(self, account: str, amount: float, actor: Actor) -> AccountForecast:
        """Enter the balance of an account, and carry it on from now; raises `InvalidRequest`."""
        if micro_credits(amount) is None:
            raise InvalidRequest("credits", f"must be a number from 0 to {MAX_CREDITS:g}")
        known = await self._store.accounts.known()
        if known and account not in known:
            names = ", ".join(sorted(known))
            raise InvalidRequest("account", f"{account} has no API key; there are: {names}")
        now = self._clock.now()
        day = day_of(now)
        spent = (await self._spent([day])).get(account, 0.0)
        balance = Balance(account, amount, now, actor.name, day, spent)
        await self._store.balances.set(balance)
        note = f"{amount:.10g} credits" + (f": {actor.note}" if actor.note else "")
        await self._store.audit.record(
            NewAuditEntry(now, actor.name, CreditAction.SET_BALANCE, account, note, 0)
        )
        return next(one for one in await self.forecasts() if one.account == account)

    async def forecasts(self) -> list[AccountForecast]:
        """What is ahead of each account that has queued jobs, spends credits or has a balance."""
        now = self._clock.now()
        lanes, _ = await self._store.read.queries.lane_counts()
        queued = {one.lane: one.queued for one in lanes if one.queued}
        estimates = await self._estimator.estimates(queued.keys())
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

    async def _spending(
        self, account: str, per_hour: float, balance: Balance | None, now: float
    ) -> AccountSpending:
        if balance is None:
            return AccountSpending(round(per_hour, 6), None, 0.0)
        today = datetime.fromtimestamp(now, UTC).date()
        days = days_between(min(date.fromisoformat(balance.day), today), today)
        spent = (await self._spent(days)).get(account, 0.0)
        return AccountSpending(round(per_hour, 6), balance, spent)

    async def _spent(self, days: list[str]) -> dict[str, float]:
        """Account → what the ledger has of some days."""
        found: dict[str, int] = {}
        async for one in self._store.ledger.sums(days, Dimension.LANE):
            if one.measure is Measure.CREDITS:
                account = one.name.partition("/")[0]
                found[account] = found.get(account, 0) + one.amount
        return {account: amount / MICRO for account, amount in found.items()}
