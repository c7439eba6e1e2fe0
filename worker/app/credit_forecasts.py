"""What is ahead: what queued jobs will cost, and when an account runs out of credits."""

from jobs.credits.charges import MAX_CREDITS, day_of, micro_credits
from jobs.credits.forecast import AccountForecast, Balance
from worker.app.action_table import CreditAction
from worker.app.actions import Actor
from worker.app.budget_forecasts import BudgetForecast, BudgetForecasts
from worker.app.enqueue import InvalidRequest
from worker.clock import Clock
from worker.engine.account_forecaster import AccountForecaster
from worker.engine.cost_estimator import CostEstimator
from worker.store import Store
from worker.store.side_writes import NewAuditEntry


class CreditForecasts:
    """Looks ahead, and enters balances."""

    def __init__(self, store: Store, clock: Clock, estimator: CostEstimator) -> None:
        self._store = store
        self._clock = clock
        self._estimator = estimator
        self._forecaster = AccountForecaster(store)
        self._budgets = BudgetForecasts(store, estimator)

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
        spent = (await self._forecaster.spent([day], now)).get(account, 0.0)
        balance = Balance(account, amount, now, actor.name, day, spent)
        await self._store.balances.set(balance)
        note = f"{amount:.10g} credits" + (f": {actor.note}" if actor.note else "")
        await self._store.audit.record(
            NewAuditEntry(now, actor.name, CreditAction.SET_BALANCE, account, note, 0)
        )
        return next(one for one in await self.forecasts() if one.account == account)

    async def forecasts(self) -> list[AccountForecast]:
        """What is ahead of each account that has queued jobs, spends credits or has a balance."""
        lanes, _ = await self._store.read.queries.lane_counts()
        estimates = await self._estimator.estimates({one.lane for one in lanes if one.queued})
        return await self._forecaster.forecasts(lanes, estimates, self._clock.now())

    async def of_budgets(self) -> list[BudgetForecast]:
        """What is ahead of each budget that can be read."""
        return await self._budgets.list_all(self._clock.now())
