"""Composition: settings become a store, a provider's client and the services of a worker."""

import contextlib
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog
from arq import ArqRedis

from config.settings import Settings
from jobs.backoff import Backoff
from jobs.concurrency import LaneCaps
from jobs.effects import DecisionRules
from jobs.error_table import Disposition, ErrorTable
from jobs.polling.schedules import PollSchedule
from worker.app.arq_ingress import ArqIngress
from worker.app.enqueue import Enqueuer, JobDefaults
from worker.clock import Clock, SystemClock
from worker.doctor.startup import warn_if_unsafe
from worker.engine.admission import Admission
from worker.engine.completion import Completion
from worker.engine.heartbeat import HeartbeatService
from worker.engine.metrics_flusher import MetricsFlusher
from worker.engine.poison_guard import PoisonGuard
from worker.engine.poll_planner import PollPlanner
from worker.engine.poller import MIN_CLAIM_PAUSE_S as LOOKS_BREATH_S
from worker.engine.poller import Poller
from worker.engine.pruner import Pruner
from worker.engine.rate_limiter import RateLimiter
from worker.engine.redis_recovery import RedisRecovery
from worker.engine.rescuer import Rescuer
from worker.engine.scheduler import Scheduler
from worker.engine.shutdown_deadline import ShutdownDeadline
from worker.engine.submitter import Submitter
from worker.engine.subscriber import Subscriber
from worker.engine.supervisor import Supervisor
from worker.engine.wakeups import Wakeups
from worker.engine.webhook_policy import WebhookPolicy
from worker.engine.webhook_processor import WebhookProcessor
from worker.provider.http.pool import HttpOptions
from worker.provider.knouds.client import KnoudsClient, Timeouts
from worker.provider.knouds.error_rows import ERROR_CODES, ERROR_RULES
from worker.provider.knouds.webhooks import KnoudsWebhooks
from worker.provider.port import RunProvider
from worker.store import Store, open_store
from worker.store.workers import Heartbeat

log: Final = structlog.get_logger(__name__)


def decision_rules(settings: Settings) -> DecisionRules:
    """The rules of decisions, from the settings."""
    overrides = {code: Disposition(verdict) for code, verdict in settings.error_rules.items()}
    return DecisionRules(
        error_table=ErrorTable(ERROR_RULES, overrides),
        backoff=Backoff(settings.retry_base_s, settings.retry_cap_s),
        poll_schedule=PollSchedule(settings.poll_min_s, settings.poll_max_s),
        max_missing_polls=settings.poll_missing_limit,
        sync_only_memory_s=settings.async_memory_s,
        base_url=settings.base_url.rstrip("/"),
    )


def build_enqueuer(settings: Settings, store: Store, clock: Clock) -> Enqueuer:
    """Where jobs come in, with the defaults of the settings."""
    return Enqueuer(store, clock, JobDefaults(settings.max_attempts, settings.run_deadline_s))


@dataclass(frozen=True, slots=True)
class Runtime:
    """A worker's parts, put together and running."""

    store: Store
    provider: RunProvider
    submitter: Submitter
    poller: Poller
    supervisor: Supervisor
    heartbeat: HeartbeatService
    subscribers: tuple[Subscriber, ...]
    arq_ingress: ArqIngress
    admission: Admission
    wakeups: Wakeups
    shutdown_deadline: ShutdownDeadline
    metrics_flusher: MetricsFlusher
    worker_id: str

    def context(self) -> dict[str, Any]:
        """What the arq functions find in their context."""
        return {"arq_ingress": self.arq_ingress, "submitter": self.submitter}

    async def start(self) -> None:
        """Open the provider's session and start every service."""
        await self.provider.open()
        for listener in self.subscribers:
            listener.start()
        self.supervisor.start()
        log.info("worker.started", worker=self.worker_id)
        await warn_if_unsafe(self.store.client)

    def request_stop(self) -> None:
        """Take nothing more on; told again, hurry."""
        if self.shutdown_deadline.has_started:
            self.shutdown_deadline.expire()
            return
        self.shutdown_deadline.start()
        self.admission.is_closed = True
        self.heartbeat.wakeup.notify()
        log.info("worker.stopping", worker=self.worker_id)

    async def stop(self) -> None:
        """Finish what is under way within the grace time, and hand the rest over."""
        self.shutdown_deadline.start()
        await self.supervisor.stop(
            ["admission", "scheduler", "rescuer", "pruner", "poller", "webhook_processor"]
        )
        await self.poller.hand_over()
        await self.submitter.drain(self.shutdown_deadline)
        await self.supervisor.stop()
        for listener in self.subscribers:
            await listener.stop()
        with contextlib.suppress(Exception):
            await self.store.workers.remove(self.worker_id)
            await self.metrics_flusher.flush()
        await self.provider.close()
        log.info("worker.stopped", worker=self.worker_id)


def build(settings: Settings, redis: ArqRedis, clock: Clock | None = None) -> Runtime:
    """Put a worker together; nothing runs and nothing is sent before `start`."""
    clock = clock or SystemClock()
    store = open_store(redis, settings.namespace, ERROR_CODES)
    bells, decisions = Wakeups(), decision_rules(settings)
    worker_id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
    quota = RateLimiter(
        store.rate_limits,
        store.jobs,
        clock,
        bells.admission,
        window_s=settings.rate_window_s,
        is_shared=settings.shared_quota,
    )
    provider = _build_provider(settings, quota)
    recollection = RedisRecovery(store.client, store.jobs)
    recollection.watch(redis)
    settling = Completion(store, clock, bells, recollection, settings.max_result_bytes)
    isolation = PoisonGuard(store, settling)
    window_s = settings.rate_window_s
    timekeeper = PollPlanner(
        store, decisions.poll_schedule, settings.polls_per_run, window_s=window_s
    )
    receives = bool(settings.webhook_secrets)
    reliance = WebhookPolicy(decisions, receives_webhooks=receives, schedules=timekeeper)
    poller = Poller(
        store=store,
        provider=provider,
        completion=settling,
        poison_guard=isolation,
        clock=clock,
        wakeup=bells.poller,
        webhook_policy=reliance,
        rate_limiter=quota,
        poll_planner=timekeeper,
        max_concurrent=settings.poll_concurrency,
        lease_s=settings.lease_s,
    )
    submitter = Submitter(
        store=store,
        provider=provider,
        completion=settling,
        redis_recovery=recollection,
        poison_guard=isolation,
        clock=clock,
        wakeups=bells,
        rules=decisions,
        webhook_policy=reliance,
        poll_planner=timekeeper,
        rate_limiter=quota,
        on_accepted=poller.cache_accepted,
        worker_id=worker_id,
        lease_s=settings.lease_s,
    )
    admission = Admission(
        store=store,
        clock=clock,
        wakeups=bells,
        submitter=submitter,
        caps=LaneCaps(settings.lane_caps),
        redis_recovery=recollection,
        rate_limiter=quota,
        max_jobs=settings.max_jobs,
        lease_s=settings.lease_s,
    )
    patience = ShutdownDeadline(clock, settings.shutdown_grace_s)
    pulse = HeartbeatService(
        store,
        settings.lease_s,
        leased=lambda: submitter.leased_ids,
        describe=_heartbeat_source(worker_id, clock, submitter, poller, patience),
        set_worker_count=admission.set_worker_count,
    )
    counting = MetricsFlusher(store, clock)
    supervisor = Supervisor(
        [
            counting,
            recollection,
            pulse,
            admission,
            Scheduler(store, bells),
            poller,
            WebhookProcessor(
                store=store,
                reader=KnoudsWebhooks(settings.webhook_secrets),
                poller=poller,
                poison_guard=isolation,
                webhook_policy=reliance,
                wakeup=bells.deliveries,
                poller_wakeup=bells.poller,
                lease_s=settings.lease_s,
            ),
            Rescuer(
                store=store,
                completion=settling,
                submitter=submitter,
                poison_guard=isolation,
                clock=clock,
                rules=decisions,
            ),
            Pruner(store, settings.retention_s),
            timekeeper,
            quota,
        ],
        clock,
        min_pauses_s={poller.name: LOOKS_BREATH_S},
    )
    pulse.failures = lambda: supervisor.failing
    return Runtime(
        store=store,
        provider=provider,
        submitter=submitter,
        poller=poller,
        supervisor=supervisor,
        heartbeat=pulse,
        subscribers=_subscribers(settings, redis, store, bells),
        arq_ingress=ArqIngress(
            build_enqueuer(settings, store, clock), store, clock, settings.max_inputs_bytes
        ),
        admission=admission,
        wakeups=bells,
        shutdown_deadline=patience,
        metrics_flusher=counting,
        worker_id=worker_id,
    )


def _build_provider(settings: Settings, rate_limiter: RateLimiter) -> RunProvider:
    return KnoudsClient(
        settings.base_url,
        settings.accounts,
        timeouts=Timeouts(
            submit_s=settings.submit_timeout_s,
            sync_s=settings.sync_timeout_s,
            poll_s=settings.poll_timeout_s,
        ),
        http=HttpOptions(
            connect_s=settings.connect_timeout_s,
            max_connections=settings.max_jobs + settings.poll_concurrency,
        ),
        rate_limit_observer=rate_limiter,
    )


def _heartbeat_source(
    worker_id: str,
    clock: Clock,
    submitter: Submitter,
    poller: Poller,
    shutdown_deadline: ShutdownDeadline,
) -> Callable[[float], Heartbeat]:
    """What a worker says of itself at a moment."""
    started_at = clock.now()

    def describe(now: float) -> Heartbeat:
        return Heartbeat(
            id=worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=started_at,
            seen_at=now,
            submitting=submitter.submitting,
            sync_runs=submitter.sync_runs,
            polling=poller.active_polls,
            stopping=shutdown_deadline.has_started,
        )

    return describe


def _subscribers(
    settings: Settings, redis: ArqRedis, store: Store, wakeups: Wakeups
) -> tuple[Subscriber, ...]:
    """What other processes ring: an enqueue or a release, and deliveries where they can come."""
    wake = Subscriber(redis, store.keys.wake, wakeups.admission)
    if not settings.webhook_secrets:
        return (wake,)
    return (wake, Subscriber(redis, store.keys.delivered, wakeups.deliveries))
