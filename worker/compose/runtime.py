"""A worker, from its start to its end: in which order its parts start and stop."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from worker.app.arq_ingress import ArqIngress
from worker.doctor.startup import check_accounts, check_redis_at_start
from worker.engine.account_identities import AccountIdentities
from worker.engine.clock_follower import ClockFollower
from worker.engine.services.breaker_prober import BreakerProber
from worker.engine.services.callback_sender import CallbackSender
from worker.engine.services.heartbeat import LiveWorkers
from worker.engine.services.poller import Poller
from worker.engine.shutdown_deadline import ShutdownDeadline
from worker.engine.submitter import Submitter
from worker.engine.subscriber import WakeupSubscriber
from worker.engine.supervisor import ServiceHealth, Supervisor
from worker.engine.wakeups import Wakeup
from worker.engine.worker_parts import WorkerContext
from worker.provider.port import RunProvider
from worker.redis.primary_watch import PrimaryWatch
from worker.tasks import cancel_and_wait

log: Final = structlog.get_logger(__name__)

FIRST_TIME_WITHIN_S: Final = 3.0
"""How long the start waits for the time of Redis; without it, nothing that is due is done."""

STOPPED_FIRST: Final = (
    "admission",
    "scheduler",
    "expirer",
    "rescuer",
    "pruner",
    "evidence",
    "workflow_reader",
    "poller",
    "poll_prover",
    "webhook_processor",
)
"""Services that a worker stops before it waits for its submits; the others run until the end."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A worker, from its start to its end."""

    context: WorkerContext
    provider: RunProvider
    identities: AccountIdentities
    submitter: Submitter
    poller: Poller
    breaker_prober: BreakerProber
    callback_sender: CallbackSender | None
    arq_ingress: ArqIngress
    supervisor: Supervisor
    health: ServiceHealth
    heartbeat_wakeup: Wakeup
    live_workers: LiveWorkers
    clock_follower: ClockFollower
    primary_watch: PrimaryWatch
    subscribers: tuple[WakeupSubscriber, ...]
    shutdown_deadline: ShutdownDeadline
    checked_accounts: tuple[str, ...] = ()
    """Accounts whose API key is checked at the start, in the background."""
    start_checks: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])

    @property
    def takes_work(self) -> bool:
        """Whether it sends runs: it is in service, its clock is right, and it lacks no key."""
        if self.live_workers.is_drained or self.context.store.payloads.lacking:
            return False
        return self.clock_follower.is_right

    def arq_context(self) -> dict[str, Any]:
        """What arq's functions (`jobs.functions`) find in their context."""
        return {"arq_ingress": self.arq_ingress, "submitter": self.submitter}

    async def start(self) -> None:
        """Start every service."""
        self.primary_watch.start()
        for subscriber in self.subscribers:
            subscriber.start()
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(FIRST_TIME_WITHIN_S):
                await self.clock_follower.tick(self.context.clock.now())
        self.supervisor.start()
        log.info("worker.started", worker=self.context.worker_id)
        await check_redis_at_start(self.context.store)
        if self.checked_accounts:
            context = self.context
            check = check_accounts(
                self.provider,
                self.checked_accounts,
                context.store.holds,
                context.clock,
                receives_webhooks=self.submitter.receives_webhooks,
            )
            self.start_checks.append(asyncio.create_task(check, name="start check"))

    def request_stop(self) -> None:
        """Take no more work. A second call hurries, a third ends the wait for open sync runs."""
        wait_s = self.shutdown_deadline.record_signal()
        self.heartbeat_wakeup.notify()
        log.info(
            "worker.stopping",
            worker=self.context.worker_id,
            sync_runs=self.submitter.sync_runs,
            wait_s=round(wait_s, 1),
        )

    async def stop(self) -> None:
        """Finish what is under way within the grace time, and leave the rest to other workers."""
        self.shutdown_deadline.start()
        await cancel_and_wait(*self.start_checks)
        await self.supervisor.stop(STOPPED_FIRST)
        await self.poller.hand_over()
        await self.submitter.drain(self.shutdown_deadline)
        await self.supervisor.stop()
        await self.breaker_prober.stop()
        if self.callback_sender is not None:
            await self.callback_sender.stop()
        for subscriber in self.subscribers:
            await subscriber.stop()
        store = self.context.store
        with contextlib.suppress(Exception):
            await store.workers.remove(self.context.worker_id)
            await store.audit.write_pending()
            await store.metrics.counters.flush(self.context.clock.now())
            await store.costs.write_noted()
        await self.primary_watch.stop()
        await self.identities.close()
        await self.provider.close()
        log.info("worker.stopped", worker=self.context.worker_id)
