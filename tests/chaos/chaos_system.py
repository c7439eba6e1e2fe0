"""The system under chaos: a Redis that can be killed, a sandbox, workers and a seeded load."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from arq import ArqRedis
from pydantic import SecretStr

from config.settings import Settings
from jobs.breakers import BreakerState
from jobs.job import INPUTS_LOST, UNCERTAIN, Job
from jobs.lanes import JobId
from jobs.requests import JobRequest
from jobs.states import SETTLED_OR_PARKED, Kind, State
from tests.chaos.index_snapshot import take_snapshot
from tests.chaos.killable_redis import KillableRedis
from tests.chaos.scale import FORM, SETTLED_WITHIN_S
from tests.chaos.worker_processes import WorkerProcesses
from tests.engine.live_system import OPERATOR, LiveSystem, live_system, wait_until
from worker.app.action_table import JobAction
from worker.app.breaker_actions import BreakerActions
from worker.clock import SystemClock
from worker.doctor.integrity_check import IntegrityCheck
from worker.redis.connect import connect
from worker.sandbox import SandboxConfig, running
from worker.tasks import cancel_and_wait

ASYNC = (
    (Kind.MODEL, "gpt-image-2"),
    (Kind.MODEL, "suno"),
    (Kind.WORKFLOW, "my-pipeline"),
)
SYNC_ONLY = (
    (Kind.MODEL, "nano-banana-2"),
    (Kind.MODEL, "seedream-v5"),
    (Kind.WORKFLOW, "caption-images"),
)
SYNC_SHARE = 0.25
SLOW_SHARE = 0.5
NAMESPACE = "chaos"
RESET_PAUSE_S = 0.1


@dataclass(slots=True)
class ChaosFindings:
    """The result of a scenario: counts for the table, and what the claims check."""

    jobs: int
    states: dict[str, int]
    uncertain: list[Job]
    inputs_lost: list[str]
    """Ids of the jobs whose inputs Redis lost."""
    started: dict[str, int]
    """Job → runs the provider started for it."""
    started_twice: dict[str, int]
    started_without_inputs: list[str]
    """Labels of runs that no job has: their inputs were not those of a job."""
    lost: list[str]
    wrong_indexes: list[str]
    errors: list[str]
    returned_to_queue: int
    """Jobs whose worker was lost before it sent them: the rescuer put them back in the queue."""

    uncertain_then_answered: int
    """Jobs whose outcome was unknown until a late answer arrived."""

    def never_started(self, job: Job) -> bool:
        """Whether the provider started no run for it: never sent, or refused and the reply lost."""
        return not self.started[job.id]


@dataclass
class ChaosSystem:
    """A running system under chaos."""

    system: LiveSystem
    workers: WorkerProcesses
    rng: random.Random
    killable_redis: KillableRedis | None = None
    acknowledged: list[str] = field(default_factory=list[str])
    """Ids of the jobs whose enqueue was acknowledged."""
    snapshot_count: int = 0
    """How often the indexes were checked while workers ran."""
    numbers: Iterator[int] = field(default_factory=itertools.count)
    began: float = field(default_factory=time.monotonic)

    @property
    def redis(self) -> KillableRedis:
        """The Redis server, in scenarios with exactly one."""
        assert self.killable_redis is not None
        return self.killable_redis

    def requests(
        self, count: int, targets: Sequence[tuple[Kind, str]] = (), **sandbox_options: Any
    ) -> list[tuple[JobId, JobRequest]]:
        """The next requests of the load: short runs, mixed modes, slow answers to the submit."""
        return [
            self.request(f"j{next(self.numbers)}", targets, sandbox_options) for _ in range(count)
        ]

    def request(
        self, job_id: str, targets: Sequence[tuple[Kind, str]], fault: dict[str, Any]
    ) -> tuple[JobId, JobRequest]:
        """One job request; `fault` replaces the slow answer."""
        rng = self.rng
        mixed = SYNC_ONLY if rng.random() < SYNC_SHARE else ASYNC
        kind, target = rng.choice(targets or mixed)
        play: dict[str, Any] = {"label": job_id, "duration_s": round(rng.uniform(0.1, 1.0), 3)}
        if fault:
            play |= fault
        elif rng.random() < SLOW_SHARE:
            play |= {"fault": "slow", "delay_s": round(rng.uniform(0.02, 0.4), 3)}
        inputs = msgspec.json.encode({"prompt": "a cat", "sandbox": play})
        return JobId(job_id), JobRequest(kind=kind, target=target, inputs=inputs)

    async def enqueue(self, requests: Sequence[tuple[JobId, JobRequest]]) -> None:
        """Enqueue requests. Redis must be reachable."""
        results = await self.system.enqueuer.enqueue_many(requests)
        for result in results:
            assert not isinstance(result, Exception), result
        self.acknowledged += [str(job_id) for job_id, _ in requests]

    async def until_settled_or_parked(self, within_s: float = SETTLED_WITHIN_S) -> None:
        """Wait until every job is settled or parked."""
        counts: dict[State, int] = {}

        async def all_settled_or_parked() -> bool:
            nonlocal counts
            counts = await self.system.counts()
            return sum(counts.get(state, 0) for state in SETTLED_OR_PARKED) >= len(
                self.acknowledged
            )

        try:
            await wait_until(all_settled_or_parked, "every job settled or parked", within_s)
        except AssertionError:
            jobs = (await take_snapshot(self.system.store)).jobs.values()
            unfinished = [job for job in jobs if job.state not in SETTLED_OR_PARKED]
            raise AssertionError(
                f"after {within_s} s not settled or parked:"
                f" { {str(s): n for s, n in counts.items()} }, for example {unfinished[:3]}"
            ) from None

    @asynccontextmanager
    async def breakers_reset(self) -> AsyncGenerator[None]:
        """Act as an operator who resets every breaker as soon as it opens."""

        async def reset() -> None:
            actions = BreakerActions(self.system.store, SystemClock())
            while True:
                for breaker in await self.system.store.breakers.list_all():
                    if breaker.state is not BreakerState.CLOSED:
                        await actions.reset(breaker.id, OPERATOR)
                await asyncio.sleep(RESET_PAUSE_S)

        task = asyncio.create_task(reset())
        try:
            yield
        finally:
            await cancel_and_wait(task)

    async def until_all_succeeded(self, within_s: float = SETTLED_WITHIN_S) -> float:
        """Wait until every job succeeded without an operator; returns the seconds."""
        began = time.monotonic()

        async def all_succeeded() -> bool:
            return (await self.system.counts()).get(State.SUCCEEDED, 0) == len(self.acknowledged)

        try:
            await wait_until(all_succeeded, "every job has succeeded", within_s)
        except AssertionError as error:
            jobs = (await take_snapshot(self.system.store)).jobs.values()
            others = [_described(job) for job in jobs if job.state is not State.SUCCEEDED]
            raise AssertionError("\n".join([f"{error}; not so:", *others])) from None
        return time.monotonic() - began

    async def inspect(self) -> ChaosFindings:
        """Compare records, indexes and the ledger of the sandbox."""
        snapshot = await take_snapshot(self.system.store)
        jobs = snapshot.jobs
        ledger = await self.system.labels()
        uncertain = [job for job in jobs.values() if job.parked_as == UNCERTAIN]
        started = {job_id: ledger.get(job_id, {"started": 0})["started"] for job_id in jobs}
        events = Counter(event.note for job in jobs.values() for event in job.events)
        return ChaosFindings(
            jobs=len(self.acknowledged),
            states=dict(Counter(str(job.state) for job in jobs.values())),
            uncertain=uncertain,
            inputs_lost=[job.id for job in jobs.values() if job.parked_as == INPUTS_LOST],
            started=started,
            started_twice={job_id: count for job_id, count in started.items() if count > 1},
            started_without_inputs=[
                label for label, row in ledger.items() if row["started"] and label not in jobs
            ],
            lost=sorted(set(self.acknowledged) - jobs.keys()),
            wrong_indexes=[*snapshot.wrong_indexes, *await self.doctor_findings()],
            errors=self.workers.errors(),
            returned_to_queue=events["admitted, but never sent"],
            uncertain_then_answered=sum(map(_was_answered_after_uncertain, jobs.values())),
        )

    async def job_ids(self) -> set[str]:
        """The ids of all jobs on record."""
        return {str(job_id) for job_id in (await take_snapshot(self.system.store)).jobs}

    async def check_indexes(self) -> None:
        """Check that every job is in exactly the indexes of its record, while workers run."""
        snapshot = await take_snapshot(self.system.store)
        assert snapshot.wrong_indexes == []
        assert await self.doctor_findings() == [], "a false alarm: the snapshot was clean"
        self.snapshot_count += 1

    async def doctor_findings(self) -> list[str]:
        """The findings of the doctor's integrity check."""
        check = IntegrityCheck(
            self.system.store, SystemClock(), lease_s=self.system.settings.lease_s
        )
        report = await check.run()
        return [damage.text for damage, _ in report.reported]

    async def resolve(self, jobs: Sequence[Job]) -> int:
        """Act as the operator: attach the provider's run, or submit again if there is none."""
        executions = await self._executions()
        for job in jobs:
            execution_id = executions.get(job.id)
            if execution_id is None:
                await self.system.actions.act(JobAction.RESUBMIT, job.id, OPERATOR)
            else:
                await self.system.actions.act(
                    JobAction.ATTACH, job.id, OPERATOR, execution_id=execution_id
                )
        await self.until_settled_or_parked()
        return len(jobs)

    async def release(self, job_ids: Sequence[str]) -> None:
        """Act as the operator: release jobs whose app has enqueued them again."""
        for job_id in job_ids:
            await self.system.actions.act(JobAction.RELEASE, job_id, OPERATOR)
        await self.until_settled_or_parked()

    async def _executions(self) -> dict[str, str]:
        url = f"{self.system.sandbox_url}/_sandbox/executions"
        async with self.system.http.get(url) as answer:
            items = (await answer.json())["items"]
        return {item["label"]: item["id"] for item in items}


def _described(job: Job) -> str:
    """What a failed wait says of a job: its state, why it is in it, and what happened to it."""
    head = f"{job.id} {job.state}, parked as {job.parked_as}, owner {job.owner}: {job.reason}"
    events = [f"    {e.at:.3f} {e.name} {e.by} {e.note}".rstrip() for e in job.events]
    return "\n".join([head, *events])


def _was_answered_after_uncertain(job: Job) -> bool:
    by_operator = {"attach", "resubmit"} & {event.name for event in job.events}
    was_uncertain = any(event.note == UNCERTAIN for event in job.events)
    return was_uncertain and not by_operator and job.parked_as != UNCERTAIN


@dataclass(frozen=True, slots=True)
class ScenarioRow:
    """One line of the table at the end of the run."""

    scenario: str
    disturbance: str
    seed: int
    seconds: float
    findings: ChaosFindings
    resolved_count: int

    def __str__(self) -> str:
        found = self.findings
        never = sum(map(found.never_started, found.uncertain))
        return (
            f"{self.scenario:<10} {FORM:<5} seed {self.seed:<6} {self.seconds:5.0f} s"
            f" {self.disturbance:<24} {found.jobs:5} jobs"
            f" {found.states.get('succeeded', 0):5} succeeded"
            f" {len(found.uncertain):3} uncertain ({never} never started)"
            f" {self.resolved_count:3} resolved {found.returned_to_queue:3} requeued"
            f" {found.uncertain_then_answered:3} answered late"
            f" {len(found.started_twice)} started twice {len(found.lost)} lost"
            f" {len(found.wrong_indexes)} wrong entries"
        )


@asynccontextmanager
async def chaos_system(
    folder: Path, seed: int, *, workers: int = 2, **settings: Any
) -> AsyncGenerator[ChaosSystem]:
    """Start everything; at the end the workers must stop with exit code 0."""
    redis = KillableRedis(folder)
    try:
        await redis.start()
        async with chaos_system_over(redis.url, folder, seed, workers=workers, **settings) as it:
            it.killable_redis = redis
            yield it
    finally:
        await redis.kill()


@asynccontextmanager
async def chaos_system_over(
    url: str, folder: Path, seed: int, *, workers: int = 2, **settings: Any
) -> AsyncGenerator[ChaosSystem]:
    """`chaos_system` over a Redis that the caller starts."""
    client = connect(Settings(namespace=NAMESPACE, redis_url=SecretStr(url)))
    try:
        async with (
            running(SandboxConfig(limit=0, credits=10**9, seed=seed)) as sandbox,
            _with_workers(client, url, sandbox, folder, settings) as (system, processes),
        ):
            await processes.start(workers)
            yield ChaosSystem(system, processes, random.Random(seed))  # noqa: S311  a schedule
            await processes.stop()
            assert set(processes.exit_codes) == {0}, processes.errors()[-3:]
    finally:
        await _close(client)


async def _close(client: ArqRedis) -> None:
    """Close a client and its connections, also those to Sentinels."""
    await client.aclose(close_connection_pool=True)


@asynccontextmanager
async def _with_workers(
    client: ArqRedis, url: str, sandbox: str, folder: Path, changes: dict[str, Any]
) -> AsyncGenerator[tuple[LiveSystem, WorkerProcesses]]:
    given: dict[str, Any] = {
        "lease_s": 2,
        "max_jobs": 30,
        "log_format": "json",
        "log_level": "warning",
        "api_keys": dict[str, SecretStr](),
    }
    async with live_system(client, url, NAMESPACE, sandbox, **(given | changes)) as system:
        processes = WorkerProcesses(system.settings, system.store, folder)
        try:
            yield system, processes
        finally:
            processes.abandon()
            await asyncio.gather(*(process.wait() for process in processes.running))
