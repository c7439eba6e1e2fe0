"""A whole deployment on one event loop, under a clock that the test moves.

`worker.compose.worker.build` builds the workers, over a real Redis. Only arq is simulated: an entry
of its queue runs when the test says so, also late or twice. Nothing here sleeps: after every step
the event loop runs until every task waits for the test.
"""

import asyncio
import contextlib
import math
import secrets
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast

import msgspec
from arq import ArqRedis
from pydantic import SecretStr
from redis.exceptions import RedisError

from config.settings import Settings
from jobs.budgets.record import Budget, BudgetPeriod
from jobs.indexes import Index
from jobs.job import Job
from jobs.lanes import JobId
from jobs.outcomes import Accepted, Finished, Lost, PollOutcome, RunCancelled, RunFailed
from jobs.requests import JobRequest
from jobs.states import SETTLED_OR_PARKED, Kind, OnUncertain, State
from tests.simulation.faulty_redis_client import FaultyRedisClient, ProcessKilled
from tests.simulation.invariants import EXACT, InvariantChecker, RedisSnapshot, read_snapshot
from tests.simulation.manual_clock import ManualClock
from tests.simulation.simulated_provider import (
    ProviderRecord,
    SimulatedCall,
    SimulatedProvider,
    SimulatedRun,
)
from worker.app.action_table import JobAction
from worker.app.actions import Actions, Actor
from worker.app.breaker_actions import BreakerActions
from worker.app.enqueue import EnqueueResult
from worker.compose.app import build_enqueuer
from worker.compose.runtime import Runtime
from worker.compose.worker import build
from worker.engine.supervisor import Service
from worker.provider.port import CancelAccepted
from worker.redis.connect import connect
from worker.redis.primary import Primary
from worker.store import Store, open_store
from worker.store.arq_codec import FUNCTIONS, deserialize
from worker.tasks import cancel_and_wait

ANN: Final = Actor("ann", "for the test")

SERVICES: Final = (
    "redis_recovery",
    "heartbeat",
    "scheduler",
    "expirer",
    "admission",
    "poller",
    "poll_prover",
    "webhook_processor",
    "rescuer",
    "breaker_prober",
    "pruner",
    "rate_limiter",
    "budget_keeper",
    "batch_keeper",
)
SERVICES_WHILE_STOPPING: Final = ("redis_recovery", "heartbeat", "rate_limiter")
"""Services that `Runtime.stop` leaves running until the end."""

REDIRECTING: Final = (
    JobAction.RESUBMIT,
    JobAction.ATTACH,
    JobAction.DISCARD,
    JobAction.REQUEUE,
)
"""Actions after which an earlier answer of the provider may be dropped."""

RUN_COST: Final = 1.0
"""What every run costs, and is expected to cost, in credits."""

SETTLE_ROUNDS: Final = 200
"""Far more rounds than it takes until every job is settled or parked."""


def small_settings() -> Settings:
    """A small deployment: few slots, one narrow lane, few attempts, an early deadline."""
    return Settings(
        namespace=f"m-{secrets.token_hex(4)}",
        max_jobs=4,
        sync_runs=2,
        lane_caps={"default/model/kling": 1},
        fair_key_caps={"*": 1},
        max_attempts=2,
        webhook_secret=SecretStr("0123456789abcdef0123456789abcdef"),
        run_deadline_s=60,
        default_estimate=RUN_COST,
    )


def result_of(job_id: str, number: int) -> bytes:
    """The result of one run."""
    return msgspec.json.encode({"of": job_id, "run": number})


def ignore_killed_tasks(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Exception handler of the event loop that ignores the tasks of a killed worker."""
    if (
        not isinstance(context.get("exception"), ProcessKilled)
        and "pending" not in context["message"]
    ):
        loop.default_exception_handler(context)


def webhook_of(answer: PollOutcome | None) -> tuple[str, dict[str, object]]:
    """The webhook event that reports an outcome of a run, and its other fields."""
    match answer:
        case Finished(result=result):
            return "execution.completed", {"result": msgspec.Raw(result), "cost": 1.0}
        case RunFailed(fault):
            return "execution.failed", {"error": {"code": fault.code}}
        case RunCancelled(result=bytes() as result):
            return "execution.cancelled", {"result": msgspec.Raw(result), "cost": 1.0}
        case RunCancelled():
            return "execution.cancelled", {}
        case Lost():
            return "execution.completed", {}
        case _:
            return "execution.progress", {}


@dataclass(frozen=True, slots=True)
class QueuedEntry:
    """An arq entry as a worker reads it."""

    arq_id: str
    function: str
    args: tuple[str, ...]


@dataclass(eq=False)
class SimulatedWorker:
    """The process of a worker."""

    runtime: Runtime
    client: FaultyRedisClient
    seen_at: float
    """When it last extended its leases."""
    busy: dict[str, "asyncio.Task[Any]"] = field(default_factory=dict[str, "asyncio.Task[Any]"])
    """Services in the middle of a tick."""
    stopping: "asyncio.Task[None] | None" = None

    @property
    def id(self) -> str:
        """Its worker id."""
        return self.runtime.context.worker_id

    @property
    def is_gone(self) -> bool:
        """Whether it was killed or has stopped."""
        return self.client.dead or (self.stopping is not None and self.stopping.done())

    @property
    def takes_work(self) -> bool:
        """Whether arq may give it an entry."""
        return not self.is_gone and self.stopping is None

    def services(self) -> dict[str, Service]:
        """The services whose loops would be running now, by name."""
        if self.is_gone:
            return {}
        found = {service.name: service for service in self.runtime.supervisor.services}
        names = SERVICES if self.stopping is None else SERVICES_WHILE_STOPPING
        return {name: found[name] for name in names}


class SimulatedDeployment:
    """Workers, operator actions, the enqueuer, and a provider that waits for the test."""

    def __init__(self, settings: Settings, redis_url: str) -> None:
        self.settings = settings
        self.clock = ManualClock()
        self.record = ProviderRecord()
        self.workers: list[SimulatedWorker] = []
        self.store: Store = open_store(connect(settings, redis_url), settings.namespace)
        self.actions = Actions(self.store, self.clock)
        self.breaker_actions = BreakerActions(self.store, self.clock)
        self.enqueuer = build_enqueuer(settings, self.store, self.clock)
        self.invariants = InvariantChecker(self.record, settings.retention_s)
        self.delivered_entries: list[QueuedEntry] = []
        """Every entry that a worker ever ran."""
        self.unfinished: list[tuple[SimulatedWorker, QueuedEntry, asyncio.Task[Any]]] = []
        self.faults: list[str] = []
        """Errors of the program that no task may raise."""
        self._url = redis_url

    # Start and end.

    async def close(self) -> None:
        """Kill every worker and delete the keys."""
        for worker in self.workers:
            worker.client.kill()
        await cancel_and_wait(
            *asyncio.all_tasks() - {cast("asyncio.Task[Any]", asyncio.current_task())}
        )
        namespace = self.settings.namespace
        keys = await self.store.client.call("KEYS", f"{namespace}:*")
        keys += await self.store.client.call("KEYS", "arq:*")
        await self.store.client.call("DEL", *keys)
        for client in [worker.client.redis for worker in self.workers] + [self.store.client.redis]:
            await client.aclose(close_connection_pool=True)

    def start_worker(self) -> SimulatedWorker:
        """Start a worker. The test runs its services, one `tick` at a time."""
        primary = Primary(max_age_s=math.inf)  # real time counts for nothing here
        redis: ArqRedis = connect(self.settings, self._url, primary=primary)
        runtime = build(self.settings, redis, primary, self.clock)
        worker = SimulatedWorker(
            runtime, cast("FaultyRedisClient", runtime.context.store.client), self.clock.now()
        )
        provider = cast("SimulatedProvider", runtime.provider)
        provider.record, provider.worker = self.record, worker.id
        worker.client.when_killed = lambda: self._lose(worker, killed=True)
        self.workers.append(worker)
        return worker

    def _lose(self, worker: SimulatedWorker, *, killed: bool) -> None:
        self.record.lose(worker.id, worker.runtime.submitter.leased_ids, killed=killed)

    @property
    def living(self) -> list[SimulatedWorker]:
        """Workers that are not gone."""
        return [worker for worker in self.workers if not worker.is_gone]

    # Running.

    async def until_idle(self) -> None:
        """Run the event loop until every task waits for the test."""
        loop = cast("Any", asyncio.get_running_loop())
        await asyncio.sleep(0)
        while loop._ready or any(  # noqa: ASYNC110 - until all wait, not for an event
            worker.client.under_way for worker in self.workers
        ):
            await asyncio.sleep(0)
        for worker, entry, task in list(self.unfinished):
            if task.done():
                self.unfinished.remove((worker, entry, task))
                self._note(task)
                if not worker.client.dead:
                    await self._acknowledge(entry)
        for worker in self.workers:
            for name, task in list(worker.busy.items()):
                if task.done():
                    del worker.busy[name]
                    self._note(task)
            if worker.stopping is not None and worker.stopping.done():
                self._note(worker.stopping)

    def _note(self, task: "asyncio.Task[Any]") -> None:
        """Record an error of a task, save Redis errors, which the supervisor retries, and kills."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, (RedisError, OSError, ProcessKilled)):
            self.faults.append(f"{task.get_name()} raised {error!r}")

    async def tick(self, worker: SimulatedWorker, *names: str) -> None:
        """Run `tick` of services of a worker; one whose last `tick` has not returned is skipped."""
        for name in names:
            service = worker.services().get(name)
            if service is None or name in worker.busy:
                continue
            tick = service.tick(self.clock.now())
            worker.busy[name] = task = asyncio.create_task(tick, name=name)
            await self.until_idle()
            if (
                name == "heartbeat"
                and task.done()
                and not task.cancelled()
                and not task.exception()
            ):
                worker.seen_at = self.clock.now()

    async def pass_time(self, seconds: float, *, beats: int = 4) -> None:
        """Move the clock; workers that are not stalled send their heartbeats.

        So many of them in the last lease, where more than half a lease passes.
        """
        last = min(seconds, self.settings.lease_s) if seconds > self.settings.lease_s / 2 else 0.0
        if first := seconds - last:
            await self._pass_time(first)
        for _ in range(beats if last else 0):
            await self._pass_time(last / beats)

    async def _pass_time(self, seconds: float) -> None:
        self.clock.pass_time(seconds)
        for worker in self.living:
            if not worker.client.asleep:
                await self._beat(worker)
            if not worker.is_gone and worker.seen_at <= self.clock.now() - self.settings.lease_s:
                self._lose(worker, killed=False)

    async def _beat(self, worker: SimulatedWorker) -> None:
        while worker.seen_at < self.clock.now():
            await self.tick(worker, "heartbeat")
            if worker.is_gone or worker.client.asleep:
                return

    async def pass_time_until_something_is_due(self) -> None:
        """Move the clock to the next due time, lease end, poll or end of a cool-down."""
        now, keys = self.clock.now(), self.store.keys
        names = [
            keys.index(kind) for kind in (Index.DUE, Index.LEASE, Index.INFLIGHT, Index.START_BY)
        ]
        rows = await self.store.client.many([("ZRANGE", k, 0, 0, "WITHSCORES") for k in names])
        gates = await self.store.holds.gates()
        times = [float(row[1]) for row in rows if row] + [c.until for c in gates.cool_downs]
        times += [b.next_probe_at for b in gates.breakers if b.next_probe_at is not None]
        later = [at - now for at in times if at > now]
        await self.pass_time(max(0.1, min(later, default=1.0)))

    # arq.

    async def entries(self) -> list[QueuedEntry]:
        """The entries of arq's queue, oldest first."""
        keys = self.store.keys
        names: list[bytes] = await self.store.client.call("ZRANGE", keys.arq_queue, 0, -1)
        found: list[QueuedEntry] = []
        for name in names:
            data = await self.store.client.call("GET", keys.arq_job(name.decode()))
            entry = deserialize(data)
            found.append(QueuedEntry(name.decode(), entry["f"], tuple(entry["a"])))
        return found

    async def run_entry(self, worker: SimulatedWorker, entry: QueuedEntry) -> None:
        """Have a worker run an arq entry, which is removed from the queue when it is done."""
        if entry not in self.delivered_entries:
            self.delivered_entries.append(entry)
        function = cast("Callable[..., Coroutine[Any, Any, Any]]", FUNCTIONS[entry.function])
        context = worker.runtime.arq_context() | {"job_id": entry.arq_id}
        task = asyncio.create_task(function(context, *entry.args), name=f"entry {entry.arq_id}")
        self.unfinished.append((worker, entry, task))
        await self.until_idle()

    async def deliver(self, worker: SimulatedWorker) -> None:
        """Have a worker run every entry that no worker runs."""
        for entry in await self.entries():
            if worker.takes_work and not self._is_running(entry):
                await self.run_entry(worker, entry)

    def _is_running(self, entry: QueuedEntry) -> bool:
        return any(
            entry == other and not worker.client.dead for worker, other, _ in self.unfinished
        )

    async def _acknowledge(self, entry: QueuedEntry) -> None:
        keys = self.store.keys
        await self.store.client.call("ZREM", keys.arq_queue, entry.arq_id)
        await self.store.client.call("DEL", keys.arq_job(entry.arq_id))

    async def admit_and_deliver(self, worker: SimulatedWorker) -> None:
        """Admit what may be submitted, and deliver its entries."""
        await self.tick(worker, "redis_recovery", "admission")
        await self.deliver(worker)

    # The provider.

    def open_call(self, job_id: str, kind: str = "submit") -> SimulatedCall:
        """The newest open call of a job."""
        found = [c for c in self.record.calls if c.job_id == job_id and c.kind == kind]
        assert found, f"no {kind} of {job_id} is under way"
        return found[-1]

    async def connect(self, call: SimulatedCall) -> None:
        """The connection is made: the request is written if the send can be recorded."""
        call.connected.set_result(None)
        await self.until_idle()

    async def refuse_connection(self, call: SimulatedCall) -> None:
        """The connection is refused."""
        self.record.refuse_connection(call)
        await self.until_idle()

    async def answer(self, call: SimulatedCall, answer: object, *, started: bool = False) -> None:
        """Answer a call; `started`: a run exists although the answer does not say so."""
        self.record.give_answer(call, answer, started=started)
        await self.until_idle()

    def accepted(self, call: SimulatedCall) -> Accepted:
        """The answer that accepts a submit."""
        return Accepted(
            self.record.start_run(call).execution_id, expects_webhook=call.number % 2 == 0
        )

    def finished(self, call: SimulatedCall) -> Finished:
        """The answer of a sync run."""
        run = self.record.start_run(call)
        run.end = Finished(result_of(call.job_id, call.number), RUN_COST, run.execution_id)
        return run.end

    def completed(self, run: SimulatedRun) -> Finished:
        """What a poll of a successful run returns."""
        return Finished(result_of(run.job_id, int(run.execution_id.split("-")[1])), RUN_COST)

    async def deliver_webhook(self, run: SimulatedRun, end: PollOutcome | None) -> None:
        """The provider delivers a webhook about a run: its end, or progress."""
        answer = None if end is None else self.record.give_webhook(run, end)
        event, facts = webhook_of(answer)
        body = msgspec.json.encode({"event": event, "executionId": run.execution_id} | facts)
        await self.store.webhooks.receive(run.execution_id, event, body, self.clock.now())

    # Workers stop.

    async def kill(self, worker: SimulatedWorker) -> None:
        """Kill a worker: none of its tasks continues."""
        worker.client.kill()
        await self.until_idle()

    async def stall(self, worker: SimulatedWorker) -> None:
        """Stall a worker: its next command waits until it is woken."""
        worker.client.stall()

    async def wake(self, worker: SimulatedWorker) -> None:
        """Let a stalled worker continue."""
        worker.client.wake()
        await self.until_idle()

    async def stop(self, worker: SimulatedWorker) -> None:
        """Ask a worker to stop: it waits for what is under way. The second time it cuts that."""
        first = worker.stopping is None
        for _ in range(1 if first else 2):  # the second signal hurries, the third cuts
            worker.runtime.request_stop()
        if first:
            for task in worker.busy.values():
                task.cancel()
            worker.stopping = asyncio.create_task(worker.runtime.stop(), name="stop")
        await self.until_idle()

    # Apps and operators.

    async def enqueue(self, job_id: str, target: str = "suno", **options: Any) -> EnqueueResult:
        """Enqueue a job whose inputs contain its id."""
        inputs = msgspec.json.encode({"job": job_id})
        request = JobRequest(kind=Kind.MODEL, target=target, inputs=inputs, **options)
        result = await self.enqueuer.enqueue(request, job_id=JobId(job_id), by="app")
        if result.created:
            self.invariants.begin(result.job)
            self.record.begin_job(job_id, opts_in=request.on_uncertain is OnUncertain.RETRY)
        return result

    async def job(self, job_id: str) -> Job:
        """The record of a job."""
        stored = await self.store.jobs.load(job_id)
        assert stored is not None
        return stored.job

    async def take_action(self, action: JobAction, job_id: str, execution_id: str = "") -> Job:
        """An operator acts on a job. A second cancel changes nothing and is not audited."""
        before = await self.store.jobs.load(job_id)
        job = await self.actions.act(action, job_id, ANN, execution_id=execution_id)
        self.invariants.actions += before is None or job != before.job
        if action in REDIRECTING or job.state is State.CANCELLED:
            self.record.note_operator_action(
                job_id,
                resubmit=action is JobAction.RESUBMIT,
                requeue=action is JobAction.REQUEUE,
            )
        return job

    # Invariants.

    async def check(self) -> RedisSnapshot:
        """Check the invariants on what is in Redis."""
        assert not self.faults, self.faults
        snapshot = await read_snapshot(self.store)
        self.invariants.check(snapshot, self.clock.now())
        return snapshot

    async def set_budget(
        self, name: str, scope: str, limit: float, *, is_counting: bool = True
    ) -> None:
        """Set a budget anew, or change the limit of one."""
        now = self.clock.now()

        def changed(current: Budget | None) -> Budget:
            if current is not None:
                return msgspec.structs.replace(current, limit=limit)
            return Budget(
                name=name,
                scope=scope,
                period=BudgetPeriod.TOTAL,
                limit=limit,
                generation=int(now * 1_000),
                set_at=now,
                set_by="ann",
                note="" if is_counting else EXACT,
                is_counting=is_counting,
            )

        await self.store.budgets.change(name, changed)

    async def settle_everything(self) -> RedisSnapshot:
        """Stop the faults and answer every call, until every job is settled, parked or held."""
        self.record.connects = self.record.answers_whoami = True
        for budget in await self.store.budgets.list_all():
            await self.store.budgets.change(budget.name, lambda _: None)
        for worker in self.living:
            worker.client.faults.clear()
            await self.wake(worker)
        for worker in [worker for worker in self.living if worker.stopping is not None]:
            await self.stop(worker)
        if not any(worker.takes_work for worker in self.workers):
            self.start_worker()
        for _ in range(SETTLE_ROUNDS):
            await self._answer_everything()
            for worker in self.living:
                await self.tick(worker, *SERVICES)
                await self.deliver(worker)
            await self._answer_everything()
            snapshot = await self.check()  # what settles now may be pruned before the next one
            if not self.record.calls and not self._unsettled(snapshot):
                self.invariants.check_settled(snapshot)
                return snapshot
            await self.pass_time_until_something_is_due()
        raise AssertionError(
            f"jobs that never settle: {self._unsettled(await read_snapshot(self.store))}"
        )

    def _unsettled(self, snapshot: RedisSnapshot) -> list[str]:
        """Unfinished jobs, except those that wait behind a closed hold."""
        return [
            f"{job.id} is {job.state}"
            for job in snapshot.jobs.values()
            if job.state not in SETTLED_OR_PARKED
            and not (
                job.state is State.QUEUED
                and not job.bypass_hold
                and snapshot.gates.closing_hold(job.lane) is not None
            )
        ]

    async def _answer_everything(self) -> None:
        while ready := self.record.ready:
            call = ready[0]
            if call.waits_for_connection:
                await self.connect(call)
            elif call.kind == "submit":
                await self.answer(call, self.accepted(call))
            elif call.kind == "cancel":
                await self.answer(call, CancelAccepted("cancel_requested"))
            else:
                run = cast("SimulatedRun", call.run)
                await self.answer(call, run.end or self.completed(run))


@asynccontextmanager
async def simulated_deployment(
    settings: Settings, redis_url: str
) -> AsyncGenerator[SimulatedDeployment]:
    """A deployment for one test, closed at its end."""
    asyncio.get_running_loop().set_exception_handler(ignore_killed_tasks)
    deployment = SimulatedDeployment(settings, redis_url)
    try:
        assert await deployment.store.recovery.until_ready()
        yield deployment
    finally:
        with contextlib.suppress(RedisError):
            await deployment.close()
