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
from jobs.effects import Rules
from jobs.error_table import Disposition, Verdicts
from jobs.polling.schedules import PollSchedule
from worker.app.arq_ingress import Adoption
from worker.app.enqueue import Defaults, Intake
from worker.clock import Clock, SystemClock
from worker.doctor.startup import warn_if_unsafe
from worker.engine.admission import Admission
from worker.engine.completion import Settling
from worker.engine.heartbeat import Pulse
from worker.engine.metrics_flusher import Counting
from worker.engine.poison_guard import Isolation
from worker.engine.poll_planner import Timekeeper
from worker.engine.poller import BREATH_S as LOOKS_BREATH_S
from worker.engine.poller import Poller
from worker.engine.pruner import Pruner
from worker.engine.rate_limiter import Quota
from worker.engine.redis_recovery import Recollection
from worker.engine.rescuer import Rescuer
from worker.engine.scheduler import Timer
from worker.engine.shutdown_deadline import Patience
from worker.engine.submitter import Submitter
from worker.engine.subscriber import Listener
from worker.engine.supervisor import Supervisor
from worker.engine.wakeups import Bells
from worker.engine.webhook_policy import Reliance
from worker.engine.webhook_processor import Deliveries
from worker.provider.knouds.client import Provider, Timeouts
from worker.store import Store, open_store
from worker.store.workers import Heartbeat

log: Final = structlog.get_logger(__name__)


def rules(settings: Settings) -> Rules:
    """The rules of decisions, from the settings."""
    overrides = {code: Disposition(verdict) for code, verdict in settings.verdicts.items()}
    return Rules(
        verdicts=Verdicts(overrides),
        backoff=Backoff(settings.retry_base_s, settings.retry_cap_s),
        schedule=PollSchedule(settings.poll_min_s, settings.poll_max_s),
        missing_limit=settings.poll_missing_limit,
        sync_memory_s=settings.async_memory_s,
        base_url=settings.base_url.rstrip("/"),
    )


def intake(settings: Settings, store: Store, clock: Clock) -> Intake:
    """Where jobs come in, with the defaults of the settings."""
    return Intake(store, clock, Defaults(settings.max_attempts, settings.run_deadline_s))


@dataclass(frozen=True, slots=True)
class Runtime:
    """A worker's parts, put together and running."""

    store: Store
    provider: Provider
    submitter: Submitter
    poller: Poller
    supervisor: Supervisor
    pulse: Pulse
    listeners: tuple[Listener, ...]
    adoption: Adoption
    admission: Admission
    bells: Bells
    patience: Patience
    counting: Counting
    worker_id: str

    def context(self) -> dict[str, Any]:
        """What the arq functions find in their context."""
        return {"intake": self.adoption, "submitting": self.submitter}

    async def start(self) -> None:
        """Open the provider's session and start every service."""
        await self.provider.open()
        for listener in self.listeners:
            listener.start()
        self.supervisor.start()
        log.info("worker.started", worker=self.worker_id)
        await warn_if_unsafe(self.store.client)

    def told_to_stop(self) -> None:
        """Take nothing more on; told again, hurry."""
        if self.patience.begun:
            self.patience.hurry()
            return
        self.patience.begin()
        self.admission.closed = True
        self.pulse.bell.ring()
        log.info("worker.stopping", worker=self.worker_id)

    async def stop(self) -> None:
        """Finish what is under way within the grace time, and hand the rest over."""
        self.patience.begin()
        await self.supervisor.stop(
            ["admission", "timer", "rescuer", "pruner", "poller", "deliveries"]
        )
        await self.poller.hand_over()
        await self.submitter.drain(self.patience)
        await self.supervisor.stop()
        for listener in self.listeners:
            await listener.stop()
        with contextlib.suppress(Exception):
            await self.store.fleet.leave(self.worker_id)
            await self.counting.finish()
        await self.provider.close()
        log.info("worker.stopped", worker=self.worker_id)


def build(settings: Settings, redis: ArqRedis, clock: Clock | None = None) -> Runtime:
    """Put a worker together; nothing runs and nothing is sent before `start`."""
    clock = clock or SystemClock()
    store = open_store(redis, settings.namespace)
    bells, decisions = Bells(), rules(settings)
    worker_id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
    quota = Quota(
        store.quota,
        store.jobs,
        clock,
        bells.admission,
        window_s=settings.rate_window_s,
        shared=settings.shared_quota,
    )
    provider = _provider(settings, quota)
    recollection = Recollection(store.client, store.jobs)
    recollection.watch(redis)
    settling = Settling(store, clock, bells, recollection, settings.max_result_bytes)
    isolation = Isolation(store, settling)
    window_s = settings.rate_window_s
    timekeeper = Timekeeper(store, decisions.schedule, settings.polls_per_run, window_s=window_s)
    receives = bool(settings.webhook_secrets)
    reliance = Reliance(decisions, receives=receives, durations=timekeeper)
    poller = Poller(
        store=store,
        provider=provider,
        settling=settling,
        isolation=isolation,
        clock=clock,
        bell=bells.poller,
        reliance=reliance,
        quota=quota,
        timekeeper=timekeeper,
        at_once=settings.poll_concurrency,
        lease_s=settings.lease_s,
    )
    submitter = Submitter(
        store=store,
        provider=provider,
        settling=settling,
        recollection=recollection,
        isolation=isolation,
        clock=clock,
        bells=bells,
        rules=decisions,
        reliance=reliance,
        timekeeper=timekeeper,
        quota=quota,
        accepted=poller.expect,
        worker_id=worker_id,
        lease_s=settings.lease_s,
    )
    admission = Admission(
        store=store,
        clock=clock,
        bells=bells,
        submitter=submitter,
        caps=LaneCaps(settings.lane_caps),
        recollection=recollection,
        quota=quota,
        max_jobs=settings.max_jobs,
        lease_s=settings.lease_s,
    )
    patience = Patience(clock, settings.shutdown_grace_s)
    pulse = Pulse(
        store,
        settings.lease_s,
        leased=lambda: submitter.leased,
        describe=_described(worker_id, clock, submitter, poller, patience),
        found_fleet=admission.found_fleet,
    )
    counting = Counting(store, clock)
    supervisor = Supervisor(
        [
            counting,
            recollection,
            pulse,
            admission,
            Timer(store, bells),
            poller,
            Deliveries(
                store=store,
                looks=poller,
                isolation=isolation,
                reliance=reliance,
                bell=bells.deliveries,
                poller_bell=bells.poller,
                lease_s=settings.lease_s,
            ),
            Rescuer(
                store=store,
                settling=settling,
                submitter=submitter,
                isolation=isolation,
                clock=clock,
                rules=decisions,
            ),
            Pruner(store, settings.retention_s),
            timekeeper,
            quota,
        ],
        clock,
        breaths={poller.name: LOOKS_BREATH_S},
    )
    pulse.troubles = lambda: supervisor.troubles
    return Runtime(
        store=store,
        provider=provider,
        submitter=submitter,
        poller=poller,
        supervisor=supervisor,
        pulse=pulse,
        listeners=_listeners(settings, redis, store, bells),
        adoption=Adoption(intake(settings, store, clock), store, clock, settings.max_inputs_bytes),
        admission=admission,
        bells=bells,
        patience=patience,
        counting=counting,
        worker_id=worker_id,
    )


def _provider(settings: Settings, quota: Quota) -> Provider:
    return Provider(
        settings.base_url,
        settings.accounts,
        timeouts=Timeouts(
            connect_s=settings.connect_timeout_s,
            submit_s=settings.submit_timeout_s,
            sync_s=settings.sync_timeout_s,
            poll_s=settings.poll_timeout_s,
        ),
        connections=settings.max_jobs + settings.poll_concurrency,
        on_quota=quota.saw,
    )


def _described(
    worker_id: str, clock: Clock, submitter: Submitter, poller: Poller, patience: Patience
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
            polling=poller.under_way,
            stopping=patience.begun,
        )

    return describe


def _listeners(
    settings: Settings, redis: ArqRedis, store: Store, bells: Bells
) -> tuple[Listener, ...]:
    """What other processes ring: an enqueue or a release, and deliveries where they can come."""
    wake = Listener(redis, store.keys.wake, bells.admission)
    if not settings.webhook_secrets:
        return (wake,)
    return (wake, Listener(redis, store.keys.delivered, bells.deliveries))
