"""Proves that the paid runs of an account can be polled, so that more may be submitted.

Where many runs were accepted and no poll was answered since, one of them is polled. That poll tells
nothing else: the run's own polls go on as planned. One that is refused makes the run's own poll
due, which places the hold. A released hold without any run to poll lets one submit through.
"""

import asyncio
from typing import Final, Protocol

from jobs.backoff import Backoff
from jobs.holds import Gates, Hold, apply_no_paid_run
from jobs.job import Job
from jobs.lanes import JobId, polls_scope
from jobs.outcomes import CallFailure, PollOutcome
from worker.engine.paid_runs import paid_runs
from worker.engine.poll_proof import PollProof
from worker.engine.services.rate_limiter import RateLimiter
from worker.engine.wakeups import Wakeup
from worker.engine.worker_parts import WorkerContext
from worker.provider.port import UnknownAccount

IDLE_S: Final = 0.5
"""Pause while nothing has to be polled, or an account is held; a wake-up ends it early."""

RELEASED_S: Final = 2.0
"""Least pause between two polls for the released holds that wait for one."""

UNANSWERED: Final = Backoff(base_s=1.0, cap_s=30.0)
"""Pauses after polls that were not answered."""


class PollPort(Protocol):
    """What the prover needs of a provider."""

    async def poll(self, account: str, execution_id: str) -> PollOutcome:
        """Return the state of a run."""
        ...


class PollProver:
    """Makes the polls that `PollProof` asks for, one at a time for each account."""

    name = "poll_prover"

    def __init__(
        self,
        context: WorkerContext,
        proof: PollProof,
        provider: PollPort,
        rate_limiter: RateLimiter,
    ) -> None:
        self._store = context.store
        self._clock = context.clock
        self._poller_wakeup = context.wakeups.poller
        self._proof = proof
        self._provider = provider
        self._rate_limiter = rate_limiter
        self._failures: dict[str, tuple[int, float]] = {}
        """By account: polls in a row without an answer, and when the next may go."""
        self._released_at = 0.0
        """When runs of accounts with a released hold may be polled next."""

    @property
    def wakeup(self) -> Wakeup:
        """Ends the pause between two ticks early."""
        return self._proof.wakeup

    async def tick(self, now: float) -> float:
        """Poll the accounts that have to be polled; returns the seconds until the next tick."""
        await self._prove_released(now)
        runs = self._proof.runs_to_poll()
        if not runs:
            self._failures.clear()
            return IDLE_S
        gates = await self._store.holds.gates()
        await asyncio.gather(*(self._prove(job, gates, now) for job in runs))
        return IDLE_S

    async def _prove_released(self, now: float) -> None:
        """Poll a run of each account whose released hold waits for that.

        If every run that could be polled has ended, a submit is the canary.
        """
        if not self._proof.waiting_holds or now < self._released_at:
            return
        self._released_at = now + RELEASED_S
        for hold in self._proof.waiting_holds:
            async for ids in paid_runs(self._store.jobs, hold.scope):
                if ids:
                    await self._make_due(ids[0])
                    break
            else:
                await self._store.holds.change(hold.key, _opened_for_submit)
                await self._store.lanes.notify(hold.scope)

    async def _prove(self, job: Job, gates: Gates, now: float) -> None:
        """Poll the run, unless its account is held, may not be polled yet, or has no request left.

        A held account is proved by the poller, once an operator has released it.
        """
        failures, not_before = self._failures.get(job.account, (0, 0.0))
        if any(hold.scope == job.account for hold in gates.holds):
            self._failures.pop(job.account, None)
            return
        route = polls_scope(job.account)
        if now < not_before or gates.running_cool_down([route], now) is not None:
            return
        if not await self._rate_limiter.take_polls(route, 1, now):
            return
        try:
            outcome = await self._provider.poll(job.account, job.execution_id or "")
        except UnknownAccount as error:
            outcome = CallFailure(str(error))
        finally:
            self._rate_limiter.record_answered(route)
        self._proof.record_poll(job.account, outcome)
        if not isinstance(outcome, CallFailure):
            self._failures.pop(job.account, None)
            return
        wait_s = UNANSWERED.wait_s(failures + 1, 1.0, outcome.retry_after_s)
        self._failures[job.account] = failures + 1, self._clock.now() + wait_s
        if outcome.is_refused:
            await self._make_due(job.id)

    async def _make_due(self, job_id: JobId) -> None:
        """Let the poller poll a run now."""
        await self._store.polls.make_due([job_id], self._clock.now())
        self._poller_wakeup.notify()


def _opened_for_submit(hold: Hold | None) -> Hold | None:
    return None if hold is None else apply_no_paid_run(hold)
