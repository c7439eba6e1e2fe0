"""The submit step: one hop of arq, from the intent on record to the provider's answer on record."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from jobs import transitions
from jobs.decide import decide_submit
from jobs.effects import Decision, Moment, Rules
from jobs.holds import Gates
from jobs.job import Job
from jobs.outcomes import Accepted, Fault, Finished, Lost, NotSent, Refused, SubmitAnswer
from jobs.states import Mode, State
from worker.clock import Clock
from worker.engine.completion import Settling
from worker.engine.poison_guard import Isolation
from worker.engine.poll_planner import Timekeeper
from worker.engine.rate_limiter import Quota
from worker.engine.redis_recovery import Recollection
from worker.engine.shutdown_deadline import Patience
from worker.engine.wakeups import Bells
from worker.engine.webhook_policy import Reliance
from worker.provider.knouds.client import Provider, UnknownAccount
from worker.store import Store
from worker.store.commit import Stored
from worker.store.holds import GateStore
from worker.tasks import end

log: Final = structlog.get_logger(__name__)


EXPECTED_MOST: Final = 1_000
"""Admitted jobs that are remembered until their hop comes."""

_Tasks = dict[tuple[str, str], "asyncio.Task[None]"]
"""Tasks by job id and hop: a worker may have two hops of one job in hand, one fenced out."""


class _FencedOut(Exception):
    """Somebody changed the job between its admission and the first byte."""


class _Standing:
    """The gates as they stand when hops of one entry start: read once for all of them."""

    def __init__(self, gates: GateStore) -> None:
        self._store = gates
        self._reading: asyncio.Task[Gates] | None = None

    async def gates(self) -> Gates:
        """Every gate that stands."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._store.standing())
        return await self._reading


@dataclass(slots=True)
class _Hand:
    """The job as this worker last wrote it."""

    stored: Stored


class Submitter:
    """Submits admitted jobs, and holds the open connections of sync runs."""

    def __init__(
        self,
        *,
        store: Store,
        provider: Provider,
        settling: Settling,
        recollection: Recollection,
        isolation: Isolation,
        clock: Clock,
        bells: Bells,
        rules: Rules,
        reliance: Reliance,
        timekeeper: Timekeeper,
        quota: Quota,
        accepted: Callable[[Stored], None],
        worker_id: str,
        lease_s: float,
    ) -> None:
        self._store = store
        self._provider = provider
        self._settling = settling
        self._recollection = recollection
        self._isolation = isolation
        self._clock = clock
        self._bells = bells
        self._rules = rules
        self._reliance = reliance
        self._quota = quota
        self._accepted = accepted
        self._timekeeper = timekeeper
        self._worker_id = worker_id
        self._lease_s = lease_s
        self._expected: OrderedDict[tuple[str, str], tuple[Stored, bytes]] = OrderedDict()
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
    def leased(self) -> tuple[str, ...]:
        """Ids of the jobs in this worker's hands: their leases have to be extended."""
        return tuple(job_id for job_id, _ in (*self._submits, *self._sync_runs))

    def expect(self, stored: Stored, inputs: bytes) -> None:
        """Remember what was just admitted: its hop need not read it again, should it come here."""
        self._expected[stored.job.id, stored.job.hop or ""] = stored, inputs
        while len(self._expected) > EXPECTED_MOST:
            self._expected.popitem(last=False)

    async def submit(self, hops: Sequence[tuple[str, str]]) -> None:
        """Submit jobs whose hops are still the ones that may; a late rerun does nothing.

        What has begun is finished even when arq cancels the hops: intent and fact belong together.
        """
        standing = _Standing(self._store.gates)
        tasks = [
            self._submits.get(hop) or self._keep(self._submits, *hop, self._hop(*hop, standing))
            for hop in hops
            if hop not in self._sync_runs
        ]
        await asyncio.shield(asyncio.gather(*tasks))

    async def drain(self, until: Patience) -> None:
        """Wait for what is under way.

        Submits always finish, their own timeout bounds them; sync runs that are still open when the
        patience ends are cut, and nobody knows what became of them.
        """
        await asyncio.gather(*self._submits.values(), return_exceptions=True)
        await until.over_or_done(self._sync_runs.values())
        await end(*self._sync_runs.values())

    def _keep(
        self, tasks: _Tasks, job_id: str, hop: str, work: Coroutine[Any, Any, None]
    ) -> asyncio.Task[None]:
        """Start work on a hop, and have it in hand until it is done."""

        def done(_: asyncio.Task[None]) -> None:
            del tasks[job_id, hop]
            self._bells.admission.ring()

        task = tasks[job_id, hop] = asyncio.create_task(work, name=f"{job_id}:{hop}")
        task.add_done_callback(done)
        return task

    async def _hop(self, job_id: str, hop: str, standing: "_Standing") -> None:
        try:
            await self._perform(job_id, hop, standing)
        except (RedisError, OSError) as error:
            log.warning("hop.interrupted", job_id=job_id, error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this job's alone
            await self._isolation.isolate(job_id, error)

    async def _perform(self, job_id: str, hop: str, standing: "_Standing") -> None:
        found = self._expected.pop((job_id, hop), None)
        if found is None:
            (found,) = await self._store.jobs.load_with_inputs([job_id])
        if found is None or not _may_submit(found[0].job, hop):
            log.debug("hop.superseded", job_id=job_id, hop=hop)
            return
        stored, inputs = found
        try:
            await self._send(stored, inputs, standing)
        finally:
            self._settle_quota(stored.job)

    def _settle_quota(self, job: Job) -> None:
        """The request that admission took for this hop was made, or is not needed.

        A sync run is answered when it ends, too late for its window: it is counted as spent.
        """
        sync = (job.id, job.hop or "") in self._sync_runs
        self._quota.settle(job.lane.route, spent=int(sync))

    async def _send(self, stored: Stored, inputs: bytes, standing: "_Standing") -> None:
        gates, hop = await standing.gates(), stored.job.hop or ""
        now = self._clock.now()
        if not gates.admits(stored.job.lane, now, free_pass=stored.job.free_pass):
            await self._settling.settle(stored, _given_back(hop, "its gate closed"))
        elif gates.is_sync_only(stored.job.lane, now):
            self._open_connection(stored, inputs)
        else:
            await self._submit_async(stored, inputs)

    async def _submit_async(self, stored: Stored, inputs: bytes) -> None:
        hand = _Hand(stored)
        answer = await self._ask(hand, inputs, Mode.ASYNC, self._mark(hand, self._sending))
        if answer is None:
            return
        settled = await self._settle(hand.stored, answer)
        if settled is not None and settled.job.state is State.SUBMITTING:
            self._open_connection(settled, inputs)

    def _open_connection(self, stored: Stored, inputs: bytes) -> None:
        """Run it sync: the connection stays open, the hop does not wait for it."""
        job = stored.job
        self._keep(self._sync_runs, job.id, job.hop or "", self._run_sync(_Hand(stored), inputs))

    async def _run_sync(self, hand: _Hand, inputs: bytes) -> None:
        try:
            answer = await self._ask(hand, inputs, Mode.SYNC, self._mark(hand, self._opening))
        except asyncio.CancelledError:
            await self._settling.settle(hand.stored, self._cut(hand.stored.job))
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this job's alone
            await self._isolation.isolate(hand.stored.job.id, error)
            return
        if answer is not None:
            await self._settle(hand.stored, answer)

    def _cut(self, opened: Job) -> Callable[[Job, float], Decision | None]:
        """What becomes of a sync run whose connection a shutdown cut."""

        def decide(job: Job, now: float) -> Decision | None:
            if not _awaits(job, opened):
                return None
            if job.sent_at is None:
                return Decision(transitions.give_back(job, now, why="shutdown"))
            moment = Moment(now, self._clock.jitter(), self._rules)
            return decide_submit(job, Lost("its connection was cut at shutdown"), moment)

        return decide

    def _sending(self, job: Job, now: float) -> Job:
        return transitions.send(job, now, owner=self._worker_id, lease_until=now + self._lease_s)

    def _opening(self, job: Job, now: float) -> Job:
        return transitions.open_connection(
            job, now, owner=self._worker_id, lease_until=now + self._lease_s
        )

    def _mark(
        self, hand: _Hand, move: Callable[[Job, float], Job]
    ) -> Callable[[], Awaitable[None]]:
        """The mark just before the first byte; where it cannot be set, nothing is sent."""

        async def mark() -> None:
            if not await self._recollection.is_the_same(self._clock.now):
                raise _FencedOut
            after = move(hand.stored.job, self._clock.now())
            written = await self._store.jobs.commit(hand.stored, after)
            if not isinstance(written, Stored):
                raise _FencedOut
            hand.stored = written
            if not await self._recollection.is_the_same(self._clock.now):
                raise _FencedOut
            self._recollection.remember(written)

        return mark

    async def _ask(
        self,
        hand: _Hand,
        inputs: bytes,
        mode: Mode,
        mark: Callable[[], Awaitable[None]],
    ) -> SubmitAnswer | None:
        """The provider's answer; None where somebody changed the job before a byte was sent."""
        job = hand.stored.job
        try:
            answer = await self._provider.submit(
                job.kind, job.target, job.account, inputs, mode, before_write=mark
            )
        except _FencedOut:
            await self._fenced_out(hand)
            return None
        except UnknownAccount as error:
            answer = Refused(Fault(None, str(error), http_status=401))
        except (RedisError, OSError) as error:
            answer = NotSent(f"the mark could not be written ({type(error).__name__})")
        self._store.tally.submitted(job.kind, answer)
        log.info(
            "submit.answered",
            job_id=job.id,
            lane=str(job.lane),
            mode=mode.value,
            answer=type(answer).__name__,
            code=answer.fault.name if isinstance(answer, Refused) else None,
        )
        return answer

    async def _fenced_out(self, hand: _Hand) -> None:
        """Nothing was sent. Where a person only asked to cancel meanwhile, that can be done now."""
        log.info("submit.fenced_out", job_id=hand.stored.job.id)
        ours = hand.stored.job

        def decide(job: Job, now: float) -> Decision | None:
            same = job.hop == ours.hop and job.sent_at == ours.sent_at
            if job.state is not State.SUBMITTING or not same:
                return None
            return _unsent(job, now, "changed before it was sent")

        await self._settling.settle(hand.stored, decide)

    async def _settle(self, stored: Stored, answer: SubmitAnswer) -> Stored | None:
        """Write what the answer means, if the job still waits for it."""
        attempt = stored.job.submits
        webhook = isinstance(answer, Accepted) and answer.webhook
        rules = self._reliance.rules(stored.job.lane, webhook=webhook)
        answered_at = self._clock.now()

        def decide(job: Job, now: float) -> Decision | None:
            moment = Moment(now, self._clock.jitter(), rules)
            if _awaits(job, stored.job):
                return decide_submit(job, answer, moment)
            late = job.parked_as == transitions.UNCERTAIN and job.submits == attempt
            if late and isinstance(answer, Accepted | Finished):
                return decide_submit(job, answer, moment)
            return None

        settled = await self._settling.settle(stored, decide)
        if settled is None and not isinstance(answer, NotSent):
            log.warning("answer.ignored", job_id=stored.job.id, answer=type(answer).__name__)
        elif isinstance(answer, Finished):
            self._timekeeper.told(stored.job, answered_at)
        elif settled is not None and isinstance(answer, Accepted):
            self._accepted(settled)
        if isinstance(answer, Accepted) and webhook and self._reliance.receives:
            await self._bring_up(answer.execution_id)
        return settled

    async def _bring_up(self, execution_id: str) -> None:
        """A delivery that overtook the answer waits for its job: it need not wait any longer.

        Nothing depends on it, they are looked at again by themselves.
        """
        with contextlib.suppress(RedisError, OSError):
            if await self._store.webhooks.bring_up(execution_id, self._clock.now()):
                self._bells.deliveries.ring()


def _may_submit(job: Job, hop: str) -> bool:
    return job.state is State.SUBMITTING and job.hop == hop and job.sent_at is None


def _awaits(job: Job, submitted: Job) -> bool:
    """Whether a job still waits for the answer to this submit of ours."""
    active = job.state in (State.SUBMITTING, State.RUNNING, State.CANCELLING)
    return active and job.hop == submitted.hop


def _given_back(hop: str, why: str) -> Callable[[Job, float], Decision | None]:
    def decide(job: Job, now: float) -> Decision | None:
        return _unsent(job, now, why) if _may_submit(job, hop) else None

    return decide


def _unsent(job: Job, now: float, why: str) -> Decision:
    """Nothing of this submit left: back in line, or cancelled where a person asked for that."""
    if job.cancel_requested:
        return Decision(transitions.cancel(job, now, note="never sent"))
    return Decision(transitions.give_back(job, now, why=why))
