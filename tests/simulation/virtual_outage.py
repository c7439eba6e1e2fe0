"""Whole workers through an outage of the provider, in virtual time.

The provider answers by itself: each submit after `LATENCY_S`, each run after `RUN_S`, as the test
says for that moment. Time jumps from one due moment to the next, so hours take seconds.
"""

import asyncio
import heapq
import itertools
import json
import random
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, cast

from config.settings import Settings
from jobs.indexes import Index
from jobs.lanes import JobId, Lane, polls_scope
from jobs.outcomes import (
    Accepted,
    CallFailure,
    Finished,
    Lost,
    NotSent,
    PollOutcome,
    ProviderError,
    Refused,
    RunFailed,
    StillRunning,
    SubmitOutcome,
)
from jobs.rate_limits import RateLimitBucket
from jobs.requests import JobRequest
from jobs.states import Kind, Mode, State
from tests.simulation.deployment import (
    SimulatedDeployment,
    SimulatedWorker,
    simulated_deployment,
)
from worker.provider.port import CancelOutcome, Identity, SendMark

LATENCY_S: Final = 0.2
RUN_S: Final = 2.0
ADMISSION_S: Final = 0.05
"""Pause of admission while there is something to admit."""

LONGEST_STEP_S: Final = 1.0

SERVICES: Final = ("scheduler", "poller", "poll_prover", "breaker_prober", "admission")
"""The services that an outage concerns; heartbeats are sent whenever time passes."""

UNLIMITED: Final = RateLimitBucket(is_unlimited=True)

EXECUTION_FAILED: Final = ProviderError("EXECUTION_FAILED", "", 500)
BAD_GATEWAY: Final = Refused(ProviderError(None, "", 502, is_readable=False))
FAILED: Final = Refused(EXECUTION_FAILED)


@dataclass(frozen=True, slots=True)
class Moment:
    """What a test decides an answer by."""

    at: float
    """Seconds since the begin."""
    target: str
    job_id: str
    dice: random.Random


def accepts(_: Moment) -> SubmitOutcome | None:
    """Every submit is accepted (None)."""
    return None


def succeeds(_: Moment) -> ProviderError | None:
    """Every run succeeds (None)."""
    return None


def answers(_: float) -> CallFailure | bool:
    """The free call is answered."""
    return True


@dataclass
class Behaviour:
    """How the provider answers. None of a rule means the good answer."""

    submit: Callable[[Moment], SubmitOutcome | None] = accepts
    run: Callable[[Moment], ProviderError | None] = succeeds
    whoami: Callable[[float], CallFailure | bool] = answers
    sync_run_s: float = 30.0
    loss_latency_s: float = LATENCY_S
    """How long an answer takes that is not the good one."""


@dataclass
class OutageRecord:
    """What the provider saw."""

    posts: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    """Target → when each submit was written, in seconds since the begin."""
    whoami_calls: int = 0
    succeeded: list[float] = field(default_factory=list[float])

    def count(self, first: float, last: float, targets: Iterable[str] | None = None) -> int:
        """How many submits were written in a time."""
        names = self.posts if targets is None else targets
        times = itertools.chain.from_iterable(self.posts.get(name, ()) for name in names)
        return sum(first <= at < last for at in times)


class AnsweringProvider:
    """One worker's client of a provider that answers by itself."""

    outage: "VirtualOutage"

    def __init__(self, *_: object, **__: object) -> None:
        self.record: object = None
        self.worker = ""

    async def close(self) -> None:
        """Nothing to close."""

    async def submit(
        self, kind: Kind, target: str, account: str, inputs: bytes, mode: Mode, *, mark: SendMark
    ) -> SubmitOutcome:
        """Answer after the latency, as the behaviour says for the moment it was sent."""
        del kind, account
        outage = self.outage
        answer = outage.answer_to_submit(target, f"j{json.loads(inputs)['job']}")
        if self.worker in outage.unconnected:
            return NotSent("connection refused")
        await mark.record()
        outage.record.posts.setdefault(target, []).append(outage.elapsed_s)
        await outage.sleep(LATENCY_S if answer is None else outage.behaviour.loss_latency_s)
        if answer is not None:
            return answer
        if mode is Mode.SYNC:
            await outage.sleep(outage.behaviour.sync_run_s)
            return Finished(b"{}", 1.0)
        return Accepted(f"{next(outage.numbers)}:{outage.elapsed_s}:{target}")

    async def poll(self, account: str, execution_id: str) -> PollOutcome:
        """The run is under way, or has ended as the behaviour says."""
        del account
        _, began_at, target = execution_id.split(":")
        if self.outage.elapsed_s < float(began_at) + RUN_S:
            return StillRunning("processing")
        error = self.outage.behaviour.run(self.outage.moment(target))
        if error is not None:
            return RunFailed(error)
        self.outage.record.succeeded.append(self.outage.elapsed_s)
        return Finished(b"{}", 1.0)

    async def cancel(self, account: str, execution_id: str) -> CancelOutcome:
        """Nothing is cancelled here."""
        raise AssertionError((account, execution_id))

    async def whoami(self, account: str) -> Identity | CallFailure:
        """The free call."""
        del account
        self.outage.record.whoami_calls += 1
        answer = self.outage.behaviour.whoami(self.outage.elapsed_s)
        if self.worker in self.outage.unconnected or answer is False:
            return CallFailure("HTTP 502", 502)
        return Identity() if answer is True else answer


class VirtualOutage:
    """A deployment with a provider that answers by itself."""

    def __init__(self, deployment: SimulatedDeployment, behaviour: Behaviour) -> None:
        self.deployment = deployment
        self.behaviour = behaviour
        self.record = OutageRecord()
        self.unconnected: set[str] = set()
        """Workers that cannot connect."""
        self.longest_step_s = LONGEST_STEP_S
        """While no breaker is open and nothing is due."""
        self.longest_open_step_s = 30.0
        """While one is open; shorter where a test is about more than its probes."""
        self.numbers = itertools.count(1)
        self.dice = random.Random(7)  # noqa: S311  the same in every run
        self._job_numbers = itertools.count()
        self._begun_at = deployment.clock.now()
        self._sleeping: list[tuple[float, int, asyncio.Future[None]]] = []

    @property
    def elapsed_s(self) -> float:
        """Seconds since the begin."""
        return round(self.deployment.clock.now() - self._begun_at, 3)

    def moment(self, target: str, job_id: str = "") -> Moment:
        """What an answer is decided by."""
        return Moment(self.elapsed_s, target, job_id, self.dice)

    def answer_to_submit(self, target: str, job_id: str) -> SubmitOutcome | None:
        """What a submit that is sent now comes to; None: it is accepted."""
        return self.behaviour.submit(self.moment(target, job_id))

    async def sleep(self, seconds: float) -> None:
        """Wait in virtual time."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        until = self.deployment.clock.now() + seconds
        heapq.heappush(self._sleeping, (until, next(self.numbers), done))
        await done

    async def begin(self, workers: int = 1) -> list[SimulatedWorker]:
        """Start workers over routes without a rate limit."""
        for route in (Lane("default", Kind.MODEL, "m0").route, polls_scope("default")):
            await self.deployment.store.rate_limits.change(route, lambda _: UNLIMITED)
        started = [self.deployment.start_worker() for _ in range(workers)]
        for worker in started:
            cast("AnsweringProvider", worker.runtime.provider).outage = self
        return started

    async def enqueue(
        self, count: int, targets: int = 1, inputs_of: int | None = None, **options: object
    ) -> None:
        """Enqueue jobs over so many targets in turn, each with inputs of its own.

        `inputs_of`: the number of the job whose inputs they all have.
        """
        for number in itertools.islice(self._job_numbers, count):
            inputs = json.dumps({"job": number if inputs_of is None else inputs_of}).encode()
            request = JobRequest(
                kind=Kind.MODEL,
                target=f"m{number % targets}",
                inputs=inputs,
                **options,  # type: ignore[arg-type]
            )
            await self.deployment.enqueuer.enqueue(request, job_id=JobId(f"j{number}"), by="app")

    async def run_until(
        self, is_done: Callable[[], bool] | None = None, *, limit_s: float = 4 * 3_600.0
    ) -> float:
        """Run until every job is settled or parked, or the condition holds; the time it took."""
        first = self.elapsed_s
        while self.elapsed_s < first + limit_s:
            before = sum(map(len, self.record.posts.values()))
            for worker in self.deployment.living:
                await self.deployment.tick(worker, "redis_recovery", *SERVICES)
                await self.deployment.deliver(worker)
            if is_done is not None and is_done():
                return self.elapsed_s
            if is_done is None and await self._is_settled():
                return self.elapsed_s
            is_busy = sum(map(len, self.record.posts.values())) > before
            await self._pass_time(is_busy=is_busy)
        raise AssertionError(f"not done after {limit_s} s: {await self.states()}")

    async def _pass_time(self, *, is_busy: bool) -> None:
        """Go on to the next moment at which something is due."""
        now, clock = self.deployment.clock.now(), self.deployment.clock
        step_s = ADMISSION_S if is_busy else await self._next_due_s(now)
        if self._sleeping:
            step_s = min(step_s, self._sleeping[0][0] - now)
        await self.deployment.pass_time(max(0.02, step_s), beats=1)
        while self._sleeping and self._sleeping[0][0] <= clock.now() + 1e-6:
            done = heapq.heappop(self._sleeping)[2]
            if not done.done():
                done.set_result(None)
        await self.deployment.until_idle()

    async def _next_due_s(self, now: float) -> float:
        store = self.deployment.store
        names = [f"{store.keys.namespace}:{kind}" for kind in ("due", "inflight")]
        rows = await store.client.many([("ZRANGE", name, 0, 0, "WITHSCORES") for name in names])
        due = [float(row[1]) for row in rows if row]
        breakers = await store.breakers.list_all()
        probes = [one.next_probe_at for one in breakers if one.next_probe_at is not None]
        due += [at for at in probes if at > now]  # lanes wait for the probe of their route
        is_closed = all(one.submits_allowed(now) is None for one in breakers)
        longest_s = self.longest_step_s if is_closed else self.longest_open_step_s
        return min([longest_s, *(max(ADMISSION_S, at - now) for at in due)])

    async def states(self) -> Counter[str]:
        """How many jobs are in each state; parked and dead ones by code."""
        store = self.deployment.store
        names = [store.keys.index(Index.STATE, state) for state in State]
        counts = await store.client.many([("ZCARD", name) for name in names])
        return Counter({s.value: n for s, n in zip(State, counts, strict=True) if n})

    async def _is_settled(self) -> bool:
        states = await self.states()
        return not set(states) - {State.SUCCEEDED, State.PARKED, State.DEAD, State.CANCELLED}


def lost_answers(share: float) -> Callable[[Moment], SubmitOutcome | None]:
    """A share of the answers is lost, at random."""
    return lambda moment: Lost("closed") if moment.dice.random() < share else None


@asynccontextmanager
async def an_outage(
    redis_url: str, behaviour: Behaviour, workers: int = 1, **settings: object
) -> AsyncGenerator[VirtualOutage]:
    """Workers with the default settings in a namespace of their own, and nothing queued yet."""
    namespace = f"o-{secrets.token_hex(4)}"
    changed = Settings(namespace=namespace, **settings)  # type: ignore[arg-type]
    async with simulated_deployment(changed, redis_url) as deployment:
        outage = VirtualOutage(deployment, behaviour)
        await outage.begin(workers)
        yield outage
