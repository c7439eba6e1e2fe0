"""Builds a worker and its services from the settings."""

import os
import secrets
import socket
from dataclasses import dataclass

from arq import ArqRedis

from config.settings import Settings
from worker.app.arq_ingress import ArqIngress
from worker.clock import Clock, RedisClock
from worker.compose.app import build_enqueuer, build_estimator, open_configured_store
from worker.compose.callbacks import build_callback_sender
from worker.compose.credit_services import build_credit_services
from worker.compose.decision_rules import decision_rules
from worker.compose.list_readers import build_list_readers
from worker.compose.provider import (
    build_provider,
    build_webhook_reader,
)
from worker.compose.runtime import Runtime
from worker.compose.schedule_ticker import build_schedule_ticker
from worker.compose.subscribers import build_subscribers
from worker.engine.account_identities import AccountIdentities
from worker.engine.beat_history import BeatHistory
from worker.engine.breaker_reporter import BreakerReporter
from worker.engine.clock_follower import ClockFollower
from worker.engine.completion import Completion
from worker.engine.estimate_cache import EstimateCache
from worker.engine.eviction import eviction_problem
from worker.engine.poison_guard import PoisonGuard
from worker.engine.poll_proof import PollProof
from worker.engine.services.account_reporter import AccountReporter
from worker.engine.services.admission import Admission
from worker.engine.services.batch_keeper import BatchKeeper
from worker.engine.services.breaker_prober import BreakerProber
from worker.engine.services.dependency_keeper import DependencyKeeper
from worker.engine.services.expirer import Expirer
from worker.engine.services.heartbeat import HeartbeatService, LiveWorkers
from worker.engine.services.metrics_flusher import MetricsFlusher
from worker.engine.services.payload_key_reporter import PayloadKeyReporter
from worker.engine.services.poll_planner import PollPlanner
from worker.engine.services.poll_prover import PollProver
from worker.engine.services.poller import MIN_CLAIM_PAUSE_S, Poller
from worker.engine.services.pruner import Pruner
from worker.engine.services.rate_limiter import RateLimiter
from worker.engine.services.redis_recovery import RedisRecovery
from worker.engine.services.rescuer import Rescuer
from worker.engine.services.scheduler import Scheduler
from worker.engine.services.webhook_processor import WebhookProcessor
from worker.engine.services.workflow_reader import WorkflowReader
from worker.engine.shutdown_deadline import ShutdownDeadline
from worker.engine.slots import SlotCounter, SlotLimits
from worker.engine.submitter import Submitter
from worker.engine.supervisor import Service, ServiceHealth, Supervisor
from worker.engine.wakeups import Wakeups
from worker.engine.webhook_policy import WebhookPolicy
from worker.engine.worker_parts import OutcomeParts, WorkerContext
from worker.provider.port import RunProvider
from worker.redis.primary import Primary
from worker.redis.primary_watch import PrimaryWatch
from worker.store.payload_keys import lacking_problem
from worker.store.workers import Heartbeat


@dataclass(frozen=True, slots=True)
class _Parts:
    """What several services of one worker need."""

    settings: Settings
    context: WorkerContext
    outcomes: OutcomeParts
    provider: RunProvider
    rate_limiter: RateLimiter
    poll_planner: PollPlanner
    webhook_policy: WebhookPolicy
    shutdown_deadline: ShutdownDeadline
    identities: AccountIdentities


@dataclass(frozen=True, slots=True)
class _Reporter:
    """Reports for the heartbeat what this worker does."""

    parts: _Parts
    started_at: float
    submitter: Submitter
    poller: Poller
    health: ServiceHealth
    live_workers: LiveWorkers
    clock_follower: ClockFollower

    @property
    def leased_ids(self) -> tuple[str, ...]:
        """Ids of the jobs that this worker is submitting or running."""
        return self.submitter.leased_ids

    def report(self, now: float) -> Heartbeat:
        """The heartbeat to record at `now`, Unix seconds."""
        outcomes, live = self.parts.outcomes, self.live_workers
        problems = outcomes.redis_recovery.problems(now) | eviction_problem(live.eviction_policy)
        problems |= lacking_problem(self.parts.context.store.payloads.lacking)
        return Heartbeat(
            id=self.parts.context.worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=self.started_at,
            seen_at=now,
            submitting=self.submitter.submitting,
            sync_runs=self.submitter.sync_runs,
            polling=self.poller.active_polls,
            polls_failing_since=self.poller.health.failing_since(now),
            poll_failure=self.poller.health.failure(now),
            unproved_accounts=outcomes.poll_proof.blocked,
            stopping=self.parts.shutdown_deadline.has_started,
            drained=live.is_drained,
            failures=self.health.failing | problems,
            clock_ahead_s=self.clock_follower.machine_ahead_s,
        )


def build(
    settings: Settings, redis: ArqRedis, primary: Primary, clock: Clock | None = None
) -> Runtime:
    """Build a worker; nothing runs and nothing is sent before `start`.

    `primary` is what the connections of `redis` lead to.
    """
    context = _build_context(settings, redis, clock or RedisClock())
    live_workers = LiveWorkers()
    breakers, health = _build_breaker_reporter(context, live_workers), ServiceHealth()
    recovery = _build_recovery(context, primary, live_workers)
    outcomes = _build_outcomes(settings, context, recovery, breakers)
    parts = _build_parts(settings, context, outcomes)
    clock_follower = ClockFollower(context.store.client, context.clock, health)
    beat_history = BeatHistory(context.lease_s)
    poller = _build_poller(parts, health)
    submitter = _build_submitter(parts, poller)
    recovery.add_runs_under_way(poller.runs_under_way, submitter.runs_under_way)
    now = context.clock.now()
    reporter = _Reporter(parts, now, submitter, poller, health, live_workers, clock_follower)
    heartbeat = _build_heartbeat(context, reporter, beat_history)
    recovery.observe(heartbeat.wakeup.notify)  # it is missing in data that was emptied
    prober = BreakerProber(context, breakers, parts.provider)
    callback_sender = build_callback_sender(settings, context)
    services: list[Service] = [
        recovery,
        heartbeat,
        poller,
        prober,
        *filter(None, [callback_sender]),
        _build_admission(parts, submitter, live_workers),
        _build_webhook_processor(parts, poller),
        Rescuer(context, outcomes, submitter, beat_history),
        *_build_other_services(parts),
    ]
    return Runtime(
        context=context,
        provider=parts.provider,
        identities=parts.identities,
        submitter=submitter,
        poller=poller,
        breaker_prober=prober,
        callback_sender=callback_sender,
        arq_ingress=_build_arq_ingress(settings, context),
        supervisor=Supervisor(
            services,
            context.clock,
            health,
            {poller.name: MIN_CLAIM_PAUSE_S},
            clock_follower.may_tick,
        ),
        health=health,
        clock_follower=clock_follower,
        heartbeat_wakeup=heartbeat.wakeup,
        live_workers=live_workers,
        primary_watch=PrimaryWatch(primary),
        subscribers=build_subscribers(settings, context, heartbeat.wakeup, callback_sender),
        shutdown_deadline=parts.shutdown_deadline,
        checked_accounts=tuple(settings.accounts) if settings.start_check else (),
    )


def _build_arq_ingress(settings: Settings, context: WorkerContext) -> ArqIngress:
    store, clock = context.store, context.clock
    enqueuer = build_enqueuer(settings, store, clock)
    return ArqIngress(enqueuer, store, clock, settings.max_inputs_bytes)


def _build_context(settings: Settings, redis: ArqRedis, clock: Clock) -> WorkerContext:
    return WorkerContext(
        worker_id=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}",
        store=open_configured_store(settings, redis),
        clock=clock,
        wakeups=Wakeups(),
        rules=decision_rules(settings),
        lease_s=settings.lease_s,
        accounts=tuple(settings.accounts),
    )


def _build_breaker_reporter(context: WorkerContext, live_workers: LiveWorkers) -> BreakerReporter:
    return BreakerReporter(
        context.store.breakers,
        context.store.metrics.buffer,
        context.clock,
        worker_id=context.worker_id,
        live_workers=live_workers,
        admission_wakeup=context.wakeups.admission,
    )


def _build_recovery(
    context: WorkerContext, primary: Primary, live_workers: LiveWorkers
) -> RedisRecovery:
    return RedisRecovery(
        context.worker_id, context.store, context.clock, primary, live_workers=live_workers
    )


def _build_outcomes(
    settings: Settings,
    context: WorkerContext,
    recovery: RedisRecovery,
    breakers: BreakerReporter,
) -> OutcomeParts:
    store = context.store
    completion = Completion(
        store,
        context.clock,
        context.wakeups,
        recovery,
        breakers=breakers,
        max_result_bytes=settings.max_result_bytes,
    )
    return OutcomeParts(
        completion=completion,
        poison_guard=PoisonGuard(store, completion),
        redis_recovery=recovery,
        breakers=breakers,
        poll_proof=PollProof(settings.max_jobs, context.wakeups.admission),
    )


def _build_parts(settings: Settings, context: WorkerContext, outcomes: OutcomeParts) -> _Parts:
    rate_limiter = RateLimiter(
        context.store.rate_limits,
        context.store.polls,
        context.clock,
        context.wakeups.admission,
        window_s=settings.rate_window_s,
        is_shared=settings.shared_quota,
    )
    poll_planner = PollPlanner(
        context.store,
        context.rules.poll_schedule,
        settings.polls_per_run,
        window_s=settings.rate_window_s,
    )
    provider = build_provider(settings, rate_limiter)
    return _Parts(
        settings=settings,
        context=context,
        outcomes=outcomes,
        provider=provider,
        identities=AccountIdentities(provider, context.clock, settings.base_url),
        rate_limiter=rate_limiter,
        poll_planner=poll_planner,
        webhook_policy=WebhookPolicy(
            context.rules,
            receives_webhooks=bool(settings.webhook_secrets),
            schedules=poll_planner,
        ),
        shutdown_deadline=ShutdownDeadline(context.clock, settings.shutdown_grace_s),
    )


def _build_poller(parts: _Parts, health: ServiceHealth) -> Poller:
    return Poller(
        parts.context,
        parts.outcomes,
        parts.provider,
        webhook_policy=parts.webhook_policy,
        poll_planner=parts.poll_planner,
        rate_limiter=parts.rate_limiter,
        health=health,
        max_concurrent=parts.settings.poll_concurrency,
    )


def _build_submitter(parts: _Parts, poller: Poller) -> Submitter:
    return Submitter(
        parts.context,
        parts.outcomes,
        parts.provider,
        webhook_policy=parts.webhook_policy,
        poll_planner=parts.poll_planner,
        rate_limiter=parts.rate_limiter,
        accepted_runs=poller,
        max_sync_runs=parts.settings.sync_runs,
        identities=parts.identities,
    )


def _build_heartbeat(
    context: WorkerContext, reporter: _Reporter, beat_history: BeatHistory
) -> HeartbeatService:
    return HeartbeatService(
        context.store,
        context.lease_s,
        reporter,
        live_workers=reporter.live_workers,
        admission_wakeup=context.wakeups.admission,
        clock_follower=reporter.clock_follower,
        beat_history=beat_history,
        clock=context.clock,
    )


def _build_webhook_processor(parts: _Parts, poller: Poller) -> WebhookProcessor:
    return WebhookProcessor(
        parts.context,
        build_webhook_reader(parts.settings),
        poller,
        parts.outcomes,
        parts.webhook_policy,
    )


def _build_other_services(parts: _Parts) -> list[Service]:
    """The services that nothing else of the worker needs to know."""
    context = parts.context
    return [
        MetricsFlusher(context.store),
        AccountReporter(context.store.accounts, context.accounts),
        PayloadKeyReporter(context.store.payloads),
        Scheduler(context.store, context.wakeups),
        Expirer(context.store),
        PollProver(context, parts.outcomes.poll_proof, parts.provider, parts.rate_limiter),
        BatchKeeper(context.store, context.worker_id),
        DependencyKeeper(
            context.store, context.wakeups, context.worker_id, parts.settings.max_inputs_bytes
        ),
        Pruner(context.store, parts.settings.retention_s, parts.settings.payload_retention_s),
        parts.poll_planner,
        parts.rate_limiter,
        *build_list_readers(parts.settings, context, parts.provider, parts.identities),
        WorkflowReader(context, parts.provider),
        *build_credit_services(parts.settings, context),
        build_schedule_ticker(parts.settings, context),
    ]


def _build_admission(parts: _Parts, submitter: Submitter, live_workers: LiveWorkers) -> Admission:
    limits = SlotLimits(parts.settings.max_jobs, parts.settings.sync_runs)
    estimator = build_estimator(parts.settings, parts.context.store, parts.context.clock)
    return Admission(
        parts.context,
        submitter,
        caps=parts.settings.lane_caps,
        key_caps=parts.settings.fair_key_caps,
        slots=SlotCounter(limits, submitter, live_workers),
        redis_recovery=parts.outcomes.redis_recovery,
        rate_limiter=parts.rate_limiter,
        shutdown_deadline=parts.shutdown_deadline,
        poll_proof=parts.outcomes.poll_proof,
        breakers=parts.outcomes.breakers,
        estimates=EstimateCache(estimator),
    )
