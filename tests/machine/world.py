"""A whole deployment on one event loop, under a clock that the test moves.

The workers are put together by `worker.compose.worker.build`, over a real Redis. arq alone is
played: an
entry of its queue is run when the test says so, late and twice if it likes. Nothing here sleeps:
after every deed the loop runs until nobody can go on without the test.
"""

import asyncio
import contextlib
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
from jobs.indexes import Index
from jobs.job import Job
from jobs.lanes import JobId
from jobs.outcomes import Accepted, Finished, Lost, PollAnswer, RunCancelled, RunFailed
from jobs.requests import Order
from jobs.states import AT_REST, Kind, OnUncertain, State
from tests.machine.clock import SetClock
from tests.machine.laws import History, Snapshot, look
from tests.machine.line import Killed, Line
from tests.machine.provider import Call, Judge, PlayedProvider, Run
from worker.app.actions import Desk, Person
from worker.app.enqueue import Placed
from worker.compose.worker import Runtime, build, intake
from worker.engine.supervisor import Service
from worker.provider.port import CancelTaken
from worker.redis.connect import connect
from worker.store import Store, open_store
from worker.store.arq_codec import FUNCTIONS, deserialize
from worker.tasks import end

ANN: Final = Person("ann", "for the test")

SERVICES: Final = (
    "recollection",
    "pulse",
    "timer",
    "admission",
    "poller",
    "deliveries",
    "rescuer",
    "pruner",
    "quota",
)
WHILE_STOPPING: Final = ("recollection", "pulse", "quota")
"""Services that `Runtime.stop` leaves running until the end."""

CALM_ROUNDS: Final = 200
"""Far more than it takes until everything is at rest."""


def small() -> Settings:
    """A small deployment: few slots, one narrow lane, few attempts, an early deadline."""
    return Settings(
        namespace=f"m-{secrets.token_hex(4)}",
        max_jobs=4,
        lane_caps={"default/model/kling": 1},
        max_attempts=2,
        webhook_secret=SecretStr("0123456789abcdef0123456789abcdef"),
        run_deadline_s=60,
    )


def result_of(job_id: str, number: int) -> bytes:
    """The result of one run."""
    return msgspec.json.encode({"of": job_id, "run": number})


def let_the_dead_rest(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Nobody asks what became of the tasks of a killed worker."""
    if not isinstance(context.get("exception"), Killed) and "pending" not in context["message"]:
        loop.default_exception_handler(context)


def told(answer: PollAnswer | None) -> tuple[str, dict[str, object]]:
    """The event that tells of a run, and the facts that go with it."""
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
class Entry:
    """An arq entry, as a worker read it."""

    arq_id: str
    function: str
    args: tuple[str, ...]


@dataclass(eq=False)
class Worker:
    """A worker's process."""

    runtime: Runtime
    line: Line
    seen_at: float
    """When it last extended its leases."""
    busy: dict[str, "asyncio.Task[Any]"] = field(default_factory=dict[str, "asyncio.Task[Any]"])
    """Services in the middle of a tick."""
    stopping: "asyncio.Task[None] | None" = None

    @property
    def id(self) -> str:
        """What it calls itself."""
        return self.runtime.worker_id

    @property
    def gone(self) -> bool:
        """Whether it was killed, or has stopped."""
        return self.line.dead or (self.stopping is not None and self.stopping.done())

    @property
    def takes_work(self) -> bool:
        """Whether arq may hand it an entry."""
        return not self.gone and self.stopping is None

    def services(self) -> dict[str, Service]:
        """The services whose loops would be running."""
        if self.gone:
            return {}
        found = {service.name: service for service in self.runtime.supervisor.services}
        names = SERVICES if self.stopping is None else WHILE_STOPPING
        return {name: found[name] for name in names}


class World:
    """Workers, an office where people and apps come, and a provider that waits for the test."""

    def __init__(self, settings: Settings, redis_url: str) -> None:
        self.settings = settings
        self.clock = SetClock()
        self.judge = Judge()
        self.workers: list[Worker] = []
        self.store: Store = open_store(connect(settings, redis_url), settings.namespace)
        self.desk = Desk(self.store, self.clock)
        self.intake = intake(settings, self.store, self.clock)
        self.history = History(self.judge, settings.retention_s)
        self.handed_out: list[Entry] = []
        """Every entry that a worker ever got."""
        self.unfinished: list[tuple[Worker, Entry, asyncio.Task[Any]]] = []
        self.faults: list[str] = []
        """Errors that came out of the program where none may."""
        self._url = redis_url

    # Beginning and end.

    async def close(self) -> None:
        """Kill everything and leave Redis as it was."""
        for worker in self.workers:
            worker.line.kill()
        await end(*asyncio.all_tasks() - {cast("asyncio.Task[Any]", asyncio.current_task())})
        namespace = self.settings.namespace
        keys = await self.store.client.call("KEYS", f"{namespace}:*")
        keys += await self.store.client.call("KEYS", "arq:*")
        await self.store.client.call("DEL", *keys)
        for client in [worker.line.redis for worker in self.workers] + [self.store.client.redis]:
            await client.aclose(close_connection_pool=True)

    def start_worker(self) -> Worker:
        """Start a worker; its loops are the test's to turn."""
        redis: ArqRedis = connect(self.settings, self._url)
        runtime = build(self.settings, redis, self.clock)
        worker = Worker(runtime, cast("Line", runtime.store.client), self.clock.now())
        provider = cast("PlayedProvider", runtime.provider)
        provider.judge, provider.worker = self.judge, worker.id
        worker.line.when_killed = lambda: self._lose(worker, killed=True)
        self.workers.append(worker)
        return worker

    def _lose(self, worker: Worker, *, killed: bool) -> None:
        self.judge.lose(worker.id, worker.runtime.submitter.leased, killed=killed)

    @property
    def living(self) -> list[Worker]:
        """Workers that are not gone."""
        return [worker for worker in self.workers if not worker.gone]

    # Running.

    async def idle(self) -> None:
        """Let everybody go on until nobody can without the test."""
        loop = cast("Any", asyncio.get_running_loop())
        await asyncio.sleep(0)
        while loop._ready or any(  # noqa: ASYNC110 - until nobody can, not until something comes
            worker.line.under_way for worker in self.workers
        ):
            await asyncio.sleep(0)
        for worker, entry, task in list(self.unfinished):
            if task.done():
                self.unfinished.remove((worker, entry, task))
                self._note(task)
                if not worker.line.dead:
                    await self._acknowledge(entry)
        for worker in self.workers:
            for name, task in list(worker.busy.items()):
                if task.done():
                    del worker.busy[name]
                    self._note(task)
            if worker.stopping is not None and worker.stopping.done():
                self._note(worker.stopping)

    def _note(self, task: "asyncio.Task[Any]") -> None:
        """What comes out of a task: Redis trouble is the supervisor's to mend, death is final."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, (RedisError, OSError, Killed)):
            self.faults.append(f"{task.get_name()} raised {error!r}")

    async def tick(self, worker: Worker, *names: str) -> None:
        """Turn some loops of a worker once; one that stands in the middle of a turn is left."""
        for name in names:
            service = worker.services().get(name)
            if service is None or name in worker.busy:
                continue
            turn = service.tick(self.clock.now())
            worker.busy[name] = task = asyncio.create_task(turn, name=name)
            await self.idle()
            if name == "pulse" and task.done() and not task.cancelled() and not task.exception():
                worker.seen_at = self.clock.now()

    async def pass_time(self, seconds: float) -> None:
        """Move the clock; workers that are awake have beaten all the while."""
        self.clock.pass_time(seconds)
        for worker in self.living:
            if not worker.line.asleep:
                await self._beat(worker)
            if not worker.gone and worker.seen_at <= self.clock.now() - self.settings.lease_s:
                self._lose(worker, killed=False)

    async def _beat(self, worker: Worker) -> None:
        while worker.seen_at < self.clock.now():
            await self.tick(worker, "pulse")
            if worker.gone or worker.line.asleep:
                return

    async def pass_time_until_something_is_due(self) -> None:
        """Move the clock to the next thing that it moves."""
        now, keys = self.clock.now(), self.store.keys
        names = [keys.index(kind) for kind in (Index.DUE, Index.LEASE, Index.INFLIGHT)]
        rows = await self.store.client.many([("ZRANGE", k, 0, 0, "WITHSCORES") for k in names])
        gates = await self.store.gates.standing()
        times = [float(row[1]) for row in rows if row] + [c.until for c in gates.cool_downs]
        later = [at - now for at in times if at > now]
        await self.pass_time(max(0.1, min(later, default=1.0)))

    # arq.

    async def entries(self) -> list[Entry]:
        """What lies in arq's queue, oldest first."""
        keys = self.store.keys
        names: list[bytes] = await self.store.client.call("ZRANGE", keys.arq_queue, 0, -1)
        found: list[Entry] = []
        for name in names:
            data = await self.store.client.call("GET", keys.arq_job(name.decode()))
            entry = deserialize(data)
            found.append(Entry(name.decode(), entry["f"], tuple(entry["a"])))
        return found

    async def run_entry(self, worker: Worker, entry: Entry) -> None:
        """Have a worker run an arq entry; arq takes it off the queue when it is done."""
        if entry not in self.handed_out:
            self.handed_out.append(entry)
        function = cast("Callable[..., Coroutine[Any, Any, Any]]", FUNCTIONS[entry.function])
        context = worker.runtime.context() | {"job_id": entry.arq_id}
        task = asyncio.create_task(function(context, *entry.args), name=f"hop {entry.arq_id}")
        self.unfinished.append((worker, entry, task))
        await self.idle()

    async def deliver(self, worker: Worker) -> None:
        """Have a worker run every entry that nobody runs yet."""
        for entry in await self.entries():
            if worker.takes_work and not self._is_running(entry):
                await self.run_entry(worker, entry)

    def _is_running(self, entry: Entry) -> bool:
        return any(entry == other and not worker.line.dead for worker, other, _ in self.unfinished)

    async def _acknowledge(self, entry: Entry) -> None:
        keys = self.store.keys
        await self.store.client.call("ZREM", keys.arq_queue, entry.arq_id)
        await self.store.client.call("DEL", keys.arq_job(entry.arq_id))

    async def bring(self, worker: Worker) -> None:
        """Admit what may go, and hand it over."""
        await self.tick(worker, "recollection", "admission")
        await self.deliver(worker)

    # The provider.

    def open_call(self, job_id: str, what: str = "submit") -> Call:
        """The call of a job that waits."""
        found = [c for c in self.judge.calls if c.job_id == job_id and c.what == what]
        assert found, f"no {what} of {job_id} is under way"
        return found[-1]

    async def connect(self, call: Call) -> None:
        """A connection stands: the bytes go out, if the mark can be set."""
        call.connected.set_result(None)
        await self.idle()

    async def refuse_connection(self, call: Call) -> None:
        """A connection never came to be."""
        self.judge.refuse_connection(call)
        await self.idle()

    async def answer(self, call: Call, answer: object, *, started: bool = False) -> None:
        """Answer a call; `started`: a run exists although the answer does not say so."""
        self.judge.tell(call, answer, started=started)
        await self.idle()

    def accepted(self, call: Call) -> Accepted:
        """The answer that takes a submit."""
        return Accepted(self.judge.start_run(call).execution_id, webhook=call.number % 2 == 0)

    def finished(self, call: Call) -> Finished:
        """The answer of a sync run."""
        run = self.judge.start_run(call)
        run.end = Finished(result_of(call.job_id, call.number), 1.0, run.execution_id)
        return run.end

    def completed(self, run: Run) -> Finished:
        """What a look sees of a run that ended well."""
        return Finished(result_of(run.job_id, int(run.execution_id.split("-")[1])), 1.0)

    async def hook(self, run: Run, end: PollAnswer | None) -> None:
        """The provider delivers word of a run: its end, or that it goes on."""
        answer = None if end is None else self.judge.tell_by_hook(run, end)
        event, facts = told(answer)
        body = msgspec.json.encode({"event": event, "executionId": run.execution_id} | facts)
        await self.store.webhooks.receive(run.execution_id, event, body, self.clock.now())

    # Workers end.

    async def kill(self, worker: Worker) -> None:
        """Kill a worker: nothing of it goes on."""
        worker.line.kill()
        await self.idle()

    async def stall(self, worker: Worker) -> None:
        """Stop a worker where it is."""
        worker.line.stall()

    async def wake(self, worker: Worker) -> None:
        """Let a worker go on where it stood."""
        worker.line.wake()
        await self.idle()

    async def stop(self, worker: Worker) -> None:
        """Tell a worker to stop: it drains. Told again, it hurries."""
        first = worker.stopping is None
        worker.runtime.told_to_stop()
        if first:
            for task in worker.busy.values():
                task.cancel()
            worker.stopping = asyncio.create_task(worker.runtime.stop(), name="stop")
        await self.idle()

    # People and apps.

    async def enqueue(self, job_id: str, target: str = "suno", **options: Any) -> Placed:
        """Enqueue a job whose inputs name it."""
        inputs = msgspec.json.encode({"job": job_id})
        order = Order(kind=Kind.MODEL, target=target, inputs=inputs, **options)
        placed = await self.intake.enqueue(order, job_id=JobId(job_id), by="app")
        if placed.created:
            self.history.begin(placed.job)
            self.judge.begin_job(job_id, opts_in=order.on_uncertain is OnUncertain.RETRY)
        return placed

    async def job(self, job_id: str) -> Job:
        """The job's record."""
        stored = await self.store.jobs.load(job_id)
        assert stored is not None
        return stored.job

    async def act(self, name: str, job_id: str, *args: Any) -> Job:
        """A person acts on a job. What changes nothing, a second cancel, is no act."""
        deed = cast("Callable[..., Coroutine[Any, Any, Job]]", getattr(self.desk, name))
        before = await self.store.jobs.load(job_id)
        job = await deed(job_id, ANN, *args)
        self.history.acts += before is None or job != before.job
        redirects = name in ("resubmit", "attach", "discard", "requeue")
        if redirects or job.state is State.CANCELLED:
            self.judge.decided(job_id, resubmit=name == "resubmit", requeue=name == "requeue")
        return job

    # Laws.

    async def check(self) -> Snapshot:
        """Hold what Redis has against the laws."""
        assert not self.faults, self.faults
        snapshot = await look(self.store)
        self.history.check(snapshot, self.clock.now())
        return snapshot

    async def calm_down(self) -> Snapshot:
        """No more mishaps, and an answer to every call: everything comes to rest."""
        self.judge.connects = True
        for worker in self.living:
            worker.line.faults.clear()
            await self.wake(worker)
        for worker in [worker for worker in self.living if worker.stopping is not None]:
            await self.stop(worker)
        if not any(worker.takes_work for worker in self.workers):
            self.start_worker()
        for _ in range(CALM_ROUNDS):
            await self._answer_everything()
            for worker in self.living:
                await self.tick(worker, *SERVICES)
                await self.deliver(worker)
            await self._answer_everything()
            if not self.judge.calls and not self._restless(await look(self.store)):
                snapshot = await self.check()
                self.history.check_calm(snapshot)
                return snapshot
            await self.pass_time_until_something_is_due()
        raise AssertionError(f"never came to rest: {self._restless(await look(self.store))}")

    def _restless(self, snapshot: Snapshot) -> list[str]:
        """Jobs that somebody has to move on, those behind a standing hold aside."""
        return [
            f"{job.id} is {job.state}"
            for job in snapshot.jobs.values()
            if job.state not in AT_REST
            and not (
                job.state is State.QUEUED
                and not job.free_pass
                and snapshot.gates.closed_by(job.lane) is not None
            )
        ]

    async def _answer_everything(self) -> None:
        while ready := self.judge.ready:
            call = ready[0]
            if call.waits_for_connection:
                await self.connect(call)
            elif call.what == "submit":
                await self.answer(call, self.accepted(call))
            elif call.what == "cancel":
                await self.answer(call, CancelTaken("cancel_requested"))
            else:
                run = cast("Run", call.run)
                await self.answer(call, run.end or self.completed(run))


@asynccontextmanager
async def opened(settings: Settings, redis_url: str) -> AsyncGenerator[World]:
    """A world for one test."""
    asyncio.get_running_loop().set_exception_handler(let_the_dead_rest)
    world = World(settings, redis_url)
    try:
        yield world
    finally:
        with contextlib.suppress(RedisError):
            await world.close()
