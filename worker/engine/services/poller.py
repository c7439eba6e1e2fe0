"""The poller: polls runs in batches when their next poll is due.

A run that waits holds no task, timer or slot: the in-flight index lists all of them, and a poll
takes a task only while its request is under way. A claim is a lease: the polls of a worker that
died come due again by themselves.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol

import structlog
from redis.exceptions import RedisError

from jobs import transitions
from jobs.effects import PollHistory, PollLater
from jobs.inconclusive_polls import other_run
from jobs.indexes import Index, accepts_run_updates
from jobs.job import UNCERTAIN, Job
from jobs.lanes import polls_scope
from jobs.outcomes import CallFailure, Finished, PollOutcome, RunFailed
from jobs.states import State
from worker.engine.deciders import PollDecider
from worker.engine.gate_cache import GateCache
from worker.engine.poll_canary import PollCanary
from worker.engine.poll_health import PollHealth
from worker.engine.poll_pause import PollPause
from worker.engine.poll_reports import PollReports
from worker.engine.remembered_jobs import RememberedJob
from worker.engine.services.poll_planner import PollPlanner
from worker.engine.services.rate_limiter import RateLimiter
from worker.engine.supervisor import ServiceHealth
from worker.engine.unreadable_records import dead_letter_unreadable
from worker.engine.wakeups import Wakeup
from worker.engine.webhook_policy import WebhookPolicy
from worker.engine.worker_parts import OutcomeParts, WorkerContext
from worker.provider.port import CancelOutcome, UnknownAccount
from worker.store.commit import VersionedJob
from worker.store.polls import ClaimedPoll, NextPoll
from worker.store.refusals import error_word
from worker.tasks import cancel_and_wait

log: Final = structlog.get_logger(__name__)

IDLE_S: Final = 0.5
"""Longest pause between two claims: other workers add to the in-flight index."""

MIN_CLAIM_PAUSE_S: Final = 0.03
"""Least pause between two claims: polls that are due by then are made, and written, together."""

CLAIM_AHEAD_S: Final = MIN_CLAIM_PAUSE_S / 2
"""Polls that are due this soon are made now. Otherwise every poll would be late, and the delays
would add up over the polls of a run."""

GATES_MAX_AGE_S: Final = 0.25
"""A poll through a gate that has just closed costs nothing."""

MAX_CACHED_JOBS: Final = 12_000
"""Running jobs that are kept in memory between their polls."""

POLLED_WITHIN_S: Final = 3_600.0
"""A cached job whose poll is overdue for longer is another worker's by now."""

RESCHEDULE_BATCH: Final = 500
"""Next polls written in one call."""

MIN_RETRY_PAUSE_S: Final = 0.2
"""Least pause before a poll for which the rate limit had no request left."""

HAND_OVER_TIMEOUT_S: Final = 1.0
"""How long a worker that stops waits for the responses to its polls."""


class ExecutionPort(Protocol):
    """What the poller needs of a provider."""

    async def poll(self, account: str, execution_id: str) -> PollOutcome:
        """Return the state of a run."""
        ...

    async def cancel(self, account: str, execution_id: str) -> CancelOutcome:
        """Ask to cancel a run; safe to repeat."""
        ...


class Poller:
    """Makes the polls that are due, at most `max_concurrent` at once."""

    name = "poller"

    def __init__(
        self,
        context: WorkerContext,
        outcomes: OutcomeParts,
        provider: ExecutionPort,
        *,
        webhook_policy: WebhookPolicy,
        poll_planner: PollPlanner,
        rate_limiter: RateLimiter,
        health: ServiceHealth,
        max_concurrent: int,
    ) -> None:
        self._store = context.store
        self._clock = context.clock
        self._lease_s = context.lease_s
        self.wakeup: Wakeup = context.wakeups.poller
        self._completion = outcomes.completion
        self._poison_guard = outcomes.poison_guard
        self._poll_proof = outcomes.poll_proof
        self._provider = provider
        self._webhook_policy = webhook_policy
        self._poll_planner = poll_planner
        self._rate_limiter = rate_limiter
        self._reports = PollReports(context.store.metrics.buffer, health)
        self._canary = PollCanary(context, outcomes.completion)
        self._max_concurrent = max_concurrent
        self.health = PollHealth()
        """Whether polls are answered."""
        self._pause = PollPause()
        self._gate_cache = GateCache(context.store.holds, context.clock, GATES_MAX_AGE_S)
        self._active: dict[str, asyncio.Task[None]] = {}
        self._to_reschedule: list[NextPoll] = []
        self._cached: dict[str, tuple[float, VersionedJob]] = {}
        """By job id: the time of its next poll, and the job as it was when that was set."""
        self._flush: asyncio.Task[None] | None = None

    @property
    def active_polls(self) -> int:
        """Polls whose request is under way."""
        return len(self._active)

    async def tick(self, now: float) -> float:
        """Claim the polls that are due and start them; returns the seconds until the next one."""
        active = len(self._active)
        free = self._pause.limit(self._max_concurrent - active, active, now)
        if free <= 0:
            return self._pause.left_s(now) or IDLE_S
        lease = now + self._lease_s
        soon = now + CLAIM_AHEAD_S
        claim = await self._store.polls.claim(soon, lease, free, self._cached)
        await dead_letter_unreadable(self._store.jobs, claim.unreadable, now)
        due, next_poll_at = claim.polls, claim.next_poll_at
        if due:
            for poll in await self._allowed(due, now, lease):
                self._start(poll, lease)
        if len(due) == free:
            return IDLE_S
        return IDLE_S if next_poll_at is None else min(IDLE_S, max(0.0, next_poll_at - now))

    def cache_accepted(self, stored: VersionedJob) -> None:
        """Keep the job of a run that was just accepted: its first poll need not read it again."""
        if stored.job.next_poll_at is not None:
            self._cached[stored.job.id] = stored.job.next_poll_at, stored

    def runs_under_way(self) -> list[RememberedJob]:
        """The runs that this worker polls, as it knows them."""
        oldest = self._clock.now() - POLLED_WITHIN_S
        return [RememberedJob(stored) for at, stored in self._cached.values() if at >= oldest]

    async def hand_over(self) -> None:
        """Finish the polls that end within a second; the others come due for other workers."""
        if self._active:
            await asyncio.wait(self._active.values(), timeout=HAND_OVER_TIMEOUT_S)
        unfinished = list(self._active)
        await cancel_and_wait(*self._active.values())
        if self._flush is not None:
            await asyncio.gather(self._flush, return_exceptions=True)
        await self._store.polls.make_due(unfinished, self._clock.now())

    async def _allowed(
        self, due: Sequence[ClaimedPoll], now: float, lease: float
    ) -> list[ClaimedPoll]:
        """The polls that the rate limits allow; the others are put off until the limit resets."""
        gates = await self._gate_cache.gates()
        by_account: dict[str, list[ClaimedPoll]] = {}
        for poll in due:
            if poll.stored.job.id not in self._active:
                by_account.setdefault(poll.stored.job.account, []).append(poll)
        self._canary.observe(gates, by_account)
        allowed: list[ClaimedPoll] = []
        for account, polls in by_account.items():
            route = polls_scope(account)
            cooling = gates.running_cool_down([route], now)
            count = 0 if cooling else await self._rate_limiter.take_polls(route, len(polls), now)
            allowed += polls[:count]
            reset_at = cooling.until if cooling else self._rate_limiter.bucket(route).reset_at
            at = max(now + MIN_RETRY_PAUSE_S, reset_at or 0.0)
            for poll in polls[count:]:
                next_poll = NextPoll(
                    poll.stored.job, at + self._clock.jitter(), poll.history, lease
                )
                self._reschedule(poll.stored, next_poll)
        return allowed

    def _start(self, poll: ClaimedPoll, lease: float) -> None:
        job = poll.stored.job
        task = asyncio.create_task(self._poll_safely(poll, lease), name=f"poll {job.id}")
        self._active[job.id] = task
        task.add_done_callback(lambda done: self._finished(job.id, done))

    def _finished(self, job_id: str, task: asyncio.Task[None]) -> None:
        del self._active[job_id]
        if len(self._active) >= self._max_concurrent - 1:
            self.wakeup.notify()
        if not task.cancelled():
            task.exception()

    async def _poll_safely(self, poll: ClaimedPoll, lease: float) -> None:
        try:
            await self._poll(poll, lease)
        except (RedisError, OSError) as error:
            log.warning("poll.interrupted", job_id=poll.stored.job.id, error=error_word(error))
        except Exception as error:  # noqa: BLE001 - an error of one job must not stop the others
            await self._poison_guard.record_failure(poll.stored.job.id, error)

    async def _poll(self, poll: ClaimedPoll, lease: float) -> None:
        stored, history = poll.stored, poll.history
        job = stored.job
        if not accepts_run_updates(job) or job.execution_id is None:
            self._rate_limiter.record_answered(polls_scope(job.account))
            await self._store.jobs.remove_stale_entry(stored, Index.INFLIGHT)
            return
        if job.state is State.CANCELLING and not job.cancel_sent:
            stored = await self._send_cancel(stored)
            job = stored.job
        sent_at = self._clock.now()
        try:
            outcome = await self._provider.poll(job.account, job.execution_id or "")
        except UnknownAccount as error:
            outcome = CallFailure(str(error))
        finally:
            self._rate_limiter.record_answered(polls_scope(job.account))
        self.health.record(outcome, self._clock.now())
        if self._pause.record(outcome, self._clock.now()):
            self.wakeup.notify()
        if isinstance(outcome, CallFailure) and outcome.is_unsent:
            self._reschedule(stored, NextPoll(job, self._clock.now(), history, lease))
            return
        self._reports.record(job, outcome)
        self._poll_proof.record_poll(job.account, outcome)
        if isinstance(outcome, CallFailure) and outcome.is_refused:
            outcome = replace(outcome, sent_at=sent_at)
            if job.expects_webhook:
                age_s = sent_at - (job.submitted_at or sent_at)
                self._webhook_policy.record_refused(job.account, age_s)
        changed = await self.apply_outcome(stored, outcome, history, lease)
        await self._canary.record(job, outcome)
        if changed is not None:
            self._record_end_delay(changed.job, history.last_running_at or job.submitted_at)
            await self._record_missing_webhook(job, changed.job)

    def _record_end_delay(self, after: Job, running_at: float | None) -> None:
        """Record the longest delay possible: the run ended after the last poll of it running."""
        if running_at is not None and not accepts_run_updates(after):
            self._store.metrics.buffer.run_end_recorded("poll", after.updated_at - running_at)

    async def _record_missing_webhook(self, before: Job, after: Job) -> None:
        """A poll found the end that a webhook had to report: its delivery changes nothing now."""
        unknown = accepts_run_updates(after) or after.parked_as == UNCERTAIN
        if unknown or not before.expects_webhook or not self._webhook_policy.receives_webhooks:
            return
        came = await self._store.webhooks.record_run_end(before.execution_id or "")
        if not came and before.state is State.RUNNING:
            self._webhook_policy.record_miss(before.account)

    async def apply_outcome(
        self,
        stored: VersionedJob,
        outcome: PollOutcome,
        history: PollHistory,
        lease: float | None = None,
    ) -> VersionedJob | None:
        """Write the outcome of a poll or a delivery; returns the job if that changed it.

        `lease`: the claim of the poll. If the claim was lost meanwhile, the next poll is not set.
        """
        found_at = self._clock.now()
        decider = PollDecider(stored.job.execution_id, outcome, history, self._webhook_policy)
        completed = await self._completion.complete(stored, decider)
        if completed is not None and isinstance(completed.decision, PollLater):
            job, later = completed.stored.job, completed.decision
            self._reschedule(completed.stored, NextPoll(job, later.at, later.history, lease))
            return None
        self._cached.pop(stored.job.id, None)
        if completed is None:
            return None
        if isinstance(outcome, Finished | RunFailed):
            self._record_duration(stored.job, found_at, None if lease is None else history)
        return completed.stored

    def _record_duration(self, job: Job, at: float, history: PollHistory | None) -> None:
        """Record how long the run took; without a history, a webhook reported its end."""
        if history is None:
            self._poll_planner.record_reported_end(job, at)
        else:
            self._poll_planner.record_polled_end(job, at, history.last_running_at)

    async def _send_cancel(self, stored: VersionedJob) -> VersionedJob:
        """Ask the provider to cancel the run, once."""
        job = stored.job
        outcome = await self._provider.cancel(job.account, job.execution_id or "")
        if isinstance(outcome, CallFailure) and not _is_final(outcome):
            log.warning("cancel.failed", job_id=job.id, why=outcome.logged_why)
            return stored
        if (other := other_run(job, outcome)) is not None:
            log.warning("cancel.other_run", job_id=job.id, answered_for=other)
            return stored
        now = self._clock.now()
        written = await self._store.jobs.commit(stored, transitions.mark_cancel_sent(job, now))
        return written if isinstance(written, VersionedJob) else stored

    def _reschedule(self, stored: VersionedJob, next_poll: NextPoll) -> None:
        """Set a job's next poll, in one round trip with others.

        Only a job that this worker claimed is cached: the next poll of any other is not its own.
        """
        self._cached.pop(next_poll.job.id, None)
        if next_poll.lease is not None:
            self._cached[next_poll.job.id] = next_poll.at, stored
        self._to_reschedule.append(next_poll)
        if self._flush is None or self._flush.done():
            self._flush = asyncio.create_task(self._write_rescheduled())

    async def _write_rescheduled(self) -> None:
        while self._to_reschedule:
            batch, self._to_reschedule = (
                self._to_reschedule[:RESCHEDULE_BATCH],
                self._to_reschedule[RESCHEDULE_BATCH:],
            )
            await self._completion.retry_while_down(self._store.polls.reschedule, batch)
            if batch and min(poll.at for poll in batch) < self._clock.now() + IDLE_S:
                self.wakeup.notify()
        while len(self._cached) > MAX_CACHED_JOBS:
            del self._cached[next(iter(self._cached))]


def _is_final(failure: CallFailure) -> bool:
    """Whether another cancel would be refused likewise: a 4xx, but no 401, 429 or page."""
    status = failure.http_status or 0
    return 400 <= status < 500 and status not in (401, 429) and not failure.is_page  # noqa: PLR2004
