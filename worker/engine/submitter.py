"""The submit step: one hop of arq, from the intent on record to the provider's answer on record."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from jobs import transitions
from jobs.decide import decide_submit
from jobs.effects import Decision, DecisionContext, DecisionRules
from jobs.holds import Gates
from jobs.job import Job
from jobs.outcomes import Accepted, Finished, Lost, NotSent, ProviderError, Refused, SubmitOutcome
from jobs.states import Mode, State
from worker.clock import Clock
from worker.engine.completion import Completion
from worker.engine.poison_guard import PoisonGuard
from worker.engine.poll_planner import PollPlanner
from worker.engine.rate_limiter import RateLimiter
from worker.engine.redis_recovery import RedisRecovery
from worker.engine.shutdown_deadline import ShutdownDeadline
from worker.engine.unreadable_records import load_jobs_with_inputs
from worker.engine.wakeups import Wakeups
from worker.engine.webhook_policy import WebhookPolicy
from worker.provider.port import RunProvider, UnknownAccount
from worker.store import Store
from worker.store.commit import VersionedJob
from worker.store.holds import HoldStore
from worker.tasks import cancel_and_wait

log: Final = structlog.get_logger(__name__)


MAX_CACHED_ADMITTED: Final = 1_000
"""Admitted jobs that are remembered until their hop comes."""

_Tasks = dict[tuple[str, str], "asyncio.Task[None]"]
"""Tasks by job id and hop: a worker may have two hops of one job in hand, one fenced out."""


class _FencedOut(Exception):
    """Somebody changed the job between its admission and the first byte."""


class _GateSnapshot:
    """The gates as they stand when hops of one entry start: read once for all of them."""

    def __init__(self, gates: HoldStore) -> None:
        self._store = gates
        self._read_task: asyncio.Task[Gates] | None = None

    async def gates(self) -> Gates:
        """Every gate that stands."""
        if self._read_task is None:
            self._read_task = asyncio.create_task(self._store.gates())
        return await self._read_task


@dataclass(slots=True)
class _SubmitMark:
    """Writes to the job that its submit is about to be sent: a `SendMark`."""

    stored: VersionedJob
    """The job as this worker last wrote it."""
    _transition: Callable[[Job, float], Job]
    _store: Store
    _redis_recovery: RedisRecovery
    _clock: Clock

    async def record(self) -> None:
        """Commit the transition; raises _FencedOut if the job or the Redis server changed."""
        if not await self._redis_recovery.is_same_server(self._clock.now):
            raise _FencedOut
        after = self._transition(self.stored.job, self._clock.now())
        written = await self._store.jobs.commit(self.stored, after)
        if not isinstance(written, VersionedJob):
            raise _FencedOut
        self.stored = written
        if not await self._redis_recovery.is_same_server(self._clock.now):
            raise _FencedOut
        self._redis_recovery.remember(written)


class Submitter:
    """Submits admitted jobs, and holds the open connections of sync runs."""

    def __init__(
        self,
        *,
        store: Store,
        provider: RunProvider,
        completion: Completion,
        redis_recovery: RedisRecovery,
        poison_guard: PoisonGuard,
        clock: Clock,
        wakeups: Wakeups,
        rules: DecisionRules,
        webhook_policy: WebhookPolicy,
        poll_planner: PollPlanner,
        rate_limiter: RateLimiter,
        on_accepted: Callable[[VersionedJob], None],
        worker_id: str,
        lease_s: float,
    ) -> None:
        self._store = store
        self._provider = provider
        self._completion = completion
        self._redis_recovery = redis_recovery
        self._poison_guard = poison_guard
        self._clock = clock
        self._wakeups = wakeups
        self._rules = rules
        self._webhook_policy = webhook_policy
        self._rate_limiter = rate_limiter
        self._on_accepted = on_accepted
        self._poll_planner = poll_planner
        self._worker_id = worker_id
        self._lease_s = lease_s
        self._cached: OrderedDict[tuple[str, str], tuple[VersionedJob, bytes]] = OrderedDict()
        self._submits: _Tasks = {}
        self._sync_runs: _Tasks = {}

    @property
    def submitting(self) -> int:
        """Async submits under way."""
        return len(self._submits)

    @property
    def sync_runs(self) -> int:
        """Sync runs whose connection is open."""
        return len(self._sync_runs)

    @property
    def leased_ids(self) -> tuple[str, ...]:
        """Ids of the jobs in this worker's hands: their leases have to be extended."""
        return tuple(job_id for job_id, _ in (*self._submits, *self._sync_runs))

    def cache_admitted(self, stored: VersionedJob, inputs: bytes) -> None:
        """Remember what was just admitted: its hop need not read it again, should it come here."""
        self._cached[stored.job.id, stored.job.submit_token or ""] = stored, inputs
        while len(self._cached) > MAX_CACHED_ADMITTED:
            self._cached.popitem(last=False)

    async def submit(self, submits: Sequence[tuple[str, str]]) -> None:
        """Submit jobs whose hops are still the ones that may; a late rerun does nothing.

        What has begun is finished even when arq cancels the hops: intent and fact belong together.
        """
        standing = _GateSnapshot(self._store.holds)
        tasks = [
            self._submits.get(hop)
            or self._track(self._submits, *hop, self._submit_safely(*hop, standing))
            for hop in submits
            if hop not in self._sync_runs
        ]
        await asyncio.shield(asyncio.gather(*tasks))

    async def drain(self, deadline: ShutdownDeadline) -> None:
        """Wait for what is under way.

        Submits always finish, their own timeout bounds them; sync runs that are still open when the
        patience ends are cut, and nobody knows what became of them.
        """
        await asyncio.gather(*self._submits.values(), return_exceptions=True)
        await deadline.wait_for(self._sync_runs.values())
        await cancel_and_wait(*self._sync_runs.values())

    def _track(
        self, tasks: _Tasks, job_id: str, submit_token: str, work: Coroutine[Any, Any, None]
    ) -> asyncio.Task[None]:
        """Start work on a hop, and have it in hand until it is done."""

        def done(_: asyncio.Task[None]) -> None:
            del tasks[job_id, submit_token]
            self._wakeups.admission.notify()

        task = tasks[job_id, submit_token] = asyncio.create_task(
            work, name=f"{job_id}:{submit_token}"
        )
        task.add_done_callback(done)
        return task

    async def _submit_safely(
        self, job_id: str, submit_token: str, gate_snapshot: "_GateSnapshot"
    ) -> None:
        try:
            await self._submit_if_current(job_id, submit_token, gate_snapshot)
        except (RedisError, OSError) as error:
            log.warning("submit.interrupted", job_id=job_id, error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this job's alone
            await self._poison_guard.isolate(job_id, error)

    async def _submit_if_current(
        self, job_id: str, submit_token: str, gate_snapshot: "_GateSnapshot"
    ) -> None:
        found = self._cached.pop((job_id, submit_token), None)
        if found is None:
            now = self._clock.now()
            (found,) = await load_jobs_with_inputs(self._store.jobs, [job_id], now)
        if found is None or not _may_submit(found[0].job, submit_token):
            log.debug("submit.superseded", job_id=job_id, hop=submit_token)
            return
        stored, inputs = found
        try:
            await self._send(stored, inputs, gate_snapshot)
        finally:
            self._record_request(stored.job)

    def _record_request(self, job: Job) -> None:
        """The request that admission took for this hop was made, or is not needed.

        A sync run is answered when it ends, too late for its window: it is counted as spent.
        """
        sync = (job.id, job.submit_token or "") in self._sync_runs
        self._rate_limiter.record_answered(job.lane.route, unreported=int(sync))

    async def _send(
        self, stored: VersionedJob, inputs: bytes, gate_snapshot: "_GateSnapshot"
    ) -> None:
        gates, hop = await gate_snapshot.gates(), stored.job.submit_token or ""
        now = self._clock.now()
        if not gates.admits(stored.job.lane, now, bypass_hold=stored.job.bypass_hold):
            await self._completion.complete(stored, _return_unsent(hop, "its gate closed"))
        elif gates.is_sync_only(stored.job.lane, now):
            self._open_connection(stored, inputs)
        else:
            await self._submit_async(stored, inputs)

    async def _submit_async(self, stored: VersionedJob, inputs: bytes) -> None:
        mark = self._mark(stored, self._send_transition)
        answer = await self._call_provider(mark, inputs, Mode.ASYNC)
        if answer is None:
            return
        settled = await self._complete(mark.stored, answer)
        if settled is not None and settled.job.state is State.SUBMITTING:
            self._open_connection(settled, inputs)

    def _open_connection(self, stored: VersionedJob, inputs: bytes) -> None:
        """Run it sync: the connection stays open, the hop does not wait for it."""
        job = stored.job
        self._track(
            self._sync_runs,
            job.id,
            job.submit_token or "",
            self._run_sync(self._mark(stored, self._open_transition), inputs),
        )

    async def _run_sync(self, mark: _SubmitMark, inputs: bytes) -> None:
        try:
            answer = await self._call_provider(mark, inputs, Mode.SYNC)
        except asyncio.CancelledError:
            await self._completion.complete(mark.stored, self._decide_cut(mark.stored.job))
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this job's alone
            await self._poison_guard.isolate(mark.stored.job.id, error)
            return
        if answer is not None:
            await self._complete(mark.stored, answer)

    def _decide_cut(self, opened: Job) -> Callable[[Job, float], Decision | None]:
        """What becomes of a sync run whose connection a shutdown cut."""

        def decide(job: Job, now: float) -> Decision | None:
            if not _awaits(job, opened):
                return None
            if job.sent_at is None:
                return Decision(transitions.return_to_queue(job, now, why="shutdown"))
            moment = DecisionContext(now, self._clock.jitter(), self._rules)
            return decide_submit(job, Lost("its connection was cut at shutdown"), moment)

        return decide

    def _send_transition(self, job: Job, now: float) -> Job:
        return transitions.send(job, now, owner=self._worker_id, lease_until=now + self._lease_s)

    def _open_transition(self, job: Job, now: float) -> Job:
        return transitions.open_connection(
            job, now, owner=self._worker_id, lease_until=now + self._lease_s
        )

    def _mark(self, stored: VersionedJob, transition: Callable[[Job, float], Job]) -> _SubmitMark:
        return _SubmitMark(stored, transition, self._store, self._redis_recovery, self._clock)

    async def _call_provider(
        self,
        mark: _SubmitMark,
        inputs: bytes,
        mode: Mode,
    ) -> SubmitOutcome | None:
        """The provider's answer; None where somebody changed the job before a byte was sent."""
        job = mark.stored.job
        try:
            answer = await self._provider.submit(
                job.kind, job.target, job.account, inputs, mode, mark=mark
            )
        except _FencedOut:
            await self._return_fenced_out(mark)
            return None
        except UnknownAccount as error:
            answer = Refused(ProviderError(None, str(error), http_status=401))
        except (RedisError, OSError) as error:
            answer = NotSent(f"the mark could not be written ({type(error).__name__})")
        self._store.metrics.submitted(job.kind, answer)
        log.info(
            "submit.answered",
            job_id=job.id,
            lane=str(job.lane),
            mode=mode.value,
            answer=type(answer).__name__,
            code=answer.error.display_code if isinstance(answer, Refused) else None,
        )
        return answer

    async def _return_fenced_out(self, mark: _SubmitMark) -> None:
        """Nothing was sent. Where a person only asked to cancel meanwhile, that can be done now."""
        log.info("submit.fenced_out", job_id=mark.stored.job.id)
        ours = mark.stored.job

        def decide(job: Job, now: float) -> Decision | None:
            same = job.submit_token == ours.submit_token and job.sent_at == ours.sent_at
            if job.state is not State.SUBMITTING or not same:
                return None
            return _returned_or_cancelled(job, now, "changed before it was sent")

        await self._completion.complete(mark.stored, decide)

    async def _complete(self, stored: VersionedJob, outcome: SubmitOutcome) -> VersionedJob | None:
        """Write what the answer means, if the job still waits for it."""
        attempt = stored.job.submits
        webhook = isinstance(outcome, Accepted) and outcome.expects_webhook
        rules = self._webhook_policy.rules(stored.job.lane, has_webhook=webhook)
        answered_at = self._clock.now()

        def decide(job: Job, now: float) -> Decision | None:
            moment = DecisionContext(now, self._clock.jitter(), rules)
            if _awaits(job, stored.job):
                return decide_submit(job, outcome, moment)
            late = job.parked_as == transitions.UNCERTAIN and job.submits == attempt
            if late and isinstance(outcome, Accepted | Finished):
                return decide_submit(job, outcome, moment)
            return None

        settled = await self._completion.complete(stored, decide)
        if settled is None and not isinstance(outcome, NotSent):
            log.warning("outcome.ignored", job_id=stored.job.id, answer=type(outcome).__name__)
        elif isinstance(outcome, Finished):
            self._poll_planner.record_reported_end(stored.job, answered_at)
        elif settled is not None and isinstance(outcome, Accepted):
            self._on_accepted(settled)
        if isinstance(outcome, Accepted) and webhook and self._webhook_policy.receives_webhooks:
            await self._make_deliveries_due(outcome.execution_id)
        return settled

    async def _make_deliveries_due(self, execution_id: str) -> None:
        """A delivery that overtook the answer waits for its job: it need not wait any longer.

        Nothing depends on it, they are looked at again by themselves.
        """
        with contextlib.suppress(RedisError, OSError):
            if await self._store.webhooks.make_due(execution_id, self._clock.now()):
                self._wakeups.deliveries.notify()


def _may_submit(job: Job, submit_token: str) -> bool:
    return (
        job.state is State.SUBMITTING and job.submit_token == submit_token and job.sent_at is None
    )


def _awaits(job: Job, submitted: Job) -> bool:
    """Whether a job still waits for the answer to this submit of ours."""
    active = job.state in (State.SUBMITTING, State.RUNNING, State.CANCELLING)
    return active and job.submit_token == submitted.submit_token


def _return_unsent(submit_token: str, why: str) -> Callable[[Job, float], Decision | None]:
    def decide(job: Job, now: float) -> Decision | None:
        return _returned_or_cancelled(job, now, why) if _may_submit(job, submit_token) else None

    return decide


def _returned_or_cancelled(job: Job, now: float, why: str) -> Decision:
    """Nothing of this submit left: back in line, or cancelled where a person asked for that."""
    if job.cancel_requested:
        return Decision(transitions.cancel(job, now, note="never sent"))
    return Decision(transitions.return_to_queue(job, now, why=why))
