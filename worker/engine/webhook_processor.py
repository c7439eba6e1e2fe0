"""Works on what the provider delivered: each delivery is a look at a run that somebody else took.

The API only stores them. Here the job of each is found, and told what a poll would have told it.
A claim is a lease: those of a worker that died come due again. A delivery without a job waits a
while, since it may have overtaken the submit's answer, and is then kept as evidence for people.
"""

import asyncio
from typing import Final, Protocol

import structlog
from redis.exceptions import RedisError

from jobs import transitions
from jobs.deliveries import next_match_at
from jobs.effects import PollHistory
from jobs.indexes import accepts_run_updates
from jobs.outcomes import PollOutcome
from worker.engine.poison_guard import PoisonGuard
from worker.engine.unreadable_records import load_jobs
from worker.engine.wakeups import Wakeup
from worker.engine.webhook_policy import WebhookPolicy
from worker.provider.port import WebhookReader
from worker.store import Store
from worker.store.commit import VersionedJob
from worker.store.webhooks import Orphan, StoredDeliveries

log: Final = structlog.get_logger(__name__)

BATCH: Final = 100
TICK_S: Final = 1.0
"""Longest pause between looks into the inbox: the channel that rings may be deaf."""

FORGET_INTERVAL_S: Final = 60.0


class PollOutcomePort(Protocol):
    """What a look at a run is brought to."""

    async def apply_outcome(
        self, stored: VersionedJob, answer: PollOutcome, history: PollHistory
    ) -> VersionedJob | None:
        """Write what a look showed, whoever looked; returns the job if that moved it on."""
        ...


class WebhookProcessor:
    """Brings deliveries to their jobs."""

    name = "webhook_processor"

    def __init__(
        self,
        *,
        store: Store,
        reader: WebhookReader,
        poller: PollOutcomePort,
        poison_guard: PoisonGuard,
        webhook_policy: WebhookPolicy,
        wakeup: Wakeup,
        poller_wakeup: Wakeup,
        lease_s: float,
    ) -> None:
        self._store = store
        self._reader = reader
        self._poller = poller
        self._poison_guard = poison_guard
        self._webhook_policy = webhook_policy
        self.wakeup = wakeup
        self._poller_wakeup = poller_wakeup
        self._lease_s = lease_s
        self._forget_at = 0.0

    async def tick(self, now: float) -> float:
        """Claim what came and bring it home."""
        posts = await self._store.webhooks.claim(now, now + self._lease_s, BATCH)
        if posts:
            await self._handle_batch(posts, now)
        if now >= self._forget_at:
            self._forget_at = now + FORGET_INTERVAL_S
            await self._store.webhooks.remove_expired_orphans(now)
        return 0.0 if len(posts) == BATCH else TICK_S

    async def _handle_batch(self, batch: list[StoredDeliveries], now: float) -> None:
        wanted = list({job_id for post in batch for job_id in post.jobs})
        found = dict(zip(wanted, await load_jobs(self._store.jobs, wanted, now), strict=True))
        works = [
            self._handle(post, [stored for i in post.jobs if (stored := found[i])], now)
            for post in batch
        ]
        for outcome in await asyncio.gather(*works, return_exceptions=True):
            if isinstance(outcome, RedisError | OSError):
                log.warning("delivery.interrupted", error=type(outcome).__name__)
            elif isinstance(outcome, BaseException):
                raise outcome

    async def _handle(
        self, deliveries: StoredDeliveries, jobs: list[VersionedJob], now: float
    ) -> None:
        if deliveries.is_ended:
            self._store.metrics.webhook_processed("known")
            await self._store.webhooks.finish(deliveries)
        elif not deliveries.jobs or any(_is_uncertain_about(stored, deliveries) for stored in jobs):
            await self._keep_orphan(deliveries, now)
        else:
            await self._deliver(
                deliveries, [stored for stored in jobs if _is_awaited_by(stored, deliveries)], now
            )

    async def _deliver(
        self, deliveries: StoredDeliveries, jobs: list[VersionedJob], now: float
    ) -> None:
        """Tell the jobs how their run ended; what tells of no end is worth a poll."""
        events = [self._reader.read_event(arrival.body) for arrival in deliveries.deliveries]
        answers = [event.outcome for event in events if event and event.outcome]
        if jobs and not answers:
            await self._drop(deliveries, jobs, now)
            return
        for stored in jobs:
            self._webhook_policy.record_delivery(stored.job.account)
            for answer in answers:
                if not await self._apply_outcome(stored, answer, now):
                    return
        if jobs:
            self._store.metrics.run_end_recorded(
                "webhook", now - deliveries.deliveries[0].received_at
            )
        self._store.metrics.webhook_processed("told" if jobs else "known")
        await self._store.webhooks.finish(deliveries)

    async def _drop(
        self, deliveries: StoredDeliveries, jobs: list[VersionedJob], now: float
    ) -> None:
        if deliveries.deliveries:
            await self._store.jobs.poll_now([stored.job.id for stored in jobs], now)
            self._poller_wakeup.notify()
        self._store.metrics.webhook_processed("useless")
        await self._store.webhooks.drop(deliveries)

    async def _apply_outcome(self, stored: VersionedJob, outcome: PollOutcome, now: float) -> bool:
        """Whether the job was told; where our own code raised, it comes due again."""
        try:
            await self._poller.apply_outcome(stored, outcome, await self._poll_history(stored, now))
        except (RedisError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this job's alone
            await self._poison_guard.record_failure(stored.job.id, error)
            return False
        return True

    async def _poll_history(self, stored: VersionedJob, now: float) -> PollHistory:
        """What polls saw so far, less one: whoever decides adds the present look, which is none."""
        first = stored.job.next_poll_at
        polled = first is None or now >= first
        looks = await self._store.jobs.poll_history(stored.job) if polled else PollHistory()
        return PollHistory(looks.polls - 1, looks.failures_in_row, looks.missing_in_row)

    async def _keep_orphan(self, deliveries: StoredDeliveries, now: float) -> None:
        """Keep what belongs to no job."""
        if (
            not deliveries.deliveries
        ):  # it ran out of time, or a person gave it to a job that is gone
            await self._store.webhooks.drop(deliveries)
            return
        first, last = deliveries.deliveries[0], deliveries.deliveries[-1]
        run = self._reader.read_run(last.body)
        orphan = Orphan(
            execution_id=deliveries.execution_id,
            event=last.event,
            received_at=first.received_at,
            targets=run.targets,
            status=run.status,
            cost=run.cost,
        )
        again_at = next_match_at(last.received_at, now)
        await self._store.webhooks.keep_orphan(orphan, deliveries, again_at)
        if again_at is None:
            self._store.metrics.webhook_processed("orphaned")
            log.info(
                "delivery.orphaned", execution_id=deliveries.execution_id, delivered=last.event
            )


def _is_awaited_by(stored: VersionedJob, deliveries: StoredDeliveries) -> bool:
    return accepts_run_updates(stored.job) and stored.job.execution_id == deliveries.execution_id


def _is_uncertain_about(stored: VersionedJob, deliveries: StoredDeliveries) -> bool:
    """Whether a person has to say what became of this very run."""
    job = stored.job
    return job.parked_as == transitions.UNCERTAIN and job.execution_id == deliveries.execution_id
