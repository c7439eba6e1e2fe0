"""The batch poller: looks at running jobs when their next poll is due.

No task, timer or slot is held for a run that waits: the in-flight set knows them all, and a poll
takes a task only while its request is under way. A claim is a lease: polls of a worker that died
come due again by themselves.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import structlog
from redis.exceptions import RedisError

from jobs import transitions
from jobs.decide import decide_poll
from jobs.effects import Decision, DecisionContext, PollHistory, PollLater
from jobs.holds import Gates
from jobs.indexes import Index, accepts_run_updates
from jobs.job import Job
from jobs.lanes import polls_scope
from jobs.outcomes import Finished, Lost, PollFailed, PollOutcome, RunFailed
from jobs.states import State
from worker.clock import Clock
from worker.engine.completion import Completion
from worker.engine.poison_guard import PoisonGuard
from worker.engine.poll_planner import PollPlanner
from worker.engine.rate_limiter import RateLimiter
from worker.engine.unreadable_records import dead_letter_unreadable
from worker.engine.wakeups import Wakeup
from worker.engine.webhook_policy import WebhookPolicy
from worker.provider.port import CallFailure, CancelOutcome, UnknownAccount
from worker.store import Store
from worker.store.commit import VersionedJob
from worker.store.jobs import ClaimedPoll, NextPoll
from worker.tasks import cancel_and_wait

log: Final = structlog.get_logger(__name__)

IDLE_S: Final = 0.5
"""Longest pause between looks at the in-flight set: other workers add to it."""

MIN_CLAIM_PAUSE_S: Final = 0.03
"""Least pause between two claims: what is due by then is looked at, and written, together."""

CLAIM_AHEAD_S: Final = MIN_CLAIM_PAUSE_S / 2
"""Polls that fall due so soon are made now: many are then as often early as late, not always late,
and lateness adds up over the looks at a run."""

GATES_MAX_AGE_S: Final = 0.25
"""How old what is known of the gates may be: a poll too many costs nothing."""

MAX_CACHED_JOBS: Final = 12_000
"""Running jobs that are remembered between their polls."""

RESCHEDULE_BATCH: Final = 500
"""Next polls written in one call."""

MIN_RETRY_PAUSE_S: Final = 0.2
"""Least pause before a look for which there was no request."""

HAND_OVER_TIMEOUT_S: Final = 1.0
"""How long a worker that stops waits for answers to its polls."""


class ExecutionPort(Protocol):
    """What the poller needs of the provider's client."""

    async def poll(self, account: str, execution_id: str) -> PollOutcome:
        """Look at a run."""
        ...

    async def cancel(self, account: str, execution_id: str) -> CancelOutcome:
        """Ask to cancel a run; harmless to repeat."""
        ...


class Poller:
    """Polls what is due, at most so many at once."""

    name = "poller"

    def __init__(
        self,
        *,
        store: Store,
        provider: ExecutionPort,
        completion: Completion,
        poison_guard: PoisonGuard,
        clock: Clock,
        wakeup: Wakeup,
        webhook_policy: WebhookPolicy,
        poll_planner: PollPlanner,
        rate_limiter: RateLimiter,
        max_concurrent: int,
        lease_s: float,
    ) -> None:
        self._store = store
        self._provider = provider
        self._completion = completion
        self._poison_guard = poison_guard
        self._clock = clock
        self.wakeup = wakeup
        self._webhook_policy = webhook_policy
        self._poll_planner = poll_planner
        self._rate_limiter = rate_limiter
        self._max_concurrent = max_concurrent
        self._lease_s = lease_s
        self._active: dict[str, asyncio.Task[None]] = {}
        self._to_reschedule: list[NextPoll] = []
        self._cached: dict[str, tuple[float, VersionedJob]] = {}
        """Jobs as they were when their next poll was set, with its time."""
        self._cached_gates: tuple[float, Gates] = (float("-inf"), Gates())
        self._flush: asyncio.Task[None] | None = None

    @property
    def active_polls(self) -> int:
        """Polls whose request is under way."""
        return len(self._active)

    async def tick(self, now: float) -> float:
        """Claim what is due and look at it; returns the seconds until the next poll is due."""
        free = self._max_concurrent - len(self._active)
        if free <= 0:
            return IDLE_S
        lease = now + self._lease_s
        soon = now + CLAIM_AHEAD_S
        claim = await self._store.jobs.claim_polls(soon, lease, free, self._cached)
        await dead_letter_unreadable(self._store.jobs, claim.unreadable, now)
        due, next_poll = claim.polls, claim.next_poll_at
        if due:
            for found in await self._allowed(due, now, lease):
                self._start(found, lease)
        if len(due) == free:
            return IDLE_S
        return IDLE_S if next_poll is None else min(IDLE_S, max(0.0, next_poll - now))

    async def _gates(self, now: float) -> Gates:
        """The gates, read a few times a second at most."""
        read_at, gates = self._cached_gates
        if now >= read_at + GATES_MAX_AGE_S or now < read_at:
            gates = await self._store.holds.gates()
            self._cached_gates = now, gates
        return gates

    def cache_accepted(self, stored: VersionedJob) -> None:
        """Remember a run that was just accepted: its first poll need not read it again."""
        if stored.job.next_poll_at is not None:
            self._cached[stored.job.id] = stored.job.next_poll_at, stored

    async def hand_over(self) -> None:
        """Finish the polls that are about to, and let other workers have the rest at once."""
        if self._active:
            await asyncio.wait(self._active.values(), timeout=HAND_OVER_TIMEOUT_S)
        left = list(self._active)
        await cancel_and_wait(*self._active.values())
        if self._flush is not None:
            await asyncio.gather(self._flush, return_exceptions=True)
        await self._store.jobs.poll_now(left, self._clock.now())

    async def _allowed(
        self, due: Sequence[ClaimedPoll], now: float, lease: float
    ) -> list[ClaimedPoll]:
        """Those for whom there is a request; the others are looked at when there is one again."""
        gates = await self._gates(now)
        accounts: dict[str, list[ClaimedPoll]] = {}
        for found in due:
            if found.stored.job.id not in self._active:
                accounts.setdefault(found.stored.job.account, []).append(found)
        allowed: list[ClaimedPoll] = []
        for account, ours in accounts.items():
            route = polls_scope(account)
            cooling = gates.running_cool_down([route], now)
            count = 0 if cooling else await self._rate_limiter.take_polls(route, len(ours), now)
            allowed += ours[:count]
            reset_at = cooling.until if cooling else self._rate_limiter.bucket(route).reset_at
            at = max(now + MIN_RETRY_PAUSE_S, reset_at or 0.0)
            for found in ours[count:]:
                look = NextPoll(found.stored.job, at + self._clock.jitter(), found.history, lease)
                self._reschedule(found.stored, look)
        return allowed

    def _start(self, found: ClaimedPoll, lease: float) -> None:
        job = found.stored.job
        task = asyncio.create_task(self._poll_safely(found, lease), name=f"poll {job.id}")
        self._active[job.id] = task
        task.add_done_callback(lambda done: self._finished(job.id, done))

    def _finished(self, job_id: str, task: asyncio.Task[None]) -> None:
        del self._active[job_id]
        if len(self._active) >= self._max_concurrent - 1:
            self.wakeup.notify()
        if not task.cancelled():
            task.exception()

    async def _poll_safely(self, found: ClaimedPoll, lease: float) -> None:
        try:
            await self._poll(found, lease)
        except (RedisError, OSError) as error:
            log.warning("poll.interrupted", job_id=found.stored.job.id, error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this job's alone
            await self._poison_guard.record_failure(found.stored.job.id, error)

    async def _poll(self, found: ClaimedPoll, lease: float) -> None:
        stored, looks = found.stored, found.history
        job = stored.job
        if not accepts_run_updates(job) or job.execution_id is None:
            self._rate_limiter.record_answered(polls_scope(job.account))
            await self._store.jobs.remove_stale_entry(stored, Index.INFLIGHT)
            return
        if job.state is State.CANCELLING and not job.cancel_sent:
            stored = await self._send_cancel(stored)
            job = stored.job
        try:
            answer = await self._provider.poll(job.account, job.execution_id or "")
        except UnknownAccount as error:
            answer = PollFailed(str(error))
        finally:
            self._rate_limiter.record_answered(polls_scope(job.account))
        self._store.metrics.polled(answer)
        moved = await self.apply_outcome(stored, answer, looks, lease)
        if moved is not None:
            self._record_end_delay(moved.job, looks.last_running_at or job.submitted_at)
            await self._note_missing_webhook(job, moved.job)

    def _record_end_delay(self, after: Job, running_at: float | None) -> None:
        """It ended between the last look that found it running and now: count the most it was."""
        if running_at is not None and not accepts_run_updates(after):
            self._store.metrics.run_end_recorded("poll", after.updated_at - running_at)

    async def _note_missing_webhook(self, before: Job, after: Job) -> None:
        """A poll saw the end that a webhook was to tell: those to come change nothing any more."""
        unknown = accepts_run_updates(after) or after.parked_as == transitions.UNCERTAIN
        if unknown or not before.expects_webhook or not self._webhook_policy.receives_webhooks:
            return
        came = await self._store.webhooks.record_run_end(before.execution_id or "")
        if not came and before.state is State.RUNNING:
            self._webhook_policy.record_miss(before.account)

    async def apply_outcome(
        self,
        stored: VersionedJob,
        answer: PollOutcome,
        history: PollHistory,
        lease: float | None = None,
    ) -> VersionedJob | None:
        """Write what a look at a run showed, whoever looked; returns the job if that moved it.

        `lease`: the claim it was looked at under; who touched the job since has the last word.
        """
        execution_id, found_at = stored.job.execution_id, self._clock.now()
        again: PollLater | None = None

        def decide(job: Job, now: float) -> Decision | None:
            nonlocal again
            late = job.parked_as == transitions.UNCERTAIN and isinstance(answer, Finished)
            if job.execution_id != execution_id or not (accepts_run_updates(job) or late):
                return None
            webhook = job.expects_webhook and job.state is State.RUNNING
            cancelling = job.state is State.CANCELLING
            rules = self._webhook_policy.rules(
                job.lane, has_webhook=webhook, is_cancelling=cancelling
            )
            moment = DecisionContext(now, self._clock.jitter(), rules)
            outcome = decide_poll(job, answer, history, moment)
            if isinstance(outcome, PollLater):
                again = outcome
                return Decision(job, outcome.effects)
            again = None
            return outcome

        settled = await self._completion.complete(stored, decide)
        if settled is not None and again is not None:
            self._reschedule(settled, NextPoll(settled.job, again.at, again.history, lease))
            return None
        self._cached.pop(stored.job.id, None)
        if settled is not None and isinstance(answer, Finished | RunFailed | Lost):
            self._note_end(stored.job, found_at, None if lease is None else history)
        return settled

    def _note_end(self, job: Job, at: float, history: PollHistory | None) -> None:
        """How long the run took; without looks of ours a webhook told of its end."""
        if history is None:
            self._poll_planner.record_reported_end(job, at)
        else:
            self._poll_planner.record_polled_end(job, at, history.last_running_at)

    async def _send_cancel(self, stored: VersionedJob) -> VersionedJob:
        """Pass a person's wish on to the provider, once."""
        job = stored.job
        answer = await self._provider.cancel(job.account, job.execution_id or "")
        if isinstance(answer, CallFailure) and not _is_final(answer):
            log.warning("cancel.failed", job_id=job.id, why=answer.why)
            return stored
        now = self._clock.now()
        written = await self._store.jobs.commit(stored, transitions.mark_cancel_sent(job, now))
        return written if isinstance(written, VersionedJob) else stored

    def _reschedule(self, stored: VersionedJob, next_poll: NextPoll) -> None:
        """Next polls are written together, in one round trip.

        Only a job that was claimed is remembered: the time of another's next poll is not ours.
        """
        self._cached.pop(next_poll.job.id, None)
        if next_poll.lease is not None:
            self._cached[next_poll.job.id] = next_poll.at, stored
        self._to_reschedule.append(next_poll)
        if self._flush is None or self._flush.done():
            self._flush = asyncio.create_task(self._write_rescheduled())

    async def _write_rescheduled(self) -> None:
        while self._to_reschedule:
            looked, self._to_reschedule = (
                self._to_reschedule[:RESCHEDULE_BATCH],
                self._to_reschedule[RESCHEDULE_BATCH:],
            )
            await self._completion.retry_while_down(self._store.jobs.reschedule, looked)
            if looked and min(look.at for look in looked) < self._clock.now() + IDLE_S:
                self.wakeup.notify()
        while len(self._cached) > MAX_CACHED_JOBS:
            del self._cached[next(iter(self._cached))]


def _is_final(failure: CallFailure) -> bool:
    """Whether asking again to cancel would get the same refusal (a 4xx that is no 429)."""
    status = failure.http_status or 0
    return 400 <= status < 500 and status != 429  # noqa: PLR2004
