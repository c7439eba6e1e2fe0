"""The use cases, built from the settings."""

from arq import ArqRedis

from config.settings import Settings
from jobs.states import OnUncertain
from worker.app.actions import Actions
from worker.app.batches import Batches
from worker.app.breaker_actions import BreakerActions
from worker.app.budgets import Budgets
from worker.app.bulk import BulkActions
from worker.app.callback_policy import CallbackPolicy
from worker.app.callbacks import Callbacks
from worker.app.credit_forecasts import CreditForecasts
from worker.app.credits import Credits
from worker.app.enqueue import Enqueuer, JobDefaults
from worker.app.enqueue_checks import EnqueueCheckMode, EnqueueChecks
from worker.app.enqueue_guard import EnqueueGuard
from worker.app.erasure import PayloadErasure
from worker.app.evidence_actions import EvidenceActions
from worker.app.job_edits import JobEdits
from worker.app.lane_caps import LaneCaps
from worker.app.queries import Queries
from worker.app.schedule_jobs import ScheduleJobs
from worker.app.schedules import Schedules
from worker.app.use_cases import UseCases
from worker.clock import Clock
from worker.compose.provider import KNOWN_ERROR_CODES
from worker.engine.cost_estimator import CostEstimator
from worker.store import Store, open_store
from worker.store.client import ReplicaWait
from worker.store.payload_cipher import PayloadCipher


def replica_wait(settings: Settings) -> ReplicaWait | None:
    """How long enqueues and send marks wait for replicas; None if they do not."""
    replicas = settings.redis_wait_replicas
    return ReplicaWait(replicas, settings.redis_wait_ms) if replicas else None


def payload_cipher(settings: Settings) -> PayloadCipher:
    """What encrypts payloads in Redis and reads them."""
    return PayloadCipher(settings.plain_payload_keys)


def open_configured_store(settings: Settings, redis: ArqRedis) -> Store:
    """The store that a worker or an API process works with."""
    return open_store(
        redis,
        settings.namespace,
        KNOWN_ERROR_CODES,
        replica_wait(settings),
        payload_cipher(settings),
        callback_outbox_bytes=settings.callback_outbox_bytes,
    )


def build_callback_policy(settings: Settings) -> CallbackPolicy:
    """Which jobs have callbacks, and where these may go."""
    return CallbackPolicy(settings.callback_hosts, settings.callback_url)


def build_estimator(settings: Settings, store: Store, clock: Clock) -> CostEstimator:
    """What estimates the credits of runs."""
    return CostEstimator(store.lane_facts, clock, settings.default_estimate)


def build_enqueue_checks(settings: Settings, store: Store, clock: Clock) -> EnqueueChecks:
    """What compares requests with what is known of their lanes."""
    mode = EnqueueCheckMode(settings.enqueue_checks)
    estimator = build_estimator(settings, store, clock)
    return EnqueueChecks(store.lane_facts, clock, estimator, mode)


def job_defaults(settings: Settings) -> JobDefaults:
    """What a job gets whose request does not say."""
    return JobDefaults(
        settings.max_attempts, settings.run_deadline_s, OnUncertain(settings.on_uncertain)
    )


def build_schedule_jobs(settings: Settings) -> ScheduleJobs:
    """What makes the jobs of schedules."""
    callbacks = build_callback_policy(settings)
    return ScheduleJobs(job_defaults(settings), settings.max_inputs_bytes, callbacks)


def build_enqueuer(
    settings: Settings, store: Store, clock: Clock, checks: EnqueueChecks | None = None
) -> Enqueuer:
    """The use case that enqueues jobs, with the defaults of the settings."""
    checks = checks or build_enqueue_checks(settings, store, clock)
    defaults, callbacks = job_defaults(settings), build_callback_policy(settings)
    return Enqueuer(store, clock, defaults, checks, callbacks)


def build_use_cases(settings: Settings, store: Store, clock: Clock) -> UseCases:
    """The use cases of the API and the dashboard."""
    estimator = build_estimator(settings, store, clock)
    checks = build_enqueue_checks(settings, store, clock)
    actions = Actions(store, clock, receives_webhooks=bool(settings.webhook_secrets))
    enqueuer = build_enqueuer(settings, store, clock, checks)
    bulk = BulkActions(
        store, clock, actions, settings.max_inputs_bytes, estimator=estimator, checks=checks
    )
    queries = Queries(
        store,
        clock,
        estimator,
        caps=settings.lane_caps,
        key_caps=settings.fair_key_caps,
        lease_s=settings.lease_s,
        window_s=settings.rate_window_s,
    )
    budgets = Budgets(store, clock, estimator)
    return UseCases(
        enqueuer=enqueuer,
        enqueue_checks=checks,
        enqueue_guard=EnqueueGuard(
            store.enqueue_facts, clock, build_callback_policy(settings), store.callbacks.outbox
        ),
        actions=actions,
        breakers=BreakerActions(store, clock),
        erasure=PayloadErasure(store, clock),
        edits=JobEdits(store, clock),
        caps=LaneCaps(store, clock, settings.lane_caps),
        evidence=EvidenceActions(store, clock),
        bulk=bulk,
        estimator=estimator,
        queries=queries,
        credits=Credits(store, clock),
        forecasts=CreditForecasts(store, clock, estimator),
        budgets=budgets,
        schedules=Schedules(
            store, clock, queries, enqueuer, jobs=build_schedule_jobs(settings), previews=checks
        ),
        callbacks=Callbacks(store, clock),
        batches=Batches(store, clock, queries, bulk, budgets, build_callback_policy(settings)),
    )
