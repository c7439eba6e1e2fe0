"""The services that keep budgets and watch balances."""

from config.settings import Settings
from worker.compose.app import build_estimator
from worker.engine.services.balance_watcher import BalanceWatcher
from worker.engine.services.budget_keeper import BudgetKeeper
from worker.engine.supervisor import Service
from worker.engine.worker_parts import WorkerContext


def build_credit_services(settings: Settings, context: WorkerContext) -> tuple[Service, Service]:
    """Both, with estimates of what runs cost."""
    store = context.store
    estimator = build_estimator(settings, store, context.clock)
    return (
        BudgetKeeper(context, estimator),
        BalanceWatcher(store, context.worker_id, estimator, settings.rate_window_s),
    )
