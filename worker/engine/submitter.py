"""The submit step: from a committed admission to a committed outcome of the provider."""

import asyncio
import contextlib
import math
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

import structlog
from redis.exceptions import RedisError

from jobs import transitions
from jobs.job import NO_KEY, Job
from jobs.outcomes import Accepted, Finished, NotSent, ProviderError, Refused, SubmitOutcome
from jobs.payloads import MissingPayload
from jobs.states import Mode, State
from worker.engine.account_identities import AccountIdentities
from worker.engine.deciders import (
    ConnectionCutDecider,
    FencedOutDecider,
    NoSyncSlotDecider,
    SubmitDecider,
    UnsentDecider,
    may_submit,
)
from worker.engine.gate_cache import GateCache
from worker.engine.lost_inputs import is_for_others, park_inputs_lost
from worker.engine.remembered_jobs import RememberedJob
from worker.engine.services.poll_planner import PollPlanner
from worker.engine.services.rate_limiter import RateLimiter
from worker.engine.shutdown_deadline import ShutdownDeadline
from worker.engine.submit_mark import FencedOut, SubmitMark
from worker.engine.unreadable_records import load_jobs_with_inputs
from worker.engine.webhook_policy import WebhookPolicy
from worker.engine.worker_parts import OutcomeParts, WorkerContext
from worker.provider.port import RunProvider, UnknownAccount
from worker.store.commit import VersionedJob
from worker.store.refusals import error_word
from worker.tasks import cancel_and_wait

log: Final = structlog.get_logger(__name__)


MAX_CACHED_ADMITTED: Final = 1_000
"""Admitted jobs that are kept in memory until their submit starts."""

_Tasks = dict[tuple[str, str], "asyncio.Task[None]"]
"""Tasks by job id and submit token: of two submits of one job, only one has the right token."""


class AcceptedRuns(Protocol):
    """Takes the runs that the provider accepted."""

    def cache_accepted(self, stored: VersionedJob) -> None:
        """Keep the job for its first poll."""
        ...


class Submitter:
    """Submits admitted jobs, and keeps the connections of sync runs open."""

    def __init__(
        self,
        context: WorkerContext,
        outcomes: OutcomeParts,
        provider: RunProvider,
        *,
        webhook_policy: WebhookPolicy,
        poll_planner: PollPlanner,
        rate_limiter: RateLimiter,
        accepted_runs: AcceptedRuns,
        max_sync_runs: int,
        identities: AccountIdentities,
    ) -> None:
        self._store = context.store
        self._clock = context.clock
        self._wakeups = context.wakeups
        self._rules = context.rules
        self._worker_id = context.worker_id
        self._lease_s = context.lease_s
        self._completion = outcomes.completion
        self._poison_guard = outcomes.poison_guard
        self._redis_recovery = outcomes.redis_recovery
        self._breakers = outcomes.breakers
        self._poll_proof = outcomes.poll_proof
        self._provider = provider
        self._webhook_policy = webhook_policy
        self._poll_planner = poll_planner
        self._rate_limiter = rate_limiter
        self._accepted_runs = accepted_runs
        self._max_sync_runs = max_sync_runs
        self._identities = identities
        self._cached: OrderedDict[tuple[str, str], tuple[VersionedJob, bytes]] = OrderedDict()
        self._submits: _Tasks = {}
        self._sync_runs: _Tasks = {}
        self._sync_marks: dict[str, SubmitMark] = {}
        """By job id, of the sync runs whose connection is open."""

    @property
    def receives_webhooks(self) -> bool:
        """Whether deliveries can be verified, so that the ends of runs need no poll."""
        return self._webhook_policy.receives_webhooks

    @property
    def submitting(self) -> int:
        """Submits under way."""
        return len(self._submits)

    @property
    def sync_runs(self) -> int:
        """Sync runs whose connection is open."""
        return len(self._sync_runs)

    @property
    def leased_ids(self) -> tuple[str, ...]:
        """Ids of the jobs that this worker is submitting or running."""
        return tuple(job_id for job_id, _ in (*self._submits, *self._sync_runs))

    def runs_under_way(self) -> list[RememberedJob]:
        """The sync runs whose connection is open."""
        return [mark.remembered for mark in self._sync_marks.values() if mark.is_recorded]

    def cache_admitted(self, stored: VersionedJob, inputs: bytes) -> None:
        """Keep a job that was just admitted: its submit need not read it, if it runs here."""
        self._cached[stored.job.id, stored.job.submit_token or ""] = stored, inputs
        while len(self._cached) > MAX_CACHED_ADMITTED:
            self._cached.popitem(last=False)

    async def submit(self, submits: Sequence[tuple[str, str]]) -> None:
        """Submit jobs, each a job id and its submit token; an outdated token does nothing.

        Submits that have begun end even when arq cancels the call: a request that was sent needs
        its outcome on record.
        """
        snapshot = GateCache(self._store.holds, self._clock, math.inf)
        tasks = [
            self._submits.get(key)
            or self._track(self._submits, *key, self._submit_safely(*key, snapshot))
            for key in submits
            if key not in self._sync_runs
        ]
        await asyncio.shield(asyncio.gather(*tasks))

    async def drain(self, deadline: ShutdownDeadline) -> None:
        """Wait for what is under way.

        Submits always end, their own timeout bounds them. Sync runs that are open at the deadline
        are cut, and their outcome is lost.
        """
        await asyncio.gather(*self._submits.values(), return_exceptions=True)
        await deadline.wait_for(self._sync_runs.values())
        await cancel_and_wait(*self._sync_runs.values())

    def _track(
        self, tasks: _Tasks, job_id: str, submit_token: str, work: Coroutine[Any, Any, None]
    ) -> asyncio.Task[None]:
        """Start work on a submit, and list it until it is done."""

        def done(_: asyncio.Task[None]) -> None:
            del tasks[job_id, submit_token]
            self._wakeups.admission.notify()

        task = tasks[job_id, submit_token] = asyncio.create_task(
            work, name=f"{job_id}:{submit_token}"
        )
        task.add_done_callback(done)
        return task

    async def _submit_safely(self, job_id: str, submit_token: str, gate_cache: GateCache) -> None:
        try:
            await self._submit_if_current(job_id, submit_token, gate_cache)
        except (RedisError, OSError) as error:
            log.warning("submit.interrupted", job_id=job_id, error=error_word(error))
        except Exception as error:  # noqa: BLE001 - an error of one job must not stop the others
            await self._poison_guard.isolate(job_id, error)

    async def _submit_if_current(
        self, job_id: str, submit_token: str, gate_cache: GateCache
    ) -> None:
        found: tuple[VersionedJob, bytes | MissingPayload] | None
        found = self._cached.pop((job_id, submit_token), None)
        if found is None:
            now = self._clock.now()
            (found,) = await load_jobs_with_inputs(self._store.jobs, [job_id], now)
        if found is None or not may_submit(found[0].job, submit_token):
            log.debug("submit.superseded", job_id=job_id, submit_token=submit_token)
            return
        stored, inputs = found
        try:
            if not isinstance(inputs, MissingPayload):
                await self._send(stored, inputs, gate_cache)
            elif await is_for_others(self._store, inputs):
                unsent = UnsentDecider(submit_token, "its worker lacks the key of its inputs")
                await self._completion.complete(stored, unsent)
            else:
                await park_inputs_lost(self._store, stored, self._clock.now(), inputs)
        finally:
            self._record_request(stored.job)

    def _record_request(self, job: Job) -> None:
        """Settle the request that admission took from the rate limit for this submit.

        The response to a sync run comes too late for its window: the request counts as used.
        """
        sync = (job.id, job.submit_token or "") in self._sync_runs
        self._rate_limiter.record_answered(job.lane.route, unreported=int(sync))

    async def _send(self, stored: VersionedJob, inputs: bytes, gate_cache: GateCache) -> None:
        await self._identities.prepare(stored.job.account)
        gates, job = await gate_cache.gates(), stored.job
        now = self._clock.now()
        if not gates.admits(job.lane, now, bypass_hold=job.bypass_hold, worker=self._worker_id):
            unsent = UnsentDecider(job.submit_token or "", "its gate closed")
            await self._completion.complete(stored, unsent)
        elif gates.is_sync_only(job.lane, now):
            await self._run_sync_in_slot(stored, inputs)
        elif not self._poll_proof.left(job.account):
            unsent = UnsentDecider(
                job.submit_token or "", "no poll of its account was answered yet"
            )
            await self._completion.complete(stored, unsent)
        else:
            await self._submit_async(stored, inputs)

    async def _submit_async(self, stored: VersionedJob, inputs: bytes) -> None:
        mark = self._mark(stored, inputs, self._send_transition)
        with self._poll_proof.submit_under_way(stored.job.account):
            outcome = await self._call_provider(mark, inputs, Mode.ASYNC)
            if outcome is None:
                return
            written = await self._complete(mark.stored, outcome)
        if written is not None and written.job.state is State.SUBMITTING:
            await self._run_sync_in_slot(written, inputs)

    async def _run_sync_in_slot(self, stored: VersionedJob, inputs: bytes) -> None:
        """Run the job sync in a slot of its own; without a free one it returns to the queue.

        The submit step does not wait for the open connection.
        """
        job = stored.job
        if len(self._sync_runs) >= self._max_sync_runs:
            log.info("submit.no_sync_slot", job_id=job.id, lane=str(job.lane))
            await self._completion.complete(stored, NoSyncSlotDecider(job))
            return
        mark = self._mark(stored, inputs, self._open_transition)
        self._track(self._sync_runs, job.id, job.submit_token or "", self._run_sync(mark, inputs))

    async def _run_sync(self, mark: SubmitMark, inputs: bytes) -> None:
        job_id = mark.stored.job.id
        self._sync_marks[job_id] = mark
        try:
            await self._run_sync_until_its_end(mark, inputs)
        finally:
            if self._sync_marks.get(job_id) is mark:
                del self._sync_marks[job_id]

    async def _run_sync_until_its_end(self, mark: SubmitMark, inputs: bytes) -> None:
        try:
            outcome = await self._call_provider(mark, inputs, Mode.SYNC)
        except asyncio.CancelledError:
            cut = ConnectionCutDecider(mark.stored.job, self._rules)
            await self._completion.complete(mark.stored, cut)
            raise
        except Exception as error:  # noqa: BLE001 - an error of one job must not stop the others
            await self._poison_guard.isolate(mark.stored.job.id, error)
            return
        if outcome is not None:
            await self._complete(mark.stored, outcome)

    def _send_transition(self, job: Job, now: float) -> Job:
        return transitions.send(
            job,
            now,
            owner=self._worker_id,
            lease_until=now + self._lease_s,
            sent_as=self._identities.sent_as(job.account),
        )

    def _open_transition(self, job: Job, now: float) -> Job:
        return transitions.open_connection(
            job,
            now,
            owner=self._worker_id,
            lease_until=now + self._lease_s,
            sent_as=self._identities.sent_as(job.account),
        )

    def _mark(
        self, stored: VersionedJob, inputs: bytes, transition: Callable[[Job, float], Job]
    ) -> SubmitMark:
        return SubmitMark(
            stored, transition, inputs, self._store.jobs, self._redis_recovery, self._clock
        )

    async def _call_provider(
        self, mark: SubmitMark, inputs: bytes, mode: Mode
    ) -> SubmitOutcome | None:
        """The outcome; None when the job changed before a byte was sent."""
        job = mark.stored.job
        try:
            with self._breakers.submit_under_way(job, mode):
                outcome = await self._provider.submit(
                    job.kind, job.target, job.account, inputs, mode, mark=mark
                )
        except FencedOut:
            log.info("submit.fenced_out", job_id=job.id)
            await self._completion.complete(mark.stored, FencedOutDecider(mark.stored.job))
            return None
        except UnknownAccount as error:
            outcome = Refused(ProviderError(NO_KEY, str(error), http_status=401))
        except (RedisError, OSError) as error:
            why = f"the send mark could not be written ({error_word(error)})"
            outcome = NotSent(why, is_ours=True)
        self._store.metrics.buffer.submitted(job.kind, outcome)
        log.info(
            "submit.answered",
            job_id=job.id,
            lane=str(job.lane),
            mode=mode.value,
            outcome=type(outcome).__name__,
            code=outcome.error.display_code if isinstance(outcome, Refused) else None,
        )
        return outcome

    async def _complete(self, stored: VersionedJob, outcome: SubmitOutcome) -> VersionedJob | None:
        """Write the outcome, if the job still waits for it."""
        webhook = isinstance(outcome, Accepted) and outcome.expects_webhook
        rules = self._webhook_policy.rules(stored.job.lane, has_webhook=webhook)
        answered_at = self._clock.now()
        decider = SubmitDecider(stored.job, outcome, rules)
        completed = await self._completion.complete(stored, decider, run_taken=decider.run_taken)
        if completed is None and not isinstance(outcome, NotSent):
            log.warning("outcome.ignored", job_id=stored.job.id, outcome=type(outcome).__name__)
        elif isinstance(outcome, Finished):
            self._poll_planner.record_reported_end(stored.job, answered_at)
        elif completed is not None and completed.stored.job.execution_id is not None:
            self._accepted_runs.cache_accepted(completed.stored)
            if not (webhook and self._webhook_policy.has_delivered(stored.job.account)):
                self._poll_proof.record_accepted(completed.stored.job)
        if isinstance(outcome, Accepted) and webhook and self._webhook_policy.receives_webhooks:
            await self._make_deliveries_due(outcome.execution_id)
        return None if completed is None else completed.stored

    async def _make_deliveries_due(self, execution_id: str) -> None:
        """Match a delivery that came before the outcome now; otherwise it is retried later."""
        with contextlib.suppress(RedisError, OSError):
            if await self._store.webhooks.make_due(execution_id, self._clock.now()):
                self._wakeups.deliveries.notify()
