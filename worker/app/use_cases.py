"""The use cases that the API and the dashboard share."""

from dataclasses import dataclass

from worker.app.actions import Actions
from worker.app.batches import Batches
from worker.app.breaker_actions import BreakerActions
from worker.app.budgets import Budgets
from worker.app.bulk import BulkActions
from worker.app.callbacks import Callbacks
from worker.app.credit_forecasts import CreditForecasts
from worker.app.credits import Credits
from worker.app.enqueue import Enqueuer
from worker.app.enqueue_checks import EnqueueChecks
from worker.app.enqueue_guard import EnqueueGuard
from worker.app.erasure import PayloadErasure
from worker.app.evidence_actions import EvidenceActions
from worker.app.job_edits import JobEdits
from worker.app.lane_caps import LaneCaps
from worker.app.queries import Queries
from worker.app.schedules import Schedules
from worker.engine.cost_estimator import CostEstimator


@dataclass(frozen=True, slots=True)
class UseCases:
    """What a request can ask for."""

    enqueuer: Enqueuer
    enqueue_checks: EnqueueChecks
    enqueue_guard: EnqueueGuard
    actions: Actions
    breakers: BreakerActions
    erasure: PayloadErasure
    edits: JobEdits
    caps: LaneCaps
    evidence: EvidenceActions
    bulk: BulkActions
    estimator: CostEstimator
    queries: Queries
    credits: Credits
    forecasts: CreditForecasts
    budgets: Budgets
    schedules: Schedules
    callbacks: Callbacks
    batches: Batches
