"""Applies the deliveries that the API stored: each counts like a poll of its run.

A claim is a lease: the deliveries of a worker that died come due again. A delivery without a job
is retried for a while, since it may have come before the response to the submit. Then it is kept
as an orphan, which may match an uncertain job.
"""

import asyncio
from typing import Final, Protocol

import structlog
from redis.exceptions import RedisError

from jobs.deliveries import next_match_at
from jobs.effects import PollHistory
from jobs.indexes import accepts_run_updates
from jobs.job import UNCERTAIN
from jobs.outcomes import Lost, PollOutcome
from jobs.transitions import has_erased_run
from worker.engine.unreadable_records import load_jobs, load_records
from worker.engine.wakeups import Wakeup
from worker.engine.webhook_policy import WebhookPolicy
from worker.engine.worker_parts import OutcomeParts, WorkerContext
from worker.provider.port import WebhookReader
from worker.store.commit import VersionedJob
from worker.store.jobs import NewerRecord
from worker.store.refusals import error_word
from worker.store.webhooks import Orphan, StoredDeliveries

log: Final = structlog.get_logger(__name__)

BATCH: Final = 100
TICK_S: Final = 1.0
"""Longest pause between two claims: a notification of the API may get lost."""

FORGET_INTERVAL_S: Final = 60.0


class PollOutcomePort(Protocol):
    """Takes what polls and deliveries say about a run."""

    async def apply_outcome(
        self, stored: VersionedJob, outcome: PollOutcome, history: PollHistory
    ) -> VersionedJob | None:
        """Write the outcome; returns the job if that changed it."""
        ...


class WebhookProcessor:
    """Applies deliveries to their jobs."""

    name = "webhook_processor"

    def __init__(
        self,
        context: WorkerContext,
        reader: WebhookReader,
        poll_outcomes: PollOutcomePort,
        outcomes: OutcomeParts,
        webhook_policy: WebhookPolicy,
    ) -> None:
        self._store = context.store
        self._lease_s = context.lease_s
        self.wakeup: Wakeup = context.wakeups.deliveries
        self._poller_wakeup = context.wakeups.poller
        self._reader = reader
        self._poll_outcomes = poll_outcomes
        self._poison_guard = outcomes.poison_guard
        self._poll_proof = outcomes.poll_proof
        self._webhook_policy = webhook_policy
        self._forget_at = 0.0

    async def tick(self, now: float) -> float:
        """Claim a batch and apply it; returns the seconds until the next tick."""
        batch = await self._store.webhooks.claim(now, now + self._lease_s, BATCH)
        if batch:
            await self._handle_batch(batch, now)
        if now >= self._forget_at:
            self._forget_at = now + FORGET_INTERVAL_S
            await self._store.webhooks.remove_expired_orphans(now)
        return 0.0 if len(batch) == BATCH else TICK_S

    async def _handle_batch(self, batch: list[StoredDeliveries], now: float) -> None:
        job_ids = list({job_id for deliveries in batch for job_id in deliveries.jobs})
        records = await load_records(self._store.jobs, job_ids, now)
        jobs = dict(zip(job_ids, records, strict=True))
        results = await asyncio.gather(
            *(
                self._handle(deliveries, [job for i in deliveries.jobs if (job := jobs[i])], now)
                for deliveries in batch
            ),
            return_exceptions=True,
        )
        for error in results:
            if isinstance(error, RedisError | OSError):
                log.warning("delivery.interrupted", error=error_word(error))
            elif isinstance(error, BaseException):
                raise error

    async def _handle(
        self, deliveries: StoredDeliveries, records: list[VersionedJob | NewerRecord], now: float
    ) -> None:
        jobs = [stored for stored in records if isinstance(stored, VersionedJob)]
        if len(jobs) < len(records):
            return  # they stay for a worker of the version that wrote the job
        if deliveries.is_ended:
            self._store.metrics.buffer.webhook_processed("known")
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
        """Apply the end of the run to its jobs; poll now if no delivery reports an end."""
        events = [self._reader.read_event(arrival.body) for arrival in deliveries.deliveries]
        outcomes = [
            event.outcome
            for event in events
            if event and event.outcome and not isinstance(event.outcome, Lost)  # no result yet
        ]
        if jobs and not outcomes:
            await self._drop(deliveries, jobs, now)
            return
        for stored in jobs:
            self._webhook_policy.record_delivery(stored.job.account)
            self._poll_proof.record_delivery(stored.job.account)
            for outcome in outcomes:
                if not await self._apply_outcome(stored, outcome, now):
                    return
        if jobs:
            self._store.metrics.buffer.run_end_recorded(
                "webhook", now - deliveries.deliveries[0].received_at
            )
        self._store.metrics.buffer.webhook_processed("processed" if jobs else "known")
        await self._store.webhooks.finish(deliveries)

    async def _drop(
        self, deliveries: StoredDeliveries, jobs: list[VersionedJob], now: float
    ) -> None:
        if deliveries.deliveries:
            await self._store.polls.make_due([stored.job.id for stored in jobs], now)
            self._poller_wakeup.notify()
        self._store.metrics.buffer.webhook_processed("ignored")
        await self._store.webhooks.drop(deliveries)

    async def _apply_outcome(self, stored: VersionedJob, outcome: PollOutcome, now: float) -> bool:
        """Whether the outcome was applied; after an error of our own code it comes due again."""
        try:
            await self._poll_outcomes.apply_outcome(
                stored, outcome, await self._poll_history(stored, now)
            )
        except (RedisError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - an error of one job must not stop the others
            await self._poison_guard.record_failure(stored.job.id, error)
            return False
        return True

    async def _poll_history(self, stored: VersionedJob, now: float) -> PollHistory:
        """The polls so far, less one: the decision counts one more, and a delivery is no poll."""
        first_poll_at = stored.job.next_poll_at
        polled = first_poll_at is None or now >= first_poll_at
        history = await self._store.polls.history(stored.job) if polled else PollHistory()
        return PollHistory(history.polls - 1, history.failures_in_row, history.missing_in_row)

    async def _is_of_erased_job(self, execution_id: str, now: float) -> bool:
        """Whether a run was that of a job whose payloads were erased since."""
        owner = await self._store.webhooks.run_owner(execution_id)
        (stored,) = [None] if owner is None else await load_jobs(self._store.jobs, [owner], now)
        return stored is not None and has_erased_run(stored.job)

    async def _keep_orphan(self, deliveries: StoredDeliveries, now: float) -> None:
        """Keep deliveries of no job, unless they expired, or their job is gone or was erased."""
        if not deliveries.deliveries or await self._is_of_erased_job(deliveries.execution_id, now):
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
            request_id=run.request_id,
        )
        retry_at = next_match_at(last.received_at, now)
        await self._store.webhooks.keep_orphan(orphan, deliveries, retry_at)
        if retry_at is None:
            self._store.metrics.buffer.webhook_processed("orphaned")
            log.info(
                "delivery.orphaned", execution_id=deliveries.execution_id, delivered=last.event
            )


def _is_awaited_by(stored: VersionedJob, deliveries: StoredDeliveries) -> bool:
    return accepts_run_updates(stored.job) and stored.job.execution_id == deliveries.execution_id


def _is_uncertain_about(stored: VersionedJob, deliveries: StoredDeliveries) -> bool:
    """Whether the job is parked as uncertain about this run, and does not wait for its end."""
    job = stored.job
    is_uncertain = job.parked_as == UNCERTAIN and not accepts_run_updates(job)
    return is_uncertain and job.execution_id == deliveries.execution_id
