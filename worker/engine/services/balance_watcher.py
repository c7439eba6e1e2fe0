"""Says when an account is likely to run out of credits within the hour, by its entered balance.

One worker does it, once a minute: it reads the ledger. Without a balance it is one command.
"""

from typing import Final, assert_never

import structlog

from jobs.credits.forecast import AccountForecast
from jobs.credits.low_balance import (
    BalanceChange,
    BalanceMark,
    LaneLoad,
    advanced,
    cost_within_hour,
)
from jobs.lanes import Lane
from worker.engine.account_forecaster import AccountForecaster
from worker.engine.cost_estimator import CostEstimator
from worker.engine.wakeups import Wakeup
from worker.store import Store
from worker.store.events import BalanceNotice
from worker.store.read.lane_counts import LaneCount
from worker.store.warnings import StoredMark

log: Final = structlog.get_logger(__name__)

TICK_S: Final = 60.0
LEASE_S: Final = 90.0

_ABSENT: Final[StoredMark[BalanceMark]] = StoredMark()


class BalanceWatcher:
    """Watches the balances of one namespace, while this worker has the lease."""

    name = "balance_watcher"

    def __init__(
        self, store: Store, worker_id: str, estimator: CostEstimator, window_s: float
    ) -> None:
        self._store = store
        self._worker_id = worker_id
        self._estimator = estimator
        self._forecaster = AccountForecaster(store)
        self._window_s = window_s
        self.wakeup = Wakeup()

    async def tick(self, now: float) -> float:
        """Compare each balance with what is ahead; returns the seconds until the next tick."""
        if not await self._store.balances.all():
            return TICK_S
        if await self._store.balances.claim(self._worker_id, LEASE_S):
            await self._check(now)
        return TICK_S

    async def _check(self, now: float) -> None:
        # Marks first: whoever writes one after this reading makes ours fail.
        marks = (await self._store.warnings.read()).balances
        counts, _ = await self._store.read.queries.lane_counts()
        busy = {one.lane for one in counts if one.queued or one.active}
        estimates = await self._estimator.estimates(busy)
        loads = await self._loads(counts, estimates, now)
        buckets = await self._store.rate_limits.buckets()
        for one in await self._forecaster.forecasts(counts, estimates, now):
            if one.balance is None and one.account not in marks:
                continue
            own = [load for load in loads if load.lane.account == one.account]
            ahead = cost_within_hour(own, buckets, now, self._window_s)
            before = marks.get(one.account, _ABSENT)
            after, change = advanced(before.mark, one, ahead, now)
            if before.is_newer or after == before.mark:
                continue
            if await self._store.warnings.mark_balance(one.account, before, after) and change:
                await self._say(change, one, ahead, now)

    async def _loads(
        self, counts: list[LaneCount], estimates: dict[Lane, float | None], now: float
    ) -> list[LaneLoad]:
        """What each lane may start soon: nothing where a hold or a budget is closed."""
        gates = await self._store.holds.gates()
        closed = {
            one.budget.scope for one in await self._store.budgets.statuses(now) if one.is_closed
        }
        return [
            LaneLoad(
                one.lane,
                0
                if gates.closing_hold(one.lane) or not closed.isdisjoint(one.lane.scopes)
                else one.queued,
                one.active,
                estimates.get(one.lane),
            )
            for one in counts
        ]

    async def _say(
        self, change: BalanceChange, found: AccountForecast, ahead: float, now: float
    ) -> None:
        dry_at = None if found.dry_in_s is None else now + found.dry_in_s
        facts = {"account": found.account, "left": found.left, "ahead": ahead, "dry_at": dry_at}
        match change:
            case BalanceChange.LOW:
                log.warning("balance.low", **facts)
            case BalanceChange.ENOUGH:
                log.info("balance.enough", **facts)
            case _:
                assert_never(change)
        await self._store.warnings.announce_balance(
            BalanceNotice(found.account, change, found.left, ahead, now, dry_at)
        )
